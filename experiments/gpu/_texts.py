"""The texts of the stages: the prompt and candidates of rounds, and statements by behaviour."""

from __future__ import annotations

import numpy as np

from dynamics import llm

from ..llm_head import _data
from ..llm_rounds._cases import CANDIDATES, PROMPT

__all__ = ["CANDIDATES", "PROMPT", "chosen", "halves", "of", "spread"]


def chosen(source: str) -> tuple[tuple[str, ...], dict[int, tuple[str, ...]]]:
    """The behaviours of ``source`` that the published draws name, and the draw for each number of values."""
    known = _data.behaviours(source)
    draws = {k: tuple(known.names[i] for i in picked) for k, picked in known.draws.items()}
    return tuple(dict.fromkeys(name for picked in draws.values() for name in picked)), draws


def of(pairs: llm.Pairs, names: tuple[str, ...]) -> llm.Pairs:
    """The pairs of some behaviours."""
    wanted = set(names)
    return pairs[np.array([name in wanted for name in pairs.behaviour])]


def halves(pairs: llm.Pairs) -> np.ndarray:
    """Which pairs train, true or false: half of either answer of each behaviour, in the order of the statements."""
    seen: dict[tuple[str, str], int] = {}
    inside = np.zeros(len(pairs), bool)
    for i, key in enumerate(zip(pairs.behaviour, pairs.chosen, strict=True)):
        seen[key] = seen.get(key, -1) + 1
        inside[i] = seen[key] % 2 == 0
    return inside


def spread(pairs: llm.Pairs, count: int) -> llm.Pairs:
    """``count`` of the pairs, evenly over all of them."""
    return pairs[np.unique(np.linspace(0, len(pairs) - 1, min(count, len(pairs))).astype(int))]
