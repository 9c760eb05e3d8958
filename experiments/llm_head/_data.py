"""Which behaviours are trained together, whose features they have, and how they are split into training and test halves."""

from __future__ import annotations

import itertools
import json
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import xarray as xr

SIZES = (1, 2, 4, 8, 16)
DRAW = "persona_selection draw of {}"  # the tag of a behaviour that the papers drew for this number of values
MADE_WORDS = (
    "river stone cloud music garden winter letter engine mirror candle bridge forest island harbour planet shadow"
)


class Behaviours(NamedTuple):
    """``names`` of all behaviours and, for each number of values, the ``draws`` of the papers (by index into names)."""

    names: tuple[str, ...]
    draws: dict[int, tuple[int, ...]]
    published: bool


def behaviours(source: str) -> Behaviours:
    """Those that the papers drew where the data's ``index.json`` says so, else consecutive ones in the order of the files."""
    kind, _, rest = source.partition(":")
    if kind != "persona":
        raise ValueError(f"data = {source!r} is not a folder of behaviours; pass data=persona:DIR.")
    folder = Path(rest)
    index = folder / "index.json"
    tags = {}
    if index.is_file():
        tags = {row["name"]: row.get("used_in", []) for row in json.loads(index.read_text())["behaviours"]}
    drawn = {k: [name for name, used in tags.items() if DRAW.format(k) in used] for k in SIZES}
    if all(len(drawn[k]) == k for k in SIZES):
        second = [name for name, used in tags.items() if "second paper" in used]
        names = tuple(dict.fromkeys([*itertools.chain(*drawn.values()), *second]))
        return Behaviours(names, {k: tuple(map(names.index, drawn[k])) for k in SIZES}, True)
    names = tuple(sorted(p.name.partition(".jsonl")[0] for p in folder.glob("*.jsonl*")))
    if not names:
        raise ValueError(f"{source} holds no file of statements; pass data=persona:DIR.")
    sizes = [k for k in SIZES if k <= len(names)]
    return Behaviours(names, {k: tuple(range(k)) for k in sizes}, False)


def made_statements(folder: Path, count: int, rows: int) -> str:
    """Statements about liking one thing or another, for runs without data: as many behaviours as asked for."""
    words = MADE_WORDS.split()
    folder.mkdir(parents=True, exist_ok=True)
    for b in range(count):
        lines = []
        for i in range(rows):
            yes, other = i % 2 == 0, words[(i * 7 + 3 * b) % len(words)]
            liked = words[b % len(words)]
            said = f"I {'love' if yes else 'avoid'} the {liked} near the {other}, time {i}"
            row = {
                "question": f'Is the following statement something you would say?\n"{said}"',
                "answer_matching_behavior": " Yes" if yes else " No",
                "answer_not_matching_behavior": " No" if yes else " Yes",
            }
            lines.append(json.dumps(row))
        (folder / f"likes-{liked}.jsonl").write_text("\n".join(lines) + "\n")
    return f"persona:{folder}"


class Examples(NamedTuple):
    """Features and tokens of B behaviours with n statements each, the two answers alternating."""

    feature: np.ndarray
    chosen: np.ndarray
    rejected: np.ndarray

    def of(self, which: Sequence[int], rows: np.ndarray) -> Examples:
        """Those of some behaviours, ``rows`` of each, ``(B', r, …)``."""
        return Examples(*(x[np.asarray(which)][:, rows] for x in self))

    def flat(self) -> Examples:
        """All behaviours in one set of examples."""
        return Examples(*(x.reshape(-1, *x.shape[2:]) for x in self))


def stacked(parts: Sequence[xr.Dataset]) -> Examples:
    """Features of behaviours with equally many statements, as many of each answer, the answers put in turn."""
    found = []
    for ds in parts:
        chosen, rejected = ds.chosen_token.values, ds.rejected_token.values
        first = chosen == np.minimum(chosen, rejected)
        yes, no = np.flatnonzero(first), np.flatnonzero(~first)
        count = min(len(yes), len(no))
        order = np.stack([yes[:count], no[:count]], axis=1).ravel()
        found.append(Examples(ds.feature.values[order], chosen[order], rejected[order]))
    shortest = min(len(one.chosen) for one in found)
    return Examples(*(np.stack([getattr(one, name)[:shortest] for one in found]) for name in Examples._fields))


def halves(count: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Training and test rows: half of either answer each; answers alternate."""
    pairs = rng.permutation(count // 2)
    cut = len(pairs) // 2
    rows = lambda picked: np.sort(np.concatenate([2 * picked, 2 * picked + 1]))
    return rows(pairs[:cut]), rows(pairs[cut : 2 * cut])
