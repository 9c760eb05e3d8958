"""Why comparisons have no finite maximum-likelihood rewards, in words that name the group and the context."""

from __future__ import annotations

import numpy as np

from ..preferences import strong_components

REMEDY = "add comparisons, pass ridge=, or throw=False to get the result as a code"


def reason(wins: np.ndarray, code: int, at: tuple[int, ...], remedy: str = REMEDY) -> str:
    """The sentence for one data set, ``(K, K)``, whose fit ended with ``code``, an ``Outcome`` other than 0."""
    where = "" if not at else f"context {at[0]}: " if len(at) == 1 else f"data set {list(at)}: "
    wins = np.where(np.eye(len(wins), dtype=bool), 0.0, wins)
    if code == 3:
        return f"{where}no two different responses were ever compared, so the rewards are undetermined; {remedy}"
    if code == 2:
        group = unlinked(wins)
        return (
            f"{where}responses {group} were never compared with the others, so the rewards are undetermined; {remedy}"
        )
    if code == 1:
        return (
            f"{where}the rewards are infinite: responses {unbeaten(wins)} lost no comparison with the others; {remedy}"
        )
    return f"{where}Newton's method for the rewards did not converge; scale the counts down, or pass ridge="


def unlinked(wins: np.ndarray) -> list[int]:
    """The responses that comparisons link to the first one, itself included; all of them if the comparisons are connected.

    >>> dyn.rewards.unlinked(np.array([[0, 1, 0], [1, 0, 0], [0, 0, 0]]))
    [0, 1]
    """
    label = strong_components(wins + wins.T > 0)
    return [int(i) for i in np.flatnonzero(label == label[0])]


def unbeaten(wins: np.ndarray) -> list[int]:
    """A smallest group that won comparisons with the others and lost none; empty if there is none (Ford's condition).

    >>> dyn.rewards.unbeaten(np.array([[0, 1, 3], [1, 0, 2], [0, 0, 0]]))
    [0, 1]
    """
    label = strong_components(wins > 0)
    for top in range(label.max() + 1):
        inside = label == top
        if wins[np.ix_(inside, ~inside)].any() and not wins[np.ix_(~inside, inside)].any():
            return [int(i) for i in np.flatnonzero(inside)]
    return []
