"""Statements on reward margins under last-layer training: mean field (3.3), speeds (3.5, 3.6), noisy clusters (7.8).

tau = 1. A finite data set is its own population: "E" is the mean over its examples.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.special import wrightomega

from ._bound import Claim, theorem
from .source import Source, positive


def _vector(source: Source, size: int) -> np.ndarray:
    return np.array([source.number(-1.0, 1.0) for _ in range(size)])


def _scalar_flow(source: Source) -> dict[str, Any]:
    return {
        "rate": positive(source, 1e-2, 1e2),
        "time": source.choice((0.0, positive(source, 1e-4, 1e3))),
        "beta": positive(source, 0.1, 10.0),
        "loss": source.choice(("dpo", "squared", "ipo")),
    }


def _scaled_time(rate: float, time: float) -> float:
    """c t, within float64."""
    x = rate * time
    if not np.isfinite(x):
        raise ValueError(f"rate * time = {rate:g} * {time:g} is out of float64's range; pass a smaller rate or time.")
    return x


@theorem(
    number="3.3",
    source="[derived] statement 3.3",
    statement="dr/dt = -c f'(r), r(0) = 0: DPO r = log omega(1 + ct) (Wright omega); squared margin 1 - exp(-2ct); IPO "
    "(1 - exp(-2ct/beta²))/2.",
    quantity="the margin r at `time` of examples that all move as one",
    strength="tight",
    build=_scalar_flow,
)
def mean_field(rate: float, time: float, beta: float, loss: str = "dpo") -> Claim:
    """``rate`` is c, the speed of a unit slope; DPO and the squared margin do not depend on beta beside it."""
    x = _scaled_time(rate, time)
    if loss == "dpo":
        # r + e^r = 1 + x. Near x = 0 omega is 1 + x/2, whose logarithm loses its digits; a Newton step restores them.
        r = np.log(np.real(wrightomega(1.0 + x)))
        r = r - (r + np.expm1(r) - x) / (1.0 + np.exp(r))
        return Claim(r, r)
    r = -np.expm1(-2 * x) if loss == "squared" else -np.expm1(-2 * x / beta / beta) / 2
    return Claim(r, r)


def _dpo_flow(source: Source) -> dict[str, Any]:
    return {"rate": positive(source, 1e-2, 1e2), "time": source.choice((0.0, positive(source, 1e-4, 1e3)))}


@theorem(
    number="3.3",
    source="[derived] statement 3.3, elementary bounds",
    statement="log(1 + ct/2) ≤ r ≤ min(ct/2, log(1 + ct)) for DPO's mean field.",
    quantity="the margin r at `time` of examples that all move as one, under DPO",
    strength="tight",
    build=_dpo_flow,
)
def mean_field_bounds(rate: float, time: float) -> Claim:
    """Both sides are attained at short times, and the upper one at long times too."""
    x = _scaled_time(rate, time)
    return Claim(np.log1p(x / 2), min(x / 2, np.log1p(x)))


def _two_answers(source: Source, balanced: bool) -> dict[str, Any]:
    d, half = source.integer(1, 3), source.integer(1, 5)
    extra = 0 if balanced else source.integer(0, 6)
    answer = np.array([1.0] * half + [-1.0] * half + [1.0] * extra)
    shift, spread = source.choice((0.0, 1.0, 5.0)) * _vector(source, d), source.choice((0.0, 0.3, 2.0))
    mean = 1.0 + _vector(source, d)
    g = np.stack([s * mean + shift + spread * _vector(source, d) for s in answer])
    return {
        "features": g,
        "answer": answer,
        "beta": positive(source, 1e-2, 1.0),
        "time": positive(source, 1e-4, 1e3),
    }


@theorem(
    number="3.5",
    source="[derived] statement 3.5, any balance of the answers; ImLi24's theorem is of this form",
    statement="||W(t) - W(0)||_F ≤ √2 beta ||E[s g]|| t/2, with equality as t → 0: the speed never increases.",
    quantity="||W(t) - W(0)||_F at `time`, DPO, one behaviour with two one-token answers s = ±1",
    strength="tight",
    build=lambda source: _two_answers(source, balanced=False),
)
def head_change(features: np.ndarray, answer: np.ndarray, beta: float, time: float) -> Claim:
    """``answer`` is the preferred one, ±1; a flow down a convex loss slows down."""
    speed = np.sqrt(2) * beta / 2 * np.linalg.norm((answer[:, None] * features).mean(axis=0))
    return Claim(0.0, speed * time)


@theorem(
    number="3.5",
    source="[derived] statement 3.5, balanced answers; ImLi24's theorem is of this form",
    statement="||W(t) - W(0)||_F ≤ √2 beta delta t/4, delta = ||mu_+ - mu_-||, the distinguishability.",
    quantity="||W(t) - W(0)||_F at `time`, DPO, one behaviour with two one-token answers s = ±1, equally frequent",
    strength="tight",
    build=lambda source: _two_answers(source, balanced=True),
)
def distinguishable_head_change(features: np.ndarray, answer: np.ndarray, beta: float, time: float) -> Claim:
    """At unequal frequencies the quantity can exceed the bound several times (``head_change`` still holds)."""
    plus, minus = features[answer > 0], features[answer < 0]
    both = {"both answers occur": bool(len(plus) and len(minus))}
    delta = np.linalg.norm(plus.mean(axis=0) - minus.mean(axis=0)) if all(both.values()) else 0.0
    balanced = {"as many + as -": len(plus) == len(minus)}
    return Claim(0.0, np.sqrt(2) * beta * delta * time / 4, both | balanced)


def _several(source: Source) -> dict[str, Any]:
    m, d = source.integer(1, 5), source.integer(1, 4)
    return {"differences": np.stack([_vector(source, d) for _ in range(m)]), "beta": positive(source, 1e-2, 1e1)}


@theorem(
    number="3.6",
    source="[derived] statement 3.6, after ImLi24",
    statement="Behaviours of equal weight, balanced, on the same two tokens: the mean margin of behaviour i begins at speed "
    "(beta²/4) <dbar, d_i>, dbar = mean d.",
    quantity="initial speed of each behaviour's mean margin under DPO, shape (m,)",
    strength="tight",
    build=_several,
)
def priority(differences: np.ndarray, beta: float) -> Claim:
    """d_i is the difference of the mean features of behaviour i's two answers."""
    speed = beta**2 / 4 * differences @ differences.mean(axis=0)
    return Claim(speed, speed)


