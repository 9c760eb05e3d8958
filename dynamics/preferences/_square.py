"""A square table: of win counts, of rates P or of percentages, with names or bare."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from ._npz import MAX_RESPONSES
from ._options import Notes
from ._tables import Table
from ._wins import short

Row = tuple[int, list[str]]
Square = tuple[Table | np.ndarray, list[str] | None]

_ROUNDING = 1e-9
_FORMS = "a list of comparisons starts with winner,loser[,count] or another header that docs/files.md lists"


def is_square(header: list[str], first: list[str] | None) -> bool:
    """Whether rows look like a square table: its first column repeats the header, or all cells are numbers."""
    if all(_is_number(cell) for cell in header):
        return True
    numbers = first is not None and all(not cell or _is_number(cell) for cell in first[1:])
    return not header[0] or (first is not None and numbers and first[0] in header[1:])


def is_unlabelled(header: list[str], rows: list[list[str]]) -> bool:
    """Whether rows without names are a square table in the order of the header.

    Three or more responses, and what no list of records looks like: an empty diagonal, or rates whose mirror images sum to 1.
    """
    K = len(header)
    if K < 3 or len(rows) != K or any(len(row) != K for row in rows) or any(map(_is_number, header)):
        return False
    inside = [cell for i, row in enumerate(rows) for j, cell in enumerate(row) if i != j]
    if not all(map(_is_number, inside)) or any(row[i] and not _is_number(row[i]) for i, row in enumerate(rows)):
        return False
    if not any(row[i] for i, row in enumerate(rows)):
        return True
    table = np.array([[float(_bare(cell).replace(",", ".") or 0) for cell in row] for row in rows])
    np.fill_diagonal(table, 0.5)
    return any(np.abs(table + table.T - whole)[~np.eye(K, dtype=bool)].max() <= _ROUNDING * whole for whole in (1, 100))


def read_square(header: Row, rows: Iterable[Row], decimal_comma: bool, notes: Notes) -> Square:
    """The table of wins, or P, and the names; the first column repeats the header, or there are only numbers."""
    held = list(rows)
    cells = header[1]
    bare = all(_is_number(cell) for cell in cells) and [row[0] for _, row in held] != cells[1:]
    names = [str(k) for k in range(len(cells))] if bare else cells[1:]
    if len(names) > MAX_RESPONSES:
        raise ValueError(f"it has {len(names)} columns; pass at most {MAX_RESPONSES} responses.")
    if bare:
        held, start = [header, *held], 0
    else:
        _check_names(names)
        start = 1
    table = np.zeros((len(names), len(names)))
    for i, (line, row) in enumerate(held):
        if i >= len(names) or (not bare and row[0] != names[i]):
            want = "nothing more" if i >= len(names) else names[i]
            start_of = f"line {line} starts with {short(row[0])} where the header has {short(want)}"
            raise ValueError(f"{start_of}; a square table repeats its header in the first column, {_FORMS}.")
        if len(row) != len(names) + start:
            raise ValueError(f"line {line} has {len(row)} cells under a header of {len(names) + start}; fill the row.")
        table[i] = [_number(cell or ("0" if i == j else ""), line, decimal_comma) for j, cell in enumerate(row[start:])]
    if len(held) < len(names):
        missing = names[len(held)]
        raise ValueError(f"it has {len(held)} rows for {len(names)} columns; the row of {short(missing)} is missing.")
    percent = any(cell.endswith("%") for _, row in held for cell in row[start:])
    return counts_or_rates(table, names, notes, bare, percent), None if bare else names


def counts_or_rates(
    table: np.ndarray, names: list[str], notes: Notes, bare: bool = False, percent: bool = False
) -> Table | np.ndarray:
    """Counts where all entries are whole or half; P where mirror images sum to 1, or to 100, as they must if ``percent``."""
    diagonal = np.diag(table)
    off = ~np.eye(len(table), dtype=bool)
    for whole, said in ((1.0, "shares of 1"), (100.0, "percentages"))[percent:]:
        complete = np.abs(table + table.T - whole)[off].max(initial=0.0) <= _ROUNDING * whole
        level = np.abs(diagonal - whole / 2).max(initial=0.0) <= _ROUNDING * whole
        fractions = bool((2 * table != np.floor(2 * table))[off].any())
        if complete and (level or (not diagonal.any() and (fractions or whole == 100.0))):
            if whole == 100.0 and not level and not fractions and not percent:
                notes.say(
                    "every pair sums to 100, so its entries were read as percentages; if they are counts, write them as "
                    "winner,loser,count"
                )
            else:
                notes.say(f"its entries were read as {said}, so there are no counts of comparisons")
            P = table / whole
            np.fill_diagonal(P, 0.5)
            return P
    odd = (2 * table != np.floor(2 * table)) & off
    if odd.any() or percent:
        raise ValueError(_misfit(table, names, odd, percent))
    if not (table + table.T)[off].any():
        raise ValueError("it holds no comparison; fill in how often each response won.")
    compared = (table + table.T)[off]
    if (compared == 1).all():
        notes.say("it was read as counts, one comparison of each pair; for rates, write 0.5 on the diagonal")
    return Table(None if bare else names, table, shown=names)


def _misfit(table: np.ndarray, names: list[str], odd: np.ndarray, percent: bool) -> str:
    """What is wrong with entries that are neither counts nor rates: the first pair that breaks the sum the others keep."""
    pairs = np.triu(np.ones_like(odd), 1).astype(bool)
    off_by = {whole: np.abs(table + table.T - whole) > _ROUNDING * whole for whole in (1.0, 100.0)}
    whole = 100.0 if percent else min(off_by, key=lambda whole: off_by[whole][pairs].sum())
    fits = percent or not off_by[whole][pairs].all()
    i, j = (int(k) for k in np.argwhere(off_by[whole] & pairs if fits else odd)[0])
    first, second = short(names[i]), short(names[j])
    total = table[i, j] + table[j, i]
    if fits:
        return (
            f"{first} over {second} is {table[i, j]:.12g} and {second} over {first} {table[j, i]:.12g}, which sum to "
            f"{total:.12g}, not {whole:g}; write rates whose mirror images sum to {whole:g}, or whole or half counts of wins."
        )
    return (
        f"{first} over {second} is {table[i, j]:.12g}, which is no count, and with its mirror image it sums to {total:.12g}, "
        f"not 1 or 100; write whole or half counts of wins, or rates with P_ij + P_ji = 1."
    )


def _check_names(names: list[str]) -> None:
    twice = next((name for name in names if not name or names.count(name) > 1), None)
    if len(names) < 2 or twice is not None:
        why = f"{len(names)} named columns" if twice is None else f"the name {short(twice)} empty or repeated"
        raise ValueError(
            f"its header has {why}; start a square table with a cell and the names of two or more responses, separated by "
            f"commas; {_FORMS}."
        )


def _is_number(cell: str) -> bool:
    try:
        float(_bare(cell).replace(",", "."))
    except ValueError:
        return False
    return "_" not in cell


def _number(cell: str, line: int, decimal_comma: bool) -> float:
    return number(_bare(cell), f"line {line}:", decimal_comma)


def _bare(cell: str) -> str:
    """The number of a cell without a percent sign; entries whose mirror images sum to 100 are percentages anyway."""
    return cell.removesuffix("%").rstrip()


def number(cell: Any, where: str, decimal_comma: bool = False) -> float:
    """A count or share ≥ 0 from the text of a cell."""
    text = str(cell)
    if decimal_comma and text.count(",") == 1 and "." not in text:
        whole, _, part = text.partition(",")
        if len(part) == 3 and whole not in ("", "0"):
            raise ValueError(f"{where} {short(text)} may be a thousand or a fraction; write it without the comma.")
        text = f"{whole}.{part}"
    try:
        value = float("" if "_" in text else text)
    except ValueError:
        value = np.nan
    if not 0 <= value < np.inf:
        raise ValueError(f"{where} {short(str(cell))} is not a count of wins; write a number ≥ 0.")
    return value
