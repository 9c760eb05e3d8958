"""The equation of DPO's optimum in log-odds, and its Newton solver.

Σ_j mu_j sigma(f_i - f_j) = (P mu)_i for all i has the term j = i on both sides. Without it, and divided by the mass of
the other responses, both sides are the rate at which i beats an opponent drawn from mu. Their log-odds are

    G_i(f) = log Σ_{j≠i} mu_j sigma(f_i-f_j) - log Σ_{j≠i} mu_j sigma(f_j-f_i) - (the same with P_ij and P_ji) = 0,

which is linear in f at a vertex of the simplex and close to linear elsewhere, and which keeps its relative precision when
mu or P come within e^-1e5 of the boundary: nothing is subtracted from 1, and every mass is a logarithm.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.nn import log_sigmoid, logsumexp, sigmoid
from jaxtyping import Array, Bool, Float

from .._numerics import centre, solve

MAX_ITERATIONS = 200
DAMPING = 0.3
GOOD = 1e3  # units of rounding within which the equation counts as met
SMALLEST = 0.8  # power of the least float that a sum of terms has to exceed, so that what left the floats cannot show


class WinOdds(NamedTuple):
    """The two sides of one row in logs: log-mass of beating and of losing to an opponent."""

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
    """What P asks for."""
    return WinOdds(logsumexp(log_opponents + jnp.log(P), axis=1), logsumexp(log_opponents + jnp.log(P.T), axis=1))


def attained(log_opponents: Float[Array, "K K"], f: Float[Array, " K"]) -> WinOdds:
    """What the reward f gives."""
    gap = f[:, None] - f[None, :]
    return WinOdds(
        logsumexp(log_opponents + log_sigmoid(gap), axis=1), logsumexp(log_opponents + log_sigmoid(-gap), axis=1)
    )


def mismatch(have: WinOdds, want: WinOdds, log_opponents: Float[Array, "K K"]) -> Float[Array, " K"]:
    """G; a response without opponents (the vertex itself) asks for nothing."""
    alone = jnp.all(log_opponents == -jnp.inf, axis=1)
    return jnp.where(alone, 0.0, have.log_odds - want.log_odds)


def _share(log_terms: Float[Array, "K K"], log_total: Float[Array, " K"]) -> Float[Array, "K K"]:
    empty = log_terms == -jnp.inf
    return jnp.where(empty, 0.0, jnp.exp(jnp.where(empty, 0.0, log_terms - log_total[:, None])))


def laplacian(log_opponents: Float[Array, "K K"], f: Float[Array, " K"], have: WinOdds) -> Float[Array, "K K"]:
    """∂G/∂f: rows sum to 0, off-diagonal entries are ≤ 0."""
    gap = f[:, None] - f[None, :]
    coupling = _share(log_opponents + log_sigmoid(gap), have.win) * sigmoid(-gap)
    coupling += _share(log_opponents + log_sigmoid(-gap), have.lose) * sigmoid(gap)
    return jnp.diag(jnp.sum(coupling, axis=1)) - coupling


def by_log_mu(
    log_opponents: Float[Array, "K K"], P: Float[Array, "K K"], f: Float[Array, " K"], have: WinOdds, want: WinOdds
) -> Float[Array, "K K"]:
    """∂G_i/∂ log mu_j at fixed f."""
    gap = f[:, None] - f[None, :]
    weight = _share(log_opponents + log_sigmoid(gap), have.win) - _share(log_opponents + log_sigmoid(-gap), have.lose)
    return weight - (_share(log_opponents + jnp.log(P), want.win) - _share(log_opponents + jnp.log(P.T), want.lose))


def opposing_mass(log_mu: Float[Array, " K"]) -> Float[Array, " K"]:
    """1 - mu_i, by which a row counts in linear equations: next to a vertex the heavy response's row is redundant, and a
    change of the tiny masses relative to each other, huge there, would drown the others.
    """
    alone = jnp.eye(log_mu.shape[0], dtype=bool)
    return jnp.exp(logsumexp(jnp.where(alone, -jnp.inf, log_mu[None, :]), axis=1))


def solve_gauged(
    matrix: Float[Array, "K K"], rhs: Float[Array, " K"], solver: Callable[[Array, Array], Array] = jnp.linalg.solve
) -> Float[Array, " K"]:
    """The centred x with matrix @ x = rhs + constant.

    Adding 1 to every entry is the bordered system [[matrix, 1], [1ᵀ, 0]] with the multiplier folded in: the rows are
    redundant (Σ mu_i·row_i = 0), and the constant absorbs what rounding leaves of that.
    """
    return centre(solver(matrix + 1.0, rhs))


def _solve_within(
    matrix: Float[Array, "K K"], rhs: Float[Array, " K"], linked: Bool[Array, "K K"] | None
) -> Float[Array, " K"]:
    """The same with a constant of its own for each component of linked responses."""
    if linked is None:
        return solve_gauged(matrix, rhs, solve)
    return centre_within(solve(matrix + linked, rhs), linked)


def centre_within(z: Float[Array, " K"], linked: Bool[Array, "K K"] | None) -> Float[Array, " K"]:
    """z less its mean over the component of each response; None: all are one."""
    if linked is None:
        return centre(z)
    share = linked / jnp.sum(linked, axis=1, keepdims=True)
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


def newton(
    P: Float[Array, "K K"], log_mu: Float[Array, " K"], guess: Float[Array, " K"] | None
) -> tuple[Float[Array, " K"], Bool[Array, ""]]:
    """f with G(f) = 0 and whether the equation itself, not only the step, was met to rounding."""
    return newton_on(opponents(log_mu), P, guess, None)


def newton_on(
    rows: Float[Array, "K K"],
    P: Float[Array, "K K"],
    guess: Float[Array, " K"] | None,
    linked: Bool[Array, "K K"] | None,
) -> tuple[Float[Array, " K"], Bool[Array, ""]]:
    """``newton`` with opponents of any log-masses, and which responses these link (None: all)."""
    raw = required(rows, P).log_odds if guess is None else guess
    first = centre_within(jnp.where(jnp.isfinite(raw), raw, 0.0), linked)
    begun = _Newton(first, jnp.asarray(jnp.inf, first.dtype), jnp.array(0), jnp.array(0))
    # Masses and rates within the floats are the common case, and need no logarithm of every term.
    mass = jnp.exp(rows)
    plain = WinOdds(jnp.log(jnp.sum(mass * P, axis=1)), jnp.log(jnp.sum(mass * P.T, axis=1)))
    quick = _iterate(lambda f: _plain(mass, plain, f), begun, linked)
    # A solve that was good enough there takes no step here.
    handed = begun._replace(f=quick.f, error=quick.error, stalled=jnp.where(quick.error < GOOD, 2, 0))
    out = _iterate(lambda f: _logarithmic(rows, required(rows, P), f), handed, linked)
    found = out.error < GOOD
    # Where no optimum exists the iteration may have left the floats; what is returned beside found = False stays finite.
    return jnp.where(found | jnp.all(jnp.isfinite(out.f)), out.f, 0.0), found


def _iterate(
    equation: Callable[[Array], tuple[Array, Array, Array, Array]], begun: _Newton, linked: Bool[Array, "K K"] | None
) -> _Newton:
    """Damped Newton steps on (G, ∂G/∂f, error in units of rounding, whether to go on) from where ``begun`` stands."""

    def keep_going(s: _Newton) -> Bool[Array, ""]:
        # A few units are as good as it gets; twice no progress once below GOOD ends it too.
        return (s.error > 2.0) & ~((s.stalled >= 2) & (s.error < GOOD)) & (s.iteration < MAX_ITERATIONS)

    def step(s: _Newton) -> _Newton:
        # -G is a cooperative field that ignores constants, so implicit Euler steps of any length along it never move away
        # from the root in the largest-entry norm.  Steps of length 1/delta are that far from saturation, and Newton's at it.
        residual, slope, error, usable = equation(s.f)
        error = jnp.where(jnp.isnan(error), jnp.inf, error)
        delta = DAMPING * jnp.minimum(jnp.max(jnp.abs(residual)), 1.0)
        change = _solve_within(slope + delta * jnp.eye(s.f.shape[0]), -residual, linked)
        moved = centre_within(s.f + change, linked)
        # Along a line of slope D in the largest gap, |d²G| ≤ 2 D², and damping leaves at most 0.6 D²: after a step this
        # short the equation is met to rounding, and need not be looked at again [derived].
        left = 1.6 * (jnp.max(change) - jnp.min(change)) ** 2 / jnp.finfo(change.dtype).eps
        after = jnp.where(left < 2.0, left, error)
        stalled = jnp.where(error < 0.5 * s.error, 0, s.stalled + 1)
        f = jnp.where(usable & (error > 2.0), moved, s.f)
        return _Newton(
            f,
            jnp.where(usable & (error > 2.0), after, error),
            stalled,
            jnp.where(usable, s.iteration + 1, MAX_ITERATIONS),
        )

    return jax.lax.while_loop(keep_going, step, begun)


def _logarithmic(
    rows: Float[Array, "K K"], want: WinOdds, f: Float[Array, " K"]
) -> tuple[Float[Array, " K"], Float[Array, "K K"], Float[Array, ""], Bool[Array, ""]]:
    """G, ∂G/∂f and the error at f, every term a logarithm."""
    have = attained(rows, f)
    residual = mismatch(have, want, rows)
    return residual, laplacian(rows, f, have), jnp.max(jnp.abs(residual) / _tolerance(want)), jnp.asarray(True)


def _plain(
    mass: Float[Array, "K K"], want: WinOdds, f: Float[Array, " K"]
) -> tuple[Float[Array, " K"], Float[Array, "K K"], Float[Array, ""], Bool[Array, ""]]:
    """The same from sums of terms themselves, each right to rounding, as long as these are within the floats."""
    gap = f[:, None] - f[None, :]
    ratio = jnp.exp(-jnp.abs(gap))
    likely = 1.0 / (1.0 + ratio)
    rare = ratio * likely
    first, second = jnp.where(gap >= 0, likely, rare), jnp.where(gap >= 0, rare, likely)
    win, lose = jnp.sum(mass * first, axis=1), jnp.sum(mass * second, axis=1)
    residual = jnp.log(win / lose) - want.log_odds
    coupling = mass * (likely * rare) * (1.0 / win + 1.0 / lose)[:, None]
    least = jnp.minimum(
        jnp.minimum(jnp.min(win), jnp.min(lose)), jnp.exp(jnp.minimum(jnp.min(want.win), jnp.min(want.lose)))
    )
    usable = least > jnp.finfo(least.dtype).tiny ** SMALLEST
    error = jnp.where(usable, jnp.max(jnp.abs(residual) / _tolerance(want)), jnp.inf)
    return residual, jnp.diag(jnp.sum(coupling, axis=1)) - coupling, error, usable


@jax.custom_jvp
def reward(
    P: Float[Array, "K K"], log_mu: Float[Array, " K"], guess: Float[Array, " K"] | None
) -> tuple[Float[Array, " K"], Bool[Array, ""]]:
    """``newton`` with the derivative of the equation, not of its iterations."""
    return newton(P, log_mu, guess)


@reward.defjvp
def _reward_jvp(primals, tangents):
    P, log_mu, guess = primals
    dP, d_log_mu, _ = tangents
    f, found = reward(P, log_mu, guess)
    rows = opponents(log_mu)
    want, have = required(rows, P), attained(rows, f)
    weight = by_log_mu(rows, P, f, have, want)
    d_mismatch = jnp.sum(jnp.where(weight == 0.0, 0.0, weight * d_log_mu[None, :]), axis=1)
    d_mismatch -= jnp.sum(_share(rows, want.win) * dP - _share(rows, want.lose) * dP.T, axis=1)
    mass = opposing_mass(log_mu)
    df = solve_gauged(mass[:, None] * laplacian(rows, f, have), -mass * d_mismatch)
    return (f, found), (df, jnp.zeros(found.shape, dtype=jax.dtypes.float0))
