"""Findings as a table in the terminal, as Markdown and as JSON."""

from __future__ import annotations

import csv
import dataclasses
import importlib
import json
import shlex
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich import box
from rich.console import Console
from rich.table import Table

from . import ON_MODELS, TITLES
from ._framework import Finding

if TYPE_CHECKING:
    import xarray as xr

KEPT = ("model", "model_sha256", "tokenizer_sha256", "seed", "git_commit")
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


def write(findings: dict[str, list[Finding]], folder: Path, stems: Mapping[str, str]) -> None:
    """Writes ``findings.md``, with the figures of the given names, and ``findings.json``."""
    lines = ["# Findings", "", f"{sum(map(len, findings.values()))} findings: {tally(findings)}."]
    for name, group in findings.items():
        lines += ["", f"## {(TITLES | ON_MODELS)[name]}", "", f"![{name}](figures/{stems[name]}.png)", ""]
        lines += ["| claim | source | measured | interval | status |", "|---|---|---|---|---|"]
        lines += ["| " + " | ".join(_cell(v) for v in dataclasses.astuple(f)) + " |" for f in group]
    (folder / "findings.md").write_text("\n".join(lines) + "\n", encoding="utf-8")
    plain = {name: [dataclasses.asdict(f) for f in group] for name, group in findings.items()}
    (folder / "findings.json").write_text(json.dumps(plain, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def write_table(ds: xr.Dataset, name: str, path: Path) -> None:
    """Writes a table: the numbers of an experiment on a model, headed by what they were computed with and how."""
    config = json.loads(ds.attrs["config"])
    asked = " ".join(
        f"--{key.replace('_', '-')} {_word(value)}" for key, value in config.items() if value not in ("", [])
    )
    head = [f"python -m experiments run {name} {asked}"]
    head += [f"{key}: {ds.attrs[key]}" for key in ds.attrs if key in KEPT or key.startswith("version_")]
    with path.open("w", encoding="utf-8", newline="") as file:
        file.writelines(f"# {line}\n" for line in head)
        table = csv.writer(file, lineterminator="\n")
        table.writerow(("quantity", "of", "value", "low", "high"))
        for quantity, of, *numbers in importlib.import_module(f"experiments.{name}.table").rows(ds):
            table.writerow((quantity, of, *("" if x is None or x != x else f"{x:.6g}" for x in numbers)))


def _word(value: Any) -> str:
    """As on the command line, a path by its last part: the folder is another one elsewhere."""
    if isinstance(value, list):
        return " ".join(shlex.quote(str(x)) for x in value)
    kind, colon, path = str(value).rpartition(":")
    return kind + colon + Path(path).name if "/" in str(value) else str(value)


def _cell(value: str) -> str:
    return value.replace("|", r"\|")
