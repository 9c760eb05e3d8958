"""Checks of preference pairs: features, token ids and weights, with the bad entry named."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from .._checks import as_numbers, token_numbers
from .._numerics import as_array, concrete

NO_SEVERAL_TOKENS = (
    "responses of several tokens have no closed equation for margins, since each position's softmax enters; pass one token "
    "and one row of features per example, or use dyn.margins.multi_token_rate on dyn.margins.Responses"
)
ROWS_PER_SLICE = 512  # checked together: a mask of 10^5 × 4096 entries would take too much memory


def _in_slices(test: Callable[[Array], Array], rows: Float[Array, "n d"]) -> Array:
    """``test`` of slices of the rows, stacked; the last slice overlaps the previous one, which avoids a padded copy."""
    n, size = rows.shape[0], min(ROWS_PER_SLICE, rows.shape[0])
    starts = jnp.minimum(jnp.arange(-(-n // size)) * size, n - size)
    return jax.lax.map(lambda at: test(jax.lax.dynamic_slice_in_dim(rows, at, size)), starts)


@eqx.filter_jit
def _first_bad(g: Array) -> Array:
    rows = g.reshape(-1, g.shape[-1])
    bad = _in_slices(lambda part: ~jnp.all(jnp.isfinite(part)), rows)
    # First the slice with the first bad row, then the row in it.
    n, size = rows.shape[0], min(ROWS_PER_SLICE, rows.shape[0])
    start = jnp.minimum(jnp.argmax(bad) * size, n - size)
    part = jax.lax.dynamic_slice_in_dim(rows, start, size)
    return jnp.where(jnp.any(bad), start + jnp.argmax(~jnp.all(jnp.isfinite(part), axis=1)), -1)


@eqx.filter_jit
def all_identical(g: Float[Array, "*flows N d"]) -> Array:
    """Whether in some flow all examples have the same features."""
    flows = g.reshape(-1, *g.shape[-2:])
    same = lambda rows: jnp.all(_in_slices(lambda part: jnp.all(part == rows[:1]), rows))
    return jnp.any(jax.lax.map(lambda k: same(flows[k]), jnp.arange(flows.shape[0])))


def as_features(value: Any, width: int | None = None) -> Float[Array, "*flows N d"]:
    """Features in the dtype in which they are stored: float32 stays, anything else becomes the default float."""
    if isinstance(value, eqx.Module):
        raise ValueError(f"features is a {type(value).__name__}; {NO_SEVERAL_TOKENS}.")
    if getattr(value, "dtype", None) != np.float32:
        g = as_numbers(value, "features")
    else:  # jnp.asarray would temporarily hold two copies of a NumPy array
        g = jax.device_put(value, may_alias=False) if isinstance(value, np.ndarray) else jnp.asarray(value)
    if g.ndim > 3:
        raise ValueError(f"features have shape {g.shape}; {NO_SEVERAL_TOKENS}.")
    if g.ndim not in (2, 3) or 0 in g.shape:
        raise ValueError(f"features have shape {g.shape}; pass one row of features per example, shape (N, d).")
    if width is not None and g.shape[-1] != width:
        raise ValueError(f"features have {g.shape[-1]} columns, those of training {width}; pass shape (M, {width}).")
    if concrete(g):
        bad = int(_first_bad(g))
        if bad >= 0:
            at = f"{bad}" if g.ndim == 2 else f"{bad // g.shape[-2]}, {bad % g.shape[-2]}"
            raise ValueError(f"features[{at}] has an entry that is not finite; drop the example or fix it.")
    return g


def token_ids(value: Any, name: str, shape: tuple[int, ...], vocabulary: int | None = None) -> np.ndarray:
    """Token ids on the host, of ``shape``; one row of ids may serve all flows of a batch."""
    ids = token_numbers(value, name)
    if ids.ndim > 1 and (ids.ndim > len(shape) or (ids == -1).any()):
        raise ValueError(
            f"{name} has shape {ids.shape}{' and -1 for padding' * bool((ids == -1).any())}; {NO_SEVERAL_TOKENS}."
        )
    if ids.shape not in (shape, shape[-1:]):
        raise ValueError(f"{name} has shape {ids.shape}; pass one token id per example, shape {shape}.")
    outside = (ids < 0) | (ids >= (np.iinfo(np.int32).max if vocabulary is None else vocabulary))
    if outside.any():
        at = tuple(int(i) for i in np.argwhere(outside)[0])
        limit = "0 … 2³¹-2" if vocabulary is None else f"0 … {vocabulary - 1}"
        raise ValueError(f"{name}[{', '.join(map(str, at))}] = {ids[at]} is not a token id; pass ids in {limit}.")
    return np.broadcast_to(ids, shape)


def different(chosen: np.ndarray, rejected: np.ndarray) -> None:
    """Raises ``ValueError`` where the two tokens of a pair are equal."""
    if (chosen == rejected).any():
        at = tuple(int(i) for i in np.argwhere(chosen == rejected)[0])
        where = ", ".join(map(str, at))
        raise ValueError(f"chosen[{where}] and rejected[{where}] are both token {chosen[at]}; drop the example.")


def as_tokens(
    chosen: Any, rejected: Any, shape: tuple[int, ...], vocabulary: int | None
) -> tuple[Int[Array, " R"], Int[Array, "*flows N"], Int[Array, "*flows N"]]:
    """The occurring tokens, ascending, and the pairs as positions among them."""
    whole = isinstance(vocabulary, int | np.integer) and not isinstance(vocabulary, bool)
    if vocabulary is not None and (not whole or vocabulary < 2):
        raise ValueError(f"vocabulary = {vocabulary!r}; pass the number of tokens, a whole number of at least 2.")
    w, l = token_ids(chosen, "chosen", shape, vocabulary), token_ids(rejected, "rejected", shape, vocabulary)
    different(w, l)
    tokens, position = np.unique(np.stack([w, l]), return_inverse=True)
    position = position.reshape(2, *shape)
    return jnp.asarray(tokens), jnp.asarray(position[0]), jnp.asarray(position[1])


def as_weights(value: Any, shape: tuple[int, ...]) -> Float[Array, "*flows N"]:
    """Weights that sum to 1 over the examples."""
    if value is None:
        return jnp.full(shape, as_array(1.0 / shape[-1]))
    w = as_numbers(value, "weights")
    if w.shape not in (shape, shape[-1:]):
        raise ValueError(f"weights have shape {w.shape}; pass one number per example, shape {shape}.")
    w = jnp.broadcast_to(w, shape)
    if concrete(w):
        host = np.asarray(w)
        if not np.isfinite(host).all() or (host < 0).any() or (host.sum(axis=-1) <= 0).any():
            raise ValueError("weights hold a negative or non-finite number, or sum to 0; pass numbers ≥ 0, some > 0.")
    return w / jnp.sum(w, axis=-1, keepdims=True)


def as_positive(value: Any, name: str, shape: tuple[int, ...]) -> Float[Array, "*flows N"] | None:
    """One number > 0 per example, or None."""
    if value is None:
        return None
    x = as_numbers(value, name)
    if x.shape not in (shape, shape[-1:]):
        raise ValueError(f"{name} has shape {x.shape}; pass one number per example, shape {shape}.")
    x = jnp.broadcast_to(x, shape)
    if concrete(x):
        host = np.asarray(x)
        bad = np.argwhere(~(np.isfinite(host) & (host > 0)))
        if len(bad):
            at = tuple(int(i) for i in bad[0])
            raise ValueError(f"{name}[{', '.join(map(str, at))}] = {host[at]:g}; pass finite numbers above 0.")
    return x
