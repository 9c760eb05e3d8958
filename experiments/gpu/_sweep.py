"""A process of its own: sweeps on the platform that JAX_PLATFORMS names, timed after compiling, with their results."""

from __future__ import annotations

import json
import os
import statistics
import sys
import time
from pathlib import Path
from typing import Any

SIZES = {  # sweep: objective, responses, side of the grid, rounds
    "IPO, 4 responses, 65,536 runs": ("IPO", 4, 256, 500),
    "DPO, 4 responses, 16,384 runs": ("DPO", 4, 128, 20),
    "IPO, 32 responses, 16,384 runs": ("IPO", 32, 128, 200),
    "IPO, 4 responses, 1,048,576 runs": ("IPO", 4, 1024, 200),
}
REPEATS = 3


def main(target: Path, toy: bool) -> None:
    """Writes the results after each sweep, so that one that is stopped loses none before it."""
    import jax

    jax.config.update("jax_enable_x64", True)
    import numpy as np

    kept: dict[str, Any] = {}
    for name, (objective, count, side, rounds) in list(SIZES.items())[: 2 if toy else None]:
        facts, values = _one(objective, count, *((8, 5) if toy else (side, rounds)), 1 if toy else REPEATS)
        facts |= {"device": str(jax.devices()[0]), "devices": jax.device_count(), "version_jax": jax.__version__}
        kept |= {f"{name}/facts": np.array(json.dumps(facts))} | {f"{name}/{k}": v for k, v in values.items()}
        scratch = target.with_name(f".{target.name}")
        with scratch.open("wb") as file:
            np.savez(file, **kept)
        os.replace(scratch, target)


def _one(objective: str, count: int, side: int, rounds: int, repeats: int) -> tuple[dict[str, Any], dict[str, Any]]:
    import jax
    import numpy as np

    import dynamics as dyn

    upper = np.triu(np.random.default_rng(0).uniform(-0.4, 0.4, (count, count)), 1)
    loss = dyn.IPO(0.3) if objective == "IPO" else dyn.DPO(1.2)
    loop = dyn.SelfSampling(0.5 + upper - upper.T, loss, 0.5, 1.0)
    axis, start = np.linspace(0, 1, side), jax.nn.log_softmax(np.linspace(0.3, -0.3, count))
    seconds = []
    ds: Any = None
    for _ in range(repeats + 1):
        began = time.perf_counter()
        ds = dyn.sweep(
            loop,
            {"alpha": axis, "lam": axis},
            rounds=rounds,
            measure=["cycle_strength", "final_entropy"],
            initial=start,
            progress=False,
        )
        seconds.append(time.perf_counter() - began)
    middle = statistics.median(seconds[1:])
    facts = {
        "objective": objective,
        "responses": count,
        "runs": side * side,
        "rounds": rounds,
        "seconds_with_compiling": seconds[0],
        "seconds": seconds[1:],
        "rate": side * side * rounds / middle,
    }
    return facts, {name: ds[name].values for name in ("cycle_strength", "final_entropy")}


if __name__ == "__main__":
    main(Path(sys.argv[1]), "--toy" in sys.argv[2:])
