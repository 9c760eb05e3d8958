"""All cores, float64, and a table of ratios at the end."""

from __future__ import annotations

import os
import platform
import shutil
import statistics
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent))

import jax

jax.config.update("jax_enable_x64", True)


def _machine() -> str:
    """The processor, the cores that are used, the compiler of the kernels, and versions."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    model = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())
    flags = next((line.split() for line in lines if line.startswith("flags")), [])
    vectors = "AVX-512" if "avx512f" in flags else "AVX2" if "avx2" in flags else "no AVX2"
    compiler = shutil.which("g++") or shutil.which("clang++")
    told = "" if compiler is None else subprocess.run([compiler, "--version"], capture_output=True, text=True).stdout
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return (
        f"{model} ({vectors}), {cores} cores; jax {jax.__version__}, NumPy {np.__version__}; {told.split(chr(10))[0]}"
    )


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Rates by contender, and the base's over each, repetition by repetition: median [least, largest]."""
    tables: dict[str, dict[str, list[float]]] = {}
    heads: dict[str, tuple[str, str]] = {}
    for bench in config._benchmarksession.benchmarks:  # pyright: ignore[reportAttributeAccessIssue]
        info = bench.extra_info
        heads[info["table"]] = info["unit"], info["base"]
        tables.setdefault(info["table"], {}).setdefault(info["who"], []).append(info["amount"] / bench.stats.median)
    terminalreporter.write_line(f"\n{_machine()}")
    for table, by in tables.items():
        unit, base = heads[table]
        terminalreporter.write_line(f"\n{table}\n| | {unit} | {base} over it |\n|---|---|---|")
        for who, found in by.items():
            ratios = [a / b for a, b in zip(by[base], found, strict=True)]
            spread = f"{statistics.median(ratios):.2f} [{min(ratios):.2f}, {max(ratios):.2f}]"
            terminalreporter.write_line(f"| {who} | {statistics.median(found):.3g} | {spread} |")
