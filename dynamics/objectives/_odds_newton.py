"""Newton's method on the log-odds of DPO's equation: from any start, and at any masses and preferences."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from .._numerics import centre
from ._probabilities import EQUATION_TOLERANCE, MAX_RESPONSES
from .win_odds import WinOdds, centre_within, opponents, required

MAX_ITERATIONS = 400
DAMPING = 0.3


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
    if size > MAX_RESPONSES:
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
