"""What rows say, whatever their format: votes between two responses, and ratings of one; and the tables of votes."""

from __future__ import annotations

import hashlib
from array import array
from typing import NamedTuple

import numpy as np

from ._npz import MAX_RESPONSES
from ._options import Options
from ._tables import Table


class Vote(NamedTuple):
    """``weight`` votes, a ``share`` of which went to ``first``; exactly 1/2 is a tie.

    Responses are told apart by ``first`` and ``second`` within a ``prompt``. Where the prompt is None, rows that share a
    response belong to one prompt.
    """

    prompt: str | None
    first: str
    second: str
    share: float
    weight: float
    names: tuple[str, str]


class Rated(NamedTuple):
    """A response to a prompt, with its ratings by attributes; ``name`` is for reports."""

    prompt: str
    name: str
    ratings: list[tuple[str, float]]


class Ballots:
    """Votes, prompt by prompt, in order of arrival."""

    def __init__(self, options: Options, pooled: bool):
        self._options, self._pooled = options, pooled
        self._index: dict[tuple[bytes, bytes], int] = {}
        self._names: list[str] = []
        self._prompts: dict[bytes, int] = {}
        self._prompt_of: list[int] = []  # of each response; -1 where rows do not tell
        self._sides: tuple[array, array] = array("q"), array("q")
        self._shares, self._weights = array("d"), array("d")
        self.unprompted, self.parted = False, 0

    def add(self, label: str, vote: Vote) -> None:
        prompt = b"" if vote.prompt is None else _digest(vote.prompt)
        at = -1 if vote.prompt is None else self._prompts.setdefault(prompt, len(self._prompts))
        self.unprompted |= vote.prompt is None
        ends = []
        for key, name in zip((vote.first, vote.second), vote.names, strict=True):
            k = self._index.setdefault((prompt, _digest(key)), len(self._names))
            if k == len(self._names):
                self._names.append(name)
                self._prompt_of.append(at)
            ends.append(k)
        if self._pooled and len(self._names) > MAX_RESPONSES:
            raise ValueError(f"{label} names response {MAX_RESPONSES + 1}; pass at most {MAX_RESPONSES} responses.")
        for side, k in zip(self._sides, ends, strict=True):
            side.append(k)
        self._shares.append(vote.share)
        self._weights.append(vote.weight)

    def tables(self) -> list[Table]:
        """The tables of wins of all prompts, in order of arrival."""
        first, second = (np.asarray(side, dtype=np.int64) for side in self._sides)
        share, weight = np.asarray(self._shares), np.asarray(self._weights)
        group = self._groups(first, second)
        sizes = np.bincount(group)
        place = np.empty(len(group), dtype=np.int64)
        order = np.argsort(group, kind="stable")
        place[order] = np.arange(len(group)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
        votes = np.argsort(group[first], kind="stable")
        ends = np.cumsum(np.bincount(group[first], minlength=len(sizes)))
        starts = np.cumsum(sizes) - sizes
        found, begun = [], 0
        for g, end in enumerate(ends):
            v = votes[begun:end]
            begun = int(end)
            K = int(sizes[g])
            if K > MAX_RESPONSES:
                raise ValueError(f"one prompt has {K} responses; pass at most {MAX_RESPONSES}.")
            i, j, wins, ties = place[first[v]], place[second[v]], np.zeros((K, K)), np.zeros((K, K))
            np.add.at(wins, (i, j), share[v] * weight[v])
            np.add.at(wins, (j, i), (1.0 - share[v]) * weight[v])
            level = np.where(share[v] == 0.5, weight[v], 0.0)
            np.add.at(ties, (i, j), level)
            np.add.at(ties, (j, i), level)
            names = [self._names[k] for k in order[starts[g] : starts[g] + K]]
            found.append(Table(names, wins, ties))
        return found

    def _groups(self, first: np.ndarray, second: np.ndarray) -> np.ndarray:
        """The group of each response, in order of arrival: all of them, or those that votes on one prompt link."""
        size = len(self._names)
        if self._pooled:
            return np.zeros(size, dtype=np.int64)
        from scipy.sparse import coo_array
        from scipy.sparse.csgraph import connected_components

        edges = coo_array((np.ones(len(first)), (first, second)), (size, size))
        linked = connected_components(edges, directed=False)[1]
        _, at, back = np.unique(linked, return_index=True, return_inverse=True)
        prompts = np.asarray(self._prompt_of)[at]
        self.parted = int((np.bincount(prompts[prompts >= 0], minlength=1) > 1).sum())
        rank = np.empty(len(at), dtype=np.int64)
        rank[np.argsort(at)] = np.arange(len(at))
        return rank[back]


def _digest(text: str) -> bytes:
    data = text.encode("utf-8", "surrogatepass")
    return data if len(data) < 32 else hashlib.blake2b(data, digest_size=32).digest()
