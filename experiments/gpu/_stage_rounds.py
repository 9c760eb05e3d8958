"""s1: rounds of iterated alignment on the real model, beside the simulator's prediction of them."""

from __future__ import annotations

import dataclasses
import time

import numpy as np

from dynamics import llm

from ..llm_rounds._cases import ADVANTAGE, CASES, START, Case
from . import _texts
from ._context import Context

TOY_CANDIDATES = (" Yes", " No", " I")  # a small made model cannot level answers of very different lengths
TOY = (
    "IPO, beta 0.20",
    "IPO, beta 0.20, Adam, 10 steps",
    "IPO, beta 0.20, 100 comparisons",
    "IPO, beta 0.20, all weights",
)
SHARE = 0.9  # of a case's expected seconds that have to be left for it to begin


def run(context: Context) -> None:
    """Every case from a model of its own, levelled to the same start; the most telling ones first."""
    cases = {name: CASES[name] for name in TOY} if context.toy else CASES
    base: dict[str, llm.Language] = {}
    each = 0.0
    for name, case in cases.items():
        if context.toy:
            case = dataclasses.replace(case, rounds=3)
        expected = each * case.rounds * case.settings.get("steps", 10) / 10
        took = context.attempt(name, SHARE * expected, lambda name=name, case=case: _one(context, name, case, base))
        each = each if took is None else took


def _one(context: Context, name: str, case: Case, base: dict[str, llm.Language]) -> float:
    """Levels a model, runs the rounds and keeps them; returns the seconds of a round with ten evaluations."""
    whole = case.trainable == "all"
    if whole or case.dtype not in base:
        loaded = context.load(dtype=case.dtype)
        if not whole:
            base.clear()  # one at a time
            base[case.dtype] = loaded
    else:
        loaded = base[case.dtype]
    learner = loaded if whole else llm.adapt(loaded, rank=case.rank)
    history = {"history": case.settings["history"]} if "history" in case.settings else {}
    candidates = TOY_CANDIDATES if context.toy else _texts.CANDIDATES
    start = time.monotonic()
    levelled = llm.level(learner, _texts.PROMPT, candidates, np.log(START), trainable=case.trainable, **history)
    middle = time.monotonic()
    context.say(f"    levelled in {levelled.evaluations} evaluations, {middle - start:.1f} s, KL {levelled.kl:.1e}")
    ds = llm.self_sample(
        learner,
        _texts.PROMPT,
        candidates,
        case.loop(),
        case.rounds,
        trainable=case.trainable,
        progress=False,
        throw=False,
        **case.settings,
    )
    end = time.monotonic()
    evaluations = float(np.nansum(ds.evaluations.values))
    facts = dataclasses.asdict(case) | {
        "start": START,
        "advantage": ADVANTAGE,
        "level_evaluations": levelled.evaluations,
        "level_seconds": middle - start,
        "level_kl": levelled.kl,
        "log_prob_before": levelled.log_prob_before,
        "model_sha256": learner.sha256,
        "seconds": end - middle,
        "evaluations": evaluations,
        "trained": sum(p.numel() for p in learner.model.parameters() if p.requires_grad),
        "tv": float(ds.total_variation.max()),
    }
    if context.device == "cuda":
        import torch

        facts["peak_GiB"] = torch.cuda.max_memory_allocated() / 2**30
    context.kept.case(name, facts, ds)
    context.say(f"    {ds.sizes['round'] - 1} rounds, {evaluations:.0f} evaluations, TV to theory {facts['tv']:.1e}")
    return 10 * (end - middle) / max(evaluations, 1.0)
