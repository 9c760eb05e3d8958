"""Instances built from choices, which a random generator or Hypothesis makes.

A builder asks a ``Source`` for whole numbers, reals and options. ``RandomSource`` draws them from a NumPy generator, with
many end points; ``dynamics.testing`` draws them from Hypothesis, so that a failing instance shrinks.
"""

from __future__ import annotations

import abc
from collections.abc import Callable, Sequence
from typing import TypeVar

import numpy as np

from ._inputs import normalise

T = TypeVar("T")

INTERIOR = ("any", "cyclic", "regular", "strongly transitive", "bradley-terry", "near-deterministic")
"""Families of ``matrix`` whose entries are probabilities strictly between 0 and 1, or round to 1."""
FAMILIES = (*INTERIOR, "deterministic entries")


class Source(abc.ABC):
    """The choices available to a builder; the first or smallest answer is the simplest."""

    @abc.abstractmethod
    def choice(self, options: Sequence[T]) -> T:
        """One of ``options``."""

    @abc.abstractmethod
    def integer(self, low: int, high: int) -> int:
        """A whole number in low … high."""

    @abc.abstractmethod
    def number(self, low: float, high: float) -> float:
        """A real number in [low, high], end points included."""


class RandomSource(Source):
    """Choices drawn from ``rng``; a real number is an end point in one case of five."""

    def __init__(self, rng: np.random.Generator):
        self.rng = rng

    def choice(self, options: Sequence[T]) -> T:
        return options[int(self.rng.integers(len(options)))]

    def integer(self, low: int, high: int) -> int:
        return int(self.rng.integers(low, high + 1))

    def number(self, low: float, high: float) -> float:
        edge = self.rng.random()
        return low if edge < 0.1 else high if edge > 0.9 else float(self.rng.uniform(low, high))


def positive(source: Source, low: float, high: float) -> float:
    """A number in [low, high] that is uniform in its logarithm."""
    return float(np.clip(10.0 ** source.number(np.log10(low), np.log10(high)), low, high))


def permutation(source: Source, K: int) -> np.ndarray:
    """An order of K responses; the simplest is the identity."""
    left, order = list(range(K)), []
    while left:
        order.append(left.pop(source.integer(0, len(left) - 1)))
    return np.array(order)


def log_policy(source: Source, K: int, scales: Sequence[float] = (0.0, 1.0, 1e-6, 30.0, 1e4)) -> np.ndarray:
    """Log-probabilities with full support: uniform, nearly uniform, ordinary, or down to e^-20000."""
    scale = source.choice(scales)
    return normalise(scale * np.array([source.number(-1.0, 1.0) for _ in range(K)]))


def log_sampler(source: Source, K: int) -> np.ndarray:
    """Log-probabilities of a sampler: full support, with responses never sampled (-inf), or a vertex."""
    mode = source.choice(("full", "some zero", "vertex"))
    log_mu = log_policy(source, K, (0.0, 1.0, 30.0))
    if mode == "full":
        return log_mu
    keep = source.integer(0, K - 1)
    kept = np.array([j == keep or (mode == "some zero" and source.choice((True, False))) for j in range(K)])
    return normalise(np.where(kept, log_mu, -np.inf))


def pairwise(K: int, pair: Callable[[int, int], float]) -> np.ndarray:
    """P with P_ij = pair(i, j) for i < j and P_ji = 1 - P_ij."""
    P = np.full((K, K), 0.5)
    for i in range(K):
        for j in range(i + 1, K):
            P[i, j] = pair(i, j)
            P[j, i] = 1.0 - P[i, j]
    return P


def mirrored(P: np.ndarray) -> np.ndarray:
    """The upper triangle of ``P`` completed to a preference matrix."""
    return pairwise(len(P), lambda i, j: float(P[i, j]))


def _any(source: Source, K: int) -> np.ndarray:
    scale = source.choice((1.0, 1e-1, 1e-3))
    return pairwise(K, lambda i, j: 0.5 + 0.49 * scale * source.number(-1.0, 1.0))


def _cyclic(source: Source, K: int) -> np.ndarray:
    if K < 3:
        raise ValueError(f"K = {K} is too small for a majority cycle; pass K ≥ 3.")
    P = _any(source, K)
    P[0, 1], P[1, 2] = (0.5 + source.number(1e-3, 0.49) for _ in range(2))
    P[0, 2] = 0.5 - source.number(1e-3, 0.49)
    return _shuffled(source, mirrored(P))


