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

OFF = 0.1  # of the start beside the policy's own, which may be a place where no parameter moves a policy
RANK = 1e-7  # share of the largest singular value below which a direction counts as lost
STATIONARY = 1e-5  # share of the sizes of force and Jacobian below which their product counts as 0


def search(fit: Fit, logits: Float[Array, " K"]) -> tuple[Float[Array, " K"], Bool[Array, ""]]:
    """Logits of the least of the minima that Newton's method reaches from ``_optimum.STARTS``, and whether any was reached.

    A place where the Jacobian ∂z/∂theta has lost rank is stationary for every objective, so it is not taken for a minimum.
    """
    policy = fit.policy
    begun = [policy.parameters(centre(fit.log_reference)), policy.parameters(logits), policy.start()]
    flat = jnp.stack([ravel_pytree(theta)[0] for theta in begun])
    _, unravel = ravel_pytree(begun[-1])
    flat = jnp.concatenate(
        [flat, flat[-1:] + OFF * jnp.cos(1.0 + jnp.arange(flat.shape[1], dtype=flat.dtype))[None, :]]
    )
    arrays, rest = eqx.partition(fit, eqx.is_array)
    move = lambda x: policy.logits(unravel(x))
    slopes = jax.vmap(jax.jacfwd(move))(flat)
    # The value ignores a constant added to all logits; a class that contains such constants is held where they sum to 0.
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
        return (_rank(J) >= most) & (pull <= STATIONARY * (1.0 + jnp.max(jnp.abs(force))) * (1.0 + jnp.max(jnp.abs(J))))

    found = found & jax.vmap(is_minimum)(ends)
    values = jnp.where(found, jax.vmap(lambda x: value(x, given))(ends), jnp.inf)
    best = jnp.argmin(values)
    return policy.logits(unravel(ends[best])), found[best]


def _rank(J: Float[Array, "K n"]) -> Array:
    sizes = jnp.linalg.svd(J, compute_uv=False)
    return jnp.sum(sizes > RANK * jnp.maximum(jnp.max(sizes), jnp.finfo(J.dtype).tiny))
