"""The search for fixed points by Newton's method from a fixed set of well-spread starts."""

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

MAX_NEWTON_STEPS = 80
STEP_FRACTIONS = 0.5 ** np.arange(12)  # of Newton's step, among which the one with the smallest residual is taken


@dataclasses.dataclass(frozen=True)
class FixedPoint:
    """A state that a round maps to itself, and the spectrum of the round there.

    Attributes:
        log_policy: log pi, ``(K,)``, in nats; None at a vertex (alpha = 1), where ``vertex`` names the response.
        residual: largest |F(s) - s| over the centred state, in nats for logits.
        eigenvalues: of the Jacobian in centred states, ``(m,)``, where m = K-1 if the state is only a tabular policy; at a
            vertex the transversal multipliers.
        spectral_radius: rho, their largest modulus.
        rotation_number: |arg|/2pi of the leading eigenvalue, turns per round in [0, 1/2].
        vertex: index of the response, or None for an interior point.
        state: the fixed point as the state of a run; pass it as ``initial=`` or to ``jacobian``. None at a vertex.
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
        """``eigenvalues`` by their name at a vertex w: the factors by which pi_j/pi_w grows per round, one for each j ≠ w."""
        return self.eigenvalues


def starts(process: Process[Any], space: Space, count: int) -> Float[Array, "starts m"]:
    """Points to start from: the process's own start, spread policies, policies near vertices, and the ``settled`` of each.

    A fixed point of iterated alignment with alpha < 1 is log ref + f(mu)/(beta(1-alpha)), mu its sampler. The images of the
    spread policies under this map cover the region where fixed points can lie, for any 1/(beta(1-alpha)).
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
    """The process's own start; empty where it is an offline sampler with zeros, from which a run cannot start."""
    try:
        return process.log_start()[None]
    except ValueError:
        return jnp.empty((0, *process.shape))


@eqx.filter_jit
def points_of(process: Process[Any], space: Space, log_policies: Float[Array, "n *contexts K"]) -> Float[Array, "n m"]:
    """The points at which runs start whose policies have these logits."""
    return jax.vmap(lambda z: space.point(process.centred_start(z)))(log_policies)


@eqx.filter_jit
def settled(loop: Canonical, logits: Float[Array, "starts K"]) -> Float[Array, "starts K"]:
    """The policies to which rounds would converge if the sampler of each policy did not change."""
    return jax.vmap(lambda z: centre(loop.settled(z)))(logits)


@eqx.filter_jit
def _newton(
    process: Process[Any], space: Space, points: Float[Array, "starts m"]
) -> tuple[Float[Array, "starts m"], Bool[Array, " starts"]]:
    move = lambda y: step(process, space, y) - y

    def look(y: Array) -> tuple[Array, Array]:
        """The derivative of the move and the move itself, from one evaluation of the round."""
        return jax.jacfwd(lambda x: (moved := move(x), moved), has_aux=True)(y)

    def improve(carry: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        y, _, count = carry
        slope, g = look(y)
        direction = jnp.linalg.solve(slope, -g)
        direction = jnp.where(jnp.all(jnp.isfinite(direction)), direction, g)
        tried = y[None, :] + jnp.asarray(STEP_FRACTIONS, y.dtype)[:, None] * direction[None, :]
        size = jnp.linalg.norm(each(process, move)(tried), axis=1)
        best = jnp.argmin(jnp.where(jnp.isnan(size), jnp.inf, size))
        now = jnp.linalg.norm(g)
        # The residual no longer decreases: the root is reached to rounding, or the search is stuck.
        ended = ~(size[best] < (1 - 1e-4) * now)
        return jnp.where(size[best] < now, tried[best], y), ended, count + 1

    def one(y: Array) -> tuple[Array, Array]:
        going = lambda carry: ~carry[1] & (carry[2] < MAX_NEWTON_STEPS)
        y, _, _ = jax.lax.while_loop(going, improve, (y, jnp.array(False), jnp.array(0)))
        scale = 1.0 + jnp.max(jnp.abs(y))
        slope, g = look(y)
        # A small residual does not suffice: at alpha = 1 logits can diverge to a vertex with a relatively small residual. There
        # Newton's next step is still large.
        left = jnp.max(jnp.abs(jnp.linalg.solve(slope, g)))
        eps = jnp.finfo(y.dtype).eps
        # Far out the sum alpha y + f/beta rounds f away, so that at alpha = 1 every point would look fixed: there the
        # rounding of y must not move the root by much.
        resolved = jnp.max(jnp.abs(jnp.linalg.inv(slope))) <= 1 / jnp.sqrt(eps)
        # The same where responses have nearly no mass, of which a move may be a multiple.
        massive = jnp.min(process.log_policy(space.state(y))) >= jnp.log(eps) / 2
        near = (scale <= 1 / jnp.sqrt(eps)) & massive | resolved
        return y, (jnp.max(jnp.abs(g)) <= 1e5 * eps * scale) & (left <= jnp.sqrt(eps) * scale) & near

    return each(process, one)(points)


def interior(process: Process[Any], space: Space, count: int) -> list[np.ndarray]:
    """The distinct fixed points, ``(m,)`` each, in the order of the starts that reached them."""
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
    """The fixed point that Newton's method reaches from one start, and whether it converged."""
    y, converged = _newton(process, space, jnp.asarray(point)[None])
    return np.asarray(y[0]), bool(converged[0])