def _regular(source: Source, K: int) -> np.ndarray:
    """A1 = 0: the ring of neighbours, or at odd K the regular tournament."""
    a = source.number(1e-3, 0.49)
    tournament = K % 2 == 1 and source.choice((True, False))
    return circulant(K, a, (K - 1) // 2 if tournament else 1)


def circulant(K: int, advantage: float, reach: int) -> np.ndarray:
    """P_ij = 1/2 + a where j is among the next ``reach`` on the circle, 1/2 - a among the last, else 1/2."""
    ahead = (np.arange(K)[None, :] - np.arange(K)[:, None]) % K
    lead = ((ahead >= 1) & (ahead <= reach)).astype(float)
    return 0.5 + advantage * (lead - lead.T)


def _weakly_transitive(source: Source, K: int) -> np.ndarray:
    return _shuffled(source, pairwise(K, lambda i, j: 0.5 + source.number(1e-3, 0.49)))


def _strongly_transitive(source: Source, K: int) -> np.ndarray:
    """Margins that grow as the rank of i improves or that of j worsens; tied responses share a rank and have equal rows."""
    ranks = np.cumsum([0] + [source.choice((1, 1, 0)) for _ in range(K - 1)])
    raw = pairwise(K, lambda i, j: source.number(1e-3, 0.49))
    return _shuffled(source, pairwise(K, lambda i, j: 0.5 + _largest_inside(raw, ranks, i, j)))


def _strictly_strongly_transitive(source: Source, K: int) -> np.ndarray:
    raw, ranks = pairwise(K, lambda i, j: source.number(1e-3, 0.4)), np.arange(K)

    def pair(i: int, j: int) -> float:
        return 0.5 + _largest_inside(raw, ranks, i, j) + 0.09 * (j - i) / K

    return _shuffled(source, pairwise(K, pair))


def _largest_inside(raw: np.ndarray, ranks: np.ndarray, i: int, j: int) -> float:
    """max of raw[a, b] over ranks ranks[i] ≤ a < b ≤ ranks[j], 0 where there is none: monotone in i and in j."""
    low, high = ranks[i], ranks[j]
    return max((float(raw[a, b]) for a in range(low, high) for b in range(a + 1, high + 1)), default=0.0)


def _bradley_terry(source: Source, K: int) -> np.ndarray:
    scale = source.choice((1.0, 5.0, 1e-2))
    scores = scale * np.array([source.number(-1.0, 1.0) for _ in range(K)])
    return pairwise(K, lambda i, j: float(_sigmoid(scores[i] - scores[j])))


def _linear(source: Source, K: int) -> np.ndarray:
    """P_ij = 1/2 + x_i - x_j."""
    x = 0.245 * np.array([source.number(-1.0, 1.0) for _ in range(K)])
    return pairwise(K, lambda i, j: 0.5 + float(x[i] - x[j]))


def _near_deterministic(source: Source, K: int) -> np.ndarray:
    def pair(i: int, j: int) -> float:
        rare = positive(source, 1e-15, 1e-2)
        return source.choice((1.0 - rare, rare))

    return pairwise(K, pair)


def _deterministic_entries(source: Source, K: int) -> np.ndarray:
    return pairwise(K, lambda i, j: source.choice((0.5 + 0.49 * source.number(-1.0, 1.0), 1.0, 0.0)))


def _connected_deterministic_entries(source: Source, K: int) -> np.ndarray:
    """Some entries are 0 or 1, but a cycle of positive entries visits all responses: Ford's condition at full support."""
    P = _deterministic_entries(source, K)
    for i in range(K):
        j = (i + 1) % K
        if P[i, j] == 0.0:
            P[i, j] = 0.25 if K == 2 else source.choice((0.25, 1.0))
            P[j, i] = 1.0 - P[i, j]
    if K == 2:
        P[0, 1] = min(P[0, 1], 0.75)
    return _shuffled(source, mirrored(P))


def _shuffled(source: Source, P: np.ndarray) -> np.ndarray:
    order = permutation(source, len(P))
    return P[np.ix_(order, order)]


def _sigmoid(x: np.ndarray | float) -> np.ndarray | float:
    return np.exp(-np.logaddexp(0.0, -x))


MATRICES: dict[str, Callable[[Source, int], np.ndarray]] = {
    "any": _any,
    "cyclic": _cyclic,
    "regular": _regular,
    "weakly transitive": _weakly_transitive,
    "strongly transitive": _strongly_transitive,
    "strictly strongly transitive": _strictly_strongly_transitive,
    "bradley-terry": _bradley_terry,
    "linear": _linear,
    "near-deterministic": _near_deterministic,
    "deterministic entries": _deterministic_entries,
    "connected deterministic entries": _connected_deterministic_entries,
}


def matrix(source: Source, K: int, kinds: Sequence[str]) -> np.ndarray:
    """A preference matrix of one of ``kinds`` (keys of ``MATRICES``; "cyclic" is left out at K = 2)."""
    allowed = [kind for kind in kinds if K > 2 or kind != "cyclic"]
    return MATRICES[source.choice(allowed)](source, K)
