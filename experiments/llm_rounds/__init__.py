"""Rounds of iterated alignment on a language model: does it do what the simulator says?"""

from __future__ import annotations

import dataclasses
import hashlib
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from .._framework import Tick, described, require, silent
from ._cases import CANDIDATES, CASES, PROMPT, START, Case
from ._descend import beside
from .checks import check

__all__ = ["Config", "check", "run", "store_key"]

SCHEMA = 1  # of the result: raise it when the meaning of a variable changes
MADE_STEPS = 60  # of training a made model, after which its answers differ in probability
KEPT = ("log_policy", "log_policy_predicted", "log_policy_one_round", "total_variation", "total_variation_one_round")


@dataclasses.dataclass(frozen=True)
class Config:
    """Rounds on one prompt and three answers by a LoRA adapter, each case beside the simulator's run from the same start."""

    model: str = "made"
    """Folder, hub id or .gguf file; "made" makes a small one; "" takes Gemma 3 270M where its package is installed."""
    cases: tuple[str, ...] = (
        "IPO, beta 0.35",
        "IPO, beta 0.20",
        "DPO, beta 1.2",
        "IPO, transitive, alpha 1, beta 1",
        "IPO, beta 0.35, Adam, 3 steps",
        "IPO, beta 0.20, 100 comparisons",
    )
    """Which of the cases run: exact rounds, rounds of a few steps of Adam, rounds of drawn comparisons."""
    rounds: int = 16
    """Of every case. A round of Gemma 3 270M takes 1 to 2 minutes on two CPU cores."""
    rank: int = 8
    """Of the adapter."""
    seed: int = 0
    """Of the adapter and of the comparisons that are drawn."""

    def __post_init__(self) -> None:
        require(self, "rounds", 1, 10_000)
        require(self, "rank", 1, 1_000_000)
        unknown = [name for name in self.cases if _named(name) is None]
        if unknown or not self.cases:
            raise ValueError(f"cases = {unknown[0] if unknown else 'none'!r}; pass some of {'; '.join(_known())}.")

    @classmethod
    def full(cls) -> Config:
        return cls(cases=_known(), rounds=24)


def _named(name: str) -> Case | None:
    """A case that this experiment runs: float32 and an adapter, whose rank is the Config's."""
    case = CASES.get(name)
    usual = case is not None and (case.trainable, case.dtype, case.rank) == ("lora", "float32", 8)
    return case if usual else None


def _known() -> tuple[str, ...]:
    return tuple(name for name in CASES if _named(name) is not None)


def store_key(config: Config) -> str:
    """What a stored result is looked up by; a change of meaning raises ``SCHEMA``."""
    from .. import _language

    return _language.store_key(config, SCHEMA)


def run(config: Config, tick: Tick = silent) -> xr.Dataset:
    """The model's policy after every round, the simulator's from the same start, and how far apart they are."""
    from .. import _language

    with tempfile.TemporaryDirectory() as scratch:
        tick(0.0, "the model")
        texts = [PROMPT + answer for answer in CANDIDATES] * 8
        base, made = _language.model_of(config.model, Path(scratch), texts, MADE_STEPS)
        done = []
        for n, name in enumerate(config.cases):
            tick(0.1 + 0.9 * n / len(config.cases), name)
            done.append(_case(config, name, base, made))
    parts = [part for part, _ in done]
    ds = xr.concat(parts, "case", join="outer", combine_attrs="drop").assign_coords(
        case=list(config.cases),
        kind=("case", [CASES[name].kind for name in config.cases]),
        cyclic=("case", [CASES[name].cyclic for name in config.cases]),
        beta=("case", [CASES[name].beta for name in config.cases]),
        critical_beta=("case", [CASES[name].critical_beta() for name in config.cases]),
        candidate=("response", list(CANDIDATES)),
    )
    ds = described(ds, "llm_rounds", config, UNITS)
    facts = done[0][1]
    kept = {name: value for name, value in facts.items() if name.startswith("version_")}
    return ds.assign_attrs(kept).assign_attrs(
        model=_language.MADE if made else _language.short_name(base.name),
        model_sha256=base.sha256,
        tokenizer_sha256=base.tokenizer_sha256,
        made_model=int(made),
        made_data=0,
        notes="\n".join(
            f"{name}: {facts['result']}"
            for name, (_, facts) in zip(config.cases, done, strict=True)
            if facts["result"] != "successful"
        ),
    )


def _case(config: Config, name: str, base: Any, made: bool) -> tuple[xr.Dataset, dict[str, Any]]:
    """One case on an adapter of its own, levelled to the same start; what a real model did is kept round by round."""
    from dynamics import llm

    case = CASES[name]
    learner = llm.adapt(base, rank=config.rank, seed=config.seed)
    out = None
    if not made:
        key = hashlib.sha256(repr((base.sha256, case, config.rank, config.seed, config.rounds)).encode()).hexdigest()
        out = llm.cache_folder(None) / "rounds" / key[:16]
    levelled = llm.level(
        learner, PROMPT, CANDIDATES, np.log(START), out=None if out is None else out / "level", evaluations=400
    )
    ds = llm.self_sample(
        learner,
        PROMPT,
        CANDIDATES,
        case.loop(),
        config.rounds,
        out=None if out is None else out / "rounds",
        seed=config.seed,
        progress=False,
        throw=False,
        **case.settings,
    )
    log_policy, rate = ds.log_policy.values, np.nan
    descend = np.full_like(log_policy, np.nan)
    if case.kind == "adam" and len(log_policy) > 1:
        descend, rate = beside(case, log_policy)
    part = ds[list(KEPT)].drop_vars(["candidate", "tokens"], errors="ignore")
    part = part.assign(
        log_policy_descend=(("round", "response"), descend),
        evaluations=("round", ds.evaluations.values.astype(float)),
        rate_descend=((), rate),
        level_kl=((), levelled.kl),
        finished=((), ds.attrs["result"] == "successful"),
    )
    return part, dict(ds.attrs)


UNITS = {
    "log_policy": ("nats", "log pi of the model over the candidates"),
    "log_policy_predicted": ("nats", "log pi of the simulator's run from the model's start, each round exact"),
    "log_policy_one_round": ("nats", "log pi that the simulator predicts from the model's last round"),
    "log_policy_descend": (
        "nats",
        "log pi of the simulator with as many steps of Adam on logits as the model takes on weights",
    ),
    "total_variation": ("1", "total variation between the model and the simulator's run"),
    "total_variation_one_round": ("1", "total variation between the model and the one-round prediction"),
    "evaluations": ("1", "evaluations of loss and gradient in the round"),
    "rate_descend": ("1", "Adam's learning rate on logits, at which the first round is as long as the model's"),
    "level_kl": ("nats", "KL(wanted||reached) of the start"),
    "finished": ("1", "whether all rounds were taken"),
}
