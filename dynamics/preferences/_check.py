"""The check that every preference matrix passes."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from .._checks import Numbers, host_array
from .._numerics import as_array, concrete

_TOLERANCE = 1e-9


def check_shape(shape: tuple[int, ...], name: str) -> None:
    """Raises ``ValueError`` unless ``shape`` is (K, K) with K ≥ 2."""
    if len(shape) != 2 or shape[0] != shape[1]:
        raise ValueError(f"{name} has shape {shape}; pass a square matrix, shape (K, K).")
    if shape[0] < 2:
        raise ValueError(f"{name} has shape {shape}; pass at least two responses, K ≥ 2.")


def check_entries(array: np.ndarray, name: str) -> None:
    """Raises ``ValueError`` with the first bad entry of ``array``, in row order.

    Entries outside [0, 1] are reported before those that contradict the diagonal or their mirror image.
    """
    tolerance = max(_TOLERANCE, 4.0 * float(jnp.finfo(array.dtype).eps))
    values = array.astype(np.float64)
    first = _first(~np.isfinite(values))
    if first is not None:
        raise ValueError(f"{name}{_at(first)} = {values[first]} is not finite; pass a probability.")
    first = _first((values < 0.0) | (values > 1.0))
    if first is not None:
        raise ValueError(f"{name}{_at(first)} = {values[first]:.17g} is outside [0, 1]; pass a probability.")
    off = np.eye(len(values), dtype=bool) & (np.abs(values - 0.5) > tolerance / 2)
    first = _first(off)
    if first is not None:
        raise ValueError(
            f"{name}{_at(first)} = {values[first]:.12g} is on the diagonal; set it to 1/2, as a response ties with itself."
        )
    total = values + values.T
    first = _first(np.abs(total - 1.0) > tolerance)
    if first is not None:
        raise ValueError(
            f"{name}{_at(first)} + {name}{_at(first[::-1])} = {total[first]:.12g}, not 1; pass P with P + P.T = 1, or "
            f"counts of wins to from_wins."
        )


def host_matrix(P: Any, name: str = "P") -> np.ndarray:
    """Concrete ``P`` on the host, checked in its own precision and kept in it."""
    array = host_array(P, name)
    check_shape(array.shape, name)
    check_entries(array, name)
    return array


def check(P: Numbers) -> Float[Array, "K K"]:
    """P with 0 ≤ P_ij ≤ 1, P + Pᵀ = 1 and P_ii = 1/2, unchanged, or an error that names the first bad entry.

    Args:
        P: preference matrix, shape (K, K), K ≥ 2; ``P[i, j]`` is the probability that response i is preferred to j. A
            list, a NumPy or a JAX array. Values are checked in their own precision, before any rounding to JAX's default
            float: the tolerance on P + Pᵀ = 1 is 1e-9 in float64 and 4 eps (about 5e-7) in float32. Of a traced P only
            the shape is checked.

    Returns:
        P as an array in JAX's default float type, neither symmetrised nor clipped.

    Raises:
        ValueError: P is not square, K < 2, or an entry is not finite, outside [0, 1], not 1/2 on the diagonal, or
            does not sum to 1 with its mirror image.

    >>> dyn.preferences.check([[0.5, 0.8], [0.2, 0.5]]).tolist()
    [[0.5, 0.8], [0.2, 0.5]]
    """
    if not concrete(P):
        traced = P if isinstance(P, jax.Array) else jnp.asarray(P)
        check_shape(traced.shape, "P")
        return as_array(traced)
    array = host_matrix(P)
    return as_array(P if isinstance(P, jax.Array) else array)


def _first(bad: np.ndarray) -> tuple[int, int] | None:
    rows, columns = np.nonzero(bad)
    return (int(rows[0]), int(columns[0])) if len(rows) else None


def _at(index: tuple[int, ...]) -> str:
    return f"[{', '.join(str(i) for i in index)}]"
