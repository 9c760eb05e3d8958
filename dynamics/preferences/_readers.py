"""`read`: a file of preferences, as a set of checked matrices."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from ._csv import read_csv
from ._npz import read_npz
from ._sets import PreferenceSet


def read(path: str | os.PathLike[str], *, missing: float | None = None) -> PreferenceSet:
    """P from a file: matrices as stored in `.npz`, or P_ij = c_ij / (c_ij + c_ji) from the wins c counted in `.csv`.

    Arguments:
        path: the file. Its suffix decides how it is read:

            - ``.npz`` holds one (K, K) array of any name; or a stack (M, K, K) or one matrix named ``P``, and with it
              ``N`` (comparisons per pair, shaped like P), ``names`` ((K,) or (M, K)) and ``n_voters`` (M,); or matrices
              ``P_0, P_1, …`` of any sizes with ``N_i``, ``names_i`` and ``n_voters``. Other arrays beside P are left
              alone. Nothing is ever unpickled.
            - ``.csv`` (UTF-8) is a list of comparisons iff its header is winner,loser or winner,loser,count, in any
              case; equal rows add up, and responses are numbered as they first appear. Any other header starts a square
              table of win counts, row against column, whose first column repeats the header; the top left cell is free
              and diagonal cells are 0 or empty.
        missing: for `.csv`, P_ij of a pair that was never compared, as in `from_wins`: None or 0.5.

    Returns:
        The matrices, each checked, with counts of comparisons, names and voters where the file has them.

    Raises:
        ValueError: the file is empty, damaged, not of a form above or too large (1 GiB unpacked, K = 4096, 100,000
            matrices; for `.csv` 64 MiB, 2 million rows), or a matrix is refused by `check`; file, matrix and entry are
            named.
        FileNotFoundError, PermissionError: there is no such file, or no right to read it.
    """
    file = Path(path)
    suffix = file.suffix.lower()
    if suffix not in (".npz", ".csv"):
        raise ValueError(f"{file} has suffix {suffix!r}; pass a .npz file of matrices or a .csv file of wins.")
    try:
        kind = file.stat().st_mode
        # Opening a pipe or a device could wait for ever.
        if not stat.S_ISREG(kind):
            what = "a folder" if stat.S_ISDIR(kind) else "not a regular file"
            raise ValueError(f"{file} is {what}; pass a file.")
        with file.open("rb") as stream:
            try:
                return read_npz(stream, str(file)) if suffix == ".npz" else read_csv(stream, str(file), missing)
            except ValueError as error:
                raise ValueError(f"{file}: {error}") from None
    except FileNotFoundError:
        raise FileNotFoundError(f"{file} does not exist; check the path.") from None
    except PermissionError:
        raise PermissionError(f"{file} may not be read; check its permissions.") from None
    except OSError as error:
        raise ValueError(f"{file} cannot be read ({error.strerror or error}).") from None
