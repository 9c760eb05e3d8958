"""What a reader of files was asked for, and what it has to say about a file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

from .._checks import check_number, in_short
from ._wins import Missing, check_missing

Ties: TypeAlias = Literal["half", "drop"]


@dataclass(frozen=True)
class Options:
    """The keywords of `read`, checked."""

    missing: Missing = None
    ties: Ties = "half"
    smoothing: float = 0.0
    attributes: tuple[str, ...] | None = None
    key: Any = None
    scale: Any = 1.0
    skip_bad: bool = False


@dataclass
class Notes:
    """Sentences without a full stop: ``said`` of a reading, ``warned`` of something left out or made up."""

    said: list[str] = field(default_factory=list)
    warned: list[str] = field(default_factory=list)

    def say(self, text: str) -> None:
        self.said.append(text)

    def warn(self, text: str) -> None:
        self.warned.append(text)

    def all(self) -> tuple[str, ...]:
        return (*self.warned, *self.said)


def checked(missing: Any, ties: Any, smoothing: Any, attributes: Any, key: Any, scale: Any, skip_bad: Any) -> Options:
    """The options; raises ``ValueError`` for a value that has no meaning."""
    check_missing(missing, 0.5, "drop")
    if not (isinstance(ties, str) and ties in ("half", "drop")):
        raise ValueError(f"ties = {in_short(ties)}; pass 'half' to count a tie half to each side, or 'drop'.")
    pseudo = float(check_number(smoothing, "smoothing", 0.0, 1e6))
    if not isinstance(skip_bad, bool):
        raise ValueError(f"skip_bad = {in_short(skip_bad)}; pass True or False.")
    return Options(missing, ties, pseudo, _attributes(attributes), key, scale, skip_bad)


def _attributes(value: Any) -> tuple[str, ...] | None:
    if value is None:
        return None
    if isinstance(value, str):
        raise ValueError(f"attributes = {in_short(value)} is one text; pass a sequence of names, such as [{value!r}].")
    if (
        not isinstance(value, Sequence)
        or not value
        or not all(isinstance(name, str) and name.strip() for name in value)
    ):
        raise ValueError(f"attributes = {in_short(value)}; pass the names of one or more attributes.")
    names = tuple(normal(name) for name in value)
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise ValueError(f"attributes holds {twice!r} twice; name each attribute once.")
    return names


def normal(name: str) -> str:
    """The name of a column in lower case, with _ for spaces and hyphens."""
    return "_".join(name.strip().strip("\ufeff").strip().lower().replace("-", " ").replace("_", " ").split())


def listed(names: Sequence[str], most: int = 6) -> str:
    """The first names, and how many more there are."""
    more = len(names) - most
    shown = ", ".join(name if len(name) <= 40 else f"{name[:39]}…" for name in names[: most + (more == 1)])
    return printable(shown + (f" and {more} more" if more > 1 else ""))


def printable(text: str) -> str:
    """``text`` with a mark in place of characters that control a terminal or are not Unicode text."""
    return "".join(c if c.isprintable() else "�" for c in text)


def distinct_names(names: Sequence[str], what: str, start: int, notes: Notes) -> list[str]:
    """The names, with the number of the response where a name is empty or comes again."""
    odd = [k for k, name in enumerate(names) if not name.strip() or names.count(name) > 1]
    if not odd:
        return list(names)
    new = list(names)
    for k in odd:
        new[k] = f"{names[k]} ({what} {k + start})" if names[k].strip() else f"{what} {k + start}"
    notes.warn(f"{len(odd)} names are empty or repeated, and are now {listed([new[k] for k in odd])}")
    return new
