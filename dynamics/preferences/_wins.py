"""From counts of wins to a preference matrix."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, TypeAlias

import numpy as np
from jaxtyping import Array, Float

from .._checks import Numbers, host_array, in_short
from .._numerics import as_array
from ._check import check_shape

Missing: TypeAlias = float | Literal["drop"] | None

MAX_COUNT = 2.0**53  # up to which every whole number is a float
REMEDIES = 'missing="drop" (--missing drop) to leave such responses out, or missing=0.5 (--missing 0.5)'


def from_wins(counts: Numbers, *, missing: float | None = None) -> Float[Array, "K K"]:
    """P_ij = c_ij / (c_ij + c_ji).

    Args:
        counts: c, shape (K, K), K ≥ 2, 0 ≤ c_ij ≤ 2^53; ``counts[i, j]`` is how often i beat j. Halves (a tie counted half
            to each) are allowed; the diagonal is 0.
        missing: P_ij of a pair that was never compared; None refuses such pairs, and 0.5, which treats both sides alike, is
            the only other value.

    Returns:
        P, shape (K, K); equal counts give exactly 1/2.

    Raises:
        ValueError: counts are not square, negative, not finite or on the diagonal; a pair was never compared and
            ``missing`` is None; ``missing`` is neither None nor 0.5.

    >>> dyn.preferences.from_wins([[0, 3], [1, 0]]).tolist()
    [[0.5, 0.75], [0.25, 0.5]]
    """
    check_missing(missing, 0.5)
    remedy = "drop a response or pass missing=0.5"
    return as_array(shares(host_array(counts, "counts"), missing, lambda i, j: f"counts[{i}, {j}]", remedy))


def check_missing(missing: Any, *accepted: Any) -> None:
    """Raises ``ValueError`` unless ``missing`` is None or one of the accepted values."""
    if missing is not None and not (isinstance(missing, str | float) and missing in accepted):
        raise ValueError(
            f"missing = {in_short(missing)} does not treat both sides alike; pass missing="
            f"{' or '.join(map(repr, accepted))}, or None to refuse pairs that were never compared."
        )


def without_missing(total: np.ndarray) -> np.ndarray:
    """The responses that remain, ascending, after dropping some until no pair has total 0.

    Each time the response with the most such pairs is dropped; of several the one compared least, of those the first.
    """
    never = (total == 0) & ~np.eye(len(total), dtype=bool)
    pairs, compared = never.sum(axis=1), total.sum(axis=1)
    left = np.ones(len(total), dtype=bool)
    while pairs[left].any():
        worst = np.flatnonzero(left & (pairs == pairs[left].max()))
        gone = worst[np.argmin(compared[worst])]
        left[gone] = False
        pairs, compared = pairs - never[gone], compared - total[gone]
    return np.flatnonzero(left)


def shares(counts: np.ndarray, missing: Missing, where: Callable[[int, int], str], remedy: str) -> np.ndarray:
    """`from_wins` on the host; ``where`` gives the name of an entry in errors."""
    check_shape(counts.shape, "counts")
    c = counts.astype(np.float64)
    for bad, what in (
        (~np.isfinite(c), "is not finite; pass a count ≥ 0"),
        (c < 0, "is negative; pass a count ≥ 0"),
        (c > MAX_COUNT, "is above 2^53, where counts are not exact; pass a smaller count"),
        ((c != 0) & np.eye(len(c), dtype=bool), "is on the diagonal, where a response meets itself; set it to 0"),
    ):
        if bad.any():
            i, j = np.argwhere(bad)[0]
            raise ValueError(f"{where(int(i), int(j))} = {c[i, j]:g} {what}.")
    total = c + c.T
    never = (total == 0) & ~np.eye(len(c), dtype=bool)
    if never.any() and missing is None:
        i, j = np.argwhere(never)[0]
        raise ValueError(
            f"{where(int(i), int(j))} and {where(int(j), int(i))} are both 0: the pair was never compared "
            f"({int(never.sum()) // 2} in all); {remedy}."
        )
    return np.divide(c, total, out=np.full_like(c, 0.5), where=total > 0)


def short(name: str) -> str:
    return repr(name if len(name) <= 40 else f"{name[:39]}…")
