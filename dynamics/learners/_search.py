"""The optimum within a policy class that is not a linear space of logits: a search in its parameters."""

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

START_OFFSET = 0.1  # of the last start from the policy's own, at which the policy may not depend on any parameter
MIN_SINGULAR_VALUE = 1e-7  # as a share of the largest; a direction with a smaller one counts as lost
MAX_SLOPE = 1e-5  # as a share of the sizes of force and Jacobian; a smaller slope counts as 0


def search(fit: Fit, logits: Float[Array, " K"]) -> tuple[Float[Array, " K"], Bool[Array, ""]]:
    """The logits of the least minimum that Newton's method reaches from ``_optimum.STARTS``, and whether it reached any.

    A point at which the Jacobian ∂z/∂theta has lost rank is stationary for every objective, so it does not count as a minimum.
    """
    policy = fit.policy
    begun = [policy.parameters(centre(fit.log_reference)), policy.parameters(logits), policy.start()]
    flat = jnp.stack([ravel_pytree(theta)[0] for theta in begun])
    _, unravel = ravel_pytree(begun[-1])
    flat = jnp.concatenate(
        [flat, flat[-1:] + START_OFFSET * jnp.cos(1.0 + jnp.arange(flat.shape[1], dtype=flat.dtype))[None, :]]
    )
    arrays, rest = eqx.partition(fit, eqx.is_array)
    move = lambda x: policy.logits(unravel(x))
    slopes = jax.vmap(jax.jacfwd(move))(flat)
    # The value does not depend on a constant added to all logits; a class that contains such constants is held at sum 0.
    ones = jnp.ones(logits.shape)
    left = jax.vmap(lambda J: jnp.max(jnp.abs(ones - J @ (jnp.linalg.pinv(J) @ ones))))(slopes)
    hold = jnp.min(left) < 1e-6

    def value(x: Array, given: Any) -> Array:
        arrays, hold = given
        fit = eqx.combine(arrays, rest)
        z = fit.policy.logits(unravel(x))
        return fit.value(z) + jnp.where(hold, 0.5 * jnp.mean(z) ** 2, 0.0)

    given = (arrays, hold)
    ends, found = jax.vmap(lambda x: minimise(value, x, given))(flat)
    most = jnp.max(jax.vmap(_rank)(slopes))

    def is_minimum(x: Array) -> Array:
        J, force = jax.jacfwd(move)(x), fit.objective.gradient(move(x), fit.log_reference, fit.seen)
        pull = jnp.max(jnp.abs(J.T @ force))
        return (_rank(J) >= most) & (pull <= MAX_SLOPE * (1.0 + jnp.max(jnp.abs(force))) * (1.0 + jnp.max(jnp.abs(J))))

    found = found & jax.vmap(is_minimum)(ends)
    values = jnp.where(found, jax.vmap(lambda x: value(x, given))(ends), jnp.inf)
    best = jnp.argmin(values)
    return policy.logits(unravel(ends[best])), found[best]


def _rank(J: Float[Array, "K n"]) -> Array:
    sizes = jnp.linalg.svd(J, compute_uv=False)
    return jnp.sum(sizes > MIN_SINGULAR_VALUE * jnp.maximum(jnp.max(sizes), jnp.finfo(J.dtype).tiny))
