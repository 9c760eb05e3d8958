"""Whether a window of policies returns to itself, and how far it swings; the rule is that of ``dyn.diagnostics.period``."""

from __future__ import annotations

import numpy as np

RESTING = 1e-9  # amplitude of a window that counts as constant
EXACT, RECURRENT, DEPARTED = 1e-10, 0.06, 0.05  # of d, the mean squared difference over twice the variance
EARLY = 5e-5
MAX_LAG_CHANGE, MAX_GROWTH = 2e-3, 0.01
MIN_ROWS = 5


def recurs(rows: np.ndarray) -> tuple[bool, float]:
    """Whether the rows, or their newer half, are periodic or quasi-periodic, and half their largest peak-to-peak.

    Args:
        rows: the last policies of a run, ``(N, K)``.
    """
    whole = _returns(rows, 1.0)
    if whole or len(rows) < 2 * MIN_ROWS:
        return whole, _swing(rows)
    # The whole may hold the transient; the half has to be steadier, since a slow change is smaller in it.
    half = rows[len(rows) - len(rows) // 2 :]
    newer = _swing(half) >= RESTING and _returns(half, 0.1)
    return (True, _swing(half)) if newer else (False, _swing(rows))


def _swing(rows: np.ndarray) -> float:
    return float(np.ptp(rows, axis=0).max() / 2)


def _returns(rows: np.ndarray, slack: float) -> bool:
    n = len(rows)
    if n < MIN_ROWS or _swing(rows) < RESTING:
        return False
    x = rows - rows.mean(axis=0)
    x = x / np.sqrt((x**2).sum() / n)
    lags = n // 2 + 2
    base = n - lags + 1
    split = (base + 1) // 2
    halves = np.array([_differences(x, 0, split, lags), _differences(x, split, base, lags)])
    d = halves.mean(axis=0)
    far = d > DEPARTED
    if not far.any():
        return False
    risen = np.arange(lags) >= int(np.argmax(far))
    if ((d < EXACT) & risen)[: lags - 1].any():
        return True
    power = np.concatenate([[0.0], np.cumsum((x**2).sum(axis=1))])
    total = power[base : base + lags] - power[:lags]
    gain = np.sqrt(total / total[0])
    inner = np.arange(1, lags - 1)
    offset, value = _vertex(d, inner)
    minima = (np.abs(offset) <= 0.5) & risen[inner]
    short = inner < lags // 4
    for chosen, longest in ((minima & ~short, RECURRENT), (minima & short, EARLY)):
        if not chosen.any():
            continue
        k = int(np.argmin(np.where(chosen, value, np.inf)))
        lag = int(inner[k])
        offsets, values = zip(*(_vertex(half, np.array([lag])) for half in halves), strict=True)
        miss = max(float(value[k]), *(float(v[0]) for v in values))
        steady = abs(gain[lag] - 1) < slack * MAX_GROWTH * lag / lags
        first, second = (float(offset[0]) for offset in offsets)
        steady &= bool(np.isfinite(first) and abs(first - second) < slack * MAX_LAG_CHANGE * lag)
        if miss < longest and steady:
            return True
    return False


def _differences(x: np.ndarray, begin: int, end: int, lags: int) -> np.ndarray:
    """mean_t |x_{t+q} - x_t|²/2 over begin ≤ t < end, for each lag q."""
    base = x[begin:end]
    return np.array([((x[begin + q : end + q] - base) ** 2).sum() for q in range(lags)]) / (2 * max(len(base), 1))


def _vertex(d: np.ndarray, at: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Offset and value at the minimum of the parabola through d at ``at`` and its neighbours; infinite where it has none."""
    left, mid, right = d[at - 1], d[at], d[at + 1]
    bend = left - 2 * mid + right
    safe = np.where(bend > 0, bend, 1.0)
    offset = np.where(bend > 0, (left - right) / (2 * safe), np.inf)
    inside = np.abs(offset) <= 0.5
    return offset, np.where(inside, np.maximum(mid - (left - right) ** 2 / (8 * safe), 0.0), mid)
