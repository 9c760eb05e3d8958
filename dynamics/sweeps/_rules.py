"""What single operations become where the runs of a block lie along the last axis."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array

# Entry by entry, with equal shapes in and out.
# fmt: off
ENTRYWISE = {
    "abs", "acos", "acosh", "add", "add_any", "and", "asin", "asinh", "atan", "atan2", "atanh", "cbrt", "ceil",
    "clamp", "convert_element_type", "copy", "cos", "cosh", "digamma", "div", "eq", "erf", "erf_inv", "erfc", "exp",
    "exp2", "expm1", "floor", "ge", "gt", "imag", "integer_pow", "is_finite", "le", "lgamma", "log", "log1p",
    "logistic", "lt", "max", "min", "mul", "ne", "neg", "nextafter", "not", "or", "population_count", "pow", "real",
    "reduce_precision", "regularized_incomplete_beta", "rem", "round", "rsqrt", "select_n", "shift_left",
    "shift_right_arithmetic", "shift_right_logical", "sign", "sin", "sinh", "sqrt", "square", "stop_gradient",
    "sub", "tan", "tanh", "xor",
}
# fmt: on
# Parameters count axes from the front, so one more axis at the end does not change their meaning.
# fmt: off
ALONG_AXES = {
    "argmax", "argmin", "cumlogsumexp", "cummax", "cummin", "cumprod", "cumsum", "reduce_and", "reduce_max",
    "reduce_min", "reduce_or", "reduce_prod", "reduce_sum", "reduce_xor", "rev", "sort", "split", "squeeze",
}
# fmt: on


def spread(value: Array, flag: bool, lanes: int) -> Array:
    """``value`` with the batch, broadcast to every lane if it has none."""
    return value if flag else jnp.broadcast_to(value[..., None], (*value.shape, lanes))


def grow(value: Any, flag: bool, rank: int, most: int, eqn: Any, lanes: int) -> Any:
    """An operand with the batch, and with as many axes as the operand that has most."""
    if rank == most:
        return spread(jnp.asarray(value), flag, lanes)
    shape = eqn.outvars[0].aval.shape
    axes = (most,) if flag else ()
    return lax.broadcast_in_dim(value, (*shape, lanes), axes)


def _broadcast_in_dim(params: Any, values: list[Any], flags: list[bool], ranks: list[int], lanes: int) -> Any:
    shape, dims = params["shape"], params["broadcast_dimensions"]
    return lax.broadcast_in_dim(values[0], (*shape, lanes), (*dims, len(shape))) if len(values) == 1 else None


def _reshape(params: Any, values: list[Any], flags: list[bool], ranks: list[int], lanes: int) -> Any:
    plain = params.get("dimensions") is None and len(values) == 1
    return lax.reshape(values[0], (*params["new_sizes"], lanes)) if plain else None


def _transpose(params: Any, values: list[Any], flags: list[bool], ranks: list[int], lanes: int) -> Any:
    return lax.transpose(values[0], (*params["permutation"], ranks[0]))


def _concatenate(params: Any, values: list[Any], flags: list[bool], ranks: list[int], lanes: int) -> Any:
    return lax.concatenate([spread(x, f, lanes) for x, f in zip(values, flags, strict=True)], params["dimension"])


def _slice(params: Any, values: list[Any], flags: list[bool], ranks: list[int], lanes: int) -> Any:
    strides = params["strides"] or (1,) * ranks[0]
    return lax.slice(values[0], (*params["start_indices"], 0), (*params["limit_indices"], lanes), (*strides, 1))


def _dynamic_slice(params: Any, values: list[Any], flags: list[bool], ranks: list[int], lanes: int) -> Any:
    if any(flags[1:]):
        return None
    return lax.dynamic_slice(values[0], [*values[1:], 0 * values[1]], (*params["slice_sizes"], lanes))


def _dynamic_update_slice(params: Any, values: list[Any], flags: list[bool], ranks: list[int], lanes: int) -> Any:
    if any(flags[2:]) or len(values) < 3:
        return None
    table, rows = (spread(x, f, lanes) for x, f in zip(values[:2], flags[:2], strict=True))
    return lax.dynamic_update_slice(table, rows, [*values[2:], 0 * values[2]])


def _dot_general(params: Any, values: list[Any], flags: list[bool], ranks: list[int], lanes: int) -> Any:
    (left, _), (outer_left, outer_right) = params["dimension_numbers"]
    a, b = values
    if outer_left or outer_right or len(left) != 1:
        return None
    if flags == [False, True]:
        return lax.dot_general(a, b, params["dimension_numbers"], params["precision"])
    if flags == [True, True] and ranks == [2, 1] and left == (1,):
        return jnp.sum(a * b[None], axis=1)
    if flags == [True, False] and ranks[1] == 1:
        return lax.dot_general(a, b, params["dimension_numbers"], params["precision"])
    return None


RULES: dict[str, Callable[..., Any]] = {
    "broadcast_in_dim": _broadcast_in_dim,
    "reshape": _reshape,
    "transpose": _transpose,
    "concatenate": _concatenate,
    "slice": _slice,
    "dynamic_slice": _dynamic_slice,
    "dynamic_update_slice": _dynamic_update_slice,
    "dot_general": _dot_general,
}
