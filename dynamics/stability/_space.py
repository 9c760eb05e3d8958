"""States as points of R^m: the coordinates of centred states in an orthonormal basis."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import numpy as np
from jaxtyping import Array, Float

from .._numerics import low_discrepancy_policies
from .._vectors import project, ravel, unravel
from ..rounds import Process


class Space(eqx.Module):
    """y = basisᵀ ravel(s) for centred states s.

    Attributes:
        basis: orthonormal columns that span the raveled centred states, ``(n, m)``.
        template: a centred state.
    """

    basis: Float[Array, "n m"]
    template: Any

    def point(self, state: Any) -> Float[Array, " m"]:
        """y of a centred state."""
        return self.basis.T @ ravel(state)

    def state(self, y: Float[Array, " m"]) -> Any:
        """The centred state at y."""
        return unravel(self.basis @ y, self.template)


def space_of(process: Process[Any]) -> Space:
    """The space of the centred states of a process."""
    return Space(process.state_basis(), process.centred_start())


def each(process: Process[Any], function: Callable[..., Any]) -> Callable[..., Any]:
    """``function`` over a leading axis, vectorised for one prompt; sequential for many, which are large enough alone."""
    return jax.vmap(function) if len(process.shape) == 1 else lambda *xs: jax.lax.map(lambda x: function(*x), xs)


def spread_policies(process: Process[Any], count: int) -> Float[np.ndarray, "count *contexts K"]:
    """Well-spread log-policies; several prompts get different ones."""
    *prompts, size = process.shape
    many = int(np.prod(prompts, dtype=int))
    rows = low_discrepancy_policies(size, count * many).reshape(many, count, size)
    return np.swapaxes(rows, 0, 1).reshape(count, *process.shape)


def nearest(process: Process[Any], logits: Float[Array, "*contexts K"]) -> Float[Array, "*contexts K"]:
    """The nearest logits within the policy class."""
    return project(process.basis(), logits)


def step(process: Process[Any], space: Space, y: Float[Array, " m"]) -> Float[Array, " m"]:
    """One round, from point to point."""
    state, _ = process.advance(space.state(y), None)
    return space.point(process.centre(state))


def log_policy_at(process: Process[Any], space: Space, y: Float[Array, " m"]) -> Float[Array, "*contexts K"]:
    """log pi at a point."""
    return process.log_policy(space.state(y))
