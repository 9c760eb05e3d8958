"""The command ``dynamics verify``: the ledger on a terminal, as Markdown or as JSON."""

from __future__ import annotations

import dataclasses
import sys
from typing import TYPE_CHECKING, Annotated

import tyro

if TYPE_CHECKING:
    from ..ledger import Ledger

NUMBERS = {"instances", "say something", "violations", "least slack", "median slack", "mutants caught", "hold outside"}


@dataclasses.dataclass(frozen=True)
class Verify:
    """Test every theorem against the simulators: slack, violations, mutants, and instances outside the assumptions."""

    instances: Annotated[int, tyro.conf.arg(metavar="N")] = 100
    """Instances of each theorem; 100 take about half a minute once compiled, 1000 a few minutes."""
    seed: Annotated[int, tyro.conf.arg(metavar="S")] = 0
    """Seed of the draws."""
    only: Annotated[tuple[str, ...], tyro.conf.arg(metavar="NAME")] = ()
    """Test these theorems only."""
    json: bool = False
    """Print JSON, with the worst instances, instead of a table."""
    markdown: bool = False
    """Print Markdown instead of a table."""

    def run(self) -> None:
        from ..ledger import verify

        if self.json and self.markdown:
            raise ValueError("--json and --markdown exclude each other; pass one of them.")
        ledger = verify(self.instances, self.seed, self.only or None)
        if self.json:
            sys.stdout.write(ledger.to_json() + "\n")
        elif self.markdown:
            sys.stdout.write(ledger.to_markdown())
        else:
            _print(ledger)
        if not ledger.ok:
            names = ", ".join(row.name for row in ledger.red)
            raise RuntimeError(f"{len(ledger.red)} of {len(ledger.rows)} theorems are red: {names}.")


def _print(ledger: Ledger) -> None:
    from ..ledger import COLUMNS, notes
    from . import _tables

    table = _tables.new_table(COLUMNS, numbers=NUMBERS)
    for cells in ledger.table():
        table.add_row(*map(_tables.text, cells))
    lines = [_tables.text(f"{row.name}: {note}") for row in ledger.rows for note in notes(row)]
    _tables.print_parts(_tables.text(ledger.rule), table, *lines)
