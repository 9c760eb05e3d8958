"""`read`: a file of preferences as a set of checked matrices."""

from __future__ import annotations

import itertools
import os
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from ._csv import Row, read_rows
from ._hub import PREFIX, hub_rows, split_name
from ._jsonl import jsonl_rows, parse_json
from ._matrices import matrix_set, read_json, read_npy_file, refuse_counts
from ._npz import MAX_RESPONSES, read_npz
from ._options import Notes, Options, checked
from ._parquet import parquet_rows
from ._preflib import SUFFIXES as PREFLIB
from ._preflib import read_preflib
from ._ratings import Key
from ._rows import cell_records, read_records
from ._sets import PreferenceSet
from ._source import STDIN, opened
from ._square import is_square, is_unlabelled, read_square
from ._tables import tables_to_set
from ._wins import Missing


def read(
    path: str | os.PathLike[str],
    *,
    missing: Missing = None,
    ties: str = "half",
    smoothing: float = 0.0,
    attributes: Sequence[str] | None = None,
    key: Key | None = None,
    scale: float | Mapping[str, float] = 1.0,
    skip_bad: bool = False,
) -> PreferenceSet:
    """P_ij = c_ij / (c_ij + c_ji) from counted wins c, σ(s (r_i - r_j)) from ratings r, or P itself.

    ``docs/files.md`` lists the formats: votes, wins, orders, ratings, pairs of texts, matrices; `.csv`, `.tsv`, `.json`,
    `.jsonl`, `.parquet`, `.npz`, `.npy` and PrefLib's files, packed (`.gz`, `.xz`, `.zst`) or not. Nothing is unpickled.

    Args:
        path: the file; ``"-"`` for standard input; ``"datasets:NAME[:SPLIT]"`` for the Hugging Face hub.
        missing: what to do about pairs that were never compared or have no attribute in common: None refuses them, 0.5 is
            their P_ij, and "drop" leaves out the response with the most such pairs, repeatedly (of several the one compared
            least, of those the first), with a warning.
        ties: "half" counts a tie half to each side, "drop" leaves ties out.
        smoothing: pseudo-count ≥ 0 added to the wins of each side of every compared pair, and so to the counts. DPO has no
            finite optimum where a P_ij is 0 or 1; 0.5 is the usual choice.
        attributes: which columns of numbers are ratings; None takes those whose names say so, such as helpfulness or score.
        key: for ratings, a JAX random key that draws an attribute for each pair, as published; None takes the mean over
            the attributes, which is the expectation of the draw.
        scale: for ratings, s > 0, in units of 1 / rating; a mapping gives attributes scales of their own (1 where absent).
        skip_bad: skip rows that cannot be used, with one warning that counts them.

    Returns:
        The matrices, each checked, with counts, ties, names and voters where the file has them. ``notes`` says how the file
        was understood: which ratings were used, which columns were not.

    Raises:
        ValueError: the file is empty, damaged, of no known form or too large, or an argument has no meaning for it; the
            message names the file and the line, or the matrix and entry.
        FileNotFoundError, PermissionError: the file does not exist, or may not be read.

    Source: [paper] PrefLib's formats; Chen26's protocol for ratings.

    >>> import pathlib, tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = pathlib.Path(folder) / "votes.csv"
    ...     _ = path.write_text("model_a,model_b,winner\\na,b,model_a\\na,b,tie\\n")
    ...     dyn.preferences.read(path)[0].tolist()
    [[0.5, 0.75], [0.25, 0.5]]
    """
    options = checked(missing, ties, smoothing, attributes, key, scale, skip_bad)
    source, notes = os.fspath(path), Notes()
    if source.startswith(PREFIX):
        name, split = split_name(source)
        with _naming(source):
            found = read_records(hub_rows(name, split), lambda row: row, options, source, notes)
    else:
        found = _from_file(source, options, notes)
    if notes.warned:
        warnings.warn(f"{found.source}: {'; '.join(notes.warned)}.", stacklevel=2)
    object.__setattr__(found, "notes", notes.all())
    return found


def _from_file(path: str, options: Options, notes: Notes) -> PreferenceSet:
    source = "standard input" if path == STDIN else path
    with _naming(source), opened(path) as (stream, kind):
        if kind in (".csv", ".tsv"):
            with read_rows(stream, kind == ".tsv") as delimited:
                return _from_cells(*delimited, options, source, notes)
        if kind in PREFLIB:
            _refuse_attributes(options)
            return tables_to_set([read_preflib(stream, kind, notes)], options, source, notes)
        if kind == ".jsonl":
            return read_records(jsonl_rows(stream), parse_json, options, source, notes)
        if kind == ".parquet":
            return read_records(parquet_rows(stream), lambda row: row, options, source, notes)
        if kind == ".json":
            return read_json(stream, options, source, notes)
        _refuse_attributes(options)
        if kind == ".npy":
            return read_npy_file(stream, options, source, notes)
        refuse_counts(options, "it holds matrices")
        return read_npz(stream, source)


def _from_cells(rows: Iterator[Row], separator: str, options: Options, source: str, notes: Notes) -> PreferenceSet:
    """A square table where its first rows look like one, and rows of a format else."""
    header = next(rows, None)
    if header is None:
        raise ValueError("it is empty; start it with winner,loser[,count] or with a row of names.")
    ahead = list(itertools.islice(rows, min(len(header[1]), MAX_RESPONSES) + 1))
    first, rest = next(iter(ahead), None), itertools.chain(ahead, rows)
    if is_unlabelled(header[1], [row for _, row in ahead]):
        notes.say("its rows have no names, so they were taken in the order of its header")
        names = header[1]
        header = (header[0], ["", *names])
        rest = iter([(line, [name, *row]) for name, (line, row) in zip(names, ahead, strict=True)])
    if is_square(header[1], None if first is None else first[1]):
        _refuse_attributes(options)
        found, names = read_square(header, rest, separator == ";", notes)
        return matrix_set(found, names, options, source, notes)
    return read_records(cell_records(header, rest, notes), lambda row: row, options, source, notes)


def _refuse_attributes(options: Options) -> None:
    if options.attributes is not None:
        raise ValueError("attributes choose among ratings, and it holds none; leave out attributes (--attributes).")


@contextmanager
def _naming(source: str) -> Iterator[None]:
    try:
        yield
    except ValueError as error:
        said = str(error)
        raise ValueError(said if said.startswith(f"{source} ") else f"{source}: {said}") from None
