"""All fixed points that Newton's method finds from fixed, well spread starts."""

from __future__ import annotations

import dataclasses
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from .._numerics import centre, low_discrepancy_policies
from ..engine import State
from ..rounds import Canonical, Process, canonical
from ._space import Space, each, spread_policies, step

NEWTON_STEPS = 80
SHORTENINGS = 0.5 ** np.arange(12)


@dataclasses.dataclass(frozen=True)
class FixedPoint:
    """A state that a round maps to itself, and the spectrum of the round there.

    Attributes:
        log_policy: log pi, ``(K,)``, in nats; None at a vertex (alpha = 1), where ``vertex`` names the response.
        residual: largest |F(s) - s| over the centred state, in nats for logits.
        eigenvalues: of the Jacobian in centred states, ``(m,)``, K-1 of them where the state is a tabular policy alone; at a
            vertex the transversal multipliers.
        spectral_radius: rho, their largest modulus.
        rotation_number: |arg|/2pi of the leading eigenvalue, turns per round in [0, 1/2].
        vertex: index of the response, or None for an interior point.
        state: where a run that starts here stands; pass it as ``initial=`` or to ``jacobian``. None at a vertex.
    """

    log_policy: np.ndarray | None
    residual: float
    eigenvalues: np.ndarray
    spectral_radius: float
    rotation_number: float
    vertex: int | None = None
    state: State | None = None

    @property
    def multipliers(self) -> np.ndarray:
        """The eigenvalues, by the name they have at a vertex: growth of pi_j/pi_w per round, one for each j ≠ w."""
        return self.eigenvalues


def starts(process: Process[Any], space: Space, count: int) -> Float[Array, "starts m"]:
    """Points to start from: spread policies, near-vertex ones, the process's own, and where each would settle.

    Of iterated alignment every fixed point with alpha < 1 is log ref + f(mu)/(beta(1-alpha)) at its own mu; that image of the
    spread policies covers the region where fixed points can be, however large 1/(beta(1-alpha)) is.
    """
    size = process.num_responses
    if len(process.shape) > 1:
        return points_of(process, space, jnp.concatenate([_own_start(process), spread_policies(process, count)]))
    spread = low_discrepancy_policies(size, count)
    corners = np.concatenate([s * np.eye(size) for s in (2.0, 12.0)])
    edges = 20.0 * (np.eye(size)[:, None] + np.eye(size)[None, :])[np.triu_indices(size, 1)][: 2 * size]
    own = _own_start(process)
    plain = jnp.concatenate([own, jnp.asarray(spread), jnp.asarray(corners), jnp.asarray(edges)])
    loop = canonical(process)
    if loop is not None and float(loop.alpha) < 1:
        plain = jnp.concatenate([plain, settled(loop, plain)])
    return points_of(process, space, plain)


def _own_start(process: Process[Any]) -> Float[Array, "starts *contexts K"]:
    """The process's own start, or nothing where an offline sampler with zeros is none."""
    try:
        return process.log_start()[None]
    except ValueError:
        return jnp.empty((0, *process.shape))


@eqx.filter_jit
def points_of(process: Process[Any], space: Space, log_policies: Float[Array, "n *contexts K"]) -> Float[Array, "n m"]:
    """The points at which runs start with some policies, given by their logits."""
    return jax.vmap(lambda z: space.point(process.centred_start(z)))(log_policies)


@eqx.filter_jit
def settled(loop: Canonical, logits: Float[Array, "starts K"]) -> Float[Array, "starts K"]:
    """Where each policy would settle if its sampler stayed as it is."""
    return jax.vmap(lambda z: centre(loop.settled(z)))(logits)


@eqx.filter_jit
def _newton(
    process: Process[Any], space: Space, points: Float[Array, "starts m"]
) -> tuple[Float[Array, "starts m"], Bool[Array, " starts"]]:
    move = lambda y: step(process, space, y) - y

    def look(y: Array) -> tuple[Array, Array]:
        """The derivative of the move and the move itself, of one round instead of two."""
        return jax.jacfwd(lambda x: (moved := move(x), moved), has_aux=True)(y)

    def improve(carry: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        y, _, count = carry
        slope, g = look(y)
        direction = jnp.linalg.solve(slope, -g)
        direction = jnp.where(jnp.all(jnp.isfinite(direction)), direction, g)
        tried = y[None, :] + jnp.asarray(SHORTENINGS, y.dtype)[:, None] * direction[None, :]
        size = jnp.linalg.norm(each(process, move)(tried), axis=1)
        best = jnp.argmin(jnp.where(jnp.isnan(size), jnp.inf, size))
        now = jnp.linalg.norm(g)
        # Less gain than the shortest step promises: at the root to rounding, or stuck.
        ended = ~(size[best] < (1 - 1e-4) * now)
        return jnp.where(size[best] < now, tried[best], y), ended, count + 1

    def one(y: Array) -> tuple[Array, Array]:
        going = lambda carry: ~carry[1] & (carry[2] < NEWTON_STEPS)
        y, _, _ = jax.lax.while_loop(going, improve, (y, jnp.array(False), jnp.array(0)))
        scale = 1.0 + jnp.max(jnp.abs(y))
        slope, g = look(y)
        # A small residual is not enough: at alpha = 1 it is small against logits that run off to a vertex, where the
        # next step still wants to go far.
        left = jnp.max(jnp.abs(jnp.linalg.solve(slope, g)))
        eps = jnp.finfo(y.dtype).eps
        return y, (jnp.max(jnp.abs(g)) <= 1e5 * eps * scale) & (left <= jnp.sqrt(eps) * scale)

    return each(process, one)(points)


def interior(process: Process[Any], space: Space, count: int) -> list[np.ndarray]:
    """Distinct fixed points, ``(m,)`` each, in the order of the starts that reached them."""
    y, converged = _newton(process, space, starts(process, space, count))
    found: list[np.ndarray] = []
    for candidate in np.asarray(y)[np.asarray(converged)]:
        near = (np.abs(_entries(space, candidate) - _entries(space, other)) for other in found)
        if not any((gap <= 1e-6 * (1 + np.abs(_entries(space, candidate)))).all() for gap in near):
            found.append(candidate)
    return found


def _entries(space: Space, y: np.ndarray) -> np.ndarray:
    return np.asarray(space.basis) @ y


def polish(process: Process[Any], space: Space, point: np.ndarray) -> tuple[np.ndarray, bool]:
    """Newton's method from one start."""
    y, converged = _newton(process, space, jnp.asarray(point)[None])
    return np.asarray(y[0]), bool(converged[0])
