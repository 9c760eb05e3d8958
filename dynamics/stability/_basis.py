"""What an answer from counted comparisons rests on: the model, the evidence for cycles, and how much of it is the prior."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np

from .._shares import Share, share
from ._posterior import Posterior

QUANTILES = (0.05, 0.5, 0.95)
STRONG, NONE = 1.0, -0.5  # of log10 of the Bayes factor


class Basis(NamedTuple):
    """What the posterior of P says of itself.

    Attributes:
        model: "hierarchical" or "independent".
        comparisons, draws: their numbers.
        majority_cycle: share of draws whose majorities have a cycle. Near-ties make it large without any evidence for cycles.
        log10_bayes_factor: as in ``Posterior``; None for the independent model, as the following.
        spread: 5%, 50% and 95% quantiles of √2 sigma, the sd of a pair's log-odds from scores.
        residual: those of tau, the sd of what no score explains.
        acceptance, edge_weight, prior_share, caution: as in ``Posterior``.
    """

    model: str
    comparisons: float
    draws: int
    majority_cycle: Share
    log10_bayes_factor: float | None
    spread: tuple[float, float, float] | None
    residual: tuple[float, float, float] | None
    acceptance: float | None
    edge_weight: float | None
    prior_share: float | None
    caution: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready values."""
        plain = self._asdict() | {"majority_cycle": self.majority_cycle._asdict()}
        return {name: list(value) if isinstance(value, tuple) else value for name, value in plain.items()}

    def lines(self, prior: float | None) -> list[tuple[str, str]]:
        """Labels of a report and their text.

        Args:
            prior: pseudo-wins of the independent model.
        """
        made = f"{self.comparisons:g} comparisons, {self.draws} draws"
        cycle = f"a majority cycle has posterior probability {self.majority_cycle.value:.3g}"
        if self.spread is None or self.residual is None:
            law = f"Beta(wins + {prior:g}, losses + {prior:g}) for each pair, independently"
            return [("posterior", f"{law}; {made}"), ("cycle", f"{cycle} (independent pairs see cycles in noise)")]
        cautions = [("caution", sentence) for sentence in self.caution]
        scores = "scores: spread {1:.2g} (90% {0:.2g}–{2:.2g})".format(*self.spread)
        if self.log10_bayes_factor is None or self.prior_share is None:
            return [("posterior", f"{scores}; {made}"), *cautions]
        residuals = "residual {1:.2g} (90% {0:.2g}–{2:.2g})".format(*self.residual)
        factor = f"{10**self.log10_bayes_factor:.2g}" if abs(self.log10_bayes_factor) < 6 else self._power()
        words = evidence(self.log10_bayes_factor)
        return [
            ("posterior", f"{scores}; {residuals}; {made}, acceptance {self.acceptance:.2f}"),
            ("cycle", f"evidence against Bradley–Terry: Bayes factor {factor} ({words}); {cycle}"),
            ("prior", f"the range of residuals is {min(self.prior_share, 1):.0%} of that without any votes"),
            *cautions,
        ]

    def _power(self) -> str:
        return f"10^{self.log10_bayes_factor:.0f}"


def card(lines: Iterable[tuple[str, str]]) -> str:
    """Labels and their text, a line each."""
    return "\n".join(f"{label:<13} {value}" for label, value in lines)


def evidence(log10_bayes_factor: float) -> str:
    """The Bayes factor against Bradley–Terry in words."""
    if log10_bayes_factor > STRONG:
        return "strong"
    return "none" if log10_bayes_factor < NONE else "the votes do not decide"


def basis_of(drawn: Posterior) -> Basis:
    """The basis of a posterior."""
    K, draws = drawn.mean.shape[0], len(drawn.draws)
    # A tournament without cycles has one response with each number of wins from 0 to K - 1.
    wins = np.sort((drawn.draws > 0.5).sum(axis=2), axis=1)
    cyclic = int((wins != np.arange(K)).any(axis=1).sum())
    return Basis(
        model=drawn.model,
        comparisons=drawn.comparisons,
        draws=draws,
        majority_cycle=share(cyclic, draws),
        log10_bayes_factor=drawn.log10_bayes_factor if K > 2 else None,
        spread=None if drawn.sigma is None else _three(np.sqrt(2) * drawn.sigma),
        residual=None if drawn.tau is None else _three(drawn.tau),
        acceptance=drawn.acceptance,
        edge_weight=drawn.edge_weight,
        prior_share=drawn.prior_share,
        caution=drawn.caution,
    )


def _three(values: np.ndarray) -> tuple[float, float, float]:
    low, middle, high = np.quantile(values, QUANTILES)
    return float(low), float(middle), float(high)
