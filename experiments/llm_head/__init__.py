"""The last layer of a real language model: do its features behave as the theory of last layers says?"""

from __future__ import annotations

import dataclasses
import tempfile
from pathlib import Path
from typing import Any

import diffrax
import jax.numpy as jnp
import numpy as np
import optax
import xarray as xr

import dynamics as dyn

from .._curves import first_reached
from .._framework import Tick, described, require, silent
from .checks import PUBLISHED, check

__all__ = ["Config", "check", "run", "store_key"]

SCHEMA = 2  # of the result: raise it when the meaning of a variable changes
BRIDGE_STEPS = (512, 1024, 2048)  # SGD steps that cover the same time
BRIDGE_SPAN = 400.0  # that time, over the time constant of the fastest margin at the start, 4 tau/(beta² lambda_max/N)
ADAM_STEPS, ADAM_RATE = 128, 1e-3
SHOWN = 16  # moments of the SGD runs that are kept
MADE = 16  # behaviours of a run without data


@dataclasses.dataclass(frozen=True)
class Config:
    """DPO on the last layer of a causal language model, from statements that are answered Yes or No."""

    model: str = ""
    """Folder, hub id or .gguf file; by default Gemma 3 270M where its package is installed, else a model that is "made"."""
    data: str = ""
    """persona:DIR, a folder of statements by behaviour; made statements unless given."""
    rows: int = 128
    """Statements of each behaviour, half of which train where errors are measured."""
    beta: float = 0.1
    level: float = 0.5
    """Mean margin at which a behaviour counts as learned."""
    trained: float = 1.991
    """Mean training margin of one value at the time when several are compared; ImLi25's own is 1.991."""
    splits: int = 20
    """Divisions into training and test statements."""
    span: float = 20.0
    """Longest time, in units of 4 tau/(beta delta)² with the median delta."""
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("beta", "level", "trained"):
            require(self, name, 0, np.inf, open_low=True, open_high=True)
        require(self, "rows", 8, 1_000_000)
        require(self, "splits", 2, 10_000)
        require(self, "span", 1, 1e6)

    @classmethod
    def full(cls) -> Config:
        return cls(rows=400, splits=40)


def store_key(config: Config) -> str:
    """What a stored result is looked up by; a change of meaning raises ``SCHEMA``."""
    from .. import _language

    return _language.store_key(config, SCHEMA)


def run(config: Config, tick: Tick = silent) -> xr.Dataset:
    """Separability of every behaviour, speeds, orders of learning, errors by number of values, and flipped labels."""
    from dynamics import llm

    from .. import _language
    from . import _data

    with tempfile.TemporaryDirectory() as scratch:
        tick(0.0, "the model")
        source = config.data or _data.made_statements(Path(scratch) / "data", MADE, config.rows)
        chosen = _data.behaviours(source)
        language, made = _language.model_of(config.model, Path(scratch) / "model", source)
        cache = Path(scratch) if made else None
        parts = _language.features_of(
            language, source, chosen.names, config.rows, lambda s, what: tick(0.6 * s, what), cache
        )
    joined = _language.joined(parts)
    diversity = llm.value_diversity(joined)
    ds = xr.merge([_measured(config, chosen, parts, tick), _separability(diversity)], combine_attrs="drop")
    tick(0.95, "torch's optimizers beside the theory")
    ds = xr.merge([ds, _bridge(config, language, parts[chosen.draws[1][0]])], combine_attrs="drop")
    ds = described(ds, "llm_head", config, UNITS)
    return ds.assign_attrs(_language.told(joined, made, config.data), published_draws=int(chosen.published))


