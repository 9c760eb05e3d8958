"""s4: what recording costs, measured side by side, and the memory that training takes."""

from __future__ import annotations

import time
from typing import Any

import numpy as np

from ._context import Context, free
from ._training import Kind, Learners, train

KINDS = (
    Kind("adapter", whole=False, precision="float32", lr=4e-5),
    Kind("all weights, bf16 autocast", whole=True, precision="bf16", lr=5e-6),
    Kind("all weights", whole=True, precision="float32", lr=5e-6),
)
FEW, MANY, REPEATS = 2, 10, 3


def run(context: Context) -> None:
    """Steps alone and steps with a row each of 64 pairs, in turn; medians of the repeats."""
    pairs = context.pack.pairs()
    pairs = pairs[: min(len(pairs), 256)]
    learners = Learners(context.load())
    took = 0.0
    for kind in KINDS:
        context.attempt(kind.name, 0.9 * took, lambda kind=kind: _one(context, kind, learners, pairs))
        took = context.took.get(kind.name, took)


def _one(context: Context, kind: Kind, learners: Learners, pairs: Any) -> None:
    runs = {"few": (FEW, [FEW]), "many": (MANY, [MANY]), "recorded": (MANY, list(range(MANY + 1)))}
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    peak = 0.0
    for repeat in range(1 if context.toy else REPEATS):
        for name, (steps, at) in runs.items():
            learner = learners.fresh(kind)
            context.wait()
            free(context.device)
            start = time.monotonic()
            train(context, kind, learner, pairs, steps, at=at)
            context.wait()
            if repeat or context.toy:  # the first repeat warms up
                seconds[name].append(time.monotonic() - start)
            if context.device == "cuda":
                import torch

                peak = max(peak, torch.cuda.max_memory_allocated() / 2**30)
            del learner
    middle = {name: float(np.median(values)) for name, values in seconds.items()}
    step, row = (middle["many"] - middle["few"]) / (MANY - FEW), (middle["recorded"] - middle["many"]) / MANY
    facts = {
        "batch": kind.batch,
        "probe": 64,
        "seconds": seconds,
        "seconds_of_a_step": step,
        "seconds_of_a_row": row,
        "row_over_step": row / step,
        "pairs_per_second": kind.batch / step,
        "peak_GiB": peak,
        "precision": kind.precision,
    }
    context.kept.case(kind.name, facts)
    context.say(f"    step {1000 * step:.0f} ms, row {1000 * row:.0f} ms, ratio {row / step:.2f}; peak {peak:.1f} GiB")
