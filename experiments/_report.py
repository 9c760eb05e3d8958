"""Findings as a table in the terminal, as Markdown and as JSON."""

from __future__ import annotations

import dataclasses
import json
from collections import Counter
from pathlib import Path

from rich import box
from rich.console import Console
from rich.table import Table

from . import TITLES
from ._framework import Finding

COLOURS = {"holds": "green", "fails": "bold red", "not decided": "yellow"}


def tally(findings: dict[str, list[Finding]]) -> str:
    """The number of findings of each status, in words."""
    count = Counter(f.status for group in findings.values() for f in group)
    return ", ".join(f"{count[status]} {status}" for status in COLOURS if count[status])


def show(findings: dict[str, list[Finding]]) -> None:
    """Prints the table of findings."""
    table = Table(box=box.SIMPLE_HEAD, show_lines=False, pad_edge=False, row_styles=("", "dim"))
    for title, ratio in (("claim", 5), ("source", 3), ("measured", 4), ("interval", 3)):
        table.add_column(title, ratio=ratio, overflow="fold")
    table.add_column("status", no_wrap=True)
    for name, group in findings.items():
        table.add_row(f"[bold]{name}[/bold]", "", "", "", "", style="not dim")
        for f in group:
            status = f"[{COLOURS[f.status]}]{f.status}[/]"
            table.add_row(*(text.replace("[", r"\[") for text in (f.claim, f.source, f.measured, f.interval)), status)
        table.add_section()
    # Without a terminal, rich assumes a width of 80 characters, which is too little for five columns of sentences.
    console = Console(width=None if Console().is_terminal else 160)
    console.print(table)
    console.print(f"{sum(map(len, findings.values()))} findings: {tally(findings)}.")


def write(findings: dict[str, list[Finding]], folder: Path) -> None:
    """Writes ``findings.md`` and ``findings.json``."""
    lines = ["# Findings", "", f"{sum(map(len, findings.values()))} findings: {tally(findings)}."]
    for name, group in findings.items():
        lines += ["", f"## {TITLES[name]}", "", f"![{name}](figures/{name}.png)", ""]
        lines += ["| claim | source | measured | interval | status |", "|---|---|---|---|---|"]
        lines += ["| " + " | ".join(_cell(v) for v in dataclasses.astuple(f)) + " |" for f in group]
    (folder / "findings.md").write_text("\n".join(lines) + "\n", encoding="utf-8")
    plain = {name: [dataclasses.asdict(f) for f in group] for name, group in findings.items()}
    (folder / "findings.json").write_text(json.dumps(plain, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _cell(value: str) -> str:
    return value.replace("|", r"\|")
