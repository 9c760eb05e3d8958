"""The equation of DPO's optimum in log-odds.

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

import jax.numpy as jnp
from jax.nn import log_sigmoid, logsumexp, sigmoid
from jaxtyping import Array, Bool, Float

from .._numerics import centre


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
    return WinOdds(*logsumexp(log_opponents[None] + jnp.log(probabilities(P)), axis=2))


def attained(log_opponents: Float[Array, "K K"], f: Float[Array, " K"]) -> WinOdds:
    """The win odds that the reward f gives."""
    return WinOdds(*logsumexp(log_opponents[None] + log_sigmoid(_gaps(f)), axis=2))


def probabilities(P: Float[Array, "K K"]) -> Float[Array, "2 K K"]:
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


def shares(log_terms: Float[Array, "2 K K"], of: WinOdds) -> Float[Array, "2 K K"]:
    empty = log_terms == -jnp.inf
    return jnp.where(empty, 0.0, jnp.exp(jnp.where(empty, 0.0, log_terms - jnp.stack(of)[:, :, None])))


def laplacian(log_opponents: Float[Array, "K K"], f: Float[Array, " K"], have: WinOdds) -> Float[Array, "K K"]:
    """∂G/∂f: rows sum to 0, off-diagonal entries are ≤ 0."""
    gaps = _gaps(f)
    coupling = jnp.sum(shares(log_opponents[None] + log_sigmoid(gaps), have) * sigmoid(-gaps), axis=0)
    return jnp.diag(jnp.sum(coupling, axis=1)) - coupling


def by_log_mu(
    log_opponents: Float[Array, "K K"], P: Float[Array, "K K"], f: Float[Array, " K"], have: WinOdds, want: WinOdds
) -> Float[Array, "K K"]:
    """∂G_i/∂ log mu_j at fixed f."""
    rows = log_opponents[None]
    win, lose = shares(rows + log_sigmoid(_gaps(f)), have) - shares(rows + jnp.log(probabilities(P)), want)
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
