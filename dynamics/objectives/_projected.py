"""Optima within a class of log-linear policies: weighted fits whose weights may span hundreds of orders of magnitude.

The mass of a pair is mu_i mu_j, and next to a vertex one pair outweighs the next by e^1000. The normal equations would see
the heaviest only, and an orthogonal factorisation of the weighted rows loses the light rows under the rounding of heavy ones
that cannot all be met. So the heaviest rows that determine the fit are found first; in the values at those rows as unknowns
the equations have entries of order 1, whatever the weights.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.custom_derivatives import SymbolicZero
from jax.nn import log_sigmoid, sigmoid
from jaxtyping import Array, Bool, Float

DEPENDENT = 0.75  # power of eps, as a share of a row: what is left below it beside heavier rows is rounding
LARGEST = 600.0  # nats, well inside the floats
APART = 200.0  # nats: of a lighter weight nothing shows in float64 beside the heavier
LONGEST = 30.0  # change of a log-odds that one pair may ask of one step
MAX_STEPS = 1000
MANY_ROWS, MANY = 512, 8  # rows, and rows for each unknown, from which normal equations are tried first
WEAKEST = 1e-5  # pivot of scaled normal equations


def vanishing(log_mu: Float[Array, "*contexts K"]) -> Float[Array, "*contexts K"]:
    """log mu with zero masses as in the limit of masses that vanish together: so light that every sampled pair outweighs."""
    low = jnp.min(jnp.where(log_mu == -jnp.inf, jnp.inf, log_mu))
    floor = jax.lax.stop_gradient(2.0 * low - jnp.max(log_mu) - APART)
    return jnp.where(log_mu == -jnp.inf, floor, log_mu)


@jax.custom_jvp
def weighted_fit(
    X: Float[Array, "n m"], log_weight: Float[Array, " n"], target: Float[Array, " n"]
) -> Float[Array, " m"]:
    """argmin_w Σ_n W_n (X w - target)_n², W = exp(log_weight), X of full column rank, log weights finite and of any size.

    With S the heaviest m rows that are independent, T the other rows in terms of these and c = target_N - T target_S, the
    fit misses the targets of S by u: (I + E) u = g, E_st = Σ_i W_i/W_s T_is T_it, g_s = Σ_i W_i/W_s T_is c_i over i in N.
    A row of N is no heavier than the rows of S that it needs, so every entry is of order 1 [derived].
    """
    if X.shape[0] < max(MANY_ROWS, MANY * X.shape[1]):
        return _fit_by_heaviest(X, log_weight, target)
    w, good = _fit_by_squares(X, log_weight, target)
    return jax.lax.cond(good, lambda: w, lambda: _fit_by_heaviest(X, log_weight, target))


def _fit_by_squares(X: Array, log_weight: Array, target: Array) -> tuple[Float[Array, " m"], Bool[Array, ""]]:
    """The same by normal equations, refined once, and whether these are good enough: scaled to a unit diagonal they have no
    pivot below 1e-5, so that no direction rests on light rows.
    """
    root = jnp.exp(0.5 * (log_weight - jnp.max(log_weight)))[:, None]
    rows, aim = root * X, root[:, 0] * target
    gram = rows.T @ rows
    scale = 1.0 / jnp.sqrt(jnp.diag(gram))
    factor = jnp.linalg.cholesky(gram * scale[:, None] * scale[None, :])
    solve = lambda b: scale * jax.scipy.linalg.cho_solve((factor, True), scale * b)
    w = solve(rows.T @ aim)
    for _ in range(2):
        w = w + solve(rows.T @ (aim - rows @ w))
    return w, jnp.all(jnp.isfinite(factor)) & (jnp.min(jnp.diag(factor)) ** 2 > WEAKEST)


def _fit_by_heaviest(X: Array, log_weight: Array, target: Array) -> Float[Array, " m"]:
    order, T = _heaviest_rows(X, 0.5 * log_weight)
    m = X.shape[1]
    X, log_weight, target = X[order], log_weight[order], target[order]
    c = target[m:] - T @ target[:m]
    share = jnp.where(T == 0.0, 0.0, T * jnp.exp(jnp.minimum(log_weight[m:, None] - log_weight[None, :m], LARGEST)))
    u = jnp.linalg.solve(jnp.eye(m) + share.T @ T, share.T @ c)
    return jnp.linalg.solve(X[:m], target[:m] + u)


def _heaviest_rows(X: Float[Array, "n m"], log_root: Float[Array, " n"]) -> tuple[Array, Float[Array, "rest m"]]:
    """An order of the rows in which the first m are independent and heaviest, and T with X_rest = T X_first.

    Householder reflections of Xᵀ with pivoted columns. Weights decide the choice and enter no arithmetic, so each row keeps
    the precision that it has. What is left of a row that heavier ones determine is rounding, taken for the zero that it is.
    """
    n, m = X.shape
    columns, axes = jnp.arange(n), jnp.arange(m)
    least = jnp.finfo(X.dtype).eps ** DEPENDENT * jnp.linalg.norm(X, axis=1)

    def reflect(k: Array, carry: tuple[Array, Array]) -> tuple[Array, Array]:
        A, order = carry
        left = jnp.linalg.norm(jnp.where(axes[:, None] >= k, A, 0.0), axis=0)
        dependent = (columns >= k) & (left <= least[order])
        A = jnp.where((axes[:, None] >= k) & dependent[None, :], 0.0, A)
        score = jnp.where(dependent, jnp.finfo(X.dtype).min, log_root[order] + jnp.log(left))
        heaviest = jnp.argmax(jnp.where(columns < k, -jnp.inf, score))
        A = A.at[:, k].set(A[:, heaviest]).at[:, heaviest].set(A[:, k])
        order = order.at[k].set(order[heaviest]).at[heaviest].set(order[k])
        v = jnp.where(axes >= k, A[:, k], 0.0)
        length = jnp.linalg.norm(v)
        u = v.at[k].add(jnp.where(v[k] >= 0, length, -length))
        return A - jnp.outer(u, (2.0 / jnp.where(length > 0, u @ u, 1.0)) * (u @ A)), order

    from jax.scipy.linalg import solve_triangular  # loads on use, as SciPy does

    R, order = jax.lax.fori_loop(0, m, reflect, (X.T, columns))
    return order, solve_triangular(jnp.triu(R[:, :m]), R[:, m:]).T


def _weighted_fit_jvp(primals: Any, tangents: Any) -> tuple[Array, Array]:
    X, log_weight, target = primals
    dX, d_log_weight, d_target = tangents
    if not isinstance(dX, SymbolicZero):
        raise NotImplementedError(
            "a round's derivative by the features phi is not defined here; differentiate the flow."
        )
    w = weighted_fit(X, log_weight, target)
    # Differentiating Xᵀ D (X w - target) = 0 gives the same fit, of another target.
    left = target - X @ w
    change = jnp.zeros_like(target)
    if not isinstance(d_log_weight, SymbolicZero):
        change += jnp.where(left == 0.0, 0.0, d_log_weight * left)
    if not isinstance(d_target, SymbolicZero):
        change += d_target
    return w, weighted_fit(X, log_weight, change)


weighted_fit.defjvp(_weighted_fit_jvp, symbolic_zeros=True)


def project(basis: Float[Array, "K m"], log_mu: Float[Array, " K"], f: Float[Array, " K"]) -> Float[Array, " K"]:
    """The member of the class nearest to f, up to constants, in the mu-weighted sense: argmin Var_mu(h - f), centred."""
    ones = jnp.ones((basis.shape[0], 1))
    return basis @ weighted_fit(jnp.concatenate([ones, basis], axis=1), vanishing(log_mu), f)[1:]


class _Pairs(NamedTuple):
    """Rows of the pairwise loss: features of the gap, probability that the first is preferred, log-mass."""

    X: Float[Array, "pairs m"]
    P: Float[Array, " pairs"]
    Q: Float[Array, " pairs"]
    log_mass: Float[Array, " pairs"]


def _pairs(basis: Array, P: Array, log_mu: Array) -> _Pairs:
    i, j = np.triu_indices(basis.shape[-2], 1)
    log_mu = vanishing(log_mu)
    log_mass = log_mu[..., i] + log_mu[..., j]
    return _Pairs(pair_rows(basis), P[..., i, j].ravel(), P[..., j, i].ravel(), log_mass.ravel())


def pair_rows(basis: Float[Array, "*contexts K m"]) -> Float[Array, "pairs m"]:
    """Features of the gap of every pair i < j, prompt by prompt."""
    i, j = np.triu_indices(basis.shape[-2], 1)
    return (basis[..., i, :] - basis[..., j, :]).reshape(-1, basis.shape[-1])


def within(basis: Float[Array, "*contexts K m"], h: Float[Array, "*contexts K"]) -> Float[Array, " m"]:
    """basisᵀ h over the responses of all prompts."""
    return basis.reshape(-1, basis.shape[-1]).T @ h.ravel()


def fit_pairs(
    basis: Float[Array, "X K m"], log_mu: Float[Array, "X K"], gaps: Float[Array, "X K K"]
) -> Float[Array, "X K"]:
    """argmin over h in the class of Σ_x Σ_ij mu_xi mu_xj (h_xi - h_xj - gaps_xij)²."""
    i, j = np.triu_indices(basis.shape[-2], 1)
    log_mu = vanishing(log_mu)
    log_mass = (log_mu[..., i] + log_mu[..., j]).ravel()
    return basis @ weighted_fit(pair_rows(basis), log_mass, gaps[..., i, j].ravel())


def _newton_step(pairs: _Pairs, w: Float[Array, " m"]) -> Float[Array, " m"]:
    """Newton's step, the curvature of saturated pairs raised so that none asks for more than LONGEST by itself.

    The gradient is untouched, so the solution is too; a light saturated pair no longer drowns heavy ones in its target.
    """
    x = pairs.X @ w
    force = pairs.P * sigmoid(-x) - pairs.Q * sigmoid(x)
    log_curve = jnp.maximum(log_sigmoid(x) + log_sigmoid(-x), jnp.log(jnp.abs(force) / LONGEST))
    return weighted_fit(pairs.X, pairs.log_mass + log_curve, force * jnp.exp(-log_curve))


def logistic(
    basis: Float[Array, "*contexts K m"],
    P: Float[Array, "*contexts K K"],
    log_mu: Float[Array, "*contexts K"],
    guess: Float[Array, "*contexts K"],
) -> tuple[Float[Array, "*contexts K"], Bool[Array, ""]]:
    """argmin over h in the class of Σ_ij mu_i mu_j P_ij (-log sigma(h_i - h_j)), over all prompts, and whether it was found."""
    return _logistic(basis, P, log_mu, guess)


@jax.custom_jvp
def _logistic(basis: Array, P: Array, log_mu: Array, guess: Array) -> tuple[Array, Array]:
    pairs = _pairs(basis, P, log_mu)
    eps = float(jnp.finfo(basis.dtype).eps)
    close, good = max(1e-13, 450.0 * eps), max(1e-9, eps**0.575)

    def going(carry: tuple[Array, Array, Array]) -> Array:
        w, last, count = carry
        return (last > close * (1.0 + jnp.max(jnp.abs(pairs.X @ w)))) & (count < MAX_STEPS)

    def step(carry: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        w, before, count = carry
        delta = _newton_step(pairs, w)
        size = jnp.max(jnp.abs(pairs.X @ delta))
        # The logistic loss has |f'''| ≤ f'' along rows of length 1, so a step of log(1 + D)/D descends from anywhere.
        share = jnp.where(size > 1e-3, jnp.log1p(size) / jnp.where(size > 1e-3, size, 1.0), 1.0)
        # Once steps are rounding they stop shrinking; the last one is then as good as the next.
        last = jnp.where((size < good) & (size >= 0.5 * before), 0.0, size)
        return w + share * delta, last, count + 1

    start = (within(basis, guess), jnp.asarray(jnp.inf), jnp.array(0))
    w, last, _ = jax.lax.while_loop(going, step, start)
    found = (last <= good * (1.0 + jnp.max(jnp.abs(pairs.X @ w)))) & jnp.all(jnp.isfinite(w))
    return basis @ jnp.where(jnp.isfinite(w), w, 0.0), found


def _logistic_jvp(primals: Any, tangents: Any) -> tuple[Any, Any]:
    basis, P, log_mu, guess = primals
    dbasis, dP, d_log_mu, _ = tangents
    if not isinstance(dbasis, SymbolicZero):
        raise NotImplementedError(
            "a round's derivative by the features phi is not defined here; differentiate the flow."
        )
    h, found = _logistic(basis, P, log_mu, guess)
    pairs = _pairs(basis, P, log_mu)
    x = pairs.X @ within(basis, h)
    i, j = np.triu_indices(basis.shape[-2], 1)
    log_curve = jnp.maximum(log_sigmoid(x) + log_sigmoid(-x), -LARGEST)
    d_force = jnp.zeros_like(x)
    if not isinstance(d_log_mu, SymbolicZero):
        force, d_mass = pairs.P * sigmoid(-x) - pairs.Q * sigmoid(x), (d_log_mu[..., i] + d_log_mu[..., j]).ravel()
        d_force += jnp.where(force == 0.0, 0.0, d_mass * force)
    if not isinstance(dP, SymbolicZero):
        d_force += dP[..., i, j].ravel() * sigmoid(-x) - dP[..., j, i].ravel() * sigmoid(x)
    dw = weighted_fit(pairs.X, pairs.log_mass + log_curve, d_force * jnp.exp(-log_curve))
    return (h, found), (basis @ dw, np.zeros(found.shape, dtype=jax.dtypes.float0))


_logistic.defjvp(_logistic_jvp, symbolic_zeros=True)


def separating_direction(rows: np.ndarray, p: np.ndarray) -> np.ndarray | None:
    """w that never loses where p > 0 and somewhere wins, so that no finite optimum exists; None if there is none.

    ``rows`` are the features of the gap between two responses and p the probability that the first is preferred. By a linear
    programme: max Σ x over pairs with p = 1, x = rows w, s.t. x = 0 where both may win, 0 ≤ x ≤ 1 where the first always
    does.
    """
    from scipy.optimize import linprog

    certain = (p == 0) | (p == 1)
    if not certain.any():
        return None
    wins = np.where(p == 1, 1.0, -1.0)[:, None] * rows
    out = linprog(
        -wins[certain].sum(0),
        A_ub=np.concatenate([-wins[certain], wins[certain]]),
        b_ub=np.concatenate([np.zeros(certain.sum()), np.ones(certain.sum())]),
        A_eq=rows[~certain] if (~certain).any() else None,
        b_eq=np.zeros((~certain).sum()) if (~certain).any() else None,
        bounds=(None, None),
    )
    return out.x if out.status == 0 and -out.fun > 1e-7 else None


def check_separation(basis: np.ndarray, P: np.ndarray, support: np.ndarray) -> None:
    """Raises ``ValueError`` where some direction of the class is pushed without end.

    Directions that sampled pairs leave open are decided by pairs of a sampled and an unsampled response, as in the limit of
    vanishing mass.
    """
    import scipy.linalg

    i, j = np.triu_indices(P.shape[-1], 1)
    rows, size = np.asarray(pair_rows(jnp.asarray(basis))), basis.shape[-1]
    first = P[..., i, j].ravel()
    both = (support[..., i] & support[..., j]).ravel()
    some = (support[..., i] | support[..., j]).ravel()
    free = scipy.linalg.null_space(rows[both]) if both.any() else np.eye(size)
    for pairs, directions in ((both, np.eye(size)), (some & ~both, free)):
        w = separating_direction(rows[pairs] @ directions, first[pairs]) if directions.shape[1] else None
        if w is not None:
            h = basis @ directions @ w
            gap = np.ptp(h, axis=-1)
            x = int(np.argmax(gap)) if h.ndim == 2 else None
            top, bottom = (int(at(h if x is None else h[x])) for at in (np.argmax, np.argmin))
            raise ValueError(
                f"DPO has no finite optimum within these features: raising response {top} over {bottom}"
                f"{'' if x is None else f' of prompt {x}'} along phi contradicts no comparison; smooth P away from 0 and 1, or "
                f"use IPO."
            )
