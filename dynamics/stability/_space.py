"""States as points of R^m: what of a state matters, without the gauge, in an orthonormal basis."""

from __future__ import annotations

from typing import Any

import equinox as eqx
from jaxtyping import Array, Float

from .._vectors import ravel, unravel
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
        return self.basis.T @ ravel(state)[0]

    def state(self, y: Float[Array, " m"]) -> Any:
        """The centred state at y."""
        return unravel(self.basis @ y, self.template)


def space_of(process: Process[Any]) -> Space:
    """The space that the centred states of a process fill."""
    return Space(process.state_basis(), process.centred_start())


def step(process: Process[Any], space: Space, y: Float[Array, " m"]) -> Float[Array, " m"]:
    """One round, from point to point."""
    state, _ = process.advance(space.state(y), None)
    return space.point(process.centre(state))


def log_policy_at(process: Process[Any], space: Space, y: Float[Array, " m"]) -> Float[Array, " K"]:
    """log pi at a point."""
    return process.log_policy(space.state(y))
