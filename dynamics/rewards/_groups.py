"""Why comparisons have no finite maximum-likelihood rewards, in words that name the group and the context."""

from __future__ import annotations

import numpy as np

from ..preferences import unbeaten, unlinked

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
