"""DPO's reward f: the fast solver, then the one that always works, and the derivative through the equation."""

from __future__ import annotations

from typing import Any

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from .._numerics import log_mass_or_empty
from .._where_needed import where_needed
from ..preferences import Pairs
from . import _probabilities
from ._odds_newton import newton
from .win_odds import (
    attained,
    by_log_mu,
    laplacian,
    opponents,
    opposing_mass,
    probabilities,
    required,
    shares,
    solve_gauged,
)


@eqx.filter_custom_jvp
def reward(pairs: Pairs, guess: Float[Array, " K"] | None) -> tuple[Float[Array, " K"], Bool[Array, ""]]:
    """f of DPO's optimum, up to a constant, and whether the residual of its equation is zero to rounding.

    With a guess, the f of a neighbouring round, the equation is first tried as it stands, without any logarithm.
    Differentiated through the equation and not through its iterations.
    """
    if guess is None or pairs.mu.shape[0] > _probabilities.MAX_RESPONSES:
        return newton(pairs.preference, pairs.log_mu, guess)
    f, found = _probabilities.newton(pairs.preference, pairs.mu, guess)
    slowly = lambda given: newton(given[0].preference, given[0].log_mu, given[1])
    return where_needed(~found, slowly, (pairs, guess), (f, found))


@reward.def_jvp
def _reward_jvp(primals: Any, tangents: Any) -> tuple[Any, Any]:
    (pairs, guess), (d_pairs, _) = primals, tangents
    f, found = reward(pairs, guess)
    log_mu, d_log_mu = eqx.filter_jvp(lambda pairs: pairs.log_mu, (pairs,), (d_pairs,))
    zero = lambda tangent, x: jnp.zeros_like(x) if tangent is None else tangent
    P = pairs.preference
    return (f, found), (_derivative(P, log_mu, f, zero(d_pairs.preference, P), zero(d_log_mu, log_mu)), None)


def _derivative(
    P: Float[Array, "K K"],
    log_mu: Float[Array, " K"],
    f: Float[Array, " K"],
    dP: Float[Array, "K K"],
    d_log_mu: Float[Array, " K"],
) -> Float[Array, " K"]:
    """df = -(∂G/∂f)^-1 (∂G/∂P dP + ∂G/∂ log mu d log mu)."""
    rows = opponents(log_mu)
    want, have = required(rows, P), attained(rows, f)
    # A response without mass may gain some: ``log_mixture`` says how its derivative by the logarithm is to be read.
    weight = by_log_mu(opponents(log_mass_or_empty(log_mu)), P, f, have, want)
    d_mismatch = jnp.sum(weight * d_log_mu[None, :], axis=1)
    win, lose = shares(jnp.stack([rows, rows]), want) * probabilities(dP)
    d_mismatch -= jnp.sum(win - lose, axis=1)
    mass = opposing_mass(log_mu)
    return solve_gauged(mass[:, None] * laplacian(rows, f, have), -mass * d_mismatch)
