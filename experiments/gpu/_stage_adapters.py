"""s2: 1 to 16 behaviours by a LoRA adapter, beside the flow of the last layer on the features before training."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from dynamics import llm

from . import _texts
from ._context import Context
from ._training import BETA, Kind, Learners, scaling

KIND = Kind("adapter", whole=False, precision="float32", lr=1e-4)
WAIT = 20.0  # seconds after the training that flows may take, at least


def run(context: Context) -> None:
    """Flows are computed in another process meanwhile."""
    language = context.load()
    with tempfile.TemporaryDirectory() as scratch:
        flows = None
        with context.case("features before training"):
            flows = _begin(context, language, Path(scratch))
            if context.device == "cpu":  # where both would ask for the same cores
                flows.wait()
        try:
            scaling(context, KIND, Learners(language), context.left() - 5)
        finally:
            _end(context, flows, Path(scratch))


def _begin(context: Context, language: llm.Language, scratch: Path) -> Any:
    pairs = context.pack.pairs()
    ds = llm.features(language, pairs, batch=128, progress=False)
    yes = ds.chosen_token.values
    np.savez(scratch / "features.npz", feature=ds.feature.values, chosen=yes, rejected=ds.rejected_token.values)
    at = {name: i for i, name in enumerate(pairs.id)}
    for k, names in context.pack.draws().items():
        some = _texts.of(pairs, names)
        rows = np.array([at[name] for name in some.id])
        np.savez(scratch / f"draw-{k}.npz", rows=rows, inside=_texts.halves(some))
    command = [sys.executable, "-m", "experiments.gpu._flows", str(scratch), str(BETA)]
    return subprocess.Popen(command, env=os.environ | {"JAX_PLATFORMS": "cpu", "CUDA_VISIBLE_DEVICES": ""})


def _end(context: Context, flows: Any, scratch: Path) -> None:
    """Keeps what the other process has computed."""
    if flows is None:
        return
    try:
        flows.wait(timeout=max(WAIT, context.left()))
    except subprocess.TimeoutExpired:
        flows.kill()
        flows.wait()
        context.kept.note("the flows were not finished in time")
    for path in sorted(scratch.glob("flow-*.npz")):
        with np.load(path) as file:
            facts = {"k": int(path.stem.partition("-")[2]), "beta": BETA, "seconds": float(file["seconds"])}
            context.kept.case(f"flow, K = {facts['k']}", facts, arrays={"time": file["time"], "margin": file["margin"]})
    context.say(f"    flows: {len(list(scratch.glob('flow-*.npz')))} computed, at {time.strftime('%H:%M:%S')}")
