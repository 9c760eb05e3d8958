"""Optima within a class of log-linear policies: weighted fits whose weights may span hundreds of orders of magnitude.

The mass of a pair is mu_i mu_j, and next to a vertex one pair outweighs the next by e^1000. The normal equations would only
see the heaviest pair, and an orthogonal factorisation of the weighted rows would lose light rows in the rounding of heavy
rows with a residual. Therefore the heaviest rows that determine the fit are found first; with the values at those rows as
unknowns, the entries of the equations are of order 1 for any weights.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.custom_derivatives import SymbolicZero
from jax.nn import log_sigmoid, sigmoid
from jaxtyping import Array, Bool, Float

from ._vanishing import vanishing

DEPENDENT_EXPONENT = 0.75  # a row of which heavier rows leave less than eps to this power is dependent on them
MAX_EXPONENT = 600.0  # nats; its exponential is far from overflow
MAX_LOG_ODDS_CHANGE = 30.0  # that one pair may ask for in one step
MAX_STEPS = 1000
MIN_ROWS, MIN_ROWS_PER_UNKNOWN = 512, 8  # from which normal equations are tried first
MIN_PIVOT = 1e-5  # of normal equations scaled to a unit diagonal


@jax.custom_jvp
def weighted_fit(
    X: Float[Array, "n m"], log_weight: Float[Array, " n"], target: Float[Array, " n"]
) -> Float[Array, " m"]:
    """argmin_w Σ_n W_n (X w - target)_n², W = exp(log_weight), X of full column rank, log weights finite and of any size.

    Let S be the heaviest m independent rows and N the others, X_N = T X_S and c = target_N - T target_S. The fit misses the
    targets of S by u, with (I + E) u = g, E_st = Σ_i W_i/W_s T_is T_it and g_s = Σ_i W_i/W_s T_is c_i over i in N. A row of N
    depends only on rows of S at least as heavy, so every entry is of order 1 [derived].
    """
    if X.shape[0] < max(MIN_ROWS, MIN_ROWS_PER_UNKNOWN * X.shape[1]):
        return _fit_by_heaviest(X, log_weight, target)
    w, good = _fit_by_squares(X, log_weight, target)
    return jax.lax.cond(good, lambda: w, lambda: _fit_by_heaviest(X, log_weight, target))


def _fit_by_squares(X: Array, log_weight: Array, target: Array) -> tuple[Float[Array, " m"], Bool[Array, ""]]:
    """The same fit by normal equations with iterative refinement, and whether it is accurate: no pivot of the equations,
    scaled to a unit diagonal, is below 1e-5, so no direction is determined by light rows alone.
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
    return w, jnp.all(jnp.isfinite(factor)) & (jnp.min(jnp.diag(factor)) ** 2 > MIN_PIVOT)


def _fit_by_heaviest(X: Array, log_weight: Array, target: Array) -> Float[Array, " m"]:
    order, T = _heaviest_rows(X, 0.5 * log_weight)
    m = X.shape[1]
    X, log_weight, target = X[order], log_weight[order], target[order]
    c = target[m:] - T @ target[:m]
    share = jnp.where(
        T == 0.0, 0.0, T * jnp.exp(jnp.minimum(log_weight[m:, None] - log_weight[None, :m], MAX_EXPONENT))
    )
    u = jnp.linalg.solve(jnp.eye(m) + share.T @ T, share.T @ c)
    return jnp.linalg.solve(X[:m], target[:m] + u)


