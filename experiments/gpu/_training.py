"""Training on 1, 2, 4, … behaviours at once: shared by the stages that train an adapter and all weights."""

from __future__ import annotations

import dataclasses
import time
from typing import Any

import numpy as np

import dynamics as dyn
from dynamics import llm

from . import _pack, _texts
from ._context import Context

BETA, RANK, SEED = 0.1, 8, 0
ORDER = (1, 16, 4, 2, 8)  # of the numbers of behaviours, so that a stage cut short tells most
PROBE = 64  # statements, of training and held out each, that are measured along the way


@dataclasses.dataclass(frozen=True)
class Kind:
    """What is trained, and how."""

    name: str
    whole: bool
    precision: str
    lr: float
    batch: int = 32
    most: int = 120
    """steps"""


def accelerator(device: str, precision: str) -> Any:
    """A new one: Accelerate keeps the first one's settings in the process."""
    from accelerate import Accelerator
    from accelerate.state import AcceleratorState, GradientState

    AcceleratorState._reset_state(reset_partial_state=True)
    GradientState._reset_state()
    return Accelerator(cpu=device == "cpu", mixed_precision="bf16" if precision == "bf16" else "no")


def train(context: Context, kind: Kind, language: llm.Language, pairs: llm.Pairs, steps: int, **more: Any) -> Any:
    """A run of ``llm.train`` on ``language``, in place."""
    return llm.train(
        language,
        pairs,
        dyn.DPO(BETA),
        steps=steps,
        batch=min(kind.batch, len(pairs)),
        lr=kind.lr,
        eos=False,
        seed=SEED,
        progress=False,
        accelerator=accelerator(context.device, kind.precision),
        **more,
    )


class Learners:
    """The same model at its start as often as asked for, on one copy of its weights."""

    def __init__(self, language: llm.Language):
        self.language = language
        self.start: dict[str, Any] = {}

    def fresh(self, kind: Kind) -> llm.Language:
        """With a new adapter, or with the weights that it began with."""
        import torch

        model = self.language.model
        if not self.start and kind.whole:
            self.start = {name: p.detach().clone() for name, p in model.named_parameters()}
        if not kind.whole:
            return llm.adapt(self.language, rank=RANK, seed=SEED)
        with torch.no_grad():
            for name, p in model.named_parameters():
                p.copy_(self.start[name])
                p.grad = None
        return self.language


def seconds_of_a_step(context: Context, kind: Kind, learners: Learners, pairs: llm.Pairs) -> float:
    """By two short runs, the first of which warms up."""
    some = pairs[: max(kind.batch, PROBE)]
    found = []
    for steps in (2, 3, 9):
        learner = learners.fresh(kind)
        context.wait()
        start = time.monotonic()
        train(context, kind, learner, some, steps, probe=some[:4], at=[steps])
        context.wait()
        found.append(time.monotonic() - start)
    return max((found[2] - found[1]) / 6, 1e-4)


def scaling(context: Context, kind: Kind, learners: Learners, seconds: float) -> None:
    """Every number of behaviours with the same steps: margins of all statements before and after, and of some on the way."""
    pairs, draws = context.pack.pairs(), context.pack.draws()
    order = [k for k in ORDER if k in draws]
    with context.case(f"{kind.name}: a step"):
        step = seconds_of_a_step(context, kind, learners, _texts.of(pairs, draws[order[0]]))
    each = seconds / len(order)
    steps = 4 if context.toy else int(np.clip(0.6 * each / step, 20, kind.most))
    context.say(f"    {1000 * step:.0f} ms a step, {steps} steps for each number of behaviours")
    took = 0.0
    for k in order:
        name = f"{kind.name}, K = {k}"
        some = _texts.of(pairs, draws[k])
        context.attempt(
            name, 0.9 * took, lambda name=name, some=some: _one(context, kind, learners, some, name, steps, step)
        )
        took = context.took.get(name, took)


def _one(
    context: Context, kind: Kind, learners: Learners, pairs: llm.Pairs, name: str, steps: int, step: float
) -> None:
    inside = _texts.halves(pairs)
    learner = learners.fresh(kind)
    measured = lambda: _pack.log_probs(learner.model, learner.tokenizer, pairs)
    before = measured()
    start = time.monotonic()
    at = np.unique(np.concatenate([[0], np.geomspace(1, steps, 9).round()])).astype(int).tolist()
    probe, held = _texts.spread(pairs[inside], PROBE), _texts.spread(pairs[~inside], PROBE)
    ds = train(context, kind, learner, pairs[inside], steps, probe=probe, held_out=held, at=at)
    context.wait()
    seconds = time.monotonic() - start
    after = measured()
    margin = BETA * ((after - before)[0] - (after - before)[1])
    error = lambda rows: float(np.mean(0.5 * (1 - np.sign(margin[rows]))))
    facts = dataclasses.asdict(kind) | {
        "k": len(set(pairs.behaviour)),
        "behaviours": list(dict.fromkeys(pairs.behaviour)),
        "steps": steps,
        "beta": BETA,
        "rank": None if kind.whole else RANK,
        "seed": SEED,
        "seconds": seconds,
        "seconds_of_a_step": step,
        "trained": sum(p.numel() for p in learner.model.parameters() if p.requires_grad),
        "train_error": error(inside),
        "held_out_error": error(~inside),
        "train_margin": float(margin[inside].mean()),
        "held_out_margin": float(margin[~inside].mean()),
    }
    kept = [str(v) for v in ds.data_vars if "step" in ds[v].dims]
    found = {"log_prob_before": before, "log_prob_after": after, "inside": inside, "id": np.array(pairs.id, "S")}
    context.kept.case(name, facts, ds[kept], found)
    context.say(
        f"    errors {facts['train_error']:.3f} training, {facts['held_out_error']:.3f} held out; margins "
        f"{facts['train_margin']:.2f}, {facts['held_out_margin']:.2f}; {seconds:.1f} s"
    )
