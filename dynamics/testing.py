"""Hypothesis strategies for property tests of your own statements, over the same instances that the theorems draw.

Needs the extra ``testing``. Every strategy is built from Hypothesis' own numbers and choices, so a failing instance
shrinks to few responses, the identity order, and margins and logits of 0 or 1.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import numpy as np

try:
    from hypothesis import assume
    from hypothesis import strategies as st
except ImportError as error:
    raise ImportError(
        "dynamics.testing needs Hypothesis; install the extra: pip install 'alignment-dynamics[testing]'."
    ) from error

from .rounds import SelfSampling
from .theorems import Theorem
from .theorems import source as sources

__all__ = ["log_policies", "loops", "preference_matrices", "samplers", "theorem_inputs"]

T = TypeVar("T")
Sizes = int | tuple[int, int]
Interval = tuple[float, float]

KINDS = tuple(sources.MATRICES)
_LOOP_KINDS = ("any", "cyclic", "strongly transitive", "bradley-terry", "near-deterministic")


class _HypothesisSource(sources.Source):
    """A ``Source`` whose choices are drawn by Hypothesis."""

    def __init__(self, draw: Callable[[st.SearchStrategy], Any]):
        self._draw = draw

    def choice(self, options: Sequence[T]) -> T:
        return options[self.integer(0, len(options) - 1)]

    def integer(self, low: int, high: int) -> int:
        return self._draw(st.integers(low, high))

    def number(self, low: float, high: float) -> float:
        return self._draw(st.floats(low, high, allow_subnormal=False))


def _built(build: Callable[[sources.Source], T]) -> st.SearchStrategy[T]:
    @st.composite
    def strategy(draw: Any) -> T:
        return build(_HypothesisSource(draw))

    return strategy()


def _range(sizes: Sizes, least: int = 2) -> tuple[int, int]:
    low, high = (sizes, sizes) if isinstance(sizes, int) else sizes
    if not least <= low <= high:
        raise ValueError(f"sizes = {sizes!r} is not a range of K; pass K or (low, high) with {least} ≤ low ≤ high.")
    return low, high


def preference_matrices(kind: str = "any", sizes: Sizes = (2, 6)) -> st.SearchStrategy[np.ndarray]:
    """P, shape (K, K), float64, P + Pᵀ = 1, of one class.

    Args:
        kind: "any" (0.01 ≤ P ≤ 0.99), "cyclic" (a majority cycle; K ≥ 3), "regular" (each row sums to K/2), "weakly
            transitive" (a strict majority order), "strongly transitive" (row dominance, ties included), "strictly
            strongly transitive", "bradley-terry", "linear" (P_ij = 1/2 + x_i - x_j), "near-deterministic" (entries
            down to 1e-15), "deterministic entries" (some are 0 or 1), "connected deterministic entries" (and i → j,
            P_ij > 0, strongly connected: Ford's condition, under which DPO's optimum exists at full support).
        sizes: K, or (low, high).

    Raises:
        ValueError: an unknown kind, or sizes that are not a range.
    """
    if kind not in sources.MATRICES:
        raise ValueError(f"kind = {kind!r} is unknown; pass one of {', '.join(KINDS)}.")
    low, high = _range(sizes, 3 if kind == "cyclic" and sizes != (2, 6) else 2)
    low = max(low, 3) if kind == "cyclic" else low
    return _built(lambda source: sources.MATRICES[kind](source, source.integer(low, high)))


def log_policies(K: Sizes = (2, 6), *, vertex: bool = True) -> st.SearchStrategy[np.ndarray]:
    """log pi, shape (K,), full support: uniform, within 1e-6 of uniform, ordinary, and with ``vertex`` down to e^-20000."""
    low, high = _range(K)
    scales = (0.0, 1.0, 1e-6, 30.0, 1e4) if vertex else (0.0, 1.0, 1e-6)
    return _built(lambda source: sources.log_policy(source, source.integer(low, high), scales))


def samplers(K: Sizes = (2, 6)) -> st.SearchStrategy[np.ndarray]:
    """log mu, shape (K,): full support, some responses never sampled (-inf), or a vertex."""
    low, high = _range(K)
    return _built(lambda source: sources.log_sampler(source, source.integer(low, high)))


def loops(
    *,
    kinds: Sequence[str] = _LOOP_KINDS,
    objectives: Sequence[str] = ("ipo", "dpo"),
    sizes: Sizes = (2, 5),
    alpha: Interval = (0.0, 1.0),
    lam: Interval = (0.0, 1.0),
    beta: Interval = (1e-2, 1e2),
) -> st.SearchStrategy[SelfSampling]:
    """``SelfSampling`` loops with drawn P, objective, alpha, lam, beta (log-uniform), log_reference and log_offline.

    Args:
        kinds: classes of P, as in ``preference_matrices``; with "dpo" they must be classes for which its optimum exists.
        objectives: "ipo", "dpo" or both.
        sizes: K, or (low, high).
        alpha, lam, beta: closed intervals, whose end points are drawn too; beta > 0.
    """
    from .objectives import DPO, IPO

    low, high = _range(sizes)
    makers = {"ipo": IPO, "dpo": DPO}

    def build(source: sources.Source) -> SelfSampling:
        K = source.integer(low, high)
        return SelfSampling(
            sources.matrix(source, K, kinds),
            makers[source.choice(objectives)](sources.positive(source, *beta)),
            source.number(*alpha),
            source.number(*lam),
            log_reference=sources.log_policy(source, K, (0.0, 1.0, 30.0)),
            log_offline=sources.log_sampler(source, K),
        )

    return _built(build)


def theorem_inputs(theorem: Theorem) -> st.SearchStrategy[dict[str, Any]]:
    """Inputs inside the assumptions of ``theorem``, up to their edge, built as by ``theorem.draw``."""

    @st.composite
    def strategy(draw: Any) -> dict[str, Any]:
        inputs = theorem.build(_HypothesisSource(draw))
        assume(theorem(**inputs).applicable)
        return inputs

    return strategy()
