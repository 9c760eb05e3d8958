"""The comparisons of a round: the probability of each result, and counts drawn from n comparisons.

Counts of n independent draws are multinomial. A tree of binomials splits n among the outcomes. Each binomial inverts its
distribution function outward from the mode, so it needs one uniform number and work that grows with its standard deviation
only. The binomials of a level are drawn together, which becomes vector code over a batch of runs.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

MAX_COMPARISONS = 10**8  # beyond, rounding of log n! would be visible
MAX_COMPARISONS_FLOAT32 = 10**4
STIRLING = (1 / 12, -1 / 360, 1 / 1260, -1 / 1680, 1 / 1188)
SHIFT = 8  # from here on, five terms of Stirling's series are exact to rounding
NEGLIGIBLE = 1e-20  # probability, far below the rounding of u


def most_comparisons() -> int:
    """The largest number of comparisons that can be drawn at once in JAX's default float type."""
    return MAX_COMPARISONS_FLOAT32 if jnp.zeros(()).dtype == jnp.float32 else MAX_COMPARISONS


def win_rates(P: Float[Array, "*contexts K K"], mu: Float[Array, "*contexts K"]) -> Float[Array, "*contexts K K"]:
    """W_ij = 2 mu_i mu_j P_ij, i ≠ j: Pr(i beats j) in one comparison of a pair from mu; 1 - Σ W is Pr(a pair of equals).

    >>> dyn.preferences.win_rates(jnp.array([[0.5, 0.75], [0.25, 0.5]]), jnp.array([0.5, 0.5])).tolist()
    [[0.0, 0.375], [0.125, 0.0]]
    """
    W = 2.0 * mu[..., :, None] * mu[..., None, :] * P
    return W * jnp.broadcast_to(1.0 - jnp.eye(mu.shape[-1]), W.shape)


def draw_wins(key: PRNGKeyArray, count: Float[Array, ""], rates: Float[Array, "K K"]) -> Float[Array, "K K"]:
    """How often each i beats each j in ``count`` independent comparisons: whole numbers, zero diagonal.

    Source: exact up to the rounding of the uniform numbers and of log n! (n ≤ 1e8).
    """
    size = rates.shape[0]
    rest = jnp.maximum(1.0 - jnp.sum(rates), 0.0)
    # The entries off the diagonal, row by row: in the flat matrix every (K+1)th entry is on the diagonal.
    off = jnp.concatenate([rates.ravel()[1:].reshape(size - 1, size + 1)[:, :-1].ravel(), rest[None]])
    drawn = _multinomial(key, count, off)[:-1].reshape(size - 1, size)
    padded = jnp.concatenate([drawn, jnp.zeros((size - 1, 1))], axis=1).ravel()
    return jnp.concatenate([jnp.zeros(1), padded]).reshape(size, size)


def draw_wins_of_prompts(
    key: PRNGKeyArray, count: Float[Array, ""], weights: Float[Array, " X"], rates: Float[Array, "X K K"]
) -> Float[Array, "X K K"]:
    """As ``draw_wins``, each comparison of a prompt that is drawn by its weight."""
    prompts, within = jax.random.split(key)
    counts = _multinomial(prompts, count, weights) if len(weights) > 1 else jnp.asarray(count, rates.dtype)[None]
    return jax.vmap(draw_wins)(jax.random.split(within, len(weights)), counts, rates)


