"""Ratings of responses, one by one, and the preference matrices of the prompts that have several."""

from __future__ import annotations

from array import array
from collections.abc import Mapping
from typing import Any

import numpy as np

from .._checks import check_number
from ._npz import MAX_RESPONSES
from ._options import Notes, Options, listed, normal
from ._ratings import compare
from ._record import BadRow
from ._sets import PreferenceSet
from ._votes import Rated
from ._wins import REMEDIES, Missing, short, without_missing

_MAX_ATTRIBUTES = 256
_MAX_ENTRIES = 2**27  # of all ratings, and of all matrices


class Ratings:
    """Ratings in order of arrival: the prompt of each response, and triples (response, attribute, value)."""

    def __init__(self) -> None:
        self.labels: list[str] = []
        self.attributes: dict[str, int] = {}
        self._prompts: dict[str, list[int]] = {}
        self._rows, self._columns, self._values = array("q"), array("q"), array("d")

    def add(self, label: str, rated: Rated) -> None:
        group = self._prompts.setdefault(rated.prompt, [])
        if rated.name != label and rated.name in [self.labels[k] for k in group]:
            raise BadRow(f"rates {short(rated.name)} a second time for one prompt; keep one of the rows")
        group.append(len(self.labels))
        for name, value in rated.ratings:
            self._rows.append(len(self.labels))
            self._columns.append(self.attributes.setdefault(name, len(self.attributes)))
            self._values.append(value)
        self.labels.append(rated.name)
        size = len(self.attributes)
        if size > _MAX_ATTRIBUTES or size * len(self.labels) > _MAX_ENTRIES:
            raise ValueError(
                f"{label} makes {size} attributes of {len(self.labels)} responses; keep at most {_MAX_ATTRIBUTES} attributes "
                f"and {_MAX_ENTRIES} ratings."
            )

    def matrices(self, options: Options, source: str, notes: Notes) -> PreferenceSet:
        missing = options.missing
        groups = [np.array(group) for group in self._prompts.values() if len(group) > 1]
        self._check_groups(groups)
        self._note_single(notes, "with one response only", [g[0] for g in self._prompts.values() if len(g) == 1])
        ratings = np.full((len(self.labels), len(self.attributes)), np.nan)
        ratings[np.asarray(self._rows), np.asarray(self._columns)] = np.asarray(self._values)
        corners = {K: np.triu_indices(K, 1) for K in {len(group) for group in groups}}
        first, second = (np.concatenate([g[corners[len(g)][side]] for g in groups]) for side in (0, 1))
        scale = options.scale
        if isinstance(scale, Mapping):
            ratings, scale = ratings * _scales(scale, self.attributes), 1.0
        shares = compare(ratings, first, second, scale, options.key)
        if missing is None and np.isnan(shares).any():
            at = int(np.isnan(shares).argmax())
            raise ValueError(
                f"{self.labels[first[at]]} and {self.labels[second[at]]} answer one prompt and have no attribute in common "
                f"({int(np.isnan(shares).sum())} such pairs in all); pass {REMEDIES}."
            )
        matrices, names, alone, at, gone, cut = [], [], [], 0, 0, 0
        for group in groups:
            pairs = corners[len(group)]
            P, left = _matrix(shares[at : at + len(pairs[0])], pairs, group, missing)
            at += len(pairs[0])
            if len(left) < 2:
                alone.append(int(group[0]))
                continue
            gone, cut = gone + len(group) - len(left), cut + (len(left) < len(group))
            matrices.append(P)
            names.append([self.labels[k] for k in left])
        self._note_single(notes, "without two responses that share an attribute", alone)
        if gone:
            notes.warn(
                f"{gone} responses of {cut} of {len(groups)} prompts were left out, as they share no attribute with another"
            )
        if not matrices:
            raise ValueError(
                "no prompt has two responses with an attribute in common; pass missing=0.5 to count all pairs as even."
            )
        return PreferenceSet(matrices, None, names, None, source)

    def _check_groups(self, groups: list[np.ndarray]) -> None:
        if not groups:
            raise ValueError(
                f"no prompt has two responses among {len(self.labels)}; give the responses to compare the same prompt."
            )
        largest = max(groups, key=len)
        total = sum(len(group) ** 2 for group in groups)
        if len(largest) > MAX_RESPONSES or total > _MAX_ENTRIES:
            raise ValueError(
                f"the prompt of {self.labels[largest[0]]} has {len(largest)} responses, and all matrices {total} entries; "
                f"pass at most {MAX_RESPONSES} and {_MAX_ENTRIES}."
            )

    def _note_single(self, notes: Notes, why: str, rows: list[int]) -> None:
        if rows:
            which = "prompt" if len(rows) == 1 else "prompts"
            was = "was" if len(rows) == 1 else "were"
            notes.warn(f"{len(rows)} {which} {why} {was} left out (the first: {self.labels[rows[0]]})")


def _matrix(shares: np.ndarray, pairs: tuple[np.ndarray, ...], group: np.ndarray, missing: Missing) -> tuple[Any, Any]:
    """P of one prompt's responses, and the rows of those that remain."""
    P = np.full((len(group), len(group)), 0.5)
    i, j = pairs
    P[i, j], P[j, i] = shares, 1.0 - shares
    never = np.isnan(P)
    if not never.any():
        return P, group
    if missing == "drop":
        kept = without_missing(np.where(never, 0.0, 1.0) - np.eye(len(P)))
        return P[np.ix_(kept, kept)], group[kept]
    return np.where(never, 0.5, P), group


def _scales(scale: Mapping[Any, Any], attributes: dict[str, int]) -> np.ndarray:
    """s of each attribute; those that a mapping leaves out have 1."""
    scales = np.ones(len(attributes))
    for name, value in scale.items():
        if normal(str(name)) not in attributes:
            raise ValueError(f"scale names {short(str(name))}, but its attributes are {listed(list(attributes), 12)}.")
        scales[attributes[normal(str(name))]] = float(
            check_number(value, f"scale[{short(str(name))}]", 0.0, np.inf, open_low=True)
        )
    return scales
