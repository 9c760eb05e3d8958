"""DPO on a whole language model: how far the theory of its last layer carries, and what else training does to it."""

from __future__ import annotations

import dataclasses
import tempfile
from pathlib import Path
from typing import Literal

import diffrax
import jax.numpy as jnp
import numpy as np
import xarray as xr

import dynamics as dyn

from .._framework import Tick, described, require, silent
from .checks import check

__all__ = ["Config", "check", "run", "store_key"]

SCHEMA = 2  # of the result: raise it when the meaning of a variable changes
MADE = 4  # behaviours of a run without data
REACH = 20.0  # span of the flow, in units of 4 tau/(beta delta)² with the median delta


@dataclasses.dataclass(frozen=True)
class Config:
    """DPO on statements answered Yes or No, by AdamW on an adapter or on all weights, beside the flow of the last layer."""

    model: str = ""
    """Folder, hub id or .gguf file; by default Gemma 3 270M where its package is installed, else a model that is "made"."""
    data: str = ""
    """persona:DIR, a folder of statements by behaviour; made statements unless given."""
    behaviours: tuple[str, ...] = ("agreeableness", "politically-liberal", "desire-for-acquiring-compute")
    """Trained together; those of made statements where there are no data."""
    train: Literal["lora", "full"] = "lora"
    """What is trained: an adapter of all layers but the last, or every weight."""
    rank: int = 8
    rows: int = 32
    """Statements of each behaviour, half of them held out."""
    beta: float = 0.1
    lr: float = 3e-4
    steps: int = 40
    batch: int = 8
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("beta", "lr"):
            require(self, name, 0, np.inf, open_low=True, open_high=True)
        require(self, "rows", 8, 1_000_000)
        require(self, "rank", 1, 1_000_000)
        require(self, "steps", 2, 10_000_000)
        require(self, "batch", 1, 1_000_000)
        if not self.behaviours:
            raise ValueError("behaviours is empty; pass at least one.")

    @classmethod
    def full(cls) -> Config:
        return cls(rows=400, steps=400, batch=16)


def store_key(config: Config) -> str:
    """What a stored result is looked up by; a change of meaning raises ``SCHEMA``."""
    from .. import _language

    return _language.store_key(config, SCHEMA)


def run(config: Config, tick: Tick = silent) -> xr.Dataset:
    """Margins of training and held-out statements by step, and those of the flow on the features before training."""
    from dynamics import llm

    from .. import _language
    from ..llm_head import _data

    with tempfile.TemporaryDirectory() as scratch:
        tick(0.0, "the model")
        source = config.data or _data.made_statements(Path(scratch) / "data", MADE, config.rows)
        behaviours = config.behaviours if config.data else _data.behaviours(source).names
        language, made = _language.model_of(config.model, Path(scratch) / "model", source)
        pairs = llm.read(source, behaviours=behaviours, rows=config.rows)
        sizes = [pairs.behaviour.count(name) for name in behaviours]
        inside = np.concatenate([np.arange(n) // 2 % 2 == 0 for n in sizes])  # answers alternate: half of either
        tick(0.02, "features before training")
        before = llm.features(language, pairs, progress=False)
        objective = dyn.DPO(beta=config.beta)
        tick(0.15, "the flow of the last layer")
        _, flow = theory(before, inside, objective)
        tick(0.2, f"{config.steps} steps on {config.train} weights")
        learner = language if config.train == "full" else llm.adapt(language, rank=config.rank, seed=config.seed)
        steps = np.unique(np.geomspace(1, config.steps, 7).round().astype(int))
        record = llm.train(
            learner,
            pairs[inside],
            objective,
            probe=pairs[inside],
            held_out=pairs[~inside],
            steps=config.steps,
            batch=config.batch,
            lr=config.lr,
            eos=False,
            at=[0, *steps.tolist()],
            entropy_samples=2,
            seed=config.seed,
            progress=False,
        )
        tick(0.85, "features after training")
        after = llm.features(learner, pairs, progress=False)
    raised = [f"{alarm.name}: {alarm.raised}" for alarm in llm.alarms(record)]
    names = [str(name) for name in record.data_vars if "step" in record[name].dims]
    ds = record[names].assign(
        flow_margin=(("time", "example"), flow[:, _order(before, record)]),
        delta_before=("trained", llm.value_diversity(before).distinguishability.values),
        delta_after=("trained", llm.value_diversity(after).distinguishability.values),
    )
    ds = ds.assign_coords(trained=list(behaviours))
    ds = ds.assign_coords(_matched(ds))
    units = {
        "flow_margin": ("1", "margins by the flow of the last layer on the features before training"),
        "delta_before": ("1", "distinguishability before training"),
        "delta_after": ("1", "distinguishability after training"),
    }
    ds = described(ds, "llm_training", config, units)
    return ds.assign_attrs(_language.told(before, made, config.data), alarms="\n".join(raised))


def _order(before: xr.Dataset, record: xr.Dataset) -> np.ndarray:
    at = {str(name): i for i, name in enumerate(before.example.values)}
    return np.array([at[str(name)] for name in record.example.values])


def _matched(ds: xr.Dataset) -> dict[str, int]:
    """The saved row of the model, and of the flow, at which both have the same mean training margin.

    It is the last row of the model, or the last one that the flow reaches.
    """
    train = (ds.split == "train").values
    of_flow = ds.flow_margin.transpose("time", "example").values[:, train].mean(axis=1)
    of_model = ds.reward_margin.transpose("step", "example").values[:, train].mean(axis=1)
    row = int(np.flatnonzero(of_model <= of_flow.max())[-1])
    return {"matched_step": row, "matched_time": int(np.argmin(np.abs(of_flow - of_model[row])))}


def theory(ds: xr.Dataset, inside: np.ndarray, objective: dyn.DPO) -> tuple[np.ndarray, np.ndarray]:
    """(times, margins of all statements along the flow of the training ones, ``(time, example)``), times by their logarithm."""
    from dynamics import llm

    from ..llm_head._flows import times

    flow = llm.margin_flow(ds.isel(example=inside), objective)
    size = llm.value_diversity(ds.isel(example=inside)).distinguishability.values
    at = times(REACH, 4 / (float(objective.beta) * float(np.median(size))) ** 2)
    sol = dyn.gradient_flow(flow, float(at[-1]), saveat=diffrax.SaveAt(ts=jnp.asarray(at)))
    return at, np.asarray(flow.predict(sol, ds.feature.values, ds.chosen_token.values, ds.rejected_token.values))
