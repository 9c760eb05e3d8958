"""``python -m experiments.gpu.collect``: tables, Datasets and a figure of what the stages wrote."""

from __future__ import annotations

import argparse
import csv
import json
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from . import _tables
from ._kept import read

SUMMARY = "stages.json"


def main(argv: list[str]) -> int:
    """Runs the command line and returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m experiments.gpu.collect", description=__doc__)
    parser.add_argument(
        "folders", nargs="+", type=Path, help="what experiments.gpu.stages wrote; a later one goes first"
    )
    parser.add_argument("--out", type=Path, default=Path("results/gpu"))
    options = parser.parse_args(argv)
    stages: dict[str, Any] = {}
    told: dict[str, dict[str, Any]] = {}
    for folder in options.folders:
        if not (folder / SUMMARY).is_file():
            parser.error(f"{folder} holds no {SUMMARY}; pass what experiments.gpu.stages wrote.")
        summary = json.loads((folder / SUMMARY).read_text(encoding="utf-8"))
        for path in sorted(folder.glob("s?.npz")):
            stages[path.stem], told[path.stem] = read(path), summary
    options.out.mkdir(parents=True, exist_ok=True)
    tables = {
        "identity": ("s0", _tables.identity),
        "rounds": ("s1", _tables.rounds),
        "adapters": ("s2", lambda stage: _tables.scaling(stage, stages["s2"])),
        "whole": ("s3", lambda stage: _tables.scaling(stage, stages.get("s2"))),
        "throughput": ("s4", _tables.throughput),
        "sweeps": ("s5", _tables.sweeps),
    }
    for name, (stage, rows) in tables.items():
        if stage in stages and stages[stage][0]["cases"]:
            write(options.out / f"gpu_{name}.csv", head(stage, told[stage], stages[stage][0]), rows(stages[stage]))
            print(options.out / f"gpu_{name}.csv")
    if "s1" in stages and _tables.runs(stages["s1"]):
        _datasets(stages["s1"], options.out)
        _figure(stages, told, options.out)
    return 0


def head(stage: str, summary: dict[str, Any], facts: dict[str, Any]) -> list[str]:
    """What a table was computed with: command, device, versions, model, and what was left out."""
    device, pack = summary["device"], summary.get("pack", {})
    lines = [summary["command"], f"stage: {stage}"]
    lines += [f"{key}: {value}" for key, value in device.items()]
    prepared = pack.get("prepared_with", {})
    lines += [f"{key}: {pack[key]}" for key in ("name", "model_sha256", "tokenizer_sha256", "rows") if key in pack]
    lines += [f"prepared with {key}: {value}" for key, value in prepared.items()]
    seeds = sorted({told["seed"] for told in facts["cases"].values() if "seed" in told})
    lines += [f"seed: {', '.join(map(str, seeds or [0]))}"]
    return lines + [f"note: {note}" for note in facts["notes"]]


def write(path: Path, lines: list[str], rows: Iterable[_tables.Row]) -> None:
    """A table of numbers under lines that say what it was computed with."""
    with path.open("w", encoding="utf-8", newline="") as file:
        file.writelines(f"# {' '.join(line.split())}\n" for line in lines)
        table = csv.writer(file, lineterminator="\n")
        table.writerow(("quantity", "of", "value", "low", "high"))
        for quantity, of, *numbers in rows:
            table.writerow((quantity, of, *("" if x is None or x != x else f"{x:.6g}" for x in numbers)))


def _datasets(stage: Any, out: Path) -> None:
    from .._store import save

    for name, ds in _tables.runs(stage).items():
        save(ds, out / f"rounds-{''.join(c if c.isalnum() else '-' for c in name)}.zarr")


def _figure(stages: dict[str, Any], told: dict[str, Any], out: Path) -> None:
    from figures.gpu import draw

    pack = told["s1"].get("pack", {})
    trained = [stages[name] for name in ("s2", "s3") if name in stages]
    rows = [row for stage in trained for row in _tables.scaling(stage, stages.get("s2"))]
    errors = [row for row in rows if row[0] == "error, held out"]
    correlations = [row for row in rows if row[0].startswith("rank correlation") and row[0].endswith("held out")]
    device = told["s1"]["device"].get("device_name", "a CPU")
    figure = draw(_tables.runs(stages["s1"]), errors, correlations, pack.get("name", "a model"), device)
    figure.savefig(out / "gpu.png", dpi=150)
    print(out / "gpu.png")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
