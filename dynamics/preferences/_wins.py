"""From counts of wins to a preference matrix."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from jaxtyping import Array, Float

from .._numerics import as_array
from ._check import Numbers, check_shape, host_array

_LARGEST = 2.0**53


def from_wins(counts: Numbers, *, missing: float | None = None) -> Float[Array, "K K"]:
    """P_ij = c_ij / (c_ij + c_ji).

    Arguments:
        counts: c, shape (K, K), K ≥ 2, 0 ≤ c_ij ≤ 2^53; ``counts[i, j]`` is how often i beat j. Halves (a draw counted
            to both) are fine; the diagonal is 0.
        missing: P_ij of a pair that was never compared; None refuses such pairs, and 0.5 is the only other value that
            treats both sides alike.

    Returns:
        P, shape (K, K); equal counts give exactly 1/2.

    Raises:
        ValueError: counts are not square, negative, not finite or on the diagonal; a pair was never compared and
            ``missing`` is None; ``missing`` is neither None nor 0.5.
    """
    return as_array(shares(host_array(counts, "counts"), missing, lambda i, j: f"counts[{i}, {j}]"))


def shares(counts: np.ndarray, missing: float | None, where: Callable[[int, int], str]) -> np.ndarray:
    """`from_wins` on the host; ``where`` gives an entry the name it goes by in errors."""
    if missing is not None and missing != 0.5:
        raise ValueError(f"missing = {missing} is not a fair guess; pass missing=0.5, or None to refuse such pairs.")
    check_shape(counts.shape, "counts")
    c = counts.astype(np.float64)
    for bad, remedy in (
        (~np.isfinite(c), "is not finite; pass a count ≥ 0"),
        (c < 0, "is negative; pass a count ≥ 0"),
        (c > _LARGEST, "is above 2^53 and no longer exact; pass a smaller count"),
        ((c != 0) & np.eye(len(c), dtype=bool), "is on the diagonal, where nothing is compared; set it to 0"),
    ):
        if bad.any():
            i, j = np.argwhere(bad)[0]
            raise ValueError(f"{where(int(i), int(j))} = {c[i, j]:g} {remedy}.")
    total = c + c.T
    never = (total == 0) & ~np.eye(len(c), dtype=bool)
    if never.any() and missing is None:
        i, j = np.argwhere(never)[0]
        raise ValueError(
            f"{where(int(i), int(j))} and {where(int(j), int(i))} are both 0: the pair was never compared "
            f"({int(never.sum()) // 2} in all); drop a response or pass missing=0.5 (--missing 0.5)."
        )
    return np.divide(c, total, out=np.full_like(c, 0.5), where=total > 0)
