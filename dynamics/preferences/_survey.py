"""Many prompts at a glance: how often each outcome occurs, and the prompts that are worst."""

from __future__ import annotations

import collections
import math
from collections.abc import Sequence
from dataclasses import dataclass

from .._checks import check_count


@dataclass(frozen=True)
class Survey:
    """The result of `survey`.

    Attributes:
        total: the number of prompts.
        shares: the share of each label among them, the most frequent first.
        worst: the indices of the worst prompts, the worst first; those of badness 0 or below are never among them.
    """

    total: int
    shares: dict[str, float]
    worst: tuple[int, ...]


def survey(labels: Sequence[str], badness: Sequence[float], *, worst: int = 10) -> Survey:
    """The share of each label over the prompts, n_label / n, and the prompts with the largest badness.

    Args:
        labels: of each prompt, such as a verdict; at least one.
        badness: of each prompt, larger is worse; of equals the first prompt comes first. A prompt of 0 or less is in order.
        worst: how many of the worst to name, ≥ 0.

    Raises:
        ValueError: no prompts, lists of different lengths, or a badness that is not a number.

    >>> dyn.preferences.survey(["converged", "oscillating", "converged"], [0.0, 0.3, 0.0])
    Survey(total=3, shares={'converged': 0.6666666666666666, 'oscillating': 0.3333333333333333}, worst=(1,))
    """
    most = check_count(worst, "worst", 0)
    if not labels or len(labels) != len(badness):
        raise ValueError(f"there are {len(labels)} labels and {len(badness)} badnesses; pass one of each per prompt.")
    odd = next((m for m, value in enumerate(badness) if math.isnan(value)), None)
    if odd is not None:
        raise ValueError(f"badness[{odd}] is nan; pass a number, -inf for a prompt that is in order.")
    counts = collections.Counter(labels).most_common()
    order = sorted((m for m, value in enumerate(badness) if value > 0), key=lambda m: -badness[m])
    return Survey(len(labels), {label: count / len(labels) for label, count in counts}, tuple(order[:most]))
