"""Features times token differences: the linear algebra of last-layer training, without the last layer.

Example i moves the logits of only two tokens, so its direction in weight space is x_i = (p_i e_w,i - m_i e_l,i) ⊗ g_i,
p = m = 1 unless given. The matrix X with these rows is never formed: ``apply`` is X H and ``combine`` is Xᵀ a, where H has
one row per occurring token.
"""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

BLOCK_NUMBERS = 2**19  # floats in a block of features, which stays in cache together with its products
MAX_SIGNS = 2**22  # floats in the signs of a block of examples
MAX_FEW_TOKENS = 24  # up to which a matrix product over all tokens was measured to be faster than gathering rows


def _part_apply(
    head: Float[Array, "R d"],
    g: Array,
    chosen: Array,
    rejected: Array,
    plus: Array | None = None,
    minus: Array | None = None,
) -> Float[Array, " n"]:
    g = g.astype(head.dtype)
    if head.shape[0] > MAX_FEW_TOKENS:
        return jnp.sum((_times(plus, head[chosen]) - _times(minus, head[rejected])) * g, axis=-1)
    tokens, logits = jnp.arange(head.shape[0])[None, :], g @ head.T
    # Selected by comparison: gathering single numbers was measured to take twice as long.
    of = lambda ids: jnp.where(ids[:, None] == tokens, logits, 0.0)
    return jnp.sum(_times(plus, of(chosen)) - _times(minus, of(rejected)), axis=1)


def _part_combine(
    a: Float[Array, " n"],
    g: Array,
    chosen: Array,
    rejected: Array,
    plus: Array | None = None,
    minus: Array | None = None,
    *,
    size: int,
) -> Float[Array, "R d"]:
    g = g.astype(a.dtype)
    if size > MAX_FEW_TOKENS:
        pushed = a[:, None] * g
        head = jnp.zeros((size, g.shape[1]), a.dtype).at[chosen].add(_times(plus, pushed))
        return head.at[rejected].add(-_times(minus, pushed))
    tokens = jnp.arange(size)[:, None]
    of = lambda ids, factor: jnp.where(ids[None, :] == tokens, _times(factor, a)[None, :], 0.0)
    return (of(chosen, plus) - of(rejected, minus)) @ g


def _times(factor: Float[Array, " n"] | None, rows: Array) -> Array:
    """Rows times their factors, if any."""
    return rows if factor is None else factor.reshape(-1, *(1,) * (rows.ndim - 1)) * rows


def _in_blocks(count: int, width: int, tokens: int) -> tuple[int, int]:
    """Number of full blocks and their size, for ``count`` examples of ``width`` features and so many tokens.

    Products of matrices go through all examples at once; only their signs, one for each token, have to fit in memory.
    """
    size = max(16, BLOCK_NUMBERS // width if tokens > MAX_FEW_TOKENS else MAX_SIGNS // tokens)
    return (0, size) if count <= 8 * size else (count // size, size)


def _slice(values: tuple[Array, ...], start: Array | int, size: int) -> tuple[Array, ...]:
    return tuple(jax.lax.dynamic_slice_in_dim(v, start, size) for v in values)


def apply(
    head: Float[Array, "R d"],
    features: Float[Array, "N d"],
    chosen: Int[Array, " N"],
    rejected: Int[Array, " N"],
    *factors: Float[Array, " N"],
) -> Float[Array, " N"]:
    """X H: (p_i H[w_i] - m_i H[l_i])·g_i; ``factors`` are p and m, or empty."""
    blocks, size = _in_blocks(features.shape[0], features.shape[1], head.shape[0])
    part: Callable[..., Array] = lambda *slices: _part_apply(head, *slices)
    every = (features, chosen, rejected, *factors)
    if blocks == 0:
        return part(*every)
    done = jax.lax.map(lambda k: part(*_slice(every, k * size, size)), jnp.arange(blocks)).reshape(-1)
    rest = part(*_slice(every, blocks * size, features.shape[0] - blocks * size))
    return jnp.concatenate([done, rest])


def combine(
    a: Float[Array, " N"],
    features: Float[Array, "N d"],
    chosen: Int[Array, " N"],
    rejected: Int[Array, " N"],
    size: int,
    *factors: Float[Array, " N"],
) -> Float[Array, "R d"]:
    """Xᵀ a: Σ a_i (p_i e_w,i - m_i e_l,i) ⊗ g_i, one row per token."""
    blocks, length = _in_blocks(features.shape[0], features.shape[1], size)
    every = (a, features, chosen, rejected, *factors)
    part: Callable[..., Array] = lambda *slices: _part_combine(*slices, size=size)
    if blocks == 0:
        return part(*every)

    def add(total: Array, k: Array) -> tuple[Array, None]:
        return total + part(*_slice(every, k * length, length)), None

    total, _ = jax.lax.scan(add, jnp.zeros((size, features.shape[1]), a.dtype), jnp.arange(blocks))
    return total + part(*_slice(every, blocks * length, features.shape[0] - blocks * length))


def gram(rows: tuple[Array, ...], others: tuple[Array, ...]) -> Float[Array, "M N"]:
    """<x_i, x_j> for every pair of examples; each side is features, chosen, rejected and optionally p, m."""
    (g, w, l, *own), (g2, w2, l2, *their) = rows, others
    inner = g.astype(float) @ g2.astype(float).T
    same = lambda a, b: (a[:, None] == b[None, :]).astype(float)
    if not own and not their:
        return (same(w, w2) + same(l, l2) - same(w, l2) - same(l, w2)) * inner
    plus, minus = own or (jnp.ones(w.shape),) * 2
    plus2, minus2 = their or (jnp.ones(w2.shape),) * 2
    agree = plus[:, None] * plus2[None, :] * same(w, w2) + minus[:, None] * minus2[None, :] * same(l, l2)
    cross = plus[:, None] * minus2[None, :] * same(w, l2)
    return (agree - cross - minus[:, None] * plus2[None, :] * same(l, w2)) * inner
