"""The law of a weighted sum of squares of independent standard normal numbers."""

from __future__ import annotations

import numpy as np

NODES = (48, 64)  # on the parabola; where the two disagree, a straight line is used
AGREEMENT = 1e-12
NEGLIGIBLE = 1e-17  # share of the largest weight; smaller ones shift a quantile by less than its rounding
MOST_TERMS = 10**6
ROUNDING = -37.0  # log of a term of the sum that no longer shows


def weighted_chi_square_cdf(x: float, weights: np.ndarray) -> float:
    """Pr(Σ_k l_k Z_k² ≤ x) = (1/2 pi i) ∫ e^(px) Π_k (1 + 2 l_k p)^(-1/2) dp/p, Z_k independent N(0, 1).

    All singularities are at p ≤ 0. With few weights the trapezoidal rule runs on a parabola around them, with many on a
    straight line, along which the product falls fast. Both converge geometrically: the absolute error is below 1e-11.

    Args:
        x: real.
        weights: l, ``(m,)``, ≥ 0, not all 0.

    Source: the parabola is that of Trefethen, Weideman and Schmelzer (2006), "Talbot quadratures and rational approximations".
    """
    if x <= 0.0:
        return 0.0
    if np.isinf(x):
        return 1.0
    weights = np.asarray(weights, np.float64)
    if weights.sum() ** 2 < 100.0 * np.sum(weights**2):
        coarse, fine = (_on_parabola(x, weights, nodes) for nodes in NODES)
        if abs(coarse - fine) < AGREEMENT:
            return min(max(coarse, 0.0), 1.0)
    return min(max(_on_line(x, weights), 0.0), 1.0)


def _log_law(p: np.ndarray, x: float, weights: np.ndarray) -> np.ndarray:
    # Each root on its own: that of their product would leave the principal branch.
    return p * x - 0.5 * np.log1p(2.0 * weights[:, None] * p).sum(0)


def _on_parabola(x: float, weights: np.ndarray, nodes: int) -> float:
    angle = np.pi * np.arange(1, nodes, 2) / nodes
    p = nodes / x * (0.1309 - 0.1194 * angle**2 + 0.2500j * angle)
    slope = nodes / x * (-0.2388 * angle + 0.2500j)
    law = _log_law(p, x, weights)
    if float(np.real(law).max()) > 700.0:
        return np.inf
    return float(2.0 / nodes * (np.exp(law) / p * slope).imag.sum())


def _on_line(x: float, weights: np.ndarray) -> float:
    """The integral along Re p = c: to the right of the pole at 0 below the mean, and to its left above it."""
    mean, deviation = weights.sum(), np.sqrt(2.0 * np.sum(weights**2))
    c = min(1.0 / deviation, 0.25 / weights.max()) * (1.0 if x < mean else -1.0)
    step = 2.0 * np.pi * abs(c) / 36.0
    total, begun, block = 0.0, 0, max(64, 100_000 // len(weights))
    while begun < MOST_TERMS:
        p = c + 1j * step * (begun + 0.5 + np.arange(block))
        law = _log_law(p, x, weights)
        total += (np.exp(law) / p).real.sum()
        begun += block
        if law[-1].real - np.log(abs(p[-1])) + np.log(begun) < ROUNDING + np.log(step):
            return float(step / np.pi * total) + (0.0 if c > 0 else 1.0)
    raise RuntimeError(f"the law of a sum of {len(weights)} squares at {x:g} needs more than {MOST_TERMS} terms.")


def weighted_chi_square_quantile(q: float, weights: np.ndarray) -> float:
    """The x with Pr(Σ_k l_k Z_k² ≤ x) = q, to 1e-12 in q.

    Args:
        q: in (0, 1).
        weights: l, ``(m,)``, ≥ 0, not all 0.

    >>> round(dyn.preferences.weighted_chi_square_quantile(0.95, np.ones(1)), 9)
    3.841458821
    """
    from scipy.optimize import brentq  # SciPy loads on use

    weights = np.asarray(weights, np.float64)
    largest = weights.max()
    scaled = np.sort(weights[weights > NEGLIGIBLE * largest] / largest)
    high = scaled.sum()
    while weighted_chi_square_cdf(high, scaled) < q:
        high *= 2.0
    low = high
    while weighted_chi_square_cdf(low, scaled) > q:
        low /= 4.0
    if low == high:
        return float(largest * low)
    return float(
        largest
        * brentq(lambda x: weighted_chi_square_cdf(x, scaled) - q, low, high, xtol=1e-300, rtol=np.float64(1e-14))
    )
