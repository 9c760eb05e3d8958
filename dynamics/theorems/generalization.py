"""Statements on unseen samples: accuracy on Gaussian classes (3.5), test error (7.8), ImLi25's bounds (4).

tau = 1; training is DPO's flow from the reference. Test samples are drawn afresh from the law of the training samples.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from scipy.special import lambertw, ndtr

from . import _inputs
from ._bound import Claim, theorem
from .margins import cluster_features, noise_excess, noisy
from .source import Source, positive

LOG3 = math.log(3.0)
MIN_Q = 40  # of ImLi25's Theorem 4.3


def _classes(source: Source, orthogonal: bool) -> dict[str, Any]:
    d = source.integer(2 if orthogonal else 1, 4)
    m = np.array([source.number(-1.0, 1.0) for _ in range(d)])
    m[0] += 1.5
    b = source.choice((0.0, 1.0, 3.0)) * np.array([source.number(-1.0, 1.0) for _ in range(d)])
    return {"mean": m, "shift": b - m * (b @ m) / (m @ m) if orthogonal else b, "v": positive(source, 0.1, 10.0)}


@theorem(
    number="3.5",
    source="[derived] statement 3.5, accuracy, b ⟂ m",
    statement="Classes N(±m + b, v² I), equally frequent, b ⟂ m: the population flow's accuracy is Phi(|m|/v) = "
    "Phi(delta/(2v)) at every t > 0.",
    quantity="accuracy on new samples at `time` of the population flow of one behaviour with two one-token answers",
    strength="tight",
    build=lambda source: (
        _classes(source, orthogonal=True) | {"beta": positive(source, 1e-2, 1.0), "time": positive(source, 1e-2, 1e3)}
    ),
)
def gaussian_accuracy(mean: np.ndarray, shift: np.ndarray, v: float, beta: float, time: float) -> Claim:
    """``mean`` m and ``shift`` b, shape (d,): by the symmetry of the classes the head moves only along m."""
    accuracy = float(ndtr(np.linalg.norm(mean) / v))
    overlap = abs(float(mean @ shift)) <= 1e-12 * np.linalg.norm(mean) * np.linalg.norm(shift)
    return Claim(accuracy, accuracy, {"b ⟂ m": bool(overlap), "time > 0": time > 0, "m ≠ 0": bool(np.any(mean))})


@theorem(
    number="3.5",
    source="[derived] statement 3.5, accuracy at 0+",
    statement="Classes N(±m + b, v² I), equally frequent: the accuracy begins at ½[Phi((|m| + b·m̂)/v) + Phi((|m| - b·m̂)/v)].",
    quantity="limit at t → 0+ of the accuracy on new samples of the population flow of one behaviour with two one-token "
    "answers",
    strength="tight",
    build=lambda source: _classes(source, orthogonal=False),
)
def initial_accuracy(mean: np.ndarray, shift: np.ndarray, v: float) -> Claim:
    """``mean`` m and ``shift`` b, shape (d,): the head starts to move along m, whatever b."""
    length = float(np.linalg.norm(mean))
    along = float(shift @ mean) / length if length > 0 else 0.0
    accuracy = (ndtr((length + along) / v) + ndtr((length - along) / v)) / 2
    return Claim(accuracy, accuracy, {"m ≠ 0": length > 0})


@theorem(
    number="7.8",
    source="[derived] statement 7.8, test error",
    statement="Noise norms ≤ eps, e = 2 eps √(1+l_b²) + eps² ≤ 1 - l_b², U = (1+e) beta² t/K, q = (½ - sigma(-U))/(½ + "
    "sigma(-U)): test error ≤ Phi(-(1 - q l_b² - eps √(1+l_b²))/(v (√(1 + q² l_b²) + eps))).",
    quantity="probability of a wrong preference on a new sample at `time`, shape (2K,): of the clusters +1, -1, +2, -2, …; "
    "training samples as in noisy_margins, new ones with noise N(0, v² I)",
    strength="tight",
    build=lambda source: noisy(source) | {"v": positive(source, 3e-2, 1e1)},
)
def noisy_error(pairs: int, l_b: float, noise: np.ndarray, v: float, beta: float, time: float) -> Claim:
    """``noise`` (N, d) is that of the training samples; ``noise_norm`` bounds its norms with a probability."""
    eps, e, assumptions = noise_excess(pairs, l_b, noise)
    U = (1 + e) * beta**2 * time / pairs
    q = math.tanh(U / 2) / (2 - math.tanh(U / 2))
    reach = 1 - q * l_b**2 - eps * math.sqrt(1 + l_b**2)
    error = ndtr(-reach / (v * (math.sqrt(1 + (q * l_b) ** 2) + eps)))
    return Claim(0.0, error * np.ones(2 * pairs), assumptions | {"time > 0": time > 0})


def published_features(pairs: int, Q: int, d: int, l_b: float, v: float, seed: int, delta: float = 0.0) -> Any:
    """The training samples of ImLi25's theorems: features, chosen and rejected tokens.

    c_k: the rows of a root of the Gram matrix with 1 on and -delta off the diagonal; b along the next axis; noise
    v · default_rng(seed).standard_normal((2KQ, d)). Each pair has its own two tokens, swapped between its clusters, so Z = 2.
    """
    noise = v * np.random.default_rng(seed).standard_normal((2 * pairs * Q, d))
    return cluster_features(pairs, l_b, noise, centres(pairs, delta))


def centres(pairs: int, delta: float) -> np.ndarray:
    """Unit vectors with inner products -delta, shape (K, K)."""
    values, vectors = np.linalg.eigh((1 + delta) * np.eye(pairs) - delta)
    return vectors * np.sqrt(np.maximum(values, 0.0)) @ vectors.T


def _published(source: Source, least: int, most: int) -> dict[str, Any]:
    pairs, Q = source.integer(1, 2), source.integer(least, most)
    return {
        "pairs": pairs,
        "Q": Q,
        "d": source.integer(pairs + 1, min(8, 5 * Q)),
        "l_b": source.number(0.25, math.sqrt(1 / 8)),
        "v": source.number(0.01, 1.0) * _largest_v(Q),
        "seed": source.integer(0, 10**6),
        "beta": positive(source, 1e-1, 1e1),
    }


def _largest_v(Q: int) -> float:
    return 1 / (32 * math.sqrt(Q))


def _conditions(pairs: int, Q: int, d: int, l_b: float, v: float) -> dict[str, bool]:
    """The assumptions of Theorem 4.2; Z = 2, since each token is an answer in the two clusters of its pair."""
    return {
        "Z = 2 ≤ 1/(4 l_b²)": 8 * l_b**2 <= 1 + 1e-12,
        "d ≤ 5Q": d <= 5 * Q,
        "d ≥ K + 1": d > pairs,
        "v ≤ 1/(32 √Q)": v <= _largest_v(Q),
        "1/4 ≤ l_b ≤ 1/2": 0.25 <= l_b <= 0.5,
    }


def last_time(pairs: int, beta: float) -> float:
    """tau_1 = K log 3/(5 beta²), the last time of ImLi25's theorems; in units of tau."""
    return pairs * LOG3 / (5 * beta**2)


