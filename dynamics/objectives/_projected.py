"""Optima within a class of log-linear policies: weighted fits whose weights may span hundreds of orders of magnitude.

The mass of a pair is mu_i mu_j, and next to a vertex one pair outweighs the next by e^1000. The normal equations would see
the heaviest only. A QR factorisation with the rows sorted by weight and the columns pivoted is stable row by row: heavy rows
are fitted first, light ones decide what is left.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.custom_derivatives import SymbolicZero
from jax.nn import log_sigmoid, sigmoid
from jaxtyping import Array, Bool, Float
from scipy.optimize import linprog

LARGEST_GAP = 120.0  # nats between neighbouring weights: beyond it nothing of the lighter shows in float64
LEAST = -1300.0  # nats below the heaviest: the square root stays a normal number
RESIDUE = 1e-13  # of a row: what is left below it after heavier rows is rounding
LONGEST = 30.0  # change of a log-odds that one pair may ask of one step
MAX_STEPS = 300


def _root_weights(log_weight: Float[Array, " n"]) -> tuple[Array, Float[Array, " n"]]:
    """The order of descending weight, and sqrt(weight) in it, the heaviest 1, with gaps capped at LARGEST_GAP."""
    order = jnp.argsort(-log_weight)
    logs = log_weight[order]
    both_empty = (logs[1:] == -jnp.inf) & (logs[:-1] == -jnp.inf)
    gaps = jnp.where(both_empty, 0.0, jnp.minimum(jnp.where(both_empty, 0.0, logs[:-1] - logs[1:]), LARGEST_GAP))
    capped = jnp.concatenate([jnp.zeros(1), -jnp.cumsum(gaps)])
    return order, jnp.exp(0.5 * jnp.maximum(capped, LEAST))


@jax.custom_jvp
def weighted_fit(
    X: Float[Array, "n m"], log_weight: Float[Array, " n"], target: Float[Array, " n"]
) -> Float[Array, " m"]:
    """argmin_w Σ_n weight_n (X w - target)_n², X of full column rank.

    Rows without weight (-inf) count as in the limit of weights that vanish together.
    """
    order, root = _root_weights(log_weight)
    R, rhs, pivots = _graded_qr(X[order], root, target[order])
    return jnp.zeros(X.shape[1]).at[pivots].set(jax.scipy.linalg.solve_triangular(R, rhs))


def _graded_qr(
    X: Float[Array, "n m"], root: Float[Array, " n"], target: Float[Array, " n"]
) -> tuple[Float[Array, "m m"], Float[Array, " m"], Array]:
    """R, Qᵀ rhs and the order of columns of root·X, by Householder reflections that pivot rows and columns.

    A row that heavier ones determine is left with rounding, which its weight may lift above lighter rows that do decide
    something. What is left of a row below RESIDUE of it is therefore taken for the zero that it is.
    """
    n, m = X.shape
    scale = root * jnp.linalg.norm(X, axis=1)
    rows = jnp.arange(n)

    def reflect(k: Array, carry: tuple[Array, Array, Array, Array]) -> tuple[Array, Array, Array, Array]:
        A, b, size, pivots = carry
        left = (rows >= k)[:, None] & (jnp.arange(m) >= k)
        column = jnp.argmax(jnp.sum(jnp.where(left, A, 0.0) ** 2, axis=0))
        A, pivots = _swap(A.T, k, column).T, _swap(pivots, k, column)
        row = jnp.argmax(jnp.where(rows >= k, jnp.abs(A[:, k]), -1.0))
        A, b, size = _swap(A, k, row), _swap(b, k, row), _swap(size, k, row)
        v = jnp.where(rows >= k, A[:, k], 0.0)
        length = jnp.linalg.norm(v)
        u = v.at[k].add(jnp.where(v[k] >= 0, length, -length))
        share = 2.0 / jnp.where(length > 0, u @ u, 1.0)
        A, b = A - share * jnp.outer(u, u @ A), b - share * u * (u @ b)
        rest = jnp.where((rows > k)[:, None] & (jnp.arange(m) > k), A, 0.0)
        gone = (rows > k) & (jnp.linalg.norm(rest, axis=1) <= RESIDUE * size)
        return jnp.where(gone[:, None], 0.0, A), b, size, pivots

    start = (root[:, None] * X, root * target, scale, jnp.arange(m))
    A, b, _, pivots = jax.lax.fori_loop(0, m, reflect, start)
    R, rhs = jnp.triu(A[:m]), b[:m]
    empty = jnp.diag(R) == 0.0  # nothing decides this direction: it stays where it is
    return R + jnp.diag(empty.astype(R.dtype)), jnp.where(empty, 0.0, rhs), pivots


def _swap(x: Array, i: Array, j: Array) -> Array:
    return x.at[i].set(x[j]).at[j].set(x[i])


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
    return basis @ weighted_fit(jnp.concatenate([ones, basis], axis=1), log_mu, f)[1:]


class _Pairs(NamedTuple):
    """Rows of the pairwise loss: features of the gap, probability that the first is preferred, log-mass."""

    X: Float[Array, "pairs m"]
    P: Float[Array, " pairs"]
    Q: Float[Array, " pairs"]
    log_mass: Float[Array, " pairs"]


def _pairs(basis: Array, P: Array, log_mu: Array) -> _Pairs:
    i, j = np.triu_indices(basis.shape[0], 1)
    return _Pairs(basis[i] - basis[j], P[i, j], P[j, i], log_mu[i] + log_mu[j])


def _newton_step(pairs: _Pairs, w: Float[Array, " m"]) -> Float[Array, " m"]:
    """Newton's step, the curvature of saturated pairs raised so that none asks for more than LONGEST by itself.

    The gradient is untouched, so the solution is too; a light saturated pair no longer drowns heavy ones in its target.
    """
    x = pairs.X @ w
    force = pairs.P * sigmoid(-x) - pairs.Q * sigmoid(x)
    log_curve = jnp.maximum(log_sigmoid(x) + log_sigmoid(-x), jnp.log(jnp.abs(force) / LONGEST))
    return weighted_fit(pairs.X, pairs.log_mass + log_curve, force * jnp.exp(-log_curve))


def logistic(
    basis: Float[Array, "K m"], P: Float[Array, "K K"], log_mu: Float[Array, " K"], guess: Float[Array, " K"]
) -> tuple[Float[Array, " K"], Bool[Array, ""]]:
    """argmin over h in the class of Σ_ij mu_i mu_j P_ij (-log sigma(h_i - h_j)), and whether it was found."""
    return _logistic(basis, P, log_mu, guess)


@jax.custom_jvp
def _logistic(basis: Array, P: Array, log_mu: Array, guess: Array) -> tuple[Array, Array]:
    pairs = _pairs(basis, P, log_mu)

    def going(carry: tuple[Array, Array, Array]) -> Array:
        w, last, count = carry
        return (last > 1e-13 * (1.0 + jnp.max(jnp.abs(pairs.X @ w)))) & (count < MAX_STEPS)

    def step(carry: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        w, before, count = carry
        delta = _newton_step(pairs, w)
        size = jnp.max(jnp.abs(pairs.X @ delta))
        # The logistic loss has |f'''| ≤ f'' along rows of length 1, so a step of log(1 + D)/D descends from anywhere.
        share = jnp.where(size > 1e-3, jnp.log1p(size) / jnp.where(size > 1e-3, size, 1.0), 1.0)
        # Once steps are rounding they stop shrinking; the last one is then as good as the next.
        last = jnp.where((size < 1e-9) & (size >= 0.5 * before), 0.0, size)
        return w + share * delta, last, count + 1

    start = (basis.T @ guess, jnp.asarray(jnp.inf), jnp.array(0))
    w, last, _ = jax.lax.while_loop(going, step, start)
    found = (last <= 1e-9 * (1.0 + jnp.max(jnp.abs(pairs.X @ w)))) & jnp.all(jnp.isfinite(w))
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
    x = pairs.X @ (basis.T @ h)
    i, j = np.triu_indices(basis.shape[0], 1)
    pull = pairs.P * (1.0 + jnp.exp(-x)) - pairs.Q * (1.0 + jnp.exp(x))
    change = jnp.zeros_like(pull)
    if not isinstance(d_log_mu, SymbolicZero):
        d_mass = d_log_mu[i] + d_log_mu[j]
        change += jnp.where(pull == 0.0, 0.0, d_mass * pull)
    if not isinstance(dP, SymbolicZero):
        change += dP[i, j] * (1.0 + jnp.exp(-x)) - dP[j, i] * (1.0 + jnp.exp(x))
    dw = weighted_fit(pairs.X, pairs.log_mass + log_sigmoid(x) + log_sigmoid(-x), change)
    return (h, found), (basis @ dw, np.zeros(found.shape, dtype=jax.dtypes.float0))


_logistic.defjvp(_logistic_jvp, symbolic_zeros=True)


def separating_direction(basis: np.ndarray, P: np.ndarray, support: np.ndarray) -> np.ndarray | None:
    """h in the class that never loses where P_ij > 0 and somewhere wins, so that no finite optimum exists; None if none.

    By a linear programme over the sampled pairs: max Σ (h_i - h_j) over pairs with P_ij = 1, s.t. h_i = h_j where both
    may win, 0 ≤ h_i - h_j ≤ 1 where i always does.
    """
    inside = np.flatnonzero(support)
    i, j = (inside[k] for k in np.triu_indices(len(inside), 1))
    rows, p = basis[i] - basis[j], P[i, j]
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
    return basis @ out.x if out.status == 0 and -out.fun > 1e-7 else None


def check_separation(basis: np.ndarray, P: np.ndarray, support: np.ndarray) -> None:
    """Raises ``ValueError`` where some direction of the class is pushed without end."""
    h = separating_direction(basis, P, support)
    if h is not None:
        top, bottom = int(np.argmax(h)), int(np.argmin(h))
        raise ValueError(
            f"DPO has no finite optimum within these features: raising response {top} over {bottom} along phi contradicts "
            f"no comparison; smooth P away from 0 and 1, or use IPO."
        )