def _multinomial(key: PRNGKeyArray, count: Float[Array, ""], mass: Float[Array, " n"]) -> Float[Array, " n"]:
    """Counts of ``count`` draws in proportion to ``mass``, which need not sum to 1."""
    levels = [mass]
    while len(levels[-1]) > 1:
        level = levels[-1]
        pairs = level[: len(level) // 2 * 2].reshape(-1, 2).sum(axis=1)
        levels.append(jnp.concatenate([pairs, level[len(level) // 2 * 2 :]]))
    u = jax.random.uniform(key, (len(mass) - 1,))
    counts, used = jnp.asarray(count, mass.dtype)[None], 0
    for level in reversed(levels[:-1]):
        half = len(level) // 2
        pairs = level[: 2 * half].reshape(half, 2)
        left = _binomial(u[used : used + half], counts[:half], pairs[:, 0], pairs[:, 1])
        split = jnp.stack([left, counts[:half] - left], axis=1).ravel()
        counts, used = jnp.concatenate([split, counts[half:]]), used + half
    return counts


def _binomial(u: Float[Array, " m"], n: Float[Array, " m"], a: Float[Array, " m"], b: Float[Array, " m"]) -> Array:
    """Entrywise draws from Binomial(n, a/(a+b)): u falls into one of the intervals for mode, mode+1, mode-1, … in [0, 1)."""
    total = jnp.where(a + b > 0, a + b, 1.0)
    p, q = a / total, b / total
    mode = jnp.clip(jnp.floor((n + 1.0) * p), 0.0, n)
    rest = n - mode
    up = down = _mass(n, mode, rest, p, q)
    odds, against = _ratio(p, q), _ratio(q, p)

    def going(carry: tuple[Array, ...]) -> Array:
        left, _, up, down, _ = carry
        return jnp.any((left > 0) & (up + down > NEGLIGIBLE))

    def outward(carry: tuple[Array, ...]) -> tuple[Array, ...]:
        left, step, up, down, k = carry
        more, step = step, step + 1.0
        # One division serves both sides.
        inverse = 1.0 / ((mode + step) * (rest + step))
        up = up * (odds * jnp.maximum(rest - more, 0.0) * ((rest + step) * inverse))
        down = down * (against * jnp.maximum(mode - more, 0.0) * ((mode + step) * inverse))
        above, below = left - up, left - up - down
        k = jnp.where((left > 0) & (above <= 0), mode + step, k)
        k = jnp.where((above > 0) & (below <= 0), mode - step, k)
        return below, step, up, down, k

    start = (u - up, jnp.zeros(()), up, down, mode)
    return jax.lax.while_loop(going, outward, start)[4]


def _ratio(a: Array, b: Array) -> Array:
    return jnp.where(b > 0, a / jnp.where(b > 0, b, 1.0), 0.0)


def _mass(n: Array, k: Array, rest: Array, p: Array, q: Array) -> Array:
    """n!/(k! rest!) p^k q^rest, n = k + rest.

    With y = x + 9, Stirling's series gives (x+8)! = sqrt(2pi/y) (y/e)^y e^s(y), and x! = (x+8)!/((x+1)…(x+8)). The powers are
    gathered to (y_n p/y_k)^k (y_n q/y_rest)^rest, whose logarithms are small near the mode.
    """
    of_n, of_k, of_rest = (_Stirling.at(x) for x in (n, k, rest))
    power = lambda count, share, of: jnp.where(
        count > 0, count * jnp.log(jnp.where(count > 0, share * of_n.y / of.y, 1.0)), 0.0
    )
    exponent = power(k, p, of_k) + power(rest, q, of_rest) + of_n.series - of_k.series - of_rest.series
    root = jnp.sqrt(of_n.y / (2 * math.pi * of_k.y * of_rest.y))
    return jnp.exp(exponent) * (of_k.rising * (of_rest.rising / of_n.rising)) * (root * math.exp(SHIFT + 1.0))


class _Stirling(NamedTuple):
    """y = x + 9, the series s(y), and (x+1)…(x+8)/y^8."""

    y: Array
    series: Array
    rising: Array

    @staticmethod
    def at(x: Array) -> _Stirling:
        y = x + (SHIFT + 1.0)
        inverse = 1.0 / y
        square = inverse * inverse
        a, b, c, d, e = STIRLING
        series = inverse * (a + square * (b + square * (c + square * (d + square * e))))
        return _Stirling(y, series, math.prod((x + i) * inverse for i in range(1, SHIFT + 1)))  # pyright: ignore