def _before_the_last(source: Source) -> dict[str, Any]:
    x = _published(source, 1, 8)
    return x | {"time": source.number(0.01, 1.0) * last_time(x["pairs"], x["beta"])}


@theorem(
    number="4.1",
    source="[paper] ImLi25, Theorem 4.2",
    statement="Z ≤ 1/(4 l_b²), d ≤ 5Q, v ≤ 1/(32 √Q), 1/4 ≤ l_b ≤ 1/2: with probability at least 1 - 8K Q^(9/4) "
    "exp(-min(c √Q/5, Q^(3/4)/256)), c > 0 left open, beta² t/(8K) ≤ r_i(t) ≤ 5 beta² t/K up to tau_1 = K log 3/(5 beta²), "
    "and log 3/40 ≤ r_i(tau_1) ≤ log 3.",
    quantity="every training margin at `time` ≤ tau_1, shape (2KQ,), DPO; samples of published_features",
    strength="loose",
    build=_before_the_last,
)
def value_margins(pairs: int, Q: int, d: int, l_b: float, v: float, seed: int, beta: float, time: float) -> Claim:
    """Whatever c is, the probability is vacuous below Q ≈ 1.4e5; ``noisy_margins`` leaves no constant open."""
    last = last_time(pairs, beta)
    in_time = {"time ≤ tau_1": time <= last * (1 + 1e-12)}
    speed = beta**2 * time / pairs * np.ones(2 * pairs * Q)
    return Claim(speed / 8, 5 * speed, _conditions(pairs, Q, d, l_b, v) | in_time, failure_probability=None)


