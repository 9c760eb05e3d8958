"""Training on preference pairs: a plain loop of torch under Accelerate, recorded in the library's schema."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .._checks import check_count
from ..objectives import IPO, MarginLoss
from ._checkpoint import texts_sha256, weights_sha256
from ._loop import OPTIMIZERS, Plan, Run
from ._loss import check_objective
from ._models import Language
from ._pairs import Pairs
from ._probe import Probe, check_weights

if TYPE_CHECKING:
    import xarray as xr

SCHEMA = 1  # of records; part of what two equal runs share
SCHEDULES = ("constant", "linear", "cosine")
PROBE, ROWS, CHECKPOINTS = 64, 20, 10  # by default


def train(
    language: Language,
    pairs: Pairs,
    objective: MarginLoss,
    *,
    steps: int,
    batch: int,
    lr: float,
    probe: Pairs | None = None,
    held_out: Pairs | None = None,
    optimizer: str | Callable[..., Any] = "adamw",
    weight_decay: float = 0.0,
    schedule: str = "constant",
    warmup: int = 0,
    clip: float | None = 1.0,
    normalise: bool = False,
    eos: bool = True,
    max_length: int | None = None,
    shuffle: bool = True,
    microbatch: int | None = None,
    at: Iterable[int] | None = None,
    out: str | Path | None = None,
    checkpoint: int | None = None,
    entropy_samples: int = 0,
    entropy_tokens: int | None = None,
    seed: int = 0,
    accelerator: Any = None,
    progress: bool = True,
    throw: bool = True,
) -> xr.Dataset:
    """theta ← theta - step of an optimizer on mean f(r), r = beta ((log pi_w - log ref_w) - (log pi_l - log ref_l)).

    The reference is the model as it is passed, with its adapter where it has one. The model is trained in place and without
    dropout; only weights with ``requires_grad`` move. The learning rate and the order of the data follow from the number of
    the step, so a run that was killed goes on, bit for bit, when the call is repeated with the same ``out``.

    Args:
        language: from ``llm.load`` or ``llm.adapt``; float32 or float64 weights.
        pairs: N training pairs.
        objective: ``dyn.DPO``, ``dyn.IPO``, ``dyn.SquaredMargin`` or ``dyn.SLiC``.
        steps: of the optimizer, int ≥ 0.
        batch: pairs in a step, over all processes, int ≥ 1.
        lr: learning rate, > 0.
        probe: pairs that are measured; the first 64 of ``pairs`` unless given.
        held_out: further pairs that are measured and not trained on (coord ``split`` "held_out").
        optimizer: "adamw", "adam" or "sgd", or a function (parameters, lr=) -> torch optimizer.
        weight_decay: towards 0, ≥ 0.
        schedule: of the learning rate, after ``warmup`` steps of linear growth.
        clip: largest norm of the gradient; None: no limit.
        normalise: divide log-ratios by lengths, for IPO only: TRL's loss_type="ipo"; see ``llm.loss``.
        eos: whether the end-of-text token ends each answer and is counted, as TRL does.
        max_length: longest sequence in tokens; training pairs beyond are cut, probe pairs refused.
        shuffle: False takes the pairs in their order.
        microbatch: pairs in a forward pass of each process, for less memory.
        at: steps to record at, 0 ≤ step ≤ steps; 21 even ones unless given.
        out: a folder for the record and the checkpoint; nothing is written unless given.
        checkpoint: steps between checkpoints; ten in all unless given.
        entropy_samples: answers to sample for entropy and KL divergence at each recorded step; 0: neither is measured.
        entropy_tokens: tokens of a sampled answer at most; the longest answer of the probe unless given.
        seed: of the order of pairs and of what is sampled.
        accelerator: an ``accelerate.Accelerator`` of one device or of several copies of the model; one is made unless given.
        progress: whether a bar may appear, at a terminal.
        throw: raise where a step leaves the finite numbers; otherwise the rows before it are returned.

    Returns:
        Dataset along ``step`` and ``example``: ``reward_margin``, ``log_prob_*``, ``log_reference_*``, ``length_*``, and
        ``loss``, ``accuracy``, ``accuracy_raw`` of the probe, ``batch_loss`` of the training batches since the last row,
        ``held_out_*``, and sampled ``entropy`` and ``kl_to_reference`` with standard errors.

    Raises:
        ValueError: a bad argument, weights in half precision, or an ``out`` that holds another run, whose difference is named.
        RuntimeError: a step left the finite numbers; its number is named and the rows before it are kept.

    Source: [paper] the objectives, Chen26 and ImLi24; the record [derived].

    >>> ds = dyn.llm.train(language, pairs, dyn.DPO(0.1), steps=200, batch=16, lr=1e-5)  # doctest: +SKIP
    """
    plan = Plan(
        objective, check_count(steps, "steps", 0), check_count(batch, "batch", 1), lr, optimizer, weight_decay, schedule,
        check_count(warmup, "warmup", 0), math.inf if clip is None else clip, normalise, shuffle, seed,
        _marks(at, steps), checkpoint or max(steps // CHECKPOINTS, 1), microbatch or batch,
    )  # fmt: skip
    _check(plan, language, pairs)
    tokens = {"eos": eos, "max_length": max_length or language.context}
    measured = Probe.of(probe if probe is not None else pairs[:PROBE], held_out, language.tokenizer, **tokens)
    data = Probe.of(pairs, None, language.tokenizer, may_cut=True, **tokens)
    sampler = measured.sampler(language.tokenizer, entropy_samples, entropy_tokens, seed)
    config = _config(plan, language, data, measured) | tokens | {"sampled": [entropy_samples, entropy_tokens]}
    run = Run(plan, language, data, measured, sampler, config, None if out is None else Path(out), accelerator)
    failed = run.go(progress)
    if failed is not None and throw:
        where = (
            f"the rows before it are in {run.record.path}"
            if run.record.path
            else "pass out= to keep the rows before it"
        )
        raise RuntimeError(f"step {failed} left the finite numbers; use a smaller learning rate ({where}).")
    return run.record.dataset()


def _marks(at: Iterable[int] | None, steps: int) -> tuple[int, ...]:
    if at is None:
        return tuple(sorted({round(i * steps / ROWS) for i in range(ROWS + 1)}))
    marks = tuple(sorted({check_count(step, "at", 0) for step in at}))
    if not marks or marks[-1] > steps:
        raise ValueError(f"at = {list(marks)} must hold steps from 0 to {steps}.")
    return marks


def _check(plan: Plan, language: Language, pairs: Pairs) -> None:
    check_objective(plan.objective)
    check_weights(language.model)
    if len(pairs) == 0:
        raise ValueError("pairs is empty; pass at least one pair.")
    if not (math.isfinite(plan.lr) and plan.lr > 0):
        raise ValueError(f"lr = {plan.lr!r}; pass a positive learning rate.")
    if not plan.weight_decay >= 0 or (plan.weight_decay and callable(plan.optimizer)):
        raise ValueError(f"weight_decay = {plan.weight_decay!r}; pass a number ≥ 0, or build it into your optimizer.")
    if not plan.clip > 0:
        raise ValueError(f"clip = {plan.clip!r}; pass the largest norm of a gradient, > 0, or None.")
    if not callable(plan.optimizer) and plan.optimizer not in OPTIMIZERS:
        raise ValueError(f"optimizer = {plan.optimizer!r}; pass one of {', '.join(OPTIMIZERS)}, or a function.")
    if plan.schedule not in SCHEDULES:
        raise ValueError(f"schedule = {plan.schedule!r}; pass one of {', '.join(SCHEDULES)}.")
    if plan.normalise and type(plan.objective) is not IPO:
        raise ValueError("normalise=True is TRL's form of IPO; pass dyn.IPO, or leave normalise out.")
    if not any(p.requires_grad for p in language.model.parameters()):
        raise ValueError("no weight of the model has requires_grad; unfreeze some, or use llm.adapt.")


def _config(plan: Plan, language: Language, data: Probe, probe: Probe) -> dict[str, Any]:
    """What two equal runs share, as JSON."""
    texts = lambda pairs: texts_sha256(pairs.prompt, pairs.chosen, pairs.rejected)
    name = plan.optimizer if isinstance(plan.optimizer, str) else getattr(plan.optimizer, "__qualname__", "own")
    return {
        "objective": f"{type(plan.objective).__name__}(beta={float(plan.objective.beta)!r})",
        "steps": plan.steps,
        "batch": plan.batch,
        "microbatch": plan.microbatch,
        "lr": plan.lr,
        "optimizer": name,
        "weight_decay": plan.weight_decay,
        "schedule": plan.schedule,
        "warmup": plan.warmup,
        "clip": None if math.isinf(plan.clip) else plan.clip,
        "normalise": plan.normalise,
        "shuffle": plan.shuffle,
        "seed": plan.seed,
        "at": list(plan.at),
        "weights_sha256": weights_sha256(language.model),
        "sha256": language.sha256,
        "tokenizer_sha256": language.tokenizer_sha256,
        "dtype": language.dtype,
        "trained": sum(p.numel() for p in language.model.parameters() if p.requires_grad),
        "pairs": texts(data.pairs),
        "probe": texts(probe.pairs),
        "held_out": probe.held,
        "schema": SCHEMA,
    }
