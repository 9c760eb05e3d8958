"""Every fixed point that can be found, with its spectrum; at alpha = 1 the vertices with their multipliers."""

from __future__ import annotations

import equinox as eqx
import jax.numpy as jnp
import numpy as np

from .._numerics import log_softmax
from ..rounds import RoundMap
from ._critical import fixed_point_near_start
from ._fixed_points import FixedPoint, interior
from ._known import vertex_multipliers
from ._local import eigenvalues, step


def find_fixed_points(process: RoundMap, starts: int = 64) -> list[FixedPoint]:
    """Every fixed point that Newton's method reaches from fixed starts, most stable first; at alpha = 1 also vertices."""
    found = interior(process, starts)
    followed = None if found else fixed_point_near_start(process)
    if followed is not None:
        found = [followed]
    points = sorted((_fixed_point(process, z) for z in found), key=lambda p: p.spectral_radius)
    corners = (_vertex(process, w) for w in range(process.num_responses))
    return points + [point for point in corners if point is not None]


def _fixed_point(process: RoundMap, z: np.ndarray) -> FixedPoint:
    log_policy = log_softmax(jnp.asarray(z))
    values = np.asarray(eigenvalues(process, log_policy))
    residual = float(jnp.max(jnp.abs(_step(process, jnp.asarray(z)) - z)))
    turn = float(abs(np.angle(values[0])) / (2 * np.pi))
    return FixedPoint(np.asarray(log_policy), residual, values, float(abs(values[0])), turn)


_step = eqx.filter_jit(step)


def _vertex(process: RoundMap, w: int) -> FixedPoint | None:
    """The vertex of response w as a fixed point, with the multipliers of statement 2.2 [derived]; None where none is known."""
    multipliers = vertex_multipliers(process, w)
    if multipliers is None:
        return None
    return FixedPoint(None, 0.0, multipliers, float(multipliers.max()), 0.0, vertex=w)
