"""Newton's step for Bradley–Terry scores of few responses, written out entry by entry.

Every entry of the Laplacian below its diagonal is a vector over the data sets. Barriers keep the compiler from computing an
entry anew at each place where it is used.
"""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

_once = jax.lax.optimization_barrier


def newton_step(
    wins: Float[Array, "K K lanes"], ridge: Float[Array, " lanes"] | None
) -> Callable[[Float[Array, "K lanes"]], Float[Array, "K lanes"]]:
    """Newton's step as a function of the scores f, ``(K, lanes)``; without a ridge, the step of response 0 is 0."""
    K = len(wins)
    first, second = np.tril_indices(K, -1)
    won, lost = wins[first, second], wins[second, first]
    place = {(int(i), int(j)): k for k, (i, j) in enumerate(zip(first, second, strict=True))}

    def step(f: Float[Array, "K lanes"]) -> Float[Array, "K lanes"]:
        push, weights = _once(_slope(won, lost, f[first] - f[second]))
        force = []
        for i in range(K):
            up, down = [push[place[i, j]] for j in range(i)], [push[place[j, i]] for j in range(i + 1, K)]
            force.append(_sum(up) - _sum(down))
        excess = None
        if ridge is not None:
            force, excess = [own - ridge * f[i] for i, own in enumerate(force)], [ridge] * K
        return _once(jnp.stack(_solve({pair: weights[k] for pair, k in place.items()}, excess, force)))

    return step


def _sum(vectors: list[Array]) -> Array | float:
    return sum(vectors[1:], vectors[0]) if vectors else 0.0


def _slope(won: Array, lost: Array, gap: Float[Array, "pairs lanes"]) -> tuple[Array, Array]:
    """The derivative of the log-likelihood by the gap of every pair, and the weights of the Laplacian."""
    ratio = jnp.exp(-jnp.abs(gap))
    large = 1.0 / (1.0 + ratio)
    small = ratio * large
    ahead = gap > 0
    push = won * jnp.where(ahead, small, large) - lost * jnp.where(ahead, large, small)
    return push, (won + lost) * small * large


def _solve(weights: dict[tuple[int, int], Array], excess: list[Array] | None, force: list[Array]) -> list[Array]:
    """As ``_lanes.solve_laplacian``: elimination keeps the row sums of what is left instead of its diagonal."""
    rows = []
    for n in range(len(force) - 1, 0, -1):
        diagonal = _sum([weights[n, j] for j in range(n)])
        inverse = 1.0 / (diagonal if excess is None else diagonal + excess[n])
        shares = [weights[n, j] * inverse for j in range(n)]
        own = force[n] * inverse
        left = {(i, j): weights[i, j] + shares[i] * weights[n, j] for i in range(n) for j in range(i)}
        force = [force[i] + shares[i] * force[n] for i in range(n)]
        if excess is not None:
            excess = [excess[i] + shares[i] * excess[n] for i in range(n)]
        weights, force, excess, shares, own = _once((left, force, excess, shares, own))
        rows.append((shares, own))
    x = [jnp.zeros_like(force[0]) if excess is None else force[0] / excess[0]]
    for shares, own in reversed(rows):
        x.append(own + _sum([share * known for share, known in zip(shares, x, strict=True)]))
    return x
