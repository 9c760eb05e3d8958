"""The optimum within a class of policies that is no linear space of logits: a search in its parameters."""

from __future__ import annotations

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Bool, Float

from .._numerics import centre
from ..objectives import minimise
from ._base import Fit


def search(fit: Fit, logits: Float[Array, " K"]) -> tuple[Float[Array, " K"], Bool[Array, ""]]:
    """Logits of the least of the minima that Newton's method reaches from ``_optimum.STARTS``, and whether any was reached."""
    policy = fit.policy
    begun = [policy.parameters(centre(fit.log_reference)), policy.parameters(logits), policy.start()]
    flat = jnp.stack([ravel_pytree(theta)[0] for theta in begun])
    _, unravel = ravel_pytree(begun[-1])
    arrays, rest = eqx.partition(fit, eqx.is_array)

    def value(x: Array, arrays: Any) -> Array:
        fit = eqx.combine(arrays, rest)
        z = fit.policy.logits(unravel(x))
        # The value ignores a constant added to all logits; a class that contains such constants is held where they sum to 0.
        return fit.value(z) + 0.5 * jnp.mean(z) ** 2

    ends, found = jax.vmap(lambda x: minimise(value, x, arrays))(flat)
    values = jnp.where(found, jax.vmap(lambda x: value(x, arrays))(ends), jnp.inf)
    best = jnp.argmin(values)
    return policy.logits(unravel(ends[best])), found[best]
