"""s5: sweeps of the simulators by JAX on the GPU and on the CPU of the same machine, side by side."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from ._context import Context


def run(context: Context) -> None:
    """Each platform in a process of its own, one after the other; the largest difference of their results."""
    platforms = ("cpu", "cuda") if context.device == "cuda" else ("cpu", "cpu")
    found: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as scratch:
        for i, platform in enumerate(platforms):
            target = Path(scratch) / f"{i}.npz"
            command = [sys.executable, "-m", "experiments.gpu._sweep", str(target), *(["--toy"] if context.toy else [])]
            environment = os.environ | {"JAX_PLATFORMS": platform}
            if platform == "cuda":
                environment["XLA_PYTHON_CLIENT_PREALLOCATE"] = "false"
            # The second has what the first leaves; what a process wrote before it was stopped is kept.
            seconds = max(context.left() * (0.55 if i == 0 else 1.0), 5.0)
            with context.case(f"{platform}, process {i + 1}"):
                try:
                    subprocess.run(command, env=environment, timeout=seconds, check=True)
                except (subprocess.TimeoutExpired, subprocess.CalledProcessError) as error:
                    context.say(f"    {error}")
                    context.kept.note(f"{platform}: {error}")
            found.append(_read(target))
            for name, values in found[-1].items():
                facts = values["facts"]
                context.kept.case(f"{name}, {platform}, process {i + 1}", facts)
                context.say(f"    {name}: {facts['rate'] / 1e6:.1f} million rounds/s")
    for name in found[0].keys() & found[1].keys():
        first, second = found[0][name], found[1][name]
        facts: dict[str, Any] = {
            "ratio": second["facts"]["rate"] / first["facts"]["rate"],
            "platforms": platforms,
        }
        for measure in first.keys() - {"facts"}:
            a, b = first[measure], second[measure]
            facts[f"difference of {measure}"] = float(np.nanmax(np.abs(a - b)))
            facts[f"largest {measure}"] = float(np.nanmax(np.abs(a)))
        context.kept.case(name, facts)
        context.say(f"    {name}: {json.dumps(facts)}")


def _read(path: Path) -> dict[str, Any]:
    """By sweep: its facts and its statistics."""
    if not path.is_file():
        return {}
    found: dict[str, Any] = {}
    with np.load(path) as file:
        for key in file.files:
            name, _, what = key.partition("/")
            value = file[key]
            found.setdefault(name, {})[what] = json.loads(str(value)) if what == "facts" else value
    return found
