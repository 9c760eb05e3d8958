"""SLiC's flow: piecewise linear in time, so it is followed from kink to kink, exactly.

Below 1 a margin pulls with its full weight, above 1 not at all. A margin at 1 may slide: it pulls with whatever share of
its weight keeps it there. The velocities of a piece are those of least norm, max(0, …) being convex: with v = da/dt and
u = dr/dt = beta² C v, each margin at 1 has v = 0 and u ≥ 0, or v = w and u ≤ 0, or u = 0 in between.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Array

if TYPE_CHECKING:
    from ._margin import MarginFlow

LARGEST = 4000  # examples beyond which the pieces are too many
AT_KINK = 1e-11
BELOW, SLIDING, ABOVE = 0, 1, 2


def solution(
    flow: MarginFlow, coefficient: np.ndarray, margin: np.ndarray, span: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray] | None:
    """Kinks of the solution: times since the start, coefficients and margins there; None where there are too many."""
    weights = np.asarray(flow.weights)
    if len(weights) > LARGEST:
        return None
    B = float(flow.objective.beta) ** 2 * np.asarray(flow.gram())
    t, a, r = 0.0, np.array(coefficient), np.array(margin)
    ts, all_a, all_r = [t], [a], [r]
    v_before = np.where(r < 1, weights, 0.0)
    for _ in range(20 * len(weights) + 100):
        v, u = _velocities(B, weights, r, v_before)
        wait, arriving = _next_kink(r, u, span - t)
        a, r = a + wait * v, r + wait * u
        r[arriving] = 1.0
        t, v_before = t + wait, v
        ts.append(t)
        all_a.append(a)
        all_r.append(r)
        if t >= span * (1 - 1e-15):
            return np.array(ts), np.array(all_a), np.array(all_r)
    return None


def _velocities(B: np.ndarray, weights: np.ndarray, r: np.ndarray, guess: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    at = np.flatnonzero(np.abs(r - 1) <= AT_KINK)
    v = np.where(r < 1, weights, 0.0)
    if len(at):
        v[at] = 0.0
        v[at] = _shares(B[np.ix_(at, at)], B[at] @ v, weights[at], guess[at])
    return v, _clean(B @ v, B, v, at, weights)


def _clean(u: np.ndarray, B: np.ndarray, v: np.ndarray, at: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """u with the zeros of sliding margins made exact: rounding would let them drift off the kink."""
    inside = at[(v[at] > 0) & (v[at] < weights[at])]
    u[inside] = 0.0
    return np.where(np.abs(u) <= 1e-13 * (np.abs(B) @ np.abs(v) + 1e-300), 0.0, u)


def _shares(B: np.ndarray, pull: np.ndarray, w: np.ndarray, guess: np.ndarray) -> np.ndarray:
    """v in [0, w] with B v + pull ≥ 0 where v = 0, ≤ 0 where v = w, = 0 between: one exchange at a time."""
    size = len(w)
    scale = 1e-12 * (np.abs(B) @ w + np.abs(pull) + 1e-300)
    where = np.where(guess <= 0, ABOVE, np.where(guess >= w, BELOW, SLIDING))
    v = np.where(where == BELOW, w, 0.0)
    for attempt in range(50 * size + 50):
        free = where == SLIDING
        v = np.where(where == BELOW, w, 0.0)
        if free.any():
            rhs = -(pull[free] + B[np.ix_(free, ~free)] @ v[~free])
            v[free] = np.linalg.lstsq(B[np.ix_(free, free)], rhs, rcond=1e-13)[0]
        u = B @ v + pull
        too_low, too_high = free & (v < -1e-12 * w), free & (v > w * (1 + 1e-12))
        rises, falls = (where == BELOW) & (u > scale), (where == ABOVE) & (u < -scale)
        bad = too_low | too_high | rises | falls
        if not bad.any():
            return np.clip(v, 0.0, w)
        # All at once is fast and nearly always ends; the first alone (Murty's rule) always does.
        change = bad if attempt < 10 else np.arange(size) == np.argmax(bad)
        where = np.where(change & too_low, ABOVE, where)
        where = np.where(change & too_high, BELOW, where)
        where = np.where(change & (rises | falls), SLIDING, where)
    return np.clip(v, 0.0, w)


def _next_kink(r: np.ndarray, u: np.ndarray, left: float) -> tuple[float, np.ndarray]:
    gap = 1.0 - r
    with np.errstate(divide="ignore", invalid="ignore"):
        wait = np.where((np.abs(gap) > AT_KINK) & (gap * u > 0), gap / u, np.inf)
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