def _measured(config: Config, chosen: Any, parts: list[xr.Dataset], tick: Tick) -> xr.Dataset:
    from . import _assumptions, _data, _flows

    one, rng = _data.stacked(parts), np.random.default_rng(config.seed)
    every = np.arange(one.chosen.shape[1])
    time_unit = _flows.unit(one, config.beta)
    at = _flows.times(config.span, time_unit)
    tick(0.62, "each behaviour alone")
    _, sol = _flows.solved(one, config.beta, at)
    alone = _flows.alone(one, sol, config.beta, at, config.level)
    undone = _flows.undone(one, sol, config.beta, at, config.level)
    most = max(chosen.draws)
    group = chosen.draws[most]
    rows = [_data.halves(len(every), rng)[0] for _ in range(config.splits)]
    tick(0.66, "pairs of behaviours")
    pairs = [tuple(group[i] for i in pair) for pair in _flows.pairs_of(len(group))]
    two = _flows.together(one, pairs, [every] * len(pairs), config.beta, at, config.level)
    tick(0.72, f"{most} behaviours together")
    many = _flows.together(one, [group] * config.splits, rows, config.beta, at, config.level)
    tick(0.82, "errors by number of values")
    read = float(first_reached(at, alone["alone_margin"][chosen.draws[1][0]], config.trained))
    if not np.isfinite(read):
        raise ValueError(
            f"one behaviour does not reach a mean margin of {config.trained:g} within span = {config.span:g}; raise it."
        )
    sizes = sorted(chosen.draws)
    names = len(chosen.names)
    drawn = {
        "published": [[chosen.draws[k] for k in sizes]] * config.splits,
        "random": [[tuple(rng.choice(names, k, replace=False)) for k in sizes] for _ in range(config.splits)],
    }
    scaled = {kind: _flows.scaling(one, draws, config.beta, at, read, rng) for kind, draws in drawn.items()}
    facts = [_assumptions.of_clusters(one.of(chosen.draws[k], every), config.beta) for k in sizes]
    dims = {"learned": "learned_time", "speed": "priority_speed", "delta": "delta_of"}
    return xr.Dataset(
        {
            **{name: ("behaviour", value) for name, value in alone.items() if name != "alone_margin"},
            "alone_margin": (("behaviour", "time"), alone["alone_margin"]),
            "aligned_margin": ("behaviour", undone["aligned_margin"]),
            "align_time": ("behaviour", undone["align_time"]),
            "undo_time": (("reference", "behaviour"), undone["undo_time"]),
            **{f"two_{dims[name]}": (("pair", "side"), value) for name, value in two.items()},
            **{f"many_{dims[name]}": (("split", "member"), value) for name, value in many.items()},
            **{
                name: (("draw", "split", "values"), np.stack([scaled[kind][name] for kind in drawn]))
                for name in scaled["random"]
            },
            **{f"assumed_{name}": ("values", [f[name] for f in facts]) for name in facts[0]},
            "read_time": ((), read),
            "time_unit": ((), time_unit),
            "statements": ((), len(every)),
            "published_test_error": (("published_model", "published_values"), np.array(PUBLISHED["test_error"])),
            "published_train_margin": (("published_model", "published_values"), np.array(PUBLISHED["train_margin"])),
        },
        {
            "behaviour": list(chosen.names),
            "time": at,
            "reference": ["aligned", "base"],
            "draw": list(drawn),
            "values": sizes,
            "published_values": list(PUBLISHED["values"]),
            "side": [0, 1],
            "member": [chosen.names[i] for i in group],
        },
    )


def _separability(diversity: xr.Dataset) -> xr.Dataset:
    names = ["distinguishability", "concentration", "trace", "speed", "similarity", "similarity_centred"]
    return diversity[names].rename(speed="speed_in_all")


