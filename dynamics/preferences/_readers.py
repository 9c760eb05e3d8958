"""`read`: a file of preferences, as a set of checked matrices."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from ._csv import read_csv
from ._npz import read_npz
from ._preflib import SUFFIXES as PREFLIB
from ._preflib import read_preflib
from ._sets import PreferenceSet
from ._wins import Missing, check_missing


def read(path: str | os.PathLike[str], *, missing: Missing = None) -> PreferenceSet:
    """P from a file: matrices as stored in `.npz`, or P_ij = c_ij / (c_ij + c_ji) from wins c: a `.csv`, or orders.

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
            - PrefLib's ``.soc``, ``.soi``, ``.toc`` and ``.toi``, with the older header (number of alternatives, id,name
              lines, voters,sum of counts,orders) or the newer one (# KEY: value): P_ij is the share of voters with i
              above j among those who rank both, those with both in one pair of braces counted half to each. The suffix
              is a promise that is checked: s strict, t with ties; c complete, i incomplete orders. Text is UTF-8; a line
              that is not, which older files have in names, is taken as Latin-1.
        missing: for `.csv` and PrefLib files, what to do about pairs that were never compared: None refuses them, 0.5 is
            their P_ij, and "drop" leaves out the response with the most such pairs (of several the one compared least,
            of those the first) until there are none.

    Returns:
        The matrices, each checked, with counts of comparisons, names and voters where the file has them.

    Raises:
        ValueError: the file is empty, damaged, not of a form above or too large (1 GiB unpacked, K = 4096, 100,000
            matrices; for `.csv` 64 MiB, 2 million rows; for PrefLib files 256 MiB), or a matrix is
            refused by `check`; file, matrix and entry are named.
        FileNotFoundError, PermissionError: there is no such file, or no right to read it.
    """
    file = Path(path)
    suffix = file.suffix.lower()
    if suffix not in (".npz", ".csv", *PREFLIB):
        raise ValueError(
            f"{file} has suffix {suffix!r}; pass a .npz file of matrices, a .csv file of wins or a PrefLib file of orders "
            f"({', '.join(PREFLIB)})."
        )
    check_missing(missing, 0.5, "drop")
    try:
        kind = file.stat().st_mode
        # Opening a pipe or a device could wait for ever.
        if not stat.S_ISREG(kind):
            what = "a folder" if stat.S_ISDIR(kind) else "not a regular file"
            raise ValueError(f"{file} is {what}; pass a file.")
        with file.open("rb") as stream:
            try:
                if suffix == ".npz":
                    return read_npz(stream, str(file))
                if suffix == ".csv":
                    return read_csv(stream, str(file), missing)
                return read_preflib(stream, str(file), suffix, missing)
            except ValueError as error:
                raise ValueError(f"{file}: {error}") from None
    except FileNotFoundError:
        raise FileNotFoundError(f"{file} does not exist; check the path.") from None
    except PermissionError:
        raise PermissionError(f"{file} may not be read; check its permissions.") from None
    except OSError as error:
        raise ValueError(f"{file} cannot be read ({error.strerror or error}).") from None
