"""Orders with ties and gaps: one line of a PrefLib file, and how often each response is ranked above each other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float

from ._wins import short

_BLOCK = 1024  # orders compared at a time, few enough to stay in cache


class Above:
    """Weighted counts over orders of K alternatives, added one by one.

    Attributes:
        wins: ``wins[i, j]`` is how many voters rank i above j, ties counted half, shape (K, K); valid after `close`.
        ties: ``ties[i, j]`` is how many of them put i and j level, shape (K, K); valid after `close`.
    """

    def __init__(self, K: int):
        self.wins = np.zeros((K, K))
        self.ties = np.zeros((K, K))
        self._both = np.zeros((K, K))
        self._ranks = np.full((_BLOCK, K), np.nan, dtype=np.float32)
        self._counts = np.zeros(_BLOCK)
        self._held = 0

    def add(self, count: int, alternatives: Sequence[int], ranks: Sequence[int]) -> None:
        """``count`` voters rank ``alternatives``, each at its rank, 0 at the top, and leave the rest out."""
        self._ranks[self._held, alternatives] = ranks
        self._counts[self._held] = count
        self._held += 1
        if self._held == _BLOCK:
            self._flush()

    def close(self) -> None:
        """Adds the orders not yet counted, and splits the ties."""
        self._flush()
        np.fill_diagonal(self._both, 0.0)
        self.ties = self._both - self.wins - self.wins.T
        self.wins += self.ties / 2

    def _flush(self) -> None:
        count = self._counts[: self._held]
        rank: Float[np.ndarray, "K B"] = np.ascontiguousarray(self._ranks[: self._held].T)
        ranked = (~np.isnan(rank)).astype(np.float64)
        self._both += (ranked * count) @ ranked.T
        for i, own in enumerate(rank):
            # An alternative that is not ranked has rank nan, and comparisons with nan are false.
            self.wins[i] += (own < rank).astype(np.float64) @ count
        self._ranks[: self._held] = np.nan
        self._held = 0


def parse_order(text: str, index: Mapping[str, int], where: str) -> tuple[list[int], Sequence[int]]:
    """The alternatives of ``a,b,{c,d}``, best first, and their ranks; those in braces are tied."""
    if "{" in text or "}" in text:
        tokens, ranks = _split_tied(text, where)
    else:
        tokens = text.split(",")
        ranks = range(len(tokens))
    found = list(map(index.get, tokens))
    if None in found:
        tokens = [token.strip() for token in tokens]
        found = list(map(index.get, tokens))
    alternatives = [k for k in found if k is not None]
    if len(alternatives) < len(found):
        unknown = tokens[found.index(None)]
        raise ValueError(
            f"{where}: {short(unknown)} is not one of the alternatives 1 to {len(index)}; write their numbers, separated by "
            f"commas."
        )
    if len(set(alternatives)) < len(alternatives):
        twice = next(k for n, k in enumerate(alternatives) if k in alternatives[:n])
        raise ValueError(f"{where} ranks alternative {twice + 1} twice; rank each alternative once.")
    return alternatives, ranks


def _split_tied(text: str, where: str) -> tuple[list[str], list[int]]:
    tokens, ranks = [], []
    inside, rank = False, 0
    for token in map(str.strip, text.split(",")):
        opens, closes = token.startswith("{"), token.endswith("}")
        if (opens and inside) or (closes and not (opens or inside)):
            raise ValueError(f"{where} has a misplaced brace; put tied alternatives in one pair of braces.")
        tokens.append(token[opens : len(token) - closes].strip())
        ranks.append(rank)
        inside = (inside or opens) and not closes
        rank += not inside
    if inside:
        raise ValueError(f"{where} opens a brace that is never closed; close it after the tied alternatives.")
    return tokens, ranks


def parse_categories(text: str, index: Mapping[str, int], where: str) -> tuple[list[int], Sequence[int]]:
    """The alternatives of ``a,{},{b,c}``, a category for each place, and the places; {} is empty."""
    tokens, ranks = _split_tied(text, where)
    filled = [k for k, token in enumerate(tokens) if token]
    if not filled:
        return [], []
    alternatives, _ = parse_order(",".join(tokens[k] for k in filled), index, where)
    return alternatives, [ranks[k] for k in filled]
