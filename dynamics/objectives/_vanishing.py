"""Responses without mass in the sampler: optima as their mass goes to 0, and derivatives by it."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from .._numerics import log_mass_or_empty

NEGLIGIBLE_GAP = 200.0  # nats between two log-weights, of which the lighter does not show in float64


@jax.custom_jvp
def vanishing(log_mu: Float[Array, "*contexts K"]) -> Float[Array, "*contexts K"]:
    """log mu with zero masses replaced by equal ones so small that every sampled pair outweighs them (the limit of 0)."""
    low = jnp.min(jnp.where(log_mu == -jnp.inf, jnp.inf, log_mu))
    return jnp.where(log_mu == -jnp.inf, 2.0 * low - jnp.max(log_mu) - NEGLIGIBLE_GAP, log_mu)


@vanishing.defjvp
def _vanishing_jvp(primals, tangents):
    (log_mu,), (change,) = primals, tangents
    out = vanishing(log_mu)
    # A response without mass may gain some: ``log_mixture`` says how its derivative by the logarithm is to be read.
    return out, change * jnp.exp(log_mass_or_empty(log_mu) - out)


@jax.custom_jvp
def held(log_mu: Array) -> Array:
    """log mu, whose derivative overflows where a response without mass gains some: rounding would be all that is left of it."""
    return log_mu


@held.defjvp
def _held_jvp(primals, tangents):
    (log_mu,), (change,) = primals, tangents
    # A factor, because the rule has to be linear in ``change`` for reverse mode; a change of 0 stays 0.
    return log_mu, change * jnp.where(log_mu == -jnp.inf, jnp.finfo(log_mu.dtype).max, 1.0)
