"""Bare matrices: `.npy`, `.json`, and what to make of an array that may be counts or P."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Mapping
from io import BufferedIOBase
from typing import Any

import numpy as np

from ._jsonl import jsonl_rows, parse_json
from ._npz import MAX_RESPONSES, read_npy
from ._options import Notes, Options, distinct_names
from ._record import BadRow
from ._rows import read_records
from ._sets import PreferenceSet
from ._square import counts_or_rates
from ._tables import Table, tables_to_set
from ._wins import short

_MAX_JSON_BYTES = 2**28


def matrix_set(
    found: Table | np.ndarray, names: list[str] | None, options: Options, source: str, notes: Notes
) -> PreferenceSet:
    """The set of one matrix, of counts or of rates; rates have no use for options of counts."""
    if isinstance(found, Table):
        return tables_to_set([found], options, source, notes)
    refuse_counts(options, "it holds rates")
    return PreferenceSet([found], None, [names], None, source)


def refuse_counts(options: Options, what: str) -> None:
    """Raises ``ValueError`` where an option asks for counts that are not there."""
    for name, given in (("smoothing", options.smoothing > 0), ("ties='drop'", options.ties == "drop")):
        if given:
            option = name.split("=")[0]
            raise ValueError(f"{what}, so there are no counts to change; leave out {name} (--{option}).")


def from_array(array: Any, names: Any, options: Options, source: str, notes: Notes) -> PreferenceSet:
    """A matrix (K, K) of rates or counts, or a stack (M, K, K) of rates."""
    try:
        table = np.asarray(array, dtype=np.float64)
    except (TypeError, ValueError):
        raise ValueError("its rows are not numbers of equal length; write a matrix (K, K).") from None
    if table.ndim == 3 and len(table):
        refuse_counts(options, "it holds rates")
        return PreferenceSet(list(table), None, None, None, source)
    if table.ndim != 2 or table.shape[0] != table.shape[1] or not 2 <= len(table) <= MAX_RESPONSES:
        raise ValueError(f"it has shape {table.shape}; write a matrix (K, K), 2 ≤ K ≤ {MAX_RESPONSES}.")
    if names is not None and (not isinstance(names, list) or len(names) != len(table)):
        raise ValueError(f"its names are not a list of {len(table)} texts; write one for each response.")
    known = None if names is None else distinct_names([str(name) for name in names], "response", 0, notes)
    bad = ~np.isfinite(table) | (table < 0)
    if bad.any():
        i, j = (int(k) for k in np.argwhere(bad)[0])
        raise ValueError(f"entry [{i}, {j}] = {table[i, j]:g}; write finite numbers ≥ 0.")
    if np.diag(table).any() and np.abs(np.diag(table) - 50).max() > 1e-7:
        return PreferenceSet([table], None, [known], None, source)  # which checks it as P
    found = counts_or_rates(table, known or [str(k) for k in range(len(table))], notes, known is None)
    return matrix_set(found, known, options, source, notes)


def read_npy_file(stream: BufferedIOBase, options: Options, source: str, notes: Notes) -> PreferenceSet:
    """One array of numbers, without unpickling."""
    return from_array(read_npy(stream), None, options, source, notes)


def read_json(stream: BufferedIOBase, options: Options, source: str, notes: Notes) -> PreferenceSet:
    """A list of rows, a matrix, an object with a matrix P (and names, N), or a line for each row."""
    data = stream.read(_MAX_JSON_BYTES + 1)
    if len(data) > _MAX_JSON_BYTES:
        raise ValueError(f"it has more than {_MAX_JSON_BYTES // 2**20} MiB; write a line for each row, as .jsonl.")
    if not data.strip():
        raise ValueError("it is empty; write a list of rows, or a matrix.")
    whole = _whole(data)
    if whole is None:
        return read_records(jsonl_rows(io.BytesIO(data)), parse_json, options, source, notes)
    if isinstance(whole, Mapping) and ("P" in whole or "wins" in whole):
        return _of_object(whole, options, source, notes)
    if isinstance(whole, Mapping):
        lists = [
            value for value in whole.values() if isinstance(value, list) and value and isinstance(value[0], Mapping)
        ]
        whole = lists[0] if len(lists) == 1 and len(whole) == 1 else [whole]
    if not isinstance(whole, list) or not whole:
        raise ValueError("it is neither a list of rows nor a matrix; write one of them.")
    if isinstance(whole[0], list):
        return from_array(whole, None, options, source, notes)
    return read_records(_numbered(whole), lambda row: row, options, source, notes)


def _numbered(rows: list[Any]) -> Iterator[tuple[str, Any]]:
    return ((f"row {n}", row) for n, row in enumerate(rows))


def _whole(data: bytes) -> Any:
    """The JSON value of all the text, or None where only its lines may be JSON."""
    try:
        return parse_json(data.removeprefix(b"\xef\xbb\xbf"))
    except BadRow as error:
        lines = [line for line in data.splitlines() if line.strip()]
        try:
            # The first line by itself is an object: a line for each row.
            if len(lines) > 1 and isinstance(json.loads(lines[0].removeprefix(b"\xef\xbb\xbf")), dict):
                return None
        except (ValueError, RecursionError):
            pass
        raise ValueError(f"it {error}.") from None


def _of_object(whole: Mapping[str, Any], options: Options, source: str, notes: Notes) -> PreferenceSet:
    names = whole.get("names")
    unused = [str(name) for name in whole if name not in ("P", "N", "wins", "names")]
    if unused:
        notes.say(f"names not used: {', '.join(map(short, unused[:12]))}")
    if "wins" in whole:
        if "P" in whole or "N" in whole:
            raise ValueError("it has both wins and P or N; keep wins, or P with N.")
        return from_array(whole["wins"], names, options, source, notes)
    if "N" not in whole:
        return from_array(whole["P"], names, options, source, notes)
    refuse_counts(options, "it holds P and N")
    return PreferenceSet([whole["P"]], [whole["N"]], None if names is None else [names], None, source)
