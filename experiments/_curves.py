"""Curves over time and seeds: when a level is reached, and medians with exact intervals."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from scipy.stats import binom

LEAST_SEEDS = 6  # with fewer, even the full range covers the median with a probability below 95 %


class Median(NamedTuple):
    """A median over the first axis and its interval; each is a number, or an array over the other axes."""

    value: Any
    low: Any
    high: Any

    def __str__(self) -> str:
        return f"{float(self.value):.3g} [{float(self.low):.3g}, {float(self.high):.3g}]"


def median(values: np.ndarray, level: float = 0.95) -> Median:
    """The median over the first axis, with a distribution-free interval between two order statistics.

    The interval covers with probability ``level`` or more. With fewer than ``LEAST_SEEDS`` values it is the full range, which
    covers with a smaller probability.
    """
    ordered, n = np.sort(np.asarray(values, dtype=float), axis=0), len(values)
    k = max(int(binom.ppf((1 - level) / 2, n, 0.5)), 1)
    if 2 * binom.cdf(k - 1, n, 0.5) > 1 - level:
        k = max(k - 1, 1)
    return Median(np.median(ordered, axis=0), ordered[k - 1], ordered[n - k])


def over_data_sets(count: int, what: str = "data sets") -> str:
    """A description in words of the interval of a ``median``."""
    return f"95 % interval of the median over {count} {what} (order statistics)"


def first_reached(times: np.ndarray, curves: np.ndarray, level: float) -> np.ndarray:
    """The times at which curves ``(…, T)`` first reach ``level`` from below, interpolated linearly; inf where they never do."""
    above = curves >= level
    after = np.argmax(above, axis=-1)
    before = np.maximum(after - 1, 0)
    low = np.take_along_axis(curves, before[..., None], -1)[..., 0]
    high = np.take_along_axis(curves, after[..., None], -1)[..., 0]
    share = np.where(high > low, (level - low) / np.where(high > low, high - low, 1.0), 1.0)
    found = times[before] + np.clip(share, 0, 1) * (times[after] - times[before])
    return np.where(above.any(axis=-1), found, np.inf)
