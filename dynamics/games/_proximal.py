"""The proximal point: each round solves the regularised game whose magnet is the last policy."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Bool, Float, PRNGKeyArray

from .._checks import Numbers, check_number
from .._numerics import centre, log_softmax
from ._base import OnPrompts, Prompts, check_field

MAX_STEPS = 100
HALVINGS = 0.5 ** np.arange(12.0)
TOLERANCE = 64  # units of rounding of the equation's residual


class ProximalPoint(OnPrompts):
    """z' = z + P p'/tau, p' = softmax z': the regularised Nash equilibrium with the last policy as its magnet.

    COMAL, and MPO's outer loop, solved exactly. For every P and tau there is one solution, since A is skew (7.1).

    Args:
        preference, weights: as in ``MirrorDescent``.
        tau: temperature of each round's game, > 0.

    Raises:
        ValueError: a value outside these ranges. A round whose equation is not solved ends a run.

    Source: COMAL arXiv 2410.23223, MPO arXiv 2410.16714; radius 1/√(1 + (omega/tau)²) [derived] section 8.

    >>> game = dyn.games.ProximalPoint(dyn.preferences.cyclic(3, 0.4), tau=0.1)
    >>> run = dyn.iterate(game, 200, initial=jax.nn.log_softmax(jnp.array([0.5, 0.0, -0.5])))
    >>> bool(jnp.abs(jnp.exp(run.log_policy[-1]) - 1 / 3).max() < 1e-9)
    True
    """

    tau: Float[Array, ""]

    def __init__(self, preference: Prompts, tau: ArrayLike, *, weights: Numbers | None = None):
        self.take(preference, weights)
        self.tau = check_number(tau, "tau", 0.0, np.inf, open_low=True)

    def start(self, log_policy: Float[Array, "*contexts K"]) -> Array:
        return centre(log_policy)

    def advance(self, state: Array, key: PRNGKeyArray | None) -> tuple[Array, Bool[Array, ""]]:
        one = lambda P, z: _advanced(P, self.tau, z)
        y, found = one(self.preference, state) if self.weights is None else jax.vmap(one)(self.preference, state)
        return y, jnp.all(found)

    def log_policy(self, state: Array) -> Float[Array, "*contexts K"]:
        return log_softmax(state)

    def logits(self, state: Array) -> Float[Array, "*contexts K"]:
        return state

    def centre(self, state: Array) -> Array:
        return centre(state)

    def check_parameter(self, path: str, values: np.ndarray) -> None:
        check_field(path, values, positive_tau=True)


def _advanced(P: Array, tau: Array, z: Array) -> tuple[Array, Array]:
    """The next logits of one prompt, and whether they were found."""
    held: Any = jax.lax.stop_gradient((P, tau, z))
    y, found = _solve(*held)
    # From the root, each further step of Newton's method makes one more order of derivatives exact, then three.
    for _ in range(2):
        residual, slope = _equation(P, tau, z, y)
        y = centre(y - jnp.linalg.solve(slope, residual))
    return y, found & jnp.all(jnp.isfinite(y))


def _equation(P: Array, tau: Array, z: Array, y: Array) -> tuple[Array, Array]:
    """y - z - A p(y)/tau, centred, and its derivative by y, which is regular: its eigenvalues are 1 ± i omega/tau."""
    p = jax.nn.softmax(y)
    A = (P - 0.5) / tau
    A = A - jnp.mean(A, axis=0, keepdims=True)
    return y - z - A @ p, jnp.eye(y.shape[0]) - (A * p[None, :] - (A @ p)[:, None] * p[None, :])


def _solve(P: Array, tau: Array, z: Array) -> tuple[Array, Array]:
    """The root by Newton's method with the best of a few step lengths, and whether its residual is zero to rounding."""

    def step(carry: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        y, _, count = carry
        residual, slope = _equation(P, tau, z, y)
        direction = -jnp.linalg.solve(slope, residual)
        tried = y[None, :] + jnp.asarray(HALVINGS, y.dtype)[:, None] * direction[None, :]
        sizes = jax.vmap(lambda x: jnp.linalg.norm(_equation(P, tau, z, x)[0]))(tried)
        best = jnp.argmin(jnp.where(jnp.isnan(sizes), jnp.inf, sizes))
        now = jnp.linalg.norm(residual)
        better = sizes[best] < now
        return jnp.where(better, tried[best], y), ~(sizes[best] < (1 - 1e-4) * now), count + 1

    going = lambda carry: ~carry[1] & (carry[2] < MAX_STEPS)
    y, _, _ = jax.lax.while_loop(going, step, (z, jnp.asarray(False), jnp.asarray(0)))
    left = jnp.max(jnp.abs(_equation(P, tau, z, y)[0]))
    scale = 1 + jnp.max(jnp.abs(z)) + 1 / tau
    return y, left <= TOLERANCE * jnp.finfo(z.dtype).eps * scale
