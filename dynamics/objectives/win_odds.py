"""The equation of DPO's optimum in log-odds, and its Newton solver.

The equation Σ_j mu_j sigma(f_i - f_j) = (P mu)_i has the same term j = i on both sides. Without that term, and divided by the
mass of the other responses, each side is the rate at which i beats an opponent drawn from mu. Equating the log-odds of the
two rates gives

    G_i(f) = log Σ_{j≠i} mu_j sigma(f_i-f_j) - log Σ_{j≠i} mu_j sigma(f_j-f_i) - (the same with P_ij and P_ji) = 0,

which is linear in f at a vertex of the simplex and close to linear elsewhere. It keeps its relative precision when mu or P
come within e^-1e5 of the boundary, because nothing is subtracted from 1 and every mass is stored as a logarithm.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.nn import log_sigmoid, logsumexp, sigmoid
from jaxtyping import Array, Bool, Float

from .._numerics import MAX_UNROLLED_UNKNOWNS, centre, log_mass_or_empty

MAX_ITERATIONS = 400
DAMPING = 0.3
EQUATION_TOLERANCE = 1e3  # units of rounding; a smaller residual counts as zero


class WinOdds(NamedTuple):
    """The log-masses of opponents that each response beats and that it loses to."""

    win: Float[Array, " K"]
    lose: Float[Array, " K"]

    @property
    def log_odds(self) -> Float[Array, " K"]:
        return self.win - self.lose


def opponents(log_mu: Float[Array, " K"]) -> Float[Array, "K K"]:
    """Row i: log mu_j over j ≠ i, shifted so that the largest is 0; a row without any opponent is all ``-inf``."""
    rows = jnp.where(jnp.eye(log_mu.shape[0], dtype=bool), -jnp.inf, log_mu[None, :])
    top = jnp.max(rows, axis=1, keepdims=True)
    return rows - jnp.where(jnp.isfinite(top), top, 0.0)


def required(log_opponents: Float[Array, "K K"], P: Float[Array, "K K"]) -> WinOdds:
    """The win odds that P asks for."""
    return WinOdds(*logsumexp(log_opponents[None] + jnp.log(_both(P)), axis=2))


def attained(log_opponents: Float[Array, "K K"], f: Float[Array, " K"]) -> WinOdds:
    """The win odds that the reward f gives."""
    return WinOdds(*logsumexp(log_opponents[None] + log_sigmoid(_gaps(f)), axis=2))


def _both(P: Float[Array, "K K"]) -> Float[Array, "2 K K"]:
    """P and Pᵀ: the probabilities of winning and of losing."""
    return jnp.stack([P, P.T])


def _gaps(f: Float[Array, " K"]) -> Float[Array, "2 K K"]:
    """f_i - f_j and f_j - f_i."""
    gap = f[:, None] - f[None, :]
    return jnp.stack([gap, -gap])


def mismatch(have: WinOdds, want: WinOdds, log_opponents: Float[Array, "K K"]) -> Float[Array, " K"]:
    """G; 0 for a response without opponents, which is the vertex itself."""
    alone = jnp.all(log_opponents == -jnp.inf, axis=1)
    return jnp.where(alone, 0.0, have.log_odds - want.log_odds)


def _shares(log_terms: Float[Array, "2 K K"], of: WinOdds) -> Float[Array, "2 K K"]:
    empty = log_terms == -jnp.inf
    return jnp.where(empty, 0.0, jnp.exp(jnp.where(empty, 0.0, log_terms - jnp.stack(of)[:, :, None])))


def laplacian(log_opponents: Float[Array, "K K"], f: Float[Array, " K"], have: WinOdds) -> Float[Array, "K K"]:
    """∂G/∂f: rows sum to 0, off-diagonal entries are ≤ 0."""
    gaps = _gaps(f)
    coupling = jnp.sum(_shares(log_opponents[None] + log_sigmoid(gaps), have) * sigmoid(-gaps), axis=0)
    return jnp.diag(jnp.sum(coupling, axis=1)) - coupling


def by_log_mu(
    log_opponents: Float[Array, "K K"], P: Float[Array, "K K"], f: Float[Array, " K"], have: WinOdds, want: WinOdds
) -> Float[Array, "K K"]:
    """∂G_i/∂ log mu_j at fixed f."""
    rows = log_opponents[None]
    win, lose = _shares(rows + log_sigmoid(_gaps(f)), have) - _shares(rows + jnp.log(_both(P)), want)
    return win - lose


def opposing_mass(log_mu: Float[Array, " K"]) -> Float[Array, " K"]:
    """1 - mu_i, the weight of row i in linear equations: next to a vertex the row of the heavy response is redundant, and its
    large entries, from the relative changes of tiny masses, would swamp the other rows.
    """
    alone = jnp.eye(log_mu.shape[0], dtype=bool)
    return jnp.exp(logsumexp(jnp.where(alone, -jnp.inf, log_mu[None, :]), axis=1))


def solve_gauged(
    matrix: Float[Array, "K K"], rhs: Float[Array, " K"], solver: Callable[[Array, Array], Array] = jnp.linalg.solve
) -> Float[Array, " K"]:
    """The centred x with matrix @ x = rhs + constant.

    Adding 1 to every entry solves the bordered system [[matrix, 1], [1ᵀ, 0]] without its extra unknown. The rows are
    redundant (Σ mu_i·row_i = 0) up to rounding, which the constant absorbs.
    """
    return centre(solver(matrix + 1.0, rhs))


def centre_within(z: Float[Array, " K"], linked: Bool[Array, "K K"] | None) -> Float[Array, " K"]:
    """z minus its mean over the component of each response; None: all responses form one component."""
    if linked is None:
        return centre(z)
    linked_to = linked.astype(z.dtype)
    share = linked_to / jnp.sum(linked_to, axis=1, keepdims=True)
    z = z - share @ z
    return z - share @ z


def _tolerance(want: WinOdds) -> Float[Array, " K"]:
    scale = 1.0 + jnp.abs(want.win) + jnp.abs(want.lose)
    return jnp.finfo(scale.dtype).eps * jnp.where(jnp.isfinite(scale), scale, 1.0)


class _Newton(NamedTuple):
    f: Float[Array, " K"]
    error: Float[Array, ""]
    stalled: Array
    iteration: Array


def first_guess(P: Float[Array, "K K"], log_mu: Float[Array, " K"]) -> Float[Array, " K"]:
    """Where ``newton`` starts without a guess: the log-odds that P asks for."""
    return centre(_finite(required(opponents(log_mu), P).log_odds))


def _finite(f: Float[Array, " K"]) -> Float[Array, " K"]:
    return jnp.where(jnp.isfinite(f), f, 0.0)


def newton(
    P: Float[Array, "K K"], log_mu: Float[Array, " K"], guess: Float[Array, " K"] | None
) -> tuple[Float[Array, " K"], Bool[Array, ""]]:
    """f with G(f) = 0, and whether the residual of the equation, not only the last step, is zero to rounding."""
    return newton_on(opponents(log_mu), P, guess, None)


@jax.jit  # traced once for each size, even inside other functions
def newton_on(
    rows: Float[Array, "K K"],
    P: Float[Array, "K K"],
    guess: Float[Array, " K"] | None,
    linked: Bool[Array, "K K"] | None,
) -> tuple[Float[Array, " K"], Bool[Array, ""]]:
    """``newton`` for opponents of any log-masses; ``linked`` says which responses form a component (None: all)."""
    want = required(rows, P)
    unit = _tolerance(want)

    def keep_going(s: _Newton) -> Bool[Array, ""]:
        # Stop at a residual of 2 units of rounding, or after two steps without progress below EQUATION_TOLERANCE.
        return (s.error > 2.0) & ~((s.stalled >= 2) & (s.error < EQUATION_TOLERANCE)) & (s.iteration < MAX_ITERATIONS)

    def step(s: _Newton) -> _Newton:
        # -G is a cooperative field that ignores constants, so an implicit Euler step of any length does not increase the
        # distance to the root in the maximum norm. The length is 1/delta: bounded far from the root, and Newton's step near it.
        residual, coupling = _equation(rows, want, s.f)
        error = jnp.max(jnp.abs(residual) / unit)
        error = jnp.where(jnp.isnan(error), jnp.inf, error)
        delta = DAMPING * jnp.minimum(jnp.max(jnp.abs(residual)), 1.0)
        change = _relax(coupling, delta, -residual, linked)
        # Along a step whose largest gap is D, |d²G| ≤ 2 D², and damping leaves at most 0.6 D²: after a short enough step the
        # residual is zero to rounding without being evaluated again [derived].
        left = 1.6 * (jnp.max(change) - jnp.min(change)) ** 2 / jnp.finfo(change.dtype).eps
        go = error > 2.0
        return _Newton(
            jnp.where(go, centre_within(s.f + change, linked), s.f),
            jnp.where(go & (left < 2.0), left, error),
            jnp.where(error < 0.5 * s.error, 0, s.stalled + 1),
            s.iteration + 1,
        )

    first = centre_within(_finite(want.log_odds if guess is None else guess), linked)
    begun = _Newton(first, jnp.asarray(jnp.inf, first.dtype), jnp.array(0), jnp.array(0))
    out = jax.lax.while_loop(keep_going, step, begun)
    found = out.error < EQUATION_TOLERANCE
    # Where no optimum exists the iteration may overflow; f stays finite even where ``found`` is False.
    return jnp.where(found | jnp.all(jnp.isfinite(out.f)), out.f, 0.0), found


def _equation(
    rows: Float[Array, "K K"], want: WinOdds, f: Float[Array, " K"]
) -> tuple[Float[Array, " K"], Float[Array, "K K"]]:
    """G(f) and -∂G_i/∂f_j for j ≠ i, from terms scaled by the largest of their sum, so that none of them overflows."""
    gap = f[:, None] - f[None, :]
    ratio = jnp.exp(-jnp.abs(gap))
    share = 1.0 / (1.0 + ratio)
    win, most_win = _scaled(rows + jnp.minimum(gap, 0.0))
    lose, most_lose = _scaled(rows + jnp.minimum(-gap, 0.0))
    total_win, total_lose = jnp.sum(win * share, axis=1), jnp.sum(lose * share, axis=1)
    alone = total_win == 0.0
    total_win, total_lose = jnp.where(alone, 1.0, total_win), jnp.where(alone, 1.0, total_lose)
    odds = most_win - most_lose + jnp.log(total_win / total_lose)
    residual = jnp.where(alone, 0.0, odds - want.log_odds)
    # sigma(gap) is ratio * share where gap < 0, else share.
    parts = win * (1.0 / total_win)[:, None] * jnp.where(gap < 0.0, 1.0, ratio)
    parts += lose * (1.0 / total_lose)[:, None] * jnp.where(gap < 0.0, ratio, 1.0)
    return residual, share**2 * parts


def _scaled(log_terms: Float[Array, "K K"]) -> tuple[Float[Array, "K K"], Float[Array, " K"]]:
    """Terms divided by the largest of their row, and its logarithm; a row of zeros is left as it is, with logarithm 0."""
    most = jnp.max(log_terms, axis=1)
    most = jnp.where(most == -jnp.inf, 0.0, most)
    return jnp.exp(log_terms - most[:, None]), most


def _relax(
    coupling: Float[Array, "K K"],
    delta: Float[Array, ""],
    rhs: Float[Array, " K"],
    linked: Bool[Array, "K K"] | None,
) -> Float[Array, " K"]:
    """x with (diag(Σ_j coupling_ij) - coupling + delta) x = rhs, up to one constant for each component.

    Elimination without pivots: for every row, the excess of its diagonal over the sum of its other entries is stored instead
    of the diagonal, so only terms ≥ 0 are added and no precision is lost. By induction |rhs_i| ≤ M excess_i with
    M = max|rhs|/delta in every step, so |x| ≤ M.
    """
    size = rhs.shape[0]
    if size > MAX_UNROLLED_UNKNOWNS:
        matrix = jnp.diag(jnp.sum(coupling, axis=1) + delta) - coupling
        return jnp.linalg.solve(matrix + (1.0 if linked is None else linked.astype(rhs.dtype)), rhs)
    # Columns: couplings, excess of the diagonal, right-hand side.
    left = jnp.concatenate([coupling, jnp.broadcast_to(delta, (size, 1)), rhs[:, None]], axis=1)
    rows: list[tuple[Array, Array]] = []
    for n in range(size - 1, 0, -1):
        last = left[n]
        diagonal = jnp.sum(last[:n]) + last[size]
        rows.append((last, diagonal))
        left = left[:n] + (left[:n, n] / diagonal)[:, None] * last[None, :]
    x = left[0, size + 1 :] / left[0, size]
    for n, (last, diagonal) in enumerate(reversed(rows), 1):
        x = jnp.append(x, (last[size + 1] + jnp.sum(last[:n] * x)) / diagonal)
    return x


@jax.custom_jvp
def reward(
    P: Float[Array, "K K"], log_mu: Float[Array, " K"], guess: Float[Array, " K"] | None
) -> tuple[Float[Array, " K"], Bool[Array, ""]]:
    """``newton``, differentiated through the equation and not through its iterations."""
    return newton(P, log_mu, guess)


@reward.defjvp
def _reward_jvp(primals, tangents):
    P, log_mu, guess = primals
    dP, d_log_mu, _ = tangents
    f, found = reward(P, log_mu, guess)
    rows = opponents(log_mu)
    want, have = required(rows, P), attained(rows, f)
    # A response without mass may gain some: ``log_mixture`` says how its derivative by the logarithm is to be read.
    weight = by_log_mu(opponents(log_mass_or_empty(log_mu)), P, f, have, want)
    d_mismatch = jnp.sum(weight * d_log_mu[None, :], axis=1)
    win, lose = _shares(jnp.stack([rows, rows]), want) * _both(dP)
    d_mismatch -= jnp.sum(win - lose, axis=1)
    mass = opposing_mass(log_mu)
    df = solve_gauged(mass[:, None] * laplacian(rows, f, have), -mass * d_mismatch)
    return (f, found), (df, jnp.zeros(found.shape, dtype=jax.dtypes.float0))
