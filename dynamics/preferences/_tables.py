"""Tables of wins, one for each prompt, and the matrices that the options make of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ._bradley_terry import strong_components
from ._npz import MAX_RESPONSES
from ._options import Notes, Options, listed
from ._sets import PreferenceSet
from ._wins import REMEDIES, shares, short, without_missing

_MAX_ENTRIES = 2**27  # of all matrices


@dataclass(frozen=True)
class Table:
    """wins[i, j] = how often i beat j, ties counted half; ``ties`` says how many there were, None where unknown."""

    names: Sequence[str] | None
    wins: np.ndarray
    ties: np.ndarray | None = None
    voters: int | None = None
    shown: Sequence[str] = ()  # names for messages, where there are no names
    prompt: str = ""  # for messages

    def label(self, k: int) -> str:
        return str((self.names or self.shown or range(len(self.wins)))[k])


def tables_to_set(tables: Sequence[Table], options: Options, source: str, notes: Notes) -> PreferenceSet:
    """The matrices of tables of wins: ties as asked, then pseudo-counts, then pairs that were never compared."""
    _check_size(tables)
    tables = [_with_ties(table, options) for table in tables]
    dropped: list[tuple[Table, np.ndarray]] = []
    kept: list[Table] = []
    for table in tables:
        left = _without(table, dropped) if options.missing == "drop" else table
        if left is not None:
            kept.append(left)
    if not kept:
        raise ValueError("no two of its responses were ever compared; pass missing=0.5 (--missing 0.5) or more data.")
    _note_dropped(dropped, len(kept) < len(tables), len(tables), notes)
    if options.smoothing:
        kept = [_smoothed(table, options.smoothing) for table in kept]
        notes.say(
            f"{options.smoothing:g} was added to the wins of each side of every compared pair; the counts include it"
        )
    matrices = [_matrix(table, options) for table in kept]
    return PreferenceSet(
        matrices,
        [table.wins + table.wins.T for table in kept],
        [table.names for table in kept],
        [table.voters for table in kept],
        source,
        [table.ties for table in kept],
    )


def _matrix(table: Table, options: Options) -> np.ndarray:
    where = lambda i, j: f"{table.prompt}the wins of {short(table.label(i))} over {short(table.label(j))}"
    total = table.wins + table.wins.T + np.eye(len(table.wins))
    groups = _groups(total).max() + 1 if options.missing is None and not total.all() else 1
    apart = f"its responses fall into {groups} groups without a comparison between them; " if groups > 1 else ""
    return shares(table.wins, options.missing, where, f"{apart}pass {REMEDIES}")


def _check_size(tables: Sequence[Table]) -> None:
    total = sum(len(table.wins) ** 2 for table in tables)
    largest = max(len(table.wins) for table in tables)
    if largest > MAX_RESPONSES or total > _MAX_ENTRIES:
        raise ValueError(
            f"one prompt has {largest} responses, and all matrices {total} entries; pass at most {MAX_RESPONSES} and "
            f"{_MAX_ENTRIES}."
        )


def _with_ties(table: Table, options: Options) -> Table:
    if options.ties == "half":
        return table
    if table.ties is None:
        raise ValueError("how many of its comparisons were ties is unknown; leave out ties='drop' (--ties drop).")
    wins = np.maximum(table.wins - 0.5 * table.ties, 0.0)
    return Table(table.names, wins, np.zeros_like(table.ties), table.voters, table.shown, table.prompt)


def _smoothed(table: Table, smoothing: float) -> Table:
    compared = (table.wins + table.wins.T > 0) & ~np.eye(len(table.wins), dtype=bool)
    wins = table.wins + smoothing * compared
    return Table(table.names, wins, table.ties, table.voters, table.shown, table.prompt)


def _without(table: Table, dropped: list[tuple[Table, np.ndarray]]) -> Table | None:
    """The table of the responses that remain, or None where fewer than two do."""
    kept = without_missing(table.wins + table.wins.T)
    if len(kept) == len(table.wins):
        return table
    dropped.append((table, kept))
    if len(kept) < 2:
        return None
    square = np.ix_(kept, kept)
    names = [table.label(k) for k in kept.tolist()]
    ties = None if table.ties is None else table.ties[square]
    return Table(names, table.wins[square], ties, table.voters, table.shown, table.prompt)


def _note_dropped(dropped: list[tuple[Table, np.ndarray]], lost: bool, total: int, notes: Notes) -> None:
    if not dropped:
        return
    if total == 1:
        table, kept = dropped[0]
        gone = [table.label(k) for k in range(len(table.wins)) if k not in set(kept.tolist())]
        groups = _groups(table.wins + table.wins.T)
        notes.warn(
            f"{len(gone)} of {len(table.wins)} responses were left out, as they have pairs that were never compared: "
            f"{listed(gone)}"
        )
        if groups.max() > 0:
            sizes = ", ".join(map(str, sorted(np.bincount(groups).tolist(), reverse=True)[:6]))
            inside = int((groups == groups[kept[0]]).sum())
            notes.warn(
                f"its responses fall into {groups.max() + 1} groups without a comparison between them, of sizes {sizes}; kept "
                f"are {len(kept)} of the {inside} in the group of {listed([table.label(int(kept[0]))])}"
            )
        return
    gone = sum(len(table.wins) - (len(kept) if len(kept) > 1 else 0) for table, kept in dropped)
    whole = sum(len(kept) < 2 for _, kept in dropped)
    notes.warn(
        f"{gone} responses of {len(dropped)} of {total} prompts were left out, as they have pairs that were never compared"
        + (f"; {whole} of these prompts have no two responses left" if lost else "")
    )


def _groups(total: np.ndarray) -> np.ndarray:
    """The number of the group of each response, where a comparison joins two."""
    return strong_components(total > 0)
