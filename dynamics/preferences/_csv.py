"""Preference matrices from `.csv` tables of wins."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from typing import IO

import numpy as np

from ._npz import MAX_RESPONSES
from ._sets import PreferenceSet
from ._wins import Missing, from_table, short

_MAX_FILE_BYTES = 2**26
_MAX_LINE_LENGTH = 2**22
_MAX_ROWS = 2_000_000

Row = tuple[int, list[str]]


def read_csv(stream: IO[bytes], source: str, missing: Missing) -> PreferenceSet:
    """A list of comparisons iff the header is winner,loser[,count]; else a square table whose header equals its first column.

    Closes the stream.
    """
    size = stream.seek(0, io.SEEK_END)
    if size > _MAX_FILE_BYTES:
        raise ValueError(f"it has {size / 2**20:.0f} MiB; pass a table of at most {_MAX_FILE_BYTES // 2**20} MiB.")
    stream.seek(0)
    with io.TextIOWrapper(stream, encoding="utf-8-sig", newline="") as text:
        rows = _rows(text)
        header = next(rows, None)
        if header is None:
            raise ValueError("it is empty; start it with winner,loser[,count] or with a row of names.")
        is_long = [cell.lower() for cell in header[1]] in (["winner", "loser"], ["winner", "loser", "count"])
        names, wins = _long(header, rows) if is_long else _square(header, rows)
    return from_table(wins, names, missing, source)


def _rows(text: io.TextIOWrapper) -> Iterator[Row]:
    """Rows that are not blank, with cells trimmed, each with the number of its last line."""
    reader = csv.reader(_lines(text), strict=True)
    try:
        for count, cells in enumerate(reader):
            if count > _MAX_ROWS:
                raise ValueError(f"it has more than {_MAX_ROWS} rows; add up equal pairs in a count column.")
            cells = [cell.strip() for cell in cells]
            if any(cells):
                yield reader.line_num, cells
    except csv.Error as error:
        raise ValueError(f"line {reader.line_num}: {error}; write it as comma-separated values.") from None
    except UnicodeDecodeError as error:
        raise ValueError(
            f"it is not UTF-8 text (byte {error.start} of a block, {error.reason}); save it as UTF-8."
        ) from None


def _lines(text: io.TextIOWrapper) -> Iterator[str]:
    for number, line in enumerate(text, start=1):
        if len(line) > _MAX_LINE_LENGTH:
            raise ValueError(f"line {number} has {len(line)} characters; write at most {_MAX_LINE_LENGTH} on a line.")
        yield line


def _long(header: Row, rows: Iterator[Row]) -> tuple[list[str], np.ndarray]:
    width = len(header[1])
    index: dict[str, int] = {}
    wins: dict[tuple[int, int], float] = {}
    for line, cells in rows:
        if len(cells) != width:
            want = ",".join(header[1])
            raise ValueError(f"line {line} has {len(cells)} cells under a header of {width}; write {want}.")
        winner, loser = cells[:2]
        if not winner or not loser or winner == loser:
            who = f"winner {short(winner)} and loser {short(loser)}"
            raise ValueError(f"line {line} has {who}; name two different responses.")
        pair = index.setdefault(winner, len(index)), index.setdefault(loser, len(index))
        if len(index) > MAX_RESPONSES:
            raise ValueError(f"line {line} names response {MAX_RESPONSES + 1}; pass at most {MAX_RESPONSES} responses.")
        wins[pair] = wins.get(pair, 0.0) + (_number(cells[2], line) if width == 3 else 1.0)
    if not wins:
        raise ValueError("it has a header but no comparisons; add a row per comparison.")
    table = np.zeros((len(index), len(index)))
    table[tuple(np.array(list(wins)).T)] = list(wins.values())
    return list(index), table


def _square(header: Row, rows: Iterator[Row]) -> tuple[list[str], np.ndarray]:
    names = header[1][1:]
    if len(names) > MAX_RESPONSES:
        raise ValueError(f"it has {len(names)} columns; pass at most {MAX_RESPONSES} responses.")
    twice = next((name for name in names if not name or names.count(name) > 1), None)
    if len(names) < 2 or twice is not None:
        why = f"{len(names)} named columns" if twice is None else f"the name {short(twice)} empty or repeated"
        raise ValueError(
            f"its header has {why}; start a list of comparisons with winner,loser[,count], and a table of win counts "
            f"with a cell and the names of two or more responses, separated by commas."
        )
    table = np.zeros((len(names), len(names)))
    i = -1
    for i, (line, cells) in enumerate(rows):
        want = names[i] if i < len(names) else None
        if want is None or cells[0] != want:
            raise ValueError(
                f"line {line} starts with {short(cells[0])} where the header has {short(want or 'nothing more')}; "
                f"a table of win counts repeats its header in the first column, a list of comparisons starts with "
                f"winner,loser[,count]."
            )
        if len(cells) != len(names) + 1:
            raise ValueError(f"line {line} has {len(cells)} cells under a header of {len(names) + 1}; fill the row.")
        table[i] = [_number(cell or ("0" if i == j else ""), line) for j, cell in enumerate(cells[1:])]
    if i + 1 < len(names):
        raise ValueError(f"it has {i + 1} rows for {len(names)} columns; the row of {short(names[i + 1])} is missing.")
    return names, table


def _number(cell: str, line: int) -> float:
    try:
        value = float("" if "_" in cell else cell)
    except ValueError:
        value = np.nan
    if not 0 <= value < np.inf:
        raise ValueError(f"line {line}: {short(cell)} is not a count of wins; write a number ≥ 0.")
    return value
