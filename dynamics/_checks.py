"""Checks of arguments, shared by the whole library: each returns the checked value or raises.

Every error is a ``ValueError`` of one sentence that names the argument and the remedy.
"""

from __future__ import annotations

import reprlib
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float

from ._numerics import as_array, concrete, log_softmax

T = TypeVar("T")

Numbers: TypeAlias = ArrayLike | Sequence[Any]


def as_numbers(value: Any, name: str) -> Array:
    """As ``as_array``; raises ``ValueError`` with ``name`` where ``value`` is not an array of real numbers."""
    return _converted(as_array, value, name)


def host_numbers(value: Any, name: str) -> np.ndarray:
    """As ``as_numbers``, on the host and in float64 whatever JAX's precision."""
    return _converted(lambda x: np.asarray(x, np.float64), value, name)


def _converted(convert: Callable[[Any], T], value: Any, name: str) -> T:
    # Conversion would drop imaginary parts.
    if any(np.iscomplexobj(leaf) for leaf in jax.tree.leaves(value)):
        raise ValueError(f"{name} has complex entries; pass real numbers.")
    try:
        return convert(value)
    except (TypeError, ValueError):
        wanted = "rows of numbers of equal length" if isinstance(value, list | tuple) else "numbers"
        raise ValueError(f"{name} is {in_short(value)}; pass {wanted}.") from None


def token_numbers(value: Any, name: str) -> np.ndarray:
    """Token ids on the host, of any shape; raises ``ValueError`` with ``name``."""
    try:
        ids = np.asarray(value)
    except ValueError:
        raise ValueError(f"{name} is {in_short(value)}; pass rows of token ids of equal length.") from None
    if not np.issubdtype(ids.dtype, np.integer):
        raise ValueError(f"{name} has dtype {ids.dtype}; pass whole numbers, one per token.")
    return ids


def in_short(value: Any) -> str:
    """The beginning of ``repr(value)`` on one line, for a message."""
    return " ".join(reprlib.repr(value).split())


def host_array(value: Any, name: str) -> np.ndarray:
    """``value`` as a NumPy array of real floats in its own precision; raises ``ValueError`` with ``name``."""
    if not concrete(value):
        raise ValueError(f"{name} is traced; call this outside jit, vmap and grad.")
    try:
        array = np.asarray(value)
    except ValueError:
        raise ValueError(f"{name} has rows of different lengths; pass a rectangular array of numbers.") from None
    # bfloat16 and the like have NumPy kind "V", so JAX decides what is a real number.
    if not any(jnp.issubdtype(array.dtype, kind) for kind in (jnp.floating, jnp.integer, jnp.bool_)):
        raise ValueError(f"{name} has dtype {array.dtype}; pass real numbers.")
    if not jnp.issubdtype(array.dtype, jnp.floating) or array.dtype.itemsize > 8:
        return array.astype(np.float64)
    # JAX takes only native byte order.
    return array if array.dtype.isnative else array.astype(array.dtype.newbyteorder("="))


def check_count(value: int, name: str, least: int) -> int:
    """``value`` as an int ≥ ``least``; raises ``ValueError`` with ``name``."""
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < least:
        raise ValueError(f"{name} = {value!r}; pass a whole number of at least {least}.")
    return int(value)


def check_log_distribution(
    value: Any, name: str, size: int | None = None, *, zero_mass: bool = False
) -> Float[Array, " K"]:
    """``value`` as an array of log-probabilities; raises ``ValueError`` with ``name``.

    A total mass within 1e-6 of 1 is normalised. A larger deviation is taken for a mistake, such as probabilities or raw
    scores in place of their logs. ``-inf`` passes only with ``zero_mass``, that is, in a sampler.
    """
    array = as_numbers(value, name)
    if array.ndim != 1 or array.shape[0] == 0 or (size is not None and array.shape[0] != size):
        want = "(K,)" if size is None else f"({size},)"
        raise ValueError(f"{name} has shape {array.shape}; pass one log-probability per response, shape {want}.")
    if not concrete(array):
        return log_softmax(array)
    host = np.asarray(array)
    if np.isnan(host).any() or (host == np.inf).any():
        raise ValueError(
            f"{name}[{int(np.argmax(~(host < np.inf)))}] is {host[~(host < np.inf)][0]}; pass finite logs."
        )
    if (host == -np.inf).any() and not zero_mass:
        raise ValueError(
            f"{name}[{int(np.argmax(host == -np.inf))}] is -inf (zero probability), which only a sampler may have; "
            f"pass a policy or reference with full support."
        )
    total = float(np.exp(host - host.max()).sum() * np.exp(host.max())) if host.max() > -700 else 0.0
    if abs(total - 1.0) > max(1e-6, 1e3 * float(jnp.finfo(array.dtype).eps)):
        raise ValueError(
            f"{name} has total probability {total:.6g}, not 1; pass log-probabilities, e.g. jax.nn.log_softmax(scores)."
        )
    return log_softmax(array)


def check_log_rows(rows: Array, name: str, *, zero_mass: bool = False) -> Float[Array, "rows K"]:
    """The same for every row of a matrix, ``(rows, K)``; the message names the row."""
    if not concrete(rows):
        return log_softmax(rows)
    host = np.asarray(rows)
    top = host.max(axis=1, keepdims=True)
    with np.errstate(invalid="ignore"):
        total = np.exp(host - top).sum(axis=1) * np.exp(top[:, 0])
        near = np.abs(total - 1.0) <= max(1e-6, 1e3 * float(jnp.finfo(rows.dtype).eps))
    good = near & (host < np.inf).all(axis=1) & (zero_mass | (host > -np.inf).all(axis=1))
    for x in np.flatnonzero(~good):
        check_log_distribution(rows[x], f"{name}[{x}]", zero_mass=zero_mass)
    return log_softmax(rows)


def check_scalar(value: Any, name: str, low: float, high: float, *, open_low: bool = False) -> Array:
    """``value`` as a float array; raises ``ValueError`` where a concrete value is outside [low, high], or (low, high]."""
    array = as_numbers(value, name)
    if concrete(array):
        host = np.asarray(array)
        bad = ~np.isfinite(host) | (host < low) | (host > high) | ((host <= low) if open_low else False)
        if bad.any():
            left = "(" if open_low else "["
            right = "inf)" if high == np.inf else f"{high:g}]"
            worst = host if host.ndim == 0 else host[bad][0]
            raise ValueError(f"{name} = {float(worst):g} is outside {left}{low:g}, {right}; pass a value inside.")
    return array


def check_number(value: Any, name: str, low: float, high: float, *, open_low: bool = False) -> Float[Array, ""]:
    """As ``check_scalar``, for one number only."""
    array = check_scalar(value, name, low, high, open_low=open_low)
    if array.ndim != 0:
        raise ValueError(f"{name} has shape {array.shape}; pass one number.")
    return array


def check_key(key: Any) -> None:
    """Raises ``ValueError`` unless ``key`` is one key of ``jax.random``, typed or raw."""
    try:
        jax.eval_shape(jax.random.split, key)
    except (TypeError, ValueError):
        raise ValueError(f"key is {in_short(key)}; pass one key, key=jax.random.key(seed).") from None
