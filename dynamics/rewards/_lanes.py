"""Newton's method for Bradley–Terry scores, many data sets at a time.

The data sets run along the last axis, so that the elimination, written out for the K responses, is vector code over them. For
few responses it is written out entry by entry over the pairs i > j, in ``_small``, which is several times as fast.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from . import _small

LANES = 128  # data sets in a block, which stays in the cache
MOST_WRITTEN_OUT = 12  # responses; beyond, compiling what is written out entry by entry takes too long
MAX_STEPS = 300
WHOLE_STEP = 0.5  # largest gap of a step of Newton's method that is not shortened


def reachable(edges: Bool[Array, "K K lanes"]) -> Bool[Array, "K K lanes"]:
    """Whether a path leads from i to j; every i reaches itself."""
    K = edges.shape[0]
    through = lambda k, paths: paths | (paths[:, k, None] & paths[None, k, :])
    return jax.lax.fori_loop(0, K, through, edges | jnp.eye(K, dtype=bool)[:, :, None])


def solve_laplacian(
    weights: Float[Array, "K K lanes"], excess: Float[Array, "K lanes"] | None, force: Float[Array, "K lanes"]
) -> Float[Array, "K lanes"]:
    """x with (diag(weights 1 + excess) - weights) x = force; without an excess the force sums to 0, and x_0 = 0.

    Elimination keeps the row sums of what is left instead of its diagonal, so that no precision is lost to subtraction.
    """
    K = weights.shape[0]
    rows = []
    for n in range(K - 1, 0, -1):
        row = weights[n, :n]
        diagonal = jnp.sum(row, axis=0) + (0.0 if excess is None else excess[n])
        share = row * (1.0 / diagonal)[None, :]
        rows.append((share, force[n] / diagonal))
        weights = weights[:n, :n] + share[:, None] * row[None, :]
        if excess is not None:
            excess = excess[:n] + share * excess[None, n]
        force = force[:n] + share * force[None, n]
    x = [jnp.zeros_like(force[0]) if excess is None else force[0] / excess[0]]
    for share, own in reversed(rows):
        x.append(own + jnp.sum(share * jnp.stack(x), axis=0))
    return jnp.stack(x)


def _centred(f: Float[Array, "K lanes"]) -> Float[Array, "K lanes"]:
    f = f - jnp.mean(f, axis=0, keepdims=True)
    return f - jnp.mean(f, axis=0, keepdims=True)


def slope(wins: Float[Array, "K K lanes"], f: Float[Array, "K lanes"]) -> tuple[Array, Array]:
    """The derivative of the log-likelihood by the scores, ``(K, lanes)``, and the weights of its Laplacian."""
    gap = f[:, None] - f[None, :]
    ratio = jnp.exp(-jnp.abs(gap))
    large = 1.0 / (1.0 + ratio)
    small = ratio * large
    missed = wins * jnp.where(gap > 0, small, large)
    force = jnp.sum(missed - jnp.swapaxes(missed, 0, 1), axis=1)
    return force, (wins + jnp.swapaxes(wins, 0, 1)) * small * large


def _step_of_any(
    wins: Float[Array, "K K lanes"], ridge: Float[Array, " lanes"] | None
) -> Callable[[Float[Array, "K lanes"]], Float[Array, "K lanes"]]:
    """Newton's step as a function of the scores, for any K."""

    def newton_step(f: Float[Array, "K lanes"]) -> Float[Array, "K lanes"]:
        force, weights = slope(wins, f)
        if ridge is None:
            return solve_laplacian(weights, None, force)
        return solve_laplacian(weights, jnp.broadcast_to(ridge[None, :], f.shape), force - ridge[None, :] * f)

    return newton_step


def maximise(
    wins: Float[Array, "K K lanes"], ridge: Float[Array, " lanes"] | None
) -> tuple[Float[Array, "K lanes"], Bool[Array, " lanes"]]:
    """argmax_f Σ_ij wins_ij log sigma(f_i - f_j) - (ridge/2) Σ f², mean 0, and whether it was found; it has to exist."""
    eps = float(jnp.finfo(wins.dtype).eps)
    close, good = eps**0.5, eps**0.4

    def going(carry: tuple[Array, Array, Array]) -> Array:
        _, last, count = carry
        return jnp.any(last > close) & (count < MAX_STEPS)

    newton_step = _small.newton_step(wins, ridge) if len(wins) <= MOST_WRITTEN_OUT else _step_of_any(wins, ridge)

    def step(carry: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        f, before, count = carry
        x = newton_step(f)
        # The logistic loss has |f'''| ≤ f'', so log(1 + D)/D times a step whose largest gap is D always descends. A whole step
        # shrinks the slope, in the norm of the curvature, by (e^D - 1 - D)/D, which is .3 at D = 1/2.
        size = jnp.max(x, axis=0) - jnp.min(x, axis=0)
        share = jnp.where(size > WHOLE_STEP, jnp.log1p(size) / jnp.where(size > WHOLE_STEP, size, 1.0), 1.0)
        # Steps that consist of rounding stop shrinking, and further ones bring no gain.
        last = jnp.where((size < good) & (size >= 0.5 * before), 0.0, size)
        return _centred(f + share[None, :] * x), last, count + 1

    won, lost = jnp.sum(wins, axis=1), jnp.sum(wins, axis=0)
    start = _centred(jnp.log((won + 0.5) / (lost + 0.5)))
    begun = (start, jnp.full(wins.shape[-1], jnp.inf, wins.dtype), jnp.array(0))
    f, last, _ = jax.lax.while_loop(going, step, begun)
    return f, (last <= close) & jnp.all(jnp.isfinite(f), axis=0)


@functools.partial(jax.jit, static_argnames="ridged")
def fit_all(
    wins: Float[Array, "fits K K"], ridge: Float[Array, " fits"], ridged: bool
) -> tuple[Float[Array, "fits K"], Array, Array, Array]:
    """Scores of all data sets, with zero diagonals; whether they were found, whether the responses are linked by
    comparisons, and whether of two linked ones each reaches the other by wins.
    """
    fits, K, _ = wins.shape
    lanes = min(LANES, fits)
    blocks = -(-fits // lanes)
    wins = jnp.concatenate([wins, jnp.ones((blocks * lanes - fits, K, K))]).reshape(blocks, lanes, K, K)
    ridge = jnp.concatenate([ridge, jnp.ones(blocks * lanes - fits)]).reshape(blocks, lanes)
    equal = jnp.eye(K, dtype=bool)[:, :, None]

    def block(given: tuple[Array, Array]) -> tuple[Array, ...]:
        won = jnp.where(equal, 0.0, jnp.moveaxis(given[0], 0, -1))
        by_wins = reachable(won > 0)
        balanced = jnp.all(by_wins == jnp.swapaxes(by_wins, 0, 1), axis=(0, 1))
        linked = jnp.all(by_wins | jnp.swapaxes(by_wins, 0, 1), axis=(0, 1)) & balanced
        linked |= jnp.all(reachable((won + jnp.swapaxes(won, 0, 1)) > 0), axis=(0, 1))
        # Where no optimum exists, Newton's method gets a trivial problem.
        trivial = ~(balanced & linked) & (not ridged)
        f, found = maximise(
            jnp.where(trivial[None, None, :], jnp.where(equal, 0.0, 1.0), won), given[1] if ridged else None
        )
        return f.T, found & ~trivial, linked, balanced

    out = jax.lax.map(block, (wins, ridge))
    return tuple(x.reshape(-1, *x.shape[2:])[:fits] for x in out)  # pyright: ignore[reportReturnType]
