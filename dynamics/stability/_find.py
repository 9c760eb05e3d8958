"""``find_fixed_points``: fixed points with their spectra, and at alpha = 1 the vertices with their multipliers."""

from __future__ import annotations

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from ..engine import State
from ..rounds import Process
from ._critical import fixed_point_near_start
from ._fixed_points import FixedPoint, interior
from ._known import vertex_multipliers
from ._space import Space, space_of, step


def find_fixed_points(process: Process[Any], starts: int = 64) -> list[FixedPoint]:
    """All s* = F(s*) that Newton's method reaches from a fixed set of starts, by spectral radius; at alpha = 1 also vertices.

    Args:
        process: a deterministic ``Process``.
        starts: number of spread starts, int ≥ 1; near-vertex starts and the process's own are tried as well.

    Source: multipliers of vertices [derived] statement 2.2; the rest is computed.
    """
    space = space_of(process)
    found = interior(process, space, starts)
    followed = None if found else fixed_point_near_start(process)
    if followed is not None:
        found = [followed]
    points = sorted((_fixed_point(process, space, y) for y in found), key=lambda p: p.spectral_radius)
    corners = (_vertex(process, w) for w in range(process.num_responses))
    return points + [point for point in corners if point is not None]


def _fixed_point(process: Process[Any], space: Space, y: np.ndarray) -> FixedPoint:
    moved, J, log_policy, state = _look(process, space, jnp.asarray(y))
    values = np.linalg.eigvals(np.asarray(J))
    values = values[np.argsort(-np.abs(values))]
    residual = float(np.max(np.abs(np.asarray(space.basis) @ (np.asarray(moved) - y))))
    turn = float(abs(np.angle(values[0])) / (2 * np.pi))
    return FixedPoint(np.asarray(log_policy), residual, values, float(abs(values[0])), turn, state=state)


@eqx.filter_jit
def _look(process: Process[Any], space: Space, y: Array) -> tuple[Array, Array, Array, State]:
    """The image of a point under one round, the derivative there, log pi, and the point as a state to start a run from."""
    slope, moved = jax.jacfwd(lambda x: (there := step(process, space, x), there), has_aux=True)(y)
    # After one more round, which does not move a fixed point, the state has everything that a run carries.
    carried, _ = process.advance(space.state(y), None)
    log_policy = process.log_policy(space.state(y))
    return moved, slope, log_policy, State(process.logits(carried), carried, jnp.array(0))


def _vertex(process: Process[Any], w: int) -> FixedPoint | None:
    """The vertex of response w as a fixed point with the multipliers of statement 2.2 [derived], or None where unknown."""
    multipliers = vertex_multipliers(process, w)
    if multipliers is None:
        return None
    return FixedPoint(None, 0.0, multipliers, float(multipliers.max()), 0.0, vertex=w)
