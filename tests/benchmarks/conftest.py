"""All cores, float64, and a table of ratios at the end."""

from __future__ import annotations

import statistics
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent))

import jax

from dynamics.sweeps import use_machine

use_machine()
jax.config.update("jax_enable_x64", True)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Rates by contender, and the base's over each, repetition by repetition: median [least, largest]."""
    tables: dict[str, dict[str, list[float]]] = {}
    heads: dict[str, tuple[str, str]] = {}
    for bench in config._benchmarksession.benchmarks:  # pyright: ignore[reportAttributeAccessIssue]
        info = bench.extra_info
        heads[info["table"]] = info["unit"], info["base"]
        tables.setdefault(info["table"], {}).setdefault(info["who"], []).append(info["amount"] / bench.stats.median)
    for table, by in tables.items():
        unit, base = heads[table]
        terminalreporter.write_line(f"\n{table}\n| | {unit} | {base} over it |\n|---|---|---|")
        for who, found in by.items():
            ratios = [a / b for a, b in zip(by[base], found, strict=True)]
            spread = f"{statistics.median(ratios):.2f} [{min(ratios):.2f}, {max(ratios):.2f}]"
            terminalreporter.write_line(f"| {who} | {statistics.median(found):.3g} | {spread} |")
