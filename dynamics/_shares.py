"""Shares of a finite number of draws, with intervals that reflect that number."""

from __future__ import annotations

from typing import Any, NamedTuple

INTERVAL_LEVEL = 0.95  # of the Monte Carlo intervals


class Share(NamedTuple):
    """A share of the draws and its 95% Monte Carlo interval (Clopper and Pearson), in [0, 1]; arrays in ``SafeBeta``."""

    value: Any
    low: Any
    high: Any

    def __str__(self) -> str:
        return f"{self.value:.3g} ({self.low:.3g}–{self.high:.3g})"


def share(count: int, draws: int, level: float = INTERVAL_LEVEL) -> Share:
    """count/draws and its Clopper–Pearson interval, which covers with probability ``level`` or more.

    Args:
        count: draws that count, from 0 to ``draws``.
        draws: number of draws, int ≥ 1.
        level: of the interval, in (0, 1).

    Raises:
        ValueError: no draws, or a count outside 0 to ``draws``.

    >>> print(dyn.stability.share(3, 10))
    0.3 (0.0667–0.652)
    """
    from scipy.stats import beta

    if not 0 <= count <= draws or draws < 1:
        raise ValueError(f"count = {count} of draws = {draws}; pass draws ≥ 1 and 0 ≤ count ≤ draws.")
    tail = (1 - level) / 2
    low = 0.0 if count == 0 else float(beta.ppf(tail, count, draws - count + 1))
    high = 1.0 if count == draws else float(beta.ppf(1 - tail, count + 1, draws - count))
    return Share(count / draws, low, high)
