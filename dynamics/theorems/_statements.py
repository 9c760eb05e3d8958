"""The numbered statements of docs/theory: title, kind, what they say in a sentence, and the theorems that they prove."""

from __future__ import annotations

import dataclasses
import functools
import importlib.resources
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Literal

from ._bound import Theorem, meant, registered

_NUMBER = r"\d(?:\.\d+)?"
_HEADING = re.compile(rf"^## ({_NUMBER}) (.+)$")


@dataclasses.dataclass(frozen=True)
class Statement:
    """A numbered statement of the theory.

    Attributes:
        number: such as "7.15".
        title: of its section.
        kind: its tags, such as "[derived]" or "[paper] for IPO; [derived] for DPO".
        text: what it says, in one or two sentences.
        page: in docs/theory, with its proof.
        proven: "yes", "in part" or "no": whether the page proves it; what it does not is published elsewhere, or measured.
        theorems: the executable theorems with this number.
    """

    number: str
    title: str
    kind: str
    text: str
    page: str
    proven: Literal["yes", "in part", "no"]
    theorems: tuple[Theorem, ...]


class _ByNumber(dict[str, Statement]):
    def __missing__(self, number: object) -> Statement:
        held = [one.number for one in self.values() if number in {t.name for t in one.theorems}]
        told = (
            f"it is a theorem of {held[0]}" if held else f"{meant(str(number), self)}statements() has {', '.join(self)}"
        )
        raise KeyError(f"statement {number} does not exist; {told}")


def folder() -> Path:
    """Where the pages lie: inside an installed package, or beside an editable one."""
    inside = Path(str(importlib.resources.files("dynamics"))) / "_theory"
    return inside if inside.is_dir() else Path(__file__).parents[2] / "docs" / "theory"


@functools.cache
def statements() -> Mapping[str, Statement]:
    """Every numbered statement of docs/theory by its number, in order.

    >>> dyn.theorems.statements()["7.15"].title
    'Global convergence in every dimension'
    """
    found = [one for page in sorted(folder().glob("*.md")) for one in _on(page)]
    if not found:
        raise RuntimeError(f"{folder()} holds no pages of the theory; reinstall the package.")
    return MappingProxyType(_ByNumber({one.number: one for one in sorted(found, key=lambda one: order(one.number))}))


def order(number: str) -> tuple[int, ...]:
    """7.9 before 7.15."""
    return tuple(map(int, number.split(".")))


def _on(page: Path) -> Iterator[Statement]:
    for section in re.split(r"(?m)^(?=## )", page.read_text(encoding="utf-8")):
        lines = section.splitlines()
        heading = _HEADING.match(lines[0]) if lines else None
        if heading is None:
            continue
        number, title = heading.groups()
        paragraphs = [" ".join(p.split()) for p in re.split(r"\n\s*\n", "\n".join(lines[1:])) if p.strip()]
        kind = paragraphs[0].split(" · ")[0]
        quote = next((p for p in section.split("\n\n") if p.startswith(">")), "")
        text = " ".join(line.removeprefix(">").strip() for line in quote.splitlines())
        held = tuple(t for t in registered().values() if t.number == number)
        left = "Not proved here" in section
        proven = "no" if "∎" not in section else "in part" if left else "yes"
        yield Statement(number, title, kind, text, page.name, proven, held)