def _bridge(config: Config, language: Any, ds: xr.Dataset) -> xr.Dataset:
    """One behaviour by the flow, by ``dyn.descend`` and by torch: SGD in ever smaller steps, and Adam step by step."""
    from dynamics import llm

    objective = dyn.DPO(beta=config.beta)
    flow = llm.margin_flow(ds, objective)
    gram = np.asarray(flow.gram())
    end = BRIDGE_SPAN / (config.beta**2 * float(np.linalg.eigvalsh(gram)[-1]) / len(gram))
    moments = np.linspace(0.0, end, SHOWN + 1)
    exact = np.asarray(dyn.gradient_flow(flow, end, saveat=diffrax.SaveAt(ts=jnp.asarray(moments))).reward_margin)
    sgd = [
        llm.train_head(ds, language, objective, optimizer="sgd", lr=end / n, steps=n, every=n // SHOWN).reward_margin
        for n in BRIDGE_STEPS
    ]
    theirs = llm.train_head(ds, language, objective, optimizer="adam", lr=ADAM_RATE, steps=ADAM_STEPS)
    ours = dyn.descend(flow, optax.adam(ADAM_RATE), ADAM_STEPS)
    return xr.Dataset(
        {
            "flow_margin": (("moment", "example"), exact),
            "sgd_margin": (("steps", "moment", "example"), np.stack(sgd)),
            "adam_margin": (("step", "example"), theirs.reward_margin.values),
            "descend_margin": (("step", "example"), np.asarray(ours.reward_margin)),
        },
        {"steps": list(BRIDGE_STEPS), "step": np.arange(ADAM_STEPS + 1), "moment": moments},
    )


UNITS = {
    "first_speed": ("1/tau", "first speed of |W - W(0)| of a behaviour trained alone"),
    "slope": ("1/tau", "sqrt(2) beta delta/4, statement 3.5"),
    "over_bound": ("1", "largest |W(t) - W(0)| over sqrt(2) beta delta t/4"),
    "alone_time": (
        "tau",
        "time until a behaviour trained alone has the mean margin of the level; inf where it never has",
    ),
    "alone_margin": ("1", "mean margin of a behaviour trained alone"),
    "aligned_margin": ("1", "mean margin at which labels are flipped"),
    "align_time": ("tau", "time until then"),
    "undo_time": ("tau", "time until flipped labels have undone it, the base or the aligned model as reference"),
    "two_learned_time": ("tau", "time until a behaviour has the mean margin of the level, two trained together"),
    "many_learned_time": ("tau", "the same, the behaviours of the largest draw trained together"),
    "two_priority_speed": ("1", "<dbar, d_i>"),
    "many_priority_speed": ("1", "<dbar, d_i> of the training statements"),
    "two_delta_of": ("1", "|d_i|"),
    "many_delta_of": ("1", "|d_i| of the training statements"),
    "test_error": ("1", "share of test statements with a margin below 0, 0 counting as half"),
    "train_error": ("1", "the same of training statements"),
    "test_margin": ("1", "mean margin of test statements"),
    "train_margin": ("1", "mean margin of training statements"),
    "read_time": ("tau", "time at which errors are read"),
    "published_test_error": ("1", "test error of two 7-8B models, ImLi25"),
    "published_train_margin": ("1", "mean training margin of two 7-8B models, ImLi25"),
    "statements": ("1", "statements of each behaviour, as many of either answer in all behaviours"),
    "time_unit": ("tau", "4/(beta delta)² with the median delta"),
    "assumed_noise": ("1", "eps: largest distance of a feature from its class mean, over the mean |c_k|"),
    "assumed_excess": ("1", "e = 2 eps sqrt(1 + l_b²) + eps² of statement 7.8"),
    "assumed_allowed_excess": ("1", "1 - l_b², which e must not exceed"),
    "assumed_shift": ("1", "l_b: length of the mean of all features, over the mean |c_k|"),
    "assumed_shift_along": ("1", "largest |<b, c_k>|/|c_k|, assumed 0"),
    "assumed_centre_cosine": ("1", "largest |cosine| of two c_k, assumed 0"),
    "assumed_centre_spread": ("1", "largest |c_k| less the smallest, assumed 0"),
    "assumed_least_margin": ("1", "least margin at beta² t = K tau with tokens that no two behaviours share"),
    "assumed_largest_margin": ("1", "largest margin there"),
    "assumed_scalar_margin": ("1", "margin there of clusters without noise and shift"),
    "moment": ("tau", "time of the flow, steps times learning rate of SGD"),
    "flow_margin": ("1", "margins by the gradient flow"),
    "sgd_margin": ("1", "margins by torch's SGD, the same time in more and more steps"),
    "adam_margin": ("1", "margins by torch's Adam"),
    "descend_margin": ("1", "margins by dyn.descend with optax.adam"),
    "distinguishability": ("1", "delta: distance of the two answers' mean features"),
    "concentration": ("1", "larger operator norm of the answers' covariances"),
    "trace": ("1", "larger trace of the answers' covariances"),
    "speed_in_all": ("1", "<dbar, d_i>, all behaviours together"),
    "similarity": ("1", "cosine of class means"),
    "similarity_centred": ("1", "cosine of class means less their shared mean"),
}
