"""Scored responses, row by row, and the preference matrices of the prompts that have several."""

from __future__ import annotations

import math
from array import array
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from ._npz import MAX_RESPONSES
from ._ratings import compare
from ._sets import PreferenceSet
from ._wins import REMEDIES, Missing, short, without_missing

_MAX_ROWS = 1_000_000
_MAX_ATTRIBUTES = 256
_MAX_ENTRIES = 2**27  # of all ratings, and of all matrices

_FORM = "a prompt, a response and numeric attributes (such as helpfulness)"
_SKIP = "or pass skip_bad=True (--skip-bad) to leave such rows out"


class BadRow(ValueError):
    """What is wrong with a row and the remedy, as a sentence without its subject."""


def read_responses(
    rows: Iterable[tuple[str, Any]],
    parse: Callable[[Any], Any],
    source: str,
    *,
    missing: Missing,
    key: Any,
    scale: Any,
    skip_bad: bool,
) -> tuple[PreferenceSet, list[str]]:
    """The matrices of labelled rows, and notes on what was left out; ``parse`` turns a row into an object."""
    table, bad, first_bad = _Table(), 0, ""
    for label, row in rows:
        if len(table.labels) + bad >= _MAX_ROWS:
            raise ValueError(f"{label} exceeds the limit of {_MAX_ROWS} responses; pass fewer.")
        try:
            table.add(label, parse(row))
        except BadRow as error:
            if not skip_bad:
                raise ValueError(f"{label} {error}, {_SKIP}.") from None
            bad, first_bad = bad + 1, first_bad or f"{label} {error}"
    if not table.labels:
        raise ValueError(f"none of its {bad} rows can be used: {first_bad}." if bad else f"it is empty; pass {_FORM}.")
    notes = [f"{bad} bad {'row was' if bad == 1 else 'rows were'} left out (the first: {first_bad})"] if bad else []
    found = table.matrices(missing, key, scale, source, notes)
    return found, notes


class _Table:
    """Ratings in order of arrival: the prompt of each row, and triples (row, attribute, value)."""

    def __init__(self) -> None:
        self.labels: list[str] = []
        self._prompts: dict[str, list[int]] = {}
        self._attributes: dict[str, int] = {}
        self._rows, self._columns, self._values = array("q"), array("q"), array("d")

    def add(self, label: str, row: Any) -> None:
        prompt, ratings = _checked(row)
        self._prompts.setdefault(prompt, []).append(len(self.labels))
        for name, value in ratings:
            self._rows.append(len(self.labels))
            self._columns.append(self._attributes.setdefault(name, len(self._attributes)))
            self._values.append(value)
        self.labels.append(label)
        size = len(self._attributes)
        if size > _MAX_ATTRIBUTES or size * len(self.labels) > _MAX_ENTRIES:
            raise ValueError(
                f"{label} makes {size} attributes of {len(self.labels)} responses; keep at most {_MAX_ATTRIBUTES} attributes "
                f"and {_MAX_ENTRIES} ratings."
            )

    def matrices(self, missing: Missing, key: Any, scale: Any, source: str, notes: list[str]) -> PreferenceSet:
        if not self._attributes:
            raise ValueError(f"it has prompts and responses but no attribute with a number; pass {_FORM}.")
        groups = [np.array(group) for group in self._prompts.values() if len(group) > 1]
        self._check_groups(groups)
        self._note_single(notes, "with one response only", [g[0] for g in self._prompts.values() if len(g) == 1])
        ratings = np.full((len(self.labels), len(self._attributes)), np.nan)
        ratings[np.asarray(self._rows), np.asarray(self._columns)] = np.asarray(self._values)
        corners = {K: np.triu_indices(K, 1) for K in {len(group) for group in groups}}
        first, second = (np.concatenate([g[corners[len(g)][side]] for g in groups]) for side in (0, 1))
        shares = compare(ratings, first, second, scale, key)
        if missing is None and np.isnan(shares).any():
            at = int(np.isnan(shares).argmax())
            raise ValueError(
                f"{self.labels[first[at]]} and {self.labels[second[at]]} answer one prompt and have no attribute in common "
                f"({int(np.isnan(shares).sum())} such pairs in all); pass {REMEDIES}."
            )
        matrices, names, alone, at = [], [], [], 0
        for group in groups:
            pairs = corners[len(group)]
            P, left = _matrix(shares[at : at + len(pairs[0])], pairs, group, missing)
            at += len(pairs[0])
            if len(left) < 2:
                alone.append(int(group[0]))
                continue
            matrices.append(P)
            names.append([self.labels[k] for k in left])
        self._note_single(notes, "without two responses that share an attribute", alone)
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

    def _note_single(self, notes: list[str], why: str, rows: list[int]) -> None:
        if rows:
            which = "prompt" if len(rows) == 1 else "prompts"
            was = "was" if len(rows) == 1 else "were"
            notes.append(f"{len(rows)} {which} {why} {was} left out (the first: {self.labels[rows[0]]})")


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


def _checked(row: Any) -> tuple[str, list[tuple[str, float]]]:
    """The prompt and the ratings of one row; raises `BadRow`."""
    if not isinstance(row, dict):
        raise BadRow(f"is not an object; write {_FORM}")
    if "response" not in row and "chosen" in row and "rejected" in row:
        raise BadRow(f"has chosen and rejected, which are two texts without ratings; write {_FORM}, for each response")
    for name in ("prompt", "response"):
        if name not in row:
            raise BadRow(f"has no {name}; write {_FORM}")
        if not isinstance(row[name], str):
            raise BadRow(f"has a {name} that is not text; write it as a string")
    return row["prompt"], [
        (name, _number(name, value))
        for name, value in row.items()
        if value is not None and name not in ("prompt", "response")
    ]


def _number(name: str, value: Any) -> float:
    try:
        if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
            return float(value)
    except OverflowError:  # an int beyond floats
        value = "a number beyond 1e308"
    what = (
        short(value) if isinstance(value, str) else value if isinstance(value, bool | float) else type(value).__name__
    )
    raise BadRow(f"has {short(str(name))} = {what}, which is not a finite number; write a number or null")
