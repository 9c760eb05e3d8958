"""Features times token differences: the linear algebra of last-layer training, without the last layer.

Example i moves the logits of two tokens only, so its direction in weight space is x_i = (e_w,i - e_l,i) ⊗ g_i. Here X has
these as rows and is never formed: ``apply`` is X H and ``combine`` is Xᵀ a, with H one row per occurring token.
"""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

BLOCK = 2**19  # numbers of a block of features: it and what is made of it stay in cache
FEW_TOKENS = 8  # up to here a matrix product over all tokens is faster than picking rows (measured)


def _part_apply(head: Float[Array, "R d"], g: Array, chosen: Array, rejected: Array) -> Float[Array, " n"]:
    g = g.astype(head.dtype)
    if head.shape[0] > FEW_TOKENS:
        return jnp.sum((head[chosen] - head[rejected]) * g, axis=-1)
    logits = g @ head.T
    pick = lambda tokens: jnp.take_along_axis(logits, tokens[:, None], axis=1)[:, 0]
    return pick(chosen) - pick(rejected)


def _part_combine(a: Float[Array, " n"], g: Array, chosen: Array, rejected: Array, size: int) -> Float[Array, "R d"]:
    g = g.astype(a.dtype)
    if size > FEW_TOKENS:
        pushed = a[:, None] * g
        return jnp.zeros((size, g.shape[1]), a.dtype).at[chosen].add(pushed).at[rejected].add(-pushed)
    tokens = jnp.arange(size)
    sign = (chosen[:, None] == tokens).astype(a.dtype) - (rejected[:, None] == tokens)
    return (sign * a[:, None]).T @ g


def _in_blocks(count: int, width: int) -> tuple[int, int]:
    """Number of full blocks and their size, for ``count`` examples of ``width`` features."""
    size = max(16, BLOCK // width)
    return (0, size) if count <= 8 * size else (count // size, size)


def _slice(values: tuple[Array, ...], start: Array | int, size: int) -> tuple[Array, ...]:
    return tuple(jax.lax.dynamic_slice_in_dim(v, start, size) for v in values)


def apply(
    head: Float[Array, "R d"], features: Float[Array, "N d"], chosen: Int[Array, " N"], rejected: Int[Array, " N"]
) -> Float[Array, " N"]:
    """X H: (H[w_i] - H[l_i])·g_i."""
    blocks, size = _in_blocks(*features.shape)
    part: Callable[..., Array] = lambda *slices: _part_apply(head, *slices)
    if blocks == 0:
        return part(features, chosen, rejected)
    every = (features, chosen, rejected)
    done = jax.lax.map(lambda k: part(*_slice(every, k * size, size)), jnp.arange(blocks)).reshape(-1)
    rest = part(*_slice(every, blocks * size, features.shape[0] - blocks * size))
    return jnp.concatenate([done, rest])


def combine(
    a: Float[Array, " N"],
    features: Float[Array, "N d"],
    chosen: Int[Array, " N"],
    rejected: Int[Array, " N"],
    size: int,
) -> Float[Array, "R d"]:
    """Xᵀ a: Σ a_i (e_w,i - e_l,i) ⊗ g_i, one row per token."""
    blocks, length = _in_blocks(*features.shape)
    every = (a, features, chosen, rejected)
    part: Callable[..., Array] = lambda a, g, w, l: _part_combine(a, g, w, l, size)
    if blocks == 0:
        return part(*every)

    def add(total: Array, k: Array) -> tuple[Array, None]:
        return total + part(*_slice(every, k * length, length)), None

    total, _ = jax.lax.scan(add, jnp.zeros((size, features.shape[1]), a.dtype), jnp.arange(blocks))
    return total + part(*_slice(every, blocks * length, features.shape[0] - blocks * length))


def overlap(chosen: Array, rejected: Array, other_chosen: Array, other_rejected: Array) -> Float[Array, "M N"]:
    """(y_w - y_l)·(y_w' - y_l') of every pair of examples: -2 … 2."""
    same = lambda a, b: (a[:, None] == b[None, :]).astype(float)
    agree = same(chosen, other_chosen) + same(rejected, other_rejected)
    return agree - same(chosen, other_rejected) - same(rejected, other_chosen)


def gram(
    features: Float[Array, "M d"],
    chosen: Int[Array, " M"],
    rejected: Int[Array, " M"],
    others: Float[Array, "N d"],
    other_chosen: Int[Array, " N"],
    other_rejected: Int[Array, " N"],
) -> Float[Array, "M N"]:
    """C_ij = (y_w,i - y_l,i)·(y_w,j - y_l,j) <g_i, g_j>."""
    inner = features.astype(float) @ others.astype(float).T
    return overlap(chosen, rejected, other_chosen, other_rejected) * inner
