"""The kind of a preference matrix: winners, cycles, transitivity and distance from Bradley–Terry."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np

from .._checks import Numbers
from ._bradley_terry import bradley_terry_fit, strong_components
from ._check import host_matrix

Transitivity = Literal["none", "weak", "strong", "strict strong"]


@dataclass(frozen=True)
class Tier:
    """Responses that no majority puts in an order, all below those of the tiers before.

    Attributes:
        kind: "single"; "tied" (every two of them level); "cyclic" (a strict majority cycle among them); or "mixed" (wins and
            ties that fit no order, without a strict cycle).
        members: ascending.
        cycle: where cyclic, the responses of one of the strongest cycles, each beating the next and the last the first.
    """

    kind: Literal["single", "tied", "cyclic", "mixed"]
    members: tuple[int, ...]
    cycle: tuple[int, ...] | None = None


@dataclass(frozen=True)
class Classification:
    """The result of `classify`; indices count responses from 0.

    Attributes:
        condorcet_winner: the response with P_ij > 1/2 against every other, or None.
        smith_set: the smallest non-empty set whose members all strictly beat every non-member, ascending.
        transitivity: the strongest that holds of "weak" (P_ij, P_jk ≥ 1/2 ⇒ P_ik ≥ 1/2), "strong" (⇒ P_ik ≥
            max(P_ij, P_jk)) and "strict strong" (no ties, and P_ij, P_jk > 1/2 ⇒ P_ik > max(P_ij, P_jk)); else "none".
        has_cycle: whether the strict majority relation P_ij > 1/2 has a directed cycle.
        cycle_margin: over those cycles, the largest value of the smallest P_ij - 1/2 on the cycle; 0.0 without one.
        bt_residual: max |P_ij - σ(s_i - s_j)| at the Bradley–Terry maximum-likelihood fit with equal pair weights, or
            at its limit where no finite maximum exists.
        bt_finite: whether a finite maximum exists: the digraph P_ij > 0 is strongly connected (Ford 1957).
        order: all responses, best first: by Copeland score (wins plus half the ties), then by index. It lists the Smith
            set first, then the Smith set of the rest, and so on. Where P is weakly transitive it is the majority order, with
            tied responses next to each other. Within a tier it is arbitrary.
        tiers: what is really ordered: groups of responses, best first.
    """

    condorcet_winner: int | None
    smith_set: tuple[int, ...]
    transitivity: Transitivity
    has_cycle: bool
    cycle_margin: float
    bt_residual: float
    bt_finite: bool
    order: tuple[int, ...]
    tiers: tuple[Tier, ...]

    def ranking(self, name: Callable[[int], str] = str) -> str:
        """The tiers in words, best first.

        >>> dyn.preferences.classify(dyn.preferences.cyclic(3, advantage=0.2)).ranking("abc".__getitem__)
        'none (cycle a > b > c > a)'
        """
        if len(self.tiers) == 1 and self.tiers[0].kind != "tied":
            return f"none ({_in_words(self.tiers[0], name)})"
        told = []
        for tier in self.tiers:
            words = _in_words(tier, name)
            told.append(f"({words})" if tier.kind in ("cyclic", "mixed") else words)
        return " > ".join(told)

    def __str__(self) -> str:
        winner = "none" if self.condorcet_winner is None else f"response {self.condorcet_winner}"
        cycle = f"yes, the strongest with margin {self.cycle_margin:.4g}" if self.has_cycle else "no"
        limit = "" if self.bt_finite else " (in the limit: a group beats the rest outright)"
        rows = {
            "responses": len(self.order),
            "Condorcet winner": winner,
            "Smith set": "{" + ", ".join(map(str, self.smith_set)) + "}",
            "transitivity": self.transitivity,
            "majority cycle": cycle,
            "distance from Bradley–Terry": f"{self.bt_residual:.4g}{limit}",
            "order, best first": self.ranking(),
        }
        width = max(map(len, rows))
        return "\n".join(f"{name:<{width}}  {value}" for name, value in rows.items())


def classify(P: Numbers) -> Classification:
    """Condorcet winner, Smith set, transitivity, majority cycles and Bradley–Terry residual of P.

    Args:
        P: preference matrix, shape (K, K), K ≥ 2, concrete. Comparisons with 1/2 and between entries are exact, without
            a tolerance: shares of whole counts are classified correctly, and a computed P is taken as it is. Of P_ij and
            P_ji the larger one decides.

    Returns:
        A `Classification`.

    Raises:
        ValueError: P is traced, or `check` refuses it.

    Source: Smith 1973 (sets), Fishburn 1973 (stochastic transitivity), Ford 1957 (existence of the fit).

    >>> found = dyn.preferences.classify(dyn.preferences.cyclic(3, advantage=0.2))
    >>> found.condorcet_winner is None, found.smith_set, round(found.cycle_margin, 4)
    (True, (0, 1, 2), 0.2)
    """
    matrix = host_matrix(P).astype(np.float64)
    margin = majority_margins(matrix)
    order, smith_set = majority_order(margin)
    cycle_margin = _cycle_margin(margin)
    beats_all = np.flatnonzero((margin > 0).sum(axis=1) == len(matrix) - 1)
    return Classification(
        condorcet_winner=int(beats_all[0]) if len(beats_all) else None,
        smith_set=tuple(smith_set),
        transitivity=_transitivity(margin, np.array(order)),
        has_cycle=cycle_margin > 0,
        cycle_margin=cycle_margin,
        bt_residual=float(np.abs(matrix - bradley_terry_fit(matrix)).max()),
        bt_finite=bool(strong_components(matrix > 0).max() == 0),
        order=tuple(order),
        tiers=_tiers(margin, order),
    )


def _in_words(tier: Tier, name: Callable[[int], str]) -> str:
    if tier.kind in ("single", "tied"):
        return " = ".join(map(name, tier.members))
    if tier.cycle is None:
        return f"no order of {', '.join(map(name, tier.members))}"
    cycle = " > ".join(map(name, (*tier.cycle, tier.cycle[0])))
    rest = len(tier.members) - len(tier.cycle)
    return f"cycle {cycle}" + (f", and {rest} more" if rest else "")


def _tiers(margin: np.ndarray, order: list[int]) -> tuple[Tier, ...]:
    component = strong_components(margin >= 0)
    tiers = []
    for label in dict.fromkeys(component[order].tolist()):
        members = np.flatnonzero(component == label)
        within = margin[np.ix_(members, members)]
        if not within.any():
            tiers.append(Tier("single" if len(members) == 1 else "tied", tuple(members.tolist())))
            continue
        strongest = _cycle_margin(within)
        cycle = _a_cycle(within >= strongest) if strongest > 0 else None
        kind = "mixed" if cycle is None else "cyclic"
        tiers.append(Tier(kind, tuple(members.tolist()), None if cycle is None else tuple(members[cycle].tolist())))
    return tuple(tiers)


def _a_cycle(beats: np.ndarray) -> list[int]:
    """A shortest directed cycle of a digraph that has one but no pair of opposite edges, from its smallest member."""
    from scipy.sparse import csr_array  # SciPy loads on use
    from scipy.sparse.csgraph import breadth_first_order

    graph, best = csr_array(beats), []
    for first in range(len(beats)):
        reached, before = breadth_first_order(graph, first)
        closing = reached[beats[reached, first]]
        if not len(closing):
            continue
        cycle = [int(closing[0])]  # the nearest, because nearer responses are reached first
        while cycle[-1] != first:
            cycle.append(int(before[cycle[-1]]))
        if not best or len(cycle) < len(best):
            best = cycle[::-1]
        if len(best) == 3:
            break
    return best


def majority_margins(P: np.ndarray) -> np.ndarray:
    """P - 1/2, exactly skew: P_ji may differ from 1 - P_ij in the last digits, and the larger of the two decides."""
    won = np.where(P > P.T, np.maximum(P - 0.5, 0.0), 0.0)
    return won - won.T


def majority_order(margin: np.ndarray) -> tuple[list[int], list[int]]:
    """All responses by Copeland score, then index, and the Smith set, ascending."""
    score = (margin > 0).sum(axis=1) + 0.5 * (margin == 0).sum(axis=1)
    order = np.lexsort((np.arange(len(margin)), -score))
    component = strong_components(margin >= 0)
    return order.tolist(), np.flatnonzero(component == component[order[0]]).tolist()


def _transitivity(margin: np.ndarray, order: np.ndarray) -> Transitivity:
    # P_ij ≥ 1/2 is a complete relation; it is transitive iff every pair within a component is a tie.
    component = strong_components(margin >= 0)
    if np.any((component[:, None] == component[None, :]) & (margin != 0)):
        return "none"
    # Strong transitivity is row dominance (statement 1.6), for which each row need only dominate the next.
    m = margin[np.ix_(order, order)]
    if np.any(m[:-1] < m[1:]) or np.any((np.diagonal(m, 1)[:, None] == 0) & (m[:-1] != m[1:])):
        return "weak"
    upper = np.triu(np.ones_like(m, dtype=bool), 1)
    falls = np.all((m[:-1] > m[1:]) | ~upper[1:])
    rises = np.all((m[:, 1:] > m[:, :-1]) | ~upper[:, :-1])
    return "strict strong" if falls and rises and np.all(m[upper] > 0) else "strong"


def _cycle_margin(margin: np.ndarray) -> float:
    """The largest t > 0 for which {P_ij - 1/2 ≥ t} has a directed cycle, by bisection over the margins; 0.0 if none."""
    values = np.unique(margin[margin > 0])
    cyclic, acyclic = -1, len(values)
    while acyclic - cyclic > 1:
        middle = (cyclic + acyclic) // 2
        has_cycle = strong_components(margin >= values[middle]).max() + 1 < len(margin)
        cyclic, acyclic = (middle, acyclic) if has_cycle else (cyclic, middle)
    return float(values[cyclic]) if cyclic >= 0 else 0.0
