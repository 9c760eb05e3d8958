"""Bradley–Terry rewards that are linear in features, R = phi w."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from .._numerics import as_array, centre, concrete
from ._lanes import MAX_STEPS, WHOLE_STEP


def fit_linear(wins: Array, phi: np.ndarray, ridge: Array, throw: bool):
    """``bradley_terry`` with features."""
    from ._fit import Outcome, RewardFit

    K = wins.shape[-1]
    shared = phi.ndim == 3
    inside = wins.shape[:-2][-1:] if shared else ()
    if phi.ndim not in (2, 3) or phi.shape[:-1] != (*inside, K) or (shared and not inside):
        wanted = f"({K}, d)" + (f" or {(*wins.shape[:-2][-1:], K, 'd')}" if wins.ndim > 2 else "")
        raise ValueError(f"features have shape {phi.shape}, wins {wins.shape}; pass shape {wanted}.".replace("'", ""))
    if not np.isfinite(phi).all():
        raise ValueError("features have a value that is not finite; pass finite numbers.")
    if ridge.ndim:
        raise ValueError(f"ridge has shape {ridge.shape}; pass one number where there are features.")
    fits = wins.shape[: wins.ndim - 2 - len(inside)]
    i, j = np.triu_indices(K, 1)
    rows = (phi[..., i, :] - phi[..., j, :]).reshape(-1, phi.shape[-1])
    if phi.shape[-1] == 0 or np.linalg.matrix_rank(rows) < phi.shape[-1]:
        raise ValueError(
            f"features of {phi.shape[-1]} columns have only {np.linalg.matrix_rank(rows) if rows.size else 0} independent ones "
            f"(a constant column tells nothing); drop the others."
        )
    basis, mix = np.linalg.qr(rows)
    first, second = wins[..., i, j].reshape(-1, len(rows)), wins[..., j, i].reshape(-1, len(rows))
    penalty = ridge * np.linalg.inv(mix).T @ np.linalg.inv(mix)
    v, found = _newton(as_array(basis), first, second, as_array(penalty))
    result = jnp.where(found, int(Outcome.SUCCESSFUL), int(Outcome.NOT_FOUND))
    if concrete(wins, ridge) and float(ridge) == 0.0:
        known = np.array([_outcome(basis, np.asarray(a), np.asarray(b)) for a, b in zip(first, second, strict=True)])
        result = jnp.where(known == 0, result, known)
    weights = jnp.where((result == 0)[:, None], jnp.linalg.solve(as_array(mix), v.T).T, jnp.nan)
    weights, result = weights.reshape(*fits, -1), result.reshape(fits)
    if throw and concrete(result) and np.asarray(result).any():
        raise ValueError(_message(np.asarray(result)))
    reward = centre(jnp.einsum("...kd,...d->...k", as_array(phi), weights[..., None, :] if shared else weights))
    return RewardFit(reward, result, weights)


def _message(codes: np.ndarray) -> str:
    at = tuple(int(k) for k in np.argwhere(codes)[0]) if codes.ndim else ()
    where = "" if not at else f"data set {list(at)}: "
    why = {
        1: "the weights are infinite: along some direction of the features no comparison is contradicted",
        2: "the comparisons leave some direction of the features undetermined",
        3: "no two different responses were ever compared",
        4: "Newton's method for the weights did not converge",
    }[int(codes[at])]
    return f"{where}{why}; add comparisons, drop features, pass ridge=, or throw=False to get the result as a code."


def _outcome(basis: np.ndarray, first: np.ndarray, second: np.ndarray) -> int:
    from scipy.optimize import linprog  # SciPy loads on use

    met = first + second > 0
    if not met.any():
        return 3
    sided = (first == 0) != (second == 0)
    if sided.any():
        # A direction along which every one-sided pair gains or stays, the others stay, and the total gain is positive.
        gain = np.where(second == 0, 1.0, -1.0)[sided, None] * basis[sided]
        even = met & ~sided
        out = linprog(
            -gain.sum(0),
            A_ub=np.concatenate([-gain, gain]),
            b_ub=np.concatenate([np.zeros(len(gain)), np.ones(len(gain))]),
            A_eq=basis[even] if even.any() else None,
            b_eq=np.zeros(even.sum()) if even.any() else None,
            bounds=(None, None),
        )
        if out.status != 0 or -out.fun > 1e-7:
            return 1
    return 0 if np.linalg.matrix_rank(basis[met]) == basis.shape[1] else 2


@jax.jit
def _newton(
    basis: Float[Array, "pairs d"],
    first: Float[Array, "fits pairs"],
    second: Float[Array, "fits pairs"],
    penalty: Array,
) -> tuple[Array, Array]:
    """argmax_v Σ first log sigma(basis v) + second log sigma(-basis v) - vᵀ penalty v / 2, for every fit."""
    eps = float(jnp.finfo(basis.dtype).eps)
    close, good = eps**0.5, eps**0.4

    def one(a: Array, b: Array) -> tuple[Array, Array]:
        def step(carry: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
            v, before, count = carry
            x = basis @ v
            force = a * jax.nn.sigmoid(-x) - b * jax.nn.sigmoid(x)
            curve = (a + b) * jax.nn.sigmoid(x) * jax.nn.sigmoid(-x)
            delta = jnp.linalg.solve(basis.T @ (curve[:, None] * basis) + penalty, basis.T @ force - penalty @ v)
            size = jnp.max(jnp.abs(basis @ delta))
            share = jnp.where(size > WHOLE_STEP, jnp.log1p(size) / jnp.where(size > WHOLE_STEP, size, 1.0), 1.0)
            last = jnp.where((size < good) & (size >= 0.5 * before), 0.0, size)
            return v + share * delta, last, count + 1

        going = lambda carry: (carry[1] > close) & (carry[2] < MAX_STEPS)
        start = (jnp.zeros(basis.shape[1]), jnp.asarray(jnp.inf), jnp.array(0))
        v, last, _ = jax.lax.while_loop(going, step, start)
        return v, (last <= close) & jnp.all(jnp.isfinite(v))

    return jax.vmap(functools.partial(one))(first, second)
