"""`read`: a file of preferences as a set of checked matrices."""

from __future__ import annotations

import os
import stat
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import IO

from ._csv import read_csv
from ._hub import PREFIX, hub_rows, split_name
from ._jsonl import jsonl_rows, parse_json
from ._npz import read_npz
from ._preflib import SUFFIXES as PREFLIB
from ._preflib import read_preflib
from ._ratings import Key
from ._responses import read_responses
from ._sets import PreferenceSet
from ._wins import Missing, check_missing

_JSONL = (".jsonl", ".jsonl.gz")
SUFFIXES = (".npz", ".csv", *PREFLIB, *_JSONL)


def read(
    path: str | os.PathLike[str],
    *,
    missing: Missing = None,
    key: Key | None = None,
    scale: float = 1.0,
    skip_bad: bool = False,
) -> PreferenceSet:
    """P from matrices (`.npz`), P_ij = c_ij / (c_ij + c_ji) from wins c (`.csv`, orders), or σ(s (r_i - r_j)) from ratings r.

    Args:
        path: the file. Its suffix decides how it is read:

            - ``.npz`` holds one (K, K) array of any name; or a stack (M, K, K) or one matrix named ``P``, and with it
              ``N`` (comparisons per pair, shaped like P), ``names`` ((K,) or (M, K)) and ``n_voters`` (M,); or matrices
              ``P_0, P_1, …`` of any sizes with ``N_i``, ``names_i`` and ``n_voters``. Other arrays are
              ignored. Nothing is unpickled.
            - ``.csv`` (UTF-8) is a list of comparisons iff its header is winner,loser or winner,loser,count, in any
              case; equal rows add up, and responses are numbered in order of appearance. Any other header starts a square
              table of win counts, row against column, whose first column repeats the header; the top left cell may hold
              anything, and diagonal cells are 0 or empty.
            - PrefLib's ``.soc``, ``.soi``, ``.toc`` and ``.toi``, with the older header (number of alternatives, id,name
              lines, voters,sum of counts,orders) or the newer one (# KEY: value): P_ij is the share of voters with i
              above j among those who rank both; ties, written in one pair of braces, count half to each. The orders must
              match the suffix: s strict, t with ties; c complete, i incomplete. Text is UTF-8; a line that is not, as in
              names of older files, is read as Latin-1.
            - ``.jsonl`` and ``.jsonl.gz`` (UTF-8) hold scored responses, a JSON object per line: "prompt", "response" and
              attributes that are numbers or null (HelpSteer's layout). The responses to one prompt, on whatever lines,
              form one matrix, compared as in `from_ratings`, and are named by their lines. A prompt with a single
              response is left out, with a warning.

            ``datasets:NAME`` or ``datasets:NAME:SPLIT`` (train unless given) reads such rows from the Hugging Face hub,
            where the package `datasets` is installed (``pip install datasets``).
        missing: for all but `.npz`, what to do about pairs that were never compared or have no attribute in common: None
            refuses them, 0.5 is their P_ij, and "drop" leaves out the response with the most such pairs, repeatedly (of
            several the one compared least, of those the first).
        key: for scored responses, a JAX random key that draws an attribute for each pair, as published; None takes the
            mean over the attributes, which is the expectation of the draw.
        scale: for scored responses, s > 0, in units of 1 / rating.
        skip_bad: for scored responses, skip rows that cannot be used, with one warning that counts them.

    Returns:
        The matrices, each checked, with counts of comparisons, names and voters where the file has them.

    Raises:
        ValueError: the file is empty, damaged, not in a form above, or too large (1 GiB unpacked, K = 4096, 100,000
            matrices; for `.csv` 64 MiB, 2 million rows; for PrefLib files 256 MiB; for scored responses 2 GiB of text, a
            million rows); `check` refuses a matrix; the hub cannot be reached or lacks the data set. The message names
            the file and the line, or the matrix and entry.
        FileNotFoundError, PermissionError: the file does not exist, or may not be read.

    Source: [paper] PrefLib's formats; Chen26's protocol for ratings.

    >>> import pathlib, tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = pathlib.Path(folder) / "votes.csv"
    ...     _ = path.write_text("winner,loser,count\\na,b,3\\nb,a,1\\n")
    ...     dyn.preferences.read(path)[0].tolist()
    [[0.5, 0.75], [0.25, 0.5]]
    """
    check_missing(missing, 0.5, "drop")
    source = os.fspath(path)
    responses = partial(read_responses, source=source, missing=missing, key=key, scale=scale, skip_bad=skip_bad)
    notes: list[str] = []
    if source.startswith(PREFIX):
        name, split = split_name(source)
        with _naming(source):
            found, notes = responses(hub_rows(name, split), lambda row: row)
    else:
        file = Path(path)
        suffix = _suffix(file)
        with _opened(file) as stream, _naming(source):
            if suffix == ".npz":
                found = read_npz(stream, source)
            elif suffix == ".csv":
                found = read_csv(stream, source, missing)
            elif suffix in PREFLIB:
                found = read_preflib(stream, source, suffix, missing)
            else:
                found, notes = responses(jsonl_rows(stream, packed=suffix.endswith(".gz")), parse_json)
    if notes:
        warnings.warn(f"{source}: {'; '.join(notes)}.", stacklevel=2)
    return found


def _suffix(file: Path) -> str:
    suffix = next((s for s in _JSONL if file.name.lower().endswith(s)), file.suffix.lower())
    if suffix not in SUFFIXES:
        raise ValueError(
            f"{file} has suffix {suffix!r}; pass a .npz file of matrices, a .csv file of wins, a PrefLib file of orders "
            f"({', '.join(PREFLIB)}) or a .jsonl file of scored responses."
        )
    return suffix


@contextmanager
def _naming(source: str) -> Iterator[None]:
    try:
        yield
    except ValueError as error:
        raise ValueError(f"{source}: {error}") from None


@contextmanager
def _opened(file: Path) -> Iterator[IO[bytes]]:
    try:
        kind = file.stat().st_mode
        # Opening a pipe or a device could block for ever.
        if not stat.S_ISREG(kind):
            what = "a folder" if stat.S_ISDIR(kind) else "not a regular file"
            raise ValueError(f"{file} is {what}; pass a file.")
        with file.open("rb") as stream:
            yield stream
    except FileNotFoundError:
        raise FileNotFoundError(f"{file} does not exist; check the path.") from None
    except PermissionError:
        raise PermissionError(f"{file} may not be read; check its permissions.") from None
    except OSError as error:
        raise ValueError(f"{file} cannot be read ({error.strerror or error}); check the path and the disk.") from None
