"""Exact flows of a piecewise linear loss, which are piecewise linear in time.

With f' = ``below`` left of the kink and ``above`` right of it, a coefficient moves at v = da/dt = -w·below or -w·above. A
margin at the kink may slide along it, with the v in between that keeps it there. As f is convex, the velocities of a piece
are those of least norm: with u = dr/dt = beta² C v, each margin at the kink has v = -w·above and u ≥ 0, or v = -w·below and
u ≤ 0, or u = 0 in between. For SLiC these are v = 0, v = w, and the share of w that holds the margin at 1.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Array

from ._pairs import PairFeatures

MAX_EXAMPLES = 4000  # with more, the solution has too many pieces
KINK_TOLERANCE = 1e-11  # relative to the kink
ABOVE, SLIDING, BELOW = 0, 1, 2


def solution(
    pairs: PairFeatures,
    beta: float,
    shape: tuple[np.ndarray, ...],
    coefficient: np.ndarray,
    margin: np.ndarray,
    span: float,
) -> tuple[np.ndarray, np.ndarray, np.ndarray] | None:
    """Kinks of the solution: times since the start, coefficients and margins there; None where there are too many.

    Args:
        pairs: the examples of one flow.
        beta: of the loss.
        shape: kink, slope below and slope above, each a number or ``(N,)``; below ≤ above.
        coefficient, margin: the start, ``(N,)``.
        span: duration, in units of tau.
    """
    weights = np.asarray(pairs.weights)
    if len(weights) > MAX_EXAMPLES:
        return None
    kink, below, above = (np.broadcast_to(x, weights.shape) for x in shape)
    low, high = 0.0 - weights * above, 0.0 - weights * below
    B = beta**2 * np.asarray(pairs.gram())
    t, a, r = 0.0, np.array(coefficient), np.array(margin)
    ts, all_a, all_r = [t], [a], [r]
    v_before = np.where(r < kink, high, low)
    for _ in range(20 * len(weights) + 100):
        v, u = _velocities(B, low, high, r, kink, v_before)
        wait, arriving = _next_kink(r, u, kink, span - t)
        a, r = a + wait * v, r + wait * u
        r[arriving] = kink[arriving]
        t, v_before = t + wait, v
        ts.append(t)
        all_a.append(a)
        all_r.append(r)
        if t >= span * (1 - 1e-15):
            return np.array(ts), np.array(all_a), np.array(all_r)
    return None


def _velocities(
    B: np.ndarray, low: np.ndarray, high: np.ndarray, r: np.ndarray, kink: np.ndarray, guess: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    at = np.flatnonzero((np.abs(r - kink) <= KINK_TOLERANCE * np.abs(kink)) & (low < high))
    v = np.where(r < kink, high, low)
    if len(at):
        v[at] = 0.0
        v[at] = _shares(B[np.ix_(at, at)], B[at] @ v, low[at], high[at], guess[at])
    return v, _clean(B @ v, B, v, at, low, high)


def _clean(
    u: np.ndarray, B: np.ndarray, v: np.ndarray, at: np.ndarray, low: np.ndarray, high: np.ndarray
) -> np.ndarray:
    """u with the zeros of sliding margins made exact, because with rounding they would drift off the kink."""
    inside = at[(v[at] > low[at]) & (v[at] < high[at])]
    u[inside] = 0.0
    return np.where(np.abs(u) <= 1e-13 * (np.abs(B) @ np.abs(v) + 1e-300), 0.0, u)


def _shares(B: np.ndarray, pull: np.ndarray, low: np.ndarray, high: np.ndarray, guess: np.ndarray) -> np.ndarray:
    """v in [low, high] with B v + pull ≥ 0 where v = low, ≤ 0 where v = high, = 0 between, by exchanging active bounds."""
    size, room = len(low), high - low
    scale = 1e-12 * (np.abs(B) @ np.maximum(np.abs(low), np.abs(high)) + np.abs(pull) + 1e-300)
    where = np.where(guess <= low, ABOVE, np.where(guess >= high, BELOW, SLIDING))
    v = np.where(where == BELOW, high, low)
    for attempt in range(50 * size + 50):
        free = where == SLIDING
        v = np.where(where == BELOW, high, low)
        if free.any():
            rhs = -(pull[free] + B[np.ix_(free, ~free)] @ v[~free])
            v[free] = np.linalg.lstsq(B[np.ix_(free, free)], rhs, rcond=1e-13)[0]
        u = B @ v + pull
        too_low, too_high = free & (v < low - 1e-12 * room), free & (v > high + 1e-12 * room)
        rises, falls = (where == BELOW) & (u > scale), (where == ABOVE) & (u < -scale)
        bad = too_low | too_high | rises | falls
        if not bad.any():
            return np.clip(v, low, high)
        # Changing all at once is fast but may cycle; changing only the first (Murty's rule) always terminates.
        change = bad if attempt < 10 else np.arange(size) == np.argmax(bad)
        where = np.where(change & too_low, ABOVE, where)
        where = np.where(change & too_high, BELOW, where)
        where = np.where(change & (rises | falls), SLIDING, where)
    return np.clip(v, low, high)


def _next_kink(r: np.ndarray, u: np.ndarray, kink: np.ndarray, left: float) -> tuple[float, np.ndarray]:
    gap = kink - r
    with np.errstate(divide="ignore", invalid="ignore"):
        wait = np.where((np.abs(gap) > KINK_TOLERANCE * np.abs(kink)) & (gap * u > 0), gap / u, np.inf)
    first = wait.min(initial=np.inf)
    if first >= left:
        return left, np.zeros(len(r), bool)
    return float(first), wait <= first * (1 + 1e-13)


def between(times: Array, ts: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Rows of ``values``, given at ascending ``ts``, interpolated linearly at ``times``."""
    piece = np.clip(np.searchsorted(ts, np.asarray(times), side="right") - 1, 0, len(ts) - 2)
    length = ts[piece + 1] - ts[piece]
    share = np.where(length > 0, (np.asarray(times) - ts[piece]) / np.where(length > 0, length, 1.0), 0.0)[:, None]
    return values[piece] + share * (values[piece + 1] - values[piece])