def noisy(source: Source) -> dict[str, Any]:
    """Value clusters with noise of any size that statement 7.8 allows."""
    pairs, Q = source.integer(1, 3), source.integer(1, 4)
    l_b = source.choice((0.0, 0.25, 0.5, 0.9))
    largest = _largest_noise(l_b)
    eps = source.choice((0.0, largest * source.number(0.0, 0.999)))
    noise = np.stack([_vector(source, pairs + 2) for _ in range(2 * pairs * Q)])
    length = np.maximum(np.linalg.norm(noise, axis=1, keepdims=True), 1e-300)
    scale = np.array([source.number(0.5, 1.0) for _ in noise])[:, None]
    return {
        "pairs": pairs,
        "l_b": l_b,
        "noise": np.where(length > 1e-6, noise / length, 0.0) * scale * eps,
        "beta": positive(source, 1e-1, 1e1),
        "time": positive(source, 1e-4, 1e3),
    }


def _largest_noise(l_b: float) -> float:
    """eps at which 2 eps √(1 + l_b²) + eps² = 1 - l_b²."""
    return float(np.sqrt(2.0) - np.sqrt(1 + l_b**2))


@theorem(
    number="7.8",
    source="[derived] statement 7.8, margins",
    statement="Noise norms ≤ eps, e = 2 eps √(1+l_b²) + eps² ≤ 1 - l_b², U = (1+e) beta² t/K: "
    "((1-e)/(1+e)) 2 log(2/(1+exp(-U))) ≤ r_i(t) ≤ U.",
    quantity="every example's margin at `time`, shape (N,), DPO; features s c_k + b + noise, the K pairs' examples in turn, "
    "half of each with s = +1 first; tokens unshared across pairs, swapped within",
    strength="tight",
    build=noisy,
)
def noisy_margins(pairs: int, l_b: float, noise: np.ndarray, beta: float, time: float) -> Claim:
    """K = ``pairs``; eps is the largest norm in ``noise``, (N, d), N a multiple of 2K; c_k orthonormal, b ⟂ c_k."""
    _, e, assumptions = noise_excess(pairs, l_b, noise)
    U = (1 + e) * beta**2 * time / pairs
    lower = (1 - e) / (1 + e) * 2 * (np.log(2) - np.log1p(np.exp(-U)))
    ones = np.ones(len(noise))
    return Claim(lower * ones, U * ones, assumptions)


def noise_excess(pairs: int, l_b: float, noise: np.ndarray) -> tuple[float, float, dict[str, bool]]:
    """eps, e and the assumptions of statement 7.8."""
    eps = float(np.linalg.norm(noise, axis=1).max())
    e = 2 * eps * np.sqrt(1 + l_b**2) + eps**2
    assumptions = {
        "e ≤ 1 - l_b²": bool(e <= 1 - l_b**2),
        "N is a multiple of 2K": len(noise) % (2 * pairs) == 0,
        "d ≥ K + 1": noise.shape[1] > pairs,
    }
    return eps, float(e), assumptions


def cluster_features(
    pairs: int, l_b: float, noise: np.ndarray, centres: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The examples of ``noisy_margins``: features, chosen and rejected tokens.

    c_k lies in the first K coordinates, e_k unless given, and b along the next.
    """
    N, d = noise.shape
    pair = np.repeat(np.arange(pairs), N // pairs)
    sign = np.tile(np.repeat([1, -1], N // (2 * pairs)), pairs)
    c = np.zeros((pairs, d))
    c[:, :pairs] = np.eye(pairs) if centres is None else centres
    g = sign[:, None] * c[pair] + l_b * np.eye(d)[pairs] + noise
    return g, 2 * pair + (sign < 0), 2 * pair + (sign > 0)
