"""What ``safe_beta`` returns, and how it is told."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from .._cards import Table, html, markdown
from .._shares import Share
from ._basis import Basis, card, evidence

GAP = 1.5  # ratio of the two models' betas from which their difference is told


@dataclasses.dataclass(frozen=True)
class SafeBeta:
    """The result of ``safe_beta``; arrays have shape ``(A, L)``, over alpha and lam.

    Attributes:
        objective: "IPO" or "DPO".
        alpha, lam: the values, ``(A,)`` and ``(L,)``.
        beta: with posterior probability ``confidence``, rounds are locally stable at every beta above it. It is ``floor`` where
            they stay stable down to the floor, and ``inf`` where so many draws have no optimum that no beta suffices.
        low, high: 95% Monte Carlo interval of ``beta``.
        mean: the beta at which rounds with the posterior mean of P lose stability; ``floor`` where they do not, ``inf`` where
            there is no finite optimum.
        proven: with probability ``confidence``, convergence from every start is proven above this beta (IPO: statements 7.2
            and 7.15 on each draw); None for DPO, for which nothing is proven.
        proven_everywhere: lam/(2 √(1-alpha)), above which convergence is proven for every P (IPO: statement 7.15); None for
            DPO.
        confidence, draws, comparisons, prior: the arguments, and the number of comparisons; None where P was given.
        floor: the smallest beta that was examined.
        beta_if: the same among draws that lose stability at all above the floor, for those who hold that it can be lost;
            ``floor`` where none does. None where P was given, as the following.
        loses_stability: posterior probability that stability is lost at some beta above the floor, under the first of
            ``models``; arrays ``(A, L)``.
        models: the models that were asked, ("hierarchical", "independent") by default.
        by_model, if_by_model: each model's ``beta`` and ``beta_if``. The results are the larger ones, because neither model is
            calibrated on every law.
        source: the model that ``beta`` comes from, ``(A, L)``.
        basis: what the first of ``models`` rests on.
        lost: share of draws whose curve of fixed points ended early, which count as unstable below that beta; the largest
            over lam.
        without_optimum: share of draws without a finite optimum, which count as unstable at every beta; the largest over lam.
    """

    objective: str
    alpha: np.ndarray
    lam: np.ndarray
    beta: np.ndarray
    low: np.ndarray
    high: np.ndarray
    mean: np.ndarray
    proven: np.ndarray | None
    proven_everywhere: np.ndarray | None
    confidence: float | None
    draws: int | None
    comparisons: float | None
    prior: float | None
    floor: float
    lost: float
    without_optimum: float
    beta_if: np.ndarray | None = None
    loses_stability: Share | None = None
    models: tuple[str, ...] = ()
    by_model: dict[str, np.ndarray] | None = None
    if_by_model: dict[str, np.ndarray] | None = None
    source: np.ndarray | None = None
    basis: Basis | None = None

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready values; a beta that does not exist is null."""
        plain = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        plain["basis"] = None if self.basis is None else self.basis.to_dict()
        plain["loses_stability"] = None if self.loses_stability is None else self.loses_stability._asdict()
        return {name: _plain(value) for name, value in plain.items()}

    def to_markdown(self, *, title: str | None = None) -> str:
        """The safe betas as a card in Markdown, for a wiki or a model card.

        Args:
            title: the heading; "Safe beta of IPO" unless given.

        >>> P = dyn.preferences.cyclic(3, 0.4)
        >>> card = dyn.stability.known_beta(P, dyn.IPO, [0.5], [1.0], progress=False).to_markdown()
        >>> print(card.splitlines()[-1])
        | 0.5 | 1 | 0.2667 | 0.4 | 0.7071 |
        """
        return markdown(self._title(title), *self._card())

    def to_html(self, *, title: str | None = None) -> str:
        """The same as a card in HTML: one ``<section>`` that loads nothing.

        Args:
            title: as in ``to_markdown``.
        """
        return html(self._title(title), *self._card())

    def _title(self, title: str | None) -> str:
        return f"Safe beta of {self.objective}" if title is None else title

    def _card(self) -> tuple[list[tuple[str, str]], list[Table]]:
        told = "locally stable at every beta above the one in the table"
        if self.confidence is None:
            lines = [("rounds are", f"{told}, if P is exactly as given (no counts of comparisons are known)")]
        else:
            given = f"{self.comparisons:g} comparisons, by the larger beta of the models {' and '.join(self.models)}"
            lines = [("rounds are", f"{told}, with posterior probability {self.confidence:g} given {given}")]
            lines += [] if self.basis is None else self.basis.lines(self.prior)
            lines += [("note", sentence) for sentence in self._gap()]
        lines.append(("smallest beta examined", f"{self.floor:g}"))
        counted = self.confidence is not None
        columns = ["alpha", "lam", "stable above beta"] + (
            ["95% Monte Carlo interval", "at the mean"] if counted else []
        )
        columns += [] if self.proven is None else ["proven to converge above", "for every P above"]
        rows = []
        for a, n in np.ndindex(self.beta.shape):
            cells = [f"{self.alpha[a]:g}", f"{self.lam[n]:g}", self._told(self.beta[a, n])]
            if counted:
                interval = f"{self._told(self.low[a, n])} – {self._told(self.high[a, n])}"
                cells += [interval, self._told(self.mean[a, n])]
            if self.proven is not None and self.proven_everywhere is not None:
                cells += [f"{self.proven[a, n]:.4g}", f"{self.proven_everywhere[a, n]:.4g}"]
            rows.append(cells)
        return lines, [Table(columns, rows)]

    def _told(self, beta: Any) -> str:
        if not np.isfinite(beta):
            return "none"
        return f"≤ {self.floor:g}" if beta <= self.floor else f"{beta:.4g}"

    def __str__(self) -> str:
        if self.confidence is None or self.basis is None or self.beta_if is None or self.loses_stability is None:
            lines = [f"{self.objective}: stable above beta for the given P (floor {self.floor:g})"]
            return "\n".join(lines + [self._row(a, self.beta) for a in range(len(self.alpha))])
        named = " and ".join(self.models)
        larger = f"the larger beta of the models {named}" if len(self.models) > 1 else f"the {named} model"
        lines = [
            f"{self.objective}: stable above beta with posterior probability {self.confidence:g}, by {larger} "
            f"({self.draws} draws, {self.comparisons:g} comparisons, floor {self.floor:g})"
        ]
        lines += [self._row(a, self.beta) for a in range(len(self.alpha))]
        value = np.asarray(self.loses_stability.value)
        told = f"{value.min():.2g}" if np.ptp(value) < 0.005 else f"{value.min():.2g} to {value.max():.2g}"
        lines.append(f"stability can be lost with posterior probability {told}; if it can, stable above beta")
        lines += [self._row(a, self.beta_if) for a in range(len(self.alpha))]
        return "\n".join([*lines, *self._gap(), card(self.basis.lines(self.prior))])

    def _row(self, a: int, beta: np.ndarray) -> str:
        cells = (f"lam {lam:g}: {beta[a, n]:.4g}" for n, lam in enumerate(self.lam))
        return f"alpha {self.alpha[a]:g}  {', '.join(cells)}"

    def _gap(self) -> list[str]:
        """A sentence where the models differ much."""
        if self.by_model is None or len(self.models) < 2 or self.basis is None:
            return []
        first, second = (self.by_model[name] for name in self.models)
        finite = np.isfinite(first) & np.isfinite(second)
        ratio = np.where(finite, np.maximum(first, second) / np.minimum(first, second), 1.0)
        if ratio.max() < GAP:
            return []
        at = np.unravel_index(ratio.argmax(), ratio.shape)
        values = ", ".join(f"{name} {self.by_model[name][at]:.3g}" for name in self.models)
        factor = self.basis.log10_bayes_factor
        words = "" if factor is None else f"; evidence for a cycle: {evidence(factor)}"
        where = f"alpha {self.alpha[at[0]]:g}, lam {self.lam[at[1]]:g}"
        return [f"the models differ: {values} at {where}{words}; more votes on the best responses decide"]


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _plain(entry) for name, entry in value.items()}
    if isinstance(value, tuple):
        return list(value)
    if isinstance(value, np.ndarray):
        return value.tolist() if value.dtype.kind == "U" else _listed(value)
    return value


def _listed(values: np.ndarray) -> list[Any]:
    return [_listed(v) if v.ndim else (float(v) if np.isfinite(v) else None) for v in map(np.asarray, values)]
