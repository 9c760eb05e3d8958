"""The equation of DPO's optimum in log-odds, and its Newton solver.

Σ_j mu_j sigma(f_i - f_j) = (P mu)_i for all i has the term j = i on both sides. Without it, and divided by the mass of
the other responses, both sides are the rate at which i beats an opponent drawn from mu. Their log-odds are

    G_i(f) = log Σ_{j≠i} mu_j sigma(f_i-f_j) - log Σ_{j≠i} mu_j sigma(f_j-f_i) - (the same with P_ij and P_ji) = 0,

which is linear in f at a vertex of the simplex and close to linear elsewhere, and which keeps its relative precision when
mu or P come within e^-1e5 of the boundary: nothing is subtracted from 1, and every mass is a logarithm.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.nn import log_sigmoid, sigmoid
from jax.scipy.special import logsumexp
from jaxtyping import Array, Bool, Float

from .._numerics import centre

MAX_ITERATIONS = 200
DAMPING = 0.3


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


def solve_gauged(matrix: Float[Array, "K K"], rhs: Float[Array, " K"]) -> Float[Array, " K"]:
    """The centred x with matrix @ x = rhs + constant.

    Adding 1 to every entry is the bordered system [[matrix, 1], [1ᵀ, 0]] with the multiplier folded in: the rows are
    redundant (Σ mu_i·row_i = 0), and the constant absorbs what rounding leaves of that.
    """
    return centre(jnp.linalg.solve(matrix + 1.0, rhs))


def _tolerance(want: WinOdds) -> Float[Array, " K"]:
    scale = 1.0 + jnp.abs(want.win) + jnp.abs(want.lose)
    return jnp.finfo(scale.dtype).eps * jnp.where(jnp.isfinite(scale), scale, 1.0)


class _Newton(NamedTuple):
    f: Float[Array, " K"]
    have: WinOdds
    error: Float[Array, ""]
    stalled: Array
    iteration: Array


def newton(
    P: Float[Array, "K K"], log_mu: Float[Array, " K"], guess: Float[Array, " K"] | None
) -> tuple[Float[Array, " K"], Bool[Array, ""]]:
    """f with G(f) = 0 and whether the equation itself, not only the step, was met to rounding."""
    rows = opponents(log_mu)
    want = required(rows, P)
    tolerance = _tolerance(want)

    def error_of(have: WinOdds) -> Float[Array, ""]:
        worst = jnp.max(jnp.abs(mismatch(have, want, rows)) / tolerance)
        return jnp.where(jnp.isnan(worst), jnp.inf, worst)

    def keep_going(s: _Newton) -> Bool[Array, ""]:
        # In units of rounding: a few are as good as it gets; twice no progress once below 1e3 ends it too.
        return (s.error > 2.0) & ~((s.stalled >= 2) & (s.error < 1e3)) & (s.iteration < MAX_ITERATIONS)

    def step(s: _Newton) -> _Newton:
        # -G is a cooperative field that ignores constants, so implicit Euler steps of any length along it never move away
        # from the root in the largest-entry norm.  Steps of length 1/delta are that far from saturation, and Newton's at it.
        residual = mismatch(s.have, want, rows)
        delta = DAMPING * jnp.minimum(jnp.max(jnp.abs(residual)), 1.0)
        damped = laplacian(rows, s.f, s.have) + delta * jnp.eye(rows.shape[0])
        f = centre(s.f + solve_gauged(damped, -residual))
        have = attained(rows, f)
        error = error_of(have)
        return _Newton(f, have, error, jnp.where(error < 0.5 * s.error, 0, s.stalled + 1), s.iteration + 1)

    raw = want.log_odds if guess is None else guess
    start = centre(jnp.where(jnp.isfinite(raw), raw, 0.0))
    have = attained(rows, start)
    zero = jnp.array(0)
    out = jax.lax.while_loop(keep_going, step, _Newton(start, have, error_of(have), zero, zero))
    found = out.error < 1e3
    # Where no optimum exists the iteration may have left the floats; what is returned beside found = False stays finite.
    return jnp.where(found | jnp.all(jnp.isfinite(out.f)), out.f, 0.0), found


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
    gap = f[:, None] - f[None, :]
    weight = _share(rows + log_sigmoid(gap), have.win) - _share(rows + log_sigmoid(-gap), have.lose)
    weight -= _share(rows + jnp.log(P), want.win) - _share(rows + jnp.log(P.T), want.lose)
    d_mismatch = jnp.sum(jnp.where(weight == 0.0, 0.0, weight * d_log_mu[None, :]), axis=1)
    d_mismatch -= jnp.sum(_share(rows, want.win) * dP - _share(rows, want.lose) * dP.T, axis=1)
    # A row counts by the mass of its opponents: next to a vertex the heavy response's row is redundant, and a change of the
    # tiny masses relative to each other, huge there, would drown the others.
    alone = jnp.eye(log_mu.shape[0], dtype=bool)
    mass = jnp.exp(logsumexp(jnp.where(alone, -jnp.inf, log_mu[None, :]), axis=1))
    df = solve_gauged(mass[:, None] * laplacian(rows, f, have), -mass * d_mismatch)
    return (f, found), (df, jnp.zeros(found.shape, dtype=jax.dtypes.float0))
