"""What commands have in common: files of preferences, which of their matrices, and where figures go."""

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
    """The matrices that a command looks at."""
    if index is None:
        if plot is not None and len(matrices) > 1:
            raise ValueError(f"--plot draws one matrix and {file} holds {len(matrices)}; choose one by --index.")
        return list(range(len(matrices)))
    if not 0 <= index < len(matrices):
        last = len(matrices) - 1
        raise ValueError(f"--index {index} is not in {file}; pass 0{f' to {last}' if last else ''}.")
    return [index]


def check_suffix(plot: Path | None) -> None:
    """Refuses a figure's file whose format is not known."""
    if plot is not None and plot.suffix.lower() not in PLOT_SUFFIXES:
        raise ValueError(f"--plot {plot} has suffix {plot.suffix!r}; pass one of {', '.join(PLOT_SUFFIXES)}.")


def heading(matrices: PreferenceSet, m: int) -> dict[str, Any]:
    """How a matrix is introduced in JSON."""
    return {"index": m, "K": len(matrices[m]), "names": matrices.names[m], "voters": matrices.voters[m]}


def read_file(file: str, missing: str | None, skip_bad: bool) -> PreferenceSet:
    """What ``preferences.read`` makes of a file, its warnings as lines on stderr."""
    from ..preferences import read

    if missing not in (None, "0.5", "drop"):
        raise ValueError(f"--missing {missing} is not allowed; leave it out or pass 0.5 or drop.")
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always", UserWarning)
        found = read(file, missing=0.5 if missing == "0.5" else missing, skip_bad=skip_bad)  # pyright: ignore[reportArgumentType]
    for warning in told:
        sys.stderr.write(f"dynamics: {warning.message}\n")
    return found


def check_writable(path: Path) -> None:
    """Tries to open the file, which is the one sure way to know, and leaves no trace of it."""
    existed = path.exists()
    try:
        path.open("ab").close()
        if not existed:
            path.unlink()
    except OSError as error:
        raise ValueError(
            f"{path} cannot be written ({error.strerror}); pass a file in a folder you may write to."
        ) from None
