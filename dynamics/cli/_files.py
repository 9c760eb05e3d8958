"""Common to the commands: files of preferences, the choice of matrices, and files of figures."""

from __future__ import annotations

import sys
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

if TYPE_CHECKING:
    from ..preferences import PreferenceSet

PLOT_SUFFIXES = (".png", ".pdf", ".svg")

File = Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="FILE")]
Missing = Annotated[str | None, tyro.conf.arg(metavar="0.5|drop")]


def choose(matrices: PreferenceSet, index: int | None, file: str, plot: Path | None) -> list[int]:
    """The indices of the matrices that a command uses."""
    if index is None:
        if plot is not None and len(matrices) > 1:
            raise ValueError(f"--plot draws one matrix, but {file} holds {len(matrices)}; choose one with --index.")
        return list(range(len(matrices)))
    if not 0 <= index < len(matrices):
        last = len(matrices) - 1
        raise ValueError(f"--index {index} is not in {file}; pass 0{f' to {last}' if last else ''}.")
    return [index]


def check_suffix(plot: Path | None) -> None:
    """Raises ``ValueError`` for a figure's file of unknown format."""
    if plot is not None and plot.suffix.lower() not in PLOT_SUFFIXES:
        raise ValueError(f"--plot {plot} has suffix {plot.suffix!r}; pass one of {', '.join(PLOT_SUFFIXES)}.")


def heading(matrices: PreferenceSet, m: int) -> dict[str, Any]:
    """The first entries of a matrix in JSON."""
    return {"index": m, "K": len(matrices[m]), "names": matrices.names[m], "voters": matrices.voters[m]}


def read_file(file: str, missing: str | None, skip_bad: bool) -> PreferenceSet:
    """``preferences.read`` of a file, with its warnings as lines on stderr."""
    from ..preferences import read

    if missing not in (None, "0.5", "drop"):
        raise ValueError(f"--missing {missing} is not allowed; pass 0.5 or drop, or omit it.")
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always", UserWarning)
        found = read(file, missing=0.5 if missing == "0.5" else missing, skip_bad=skip_bad)  # pyright: ignore[reportArgumentType]
    for warning in told:
        sys.stderr.write(f"dynamics: {warning.message}\n")
    return found


def check_writable(path: Path) -> None:
    """Raises ``ValueError`` unless the file can be opened for writing; leaves it as it was."""
    existed = path.exists()
    try:
        path.open("ab").close()
        if not existed:
            path.unlink()
    except OSError as error:
        raise ValueError(
            f"{path} cannot be written ({error.strerror}); pass a file in a folder you may write to."
        ) from None