def _heaviest_rows(X: Float[Array, "n m"], log_root: Float[Array, " n"]) -> tuple[Array, Float[Array, "rest m"]]:
    """An order of the rows in which the first m are independent and heaviest, and T with X_rest = T X_first.

    Householder reflections of Xᵀ with pivoted columns. Weights only choose the pivots and do not enter the arithmetic, so
    every row keeps its precision. What is left of a row that depends on heavier ones is rounding and is set to 0.
    """
    n, m = X.shape
    columns, axes = jnp.arange(n), jnp.arange(m)
    least = jnp.finfo(X.dtype).eps ** DEPENDENT_EXPONENT * jnp.linalg.norm(X, axis=1)

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
            "a round cannot be differentiated with respect to the features phi; differentiate a flow instead."
        )
    w = weighted_fit(X, log_weight, target)
    # Differentiating Xᵀ D (X w - target) = 0 gives the same fit with another target.
    left = target - X @ w
    change = jnp.zeros_like(target)
    if not isinstance(d_log_weight, SymbolicZero):
        change += jnp.where(left == 0.0, 0.0, d_log_weight * left)
    if not isinstance(d_target, SymbolicZero):
        change += d_target
    return w, weighted_fit(X, log_weight, change)


weighted_fit.defjvp(_weighted_fit_jvp, symbolic_zeros=True)


def project(basis: Float[Array, "K m"], log_mu: Float[Array, " K"], f: Float[Array, " K"]) -> Float[Array, " K"]:
    """argmin Var_mu(h - f) over h in the class: the member nearest to f, up to a constant, in the norm weighted by mu."""
    ones = jnp.ones((basis.shape[0], 1))
    return basis @ weighted_fit(jnp.concatenate([ones, basis], axis=1), vanishing(log_mu), f)[1:]


class _Pairs(NamedTuple):
    """One row for each pair i < j: the features of i minus those of j, P_ij, P_ji, and the log-mass of the pair."""

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
    """The features of i minus those of j for every pair i < j, prompt by prompt."""
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
    """Newton's step, with curvatures raised so that no pair asks for more than ``MAX_LOG_ODDS_CHANGE``.

    The gradient, and hence the solution, stays as it is; a light saturated pair no longer dominates heavy ones.
    """
    x = pairs.X @ w
    force = pairs.P * sigmoid(-x) - pairs.Q * sigmoid(x)
    log_curve = jnp.maximum(log_sigmoid(x) + log_sigmoid(-x), jnp.log(jnp.abs(force) / MAX_LOG_ODDS_CHANGE))
    return weighted_fit(pairs.X, pairs.log_mass + log_curve, force * jnp.exp(-log_curve))


def logistic(
    basis: Float[Array, "*contexts K m"],
    P: Float[Array, "*contexts K K"],
    log_mu: Float[Array, "*contexts K"],
    guess: Float[Array, "*contexts K"],
) -> tuple[Float[Array, "*contexts K"], Bool[Array, ""]]:
    """argmin over h in the class of -Σ_ij mu_i mu_j P_ij log sigma(h_i - h_j), over all prompts, and whether it was found."""
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
        # The logistic loss has |f'''| ≤ f'' along rows of length 1, so log(1 + D)/D times a step of size D always descends.
        share = jnp.where(size > 1e-3, jnp.log1p(size) / jnp.where(size > 1e-3, size, 1.0), 1.0)
        # Steps that consist of rounding stop shrinking, and further ones bring no gain.
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
            "a round cannot be differentiated with respect to the features phi; differentiate a flow instead."
        )
    h, found = _logistic(basis, P, log_mu, guess)
    pairs = _pairs(basis, P, log_mu)
    x = pairs.X @ within(basis, h)
    i, j = np.triu_indices(basis.shape[-2], 1)
    log_curve = jnp.maximum(log_sigmoid(x) + log_sigmoid(-x), -MAX_EXPONENT)
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
    """A direction w along which the loss decreases for ever, so that no finite optimum exists; None if there is none.

    Along w no pair contradicts p and at least one moves: x = rows w has x = 0 where both responses may win, x ≥ 0 where the
    first always wins, x ≤ 0 where the second does. Found by a linear programme that maximises the sum of |x| with |x| ≤ 1.

    Args:
        rows: the features of the first response of each pair minus those of the second, ``(pairs, m)``.
        p: probability that the first is preferred, ``(pairs,)``.
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
    """Raises ``ValueError`` where the loss decreases for ever along some direction of the class.

    Directions that sampled pairs leave undetermined are decided by pairs of a sampled and an unsampled response, as in the
    limit of vanishing mass.
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
