"""Common to the commands: files of preferences, the choice of matrices, and files of figures."""

from __future__ import annotations

import dataclasses
import sys
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

if TYPE_CHECKING:
    from ..preferences import PreferenceSet

PLOT_SUFFIXES = (".png", ".pdf", ".svg")

File = Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="FILE")]
Missing = Annotated[str | None, tyro.conf.arg(metavar="0.5|drop")]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Reading:
    """A file of preferences, and how to read it: the options that commands share."""

    file: File
    """Votes, wins, orders, ratings, pairs of texts or matrices (docs/files.md lists the forms); - for standard input."""
    missing: Missing = None
    """Pairs that were never compared: 0.5 counts them as even, drop leaves out responses that have such pairs."""
    ties: Literal["half", "drop"] = "half"
    """Ties count half to each side, or are left out."""
    smoothing: Annotated[float, tyro.conf.arg(metavar="N")] = 0.0
    """Pseudo-count for each side of every compared pair, at least 0; DPO has no finite optimum where one side never won."""
    attributes: Annotated[str | None, tyro.conf.arg(metavar="A,B")] = None
    """Columns of numbers that are ratings, separated by commas; by default those whose names say so."""
    skip_bad: bool = False
    """Skip rows that cannot be used, with a warning that counts them."""


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


def read_file(options: Reading) -> PreferenceSet:
    """``preferences.read`` of a file; what it has to say, and other warnings, become lines on stderr."""
    from ..preferences import read

    if options.missing not in (None, "0.5", "drop"):
        raise ValueError(f"--missing {options.missing} is not allowed; pass 0.5 or drop, or omit it.")
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always", UserWarning)
        found = read(
            options.file,
            missing=0.5 if options.missing == "0.5" else options.missing,  # pyright: ignore[reportArgumentType]
            ties=options.ties,
            smoothing=options.smoothing,
            attributes=None if options.attributes is None else options.attributes.split(","),
            skip_bad=options.skip_bad,
        )
    said = f"{found.source}: {'; '.join(found.notes)}."
    lines = [str(warning.message) for warning in told]
    # What was left out is among the notes as well.
    lines = [line for line in lines if not line.startswith(f"{found.source}: ")] + [said] * bool(found.notes)
    sys.stderr.writelines(f"dynamics: {' '.join(line.split())}\n" for line in lines)
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
