"""The whole ledger: its rows, its verdict, Markdown and JSON."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import numpy as np

from ._examine import ENOUGH, Row, needed

COLUMNS = (
    "theorem",
    "source",
    "what it is",
    "instances",
    "say something",
    "violations",
    "least slack",
    "median slack",
    "mutants caught",
    "hold outside",
    "status",
)


@dataclasses.dataclass(frozen=True)
class Ledger:
    """The results for all requested theorems.

    Attributes:
        rows: one for each theorem, in the order of their sections.
        instances, seed: as requested.
    """

    rows: tuple[Row, ...]
    instances: int
    seed: int

    @property
    def ok(self) -> bool:
        """Whether no row is red: nothing violated, every mutant caught, every theorem measured."""
        return not self.red

    @property
    def red(self) -> tuple[Row, ...]:
        """The rows with status "red"."""
        return tuple(row for row in self.rows if row.status == "red")

    @property
    def rule(self) -> str:
        """What makes a row green, in one sentence."""
        return (
            f"{self.instances} instances a theorem, seed {self.seed}. Green: no violation, every mutant caught, and at "
            f"least {needed(self.instances)} instances at which the bound says something; a green row that has fewer than "
            f"{ENOUGH} of these says how many."
        )

    def table(self) -> list[tuple[str, ...]]:
        """The cells of each row, in the order of ``COLUMNS``."""
        return [_cells(row) for row in self.rows]

    def to_markdown(self) -> str:
        """The rule, the table, and below it what each mutant is and why rows are red."""
        lines = [self.rule, "", _line(COLUMNS), _line(["---"] * len(COLUMNS))]
        lines += [_line(cells) for cells in self.table()]
        lines += ["", *(f"- **{row.name}**: {text}" for row in self.rows for text in notes(row))]
        return "\n".join(lines) + "\n"

    def to_json(self) -> str:
        """Every number, with the worst instance and those that caught a mutant; infinities are strings."""
        rows = [dataclasses.asdict(row) for row in self.rows]
        whole = {"instances": self.instances, "seed": self.seed, "ok": self.ok, "rule": self.rule, "rows": rows}
        return json.dumps(_plain(whole), indent=2, allow_nan=False, ensure_ascii=False)


def notes(row: Row) -> list[str]:
    """Notes below the table: reasons for red, the part that was drawn, each mutant and what caught it, and why no instance
    outside was tested.
    """
    out = [f"red: {reason}" for reason in row.reasons] + ([f"drawn: {row.drawn}"] if row.drawn else [])
    caught = [f"{m.what}, caught by {m.by}" for m in row.mutants if m.caught]
    out += [f"mutants: {'; '.join(caught)}"] if caught else []
    return out + ([] if row.outside_reason is None else [f"nothing outside: {row.outside_reason}"])


def _cells(row: Row) -> tuple[str, ...]:
    caught = sum(m.caught for m in row.mutants)
    outside = f"{row.outside_hold}/{row.outside}" if row.outside else "–"
    counts = (row.instances, row.meaningful, row.violations)
    mutants = f"{caught}/{len(row.mutants)}"
    slacks = (_number(row.smallest_slack), _number(row.median_slack))
    return (row.name, row.kind, row.strength, *map(str, counts), *slacks, mutants, outside, row.status)


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.2g}"


def _line(cells: Any) -> str:
    return "| " + " | ".join(str(cell).replace("|", "\\|") for cell in cells) + " |"


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(name): _plain(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, np.ndarray | np.generic):
        return _plain(value.tolist())
    if isinstance(value, float) and not np.isfinite(value):
        return str(value)
    return value