@theorem(
    number="4.2",
    source="[paper] ImLi25, Theorem 4.3",
    statement="As Theorem 4.2 with Q ≥ 40: the test error at tau_1 is at most 2K Q² exp(-Q/45).",
    quantity="probability of a wrong preference on a new sample at tau_1, mean over the clusters; above 1 the bound is "
    "vacuous",
    strength="vacuous where affordable",
    build=lambda source: _published(source, MIN_Q, MIN_Q + 5),
)
def value_error(pairs: int, Q: int, d: int, l_b: float, v: float, seed: int, beta: float) -> Claim:
    """Below Q of several hundred (``required_samples``) the bound exceeds 1; the measured error is 0 long before."""
    bound = 2 * pairs * Q**2 * math.exp(-Q / 45)
    assumptions = _conditions(pairs, Q, d, l_b, v) | {"Q ≥ 40": Q >= MIN_Q}
    return Claim(0.0, bound, assumptions, failure_probability=None, vacuous=bound >= 1)


@theorem(
    number="4.3",
    source="[paper] ImLi25, clusters that are nearly orthogonal",
    statement="As Theorem 4.2 with |c_k·c_l| ≤ delta, delta small or no token shared between pairs: log 3/80 ≤ r_i(tau_1) ≤ "
    "log 3.",
    quantity="every training margin at tau_1, shape (2KQ,), DPO; samples of published_features with this delta",
    strength="loose",
    build=lambda source: _published(source, 1, 8) | {"delta": source.number(0.0, 0.9)},
)
def nearly_orthogonal_margins(
    pairs: int, Q: int, d: int, l_b: float, v: float, delta: float, seed: int, beta: float
) -> Claim:
    """Drawn only with tokens that pairs do not share; pairs then do not interact, whatever delta is."""
    ones = np.ones(2 * pairs * Q)
    assumptions = _conditions(pairs, Q, d, l_b, v) | {"delta < 1/(K-1)": delta * (pairs - 1) < 1 - 1e-12}
    return Claim(LOG3 / 80 * ones, LOG3 * ones, assumptions, failure_probability=None)


def required_samples(K: int, error: float) -> int:
    """The least Q from which on 2K Q² exp(-Q/45) ≤ error: the samples per cluster that Theorem 4.3 requires.

    Args:
        K: number of value pairs, int ≥ 1.
        error: test error at tau_1, in (0, 1].

    Raises:
        ValueError: a K or error outside.

    Source: [paper] ImLi25, Theorem 4.3, solved for Q. It grows like 45 log K.

    >>> dyn.theorems.required_samples(K=2, error=0.1)
    764
    """
    pairs = _inputs.whole("K", K, 1)
    if not (isinstance(error, int | float | np.floating) and 0 < error <= 1):
        raise ValueError(f"error = {error!r} is outside (0, 1]; pass a share of wrong preferences.")
    root = -90 * float(np.real(lambertw(-math.sqrt(error / (2 * pairs)) / 90, -1)))
    return max(MIN_Q, math.ceil(root))


def noise_norm(v: float, d: int, N: int, delta: float) -> float:
    """v (√d + √(2 log(N/delta))): a bound on the norms of N draws from N(0, v² I) in d dimensions, with probability 1 - delta.

    Args:
        v: standard deviation of a coordinate, > 0.
        d, N: dimension and number of samples, ints ≥ 1.
        delta: in (0, 1).

    Raises:
        ValueError: an argument outside.

    Source: [derived] statement 7.8: the eps that makes ``noisy_margins`` and ``noisy_error`` statements about random data.
    """
    inputs = _inputs.checked({"v": v, "d": d, "N": N})
    if not (isinstance(delta, float) and 0 < delta < 1):
        raise ValueError(f"delta = {delta!r} is outside (0, 1); pass a probability.")
    return inputs["v"] * (math.sqrt(inputs["d"]) + math.sqrt(2 * math.log(inputs["N"] / delta)))
