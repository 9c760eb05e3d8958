"""Misaligned start: flipped labels undo alignment, and do so faster if features separate the two answers further."""

from __future__ import annotations

import dataclasses
from typing import Any

import diffrax
import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr

import dynamics as dyn
from dynamics.flows import MarginState

from .._curves import LEAST_SEEDS, first_reached
from .._framework import Tick, described, require, silent
from .checks import check

__all__ = ["Config", "check", "run"]

REFERENCES = ("aligned", "base")
LAWS = ("identical", "noisy")  # samples of one answer are all at their mean, or have the noise of the configuration


@dataclasses.dataclass(frozen=True)
class Config:
    """DPO on one balanced yes-or-no behaviour, with features of a base model and of increasingly aligned models."""

    beta: float = 0.1
    distinguishability: tuple[float, ...] = (0.5, 0.75, 1.0, 1.5, 2.0)
    """delta of the features in ascending order: of the base model, then of aligned models."""
    noise: float = 0.3
    """Standard deviation of the features in each coordinate."""
    samples: int = 60
    """Samples of each answer."""
    dimension: int = 8
    seeds: int = 15
    """Data sets for each model."""
    span: float = 200.0
    """beta² t/tau at the end."""
    level: float = 1.0
    """Mean margin of the true labels; the time until it is lost is measured."""
    aligned_margins: tuple[float, ...] = (0.5, 1.0, 1.5, 2.0, 3.0)
    """Mean margins R to which a head is aligned before labels are flipped, with the features of the middle model."""
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("beta", "distinguishability", "span", "level", "aligned_margins"):
            require(self, name, 0, np.inf, open_low=True, open_high=True)
        require(self, "noise", 0, np.inf, open_high=True)
        require(self, "samples", 1, 1_000_000)
        require(self, "dimension", 1, 100_000)
        require(self, "seeds", LEAST_SEEDS, 100_000)
        if len(self.distinguishability) < 2 or (np.diff(self.distinguishability) <= 0).any():
            raise ValueError(
                "distinguishability needs the base model's value and at least one larger value, ascending."
            )
        if not self.aligned_margins:
            raise ValueError("aligned_margins is empty; pass at least one mean margin.")

    @classmethod
    def full(cls) -> Config:
        return cls(distinguishability=tuple(np.geomspace(0.5, 4.0, 10).tolist()), seeds=60)


def run(config: Config, tick: Tick = silent) -> xr.Dataset:
    """Flipped labels on features of several distinguishabilities from a zero head, and on heads that were aligned before."""
    times = np.append(0.0, np.geomspace(1e-6, 1.0, 200)) * config.span / config.beta**2
    tick(0.0, "features: flipped labels from the reference")
    parts = [_features(config, times)]
    tick(0.5, "heads: aligned, then flipped")
    heads = [_heads(dataclasses.replace(config, noise=v), times) for v in (0.0, config.noise)]
    parts.append(xr.concat(heads, xr.IndexVariable("law", list(LAWS))))
    ds = xr.merge(parts, combine_attrs="drop").assign_coords(time=times)
    units = {
        "time": ("tau", "time since labels were flipped"),
        "true_margin": ("1", "mean reward margin of the true labels while flipped ones are trained"),
        "head_change": ("1", "||W(t) - W(0)||_F"),
        "delta": ("1", "distinguishability in the sample"),
        "loss_time": ("tau", "until the mean true margin has fallen by the level; inf where it has not"),
        "aligning_margin": ("1", "mean true margin while true labels are trained"),
        "undone_margin": ("1", "mean true margin against the base model while flipped labels are trained"),
        "undone_accuracy": ("1", "share of samples whose true answer has gained against the base model"),
        "reached_margin": ("1", "mean true margin at which labels are flipped"),
        "align_time": ("tau", "time that true labels were trained"),
        "undo_time": ("tau", "until the mean true margin against the base model is lost"),
        "undo_half": ("tau", "until flipped labels are met by half of the samples, against the base model"),
        "rate": ("1/tau", "c of statement 3.3, of the sample's mean differences"),
    }
    return described(ds, "misalignment", config, units)


def _samples(config: Config, deltas: list[float], purpose: int) -> dyn.MarginFlow:
    """A flow under the true labels for every delta and seed; the seed is the inner index."""
    d = np.eye(1, config.dimension)
    keys = jax.random.split(jax.random.fold_in(jax.random.key(config.seed), purpose), (len(deltas), config.seeds))
    made = [
        dyn.data.behaviours(delta * d, config.noise**2, config.samples, key=key).samples
        for delta, row in zip(deltas, keys, strict=True)
        for key in row
    ]
    features, chosen, rejected = (jnp.stack(x) for x in list(zip(*made, strict=True))[:3])
    return dyn.MarginFlow(features, chosen, rejected, dyn.DPO(beta=config.beta))


def _flipped(flow: dyn.MarginFlow) -> dyn.MarginFlow:
    features, chosen, rejected, weights = flow.parts()
    return flow.with_parts((features, rejected, chosen, weights))


def _deltas(flow: dyn.MarginFlow) -> np.ndarray:
    sign = np.where(np.asarray(flow.chosen) == 0, 1.0, -1.0)
    return 2 * np.linalg.norm(np.mean(sign[..., None] * np.asarray(flow.features), axis=1), axis=-1)


def _solved(flow: dyn.MarginFlow, times: np.ndarray, initial: Any = None) -> dyn.Solution:
    return dyn.gradient_flow(flow, times[-1], saveat=diffrax.SaveAt(ts=jnp.asarray(times)), initial=initial)


def _features(config: Config, times: np.ndarray) -> xr.Dataset:
    flow = _samples(config, list(config.distinguishability), 0)
    sol = _solved(_flipped(flow), times)
    shape = (len(config.distinguishability), config.seeds)
    margin = -np.asarray(sol.reward_margin).mean(axis=-1)
    lost = first_reached(times, -margin, config.level)
    return xr.Dataset(
        {
            "true_margin": (("model", "seed", "time"), margin.reshape(*shape, -1)),
            "head_change": (("model", "seed", "time"), np.asarray(sol.head_change).reshape(*shape, -1)),
            "delta": (("model", "seed"), _deltas(flow).reshape(shape)),
            "loss_time": (("model", "seed"), lost.reshape(shape)),
        },
        {"model": list(config.distinguishability)},
    )


def _heads(config: Config, times: np.ndarray) -> xr.Dataset:
    """Heads trained on true labels to mean margins R and then on flipped labels, with either reference."""
    middle = config.distinguishability[len(config.distinguishability) // 2]
    flow = _samples(config, [middle] * len(config.aligned_margins), 1)
    aligning = _solved(flow, times)
    margin, a = np.asarray(aligning.reward_margin), np.asarray(aligning.coefficient)
    wanted = np.repeat(config.aligned_margins, config.seeds)
    met = margin.mean(axis=-1) >= wanted[:, None]
    if not met.any(axis=1).all():
        raise ValueError(
            f"some head does not reach the largest aligned_margins within span = {config.span:g}; raise it."
        )
    at = met.argmax(axis=1)  # saved times at which the head counts as aligned
    rows = np.arange(len(at))
    start, coefficient = margin[rows, at], a[rows, at]
    # A flipped pair has the margin and the coefficient of the true pair with the opposite sign.
    known = MarginState(jnp.asarray(-coefficient), jnp.asarray(-start))
    fresh = -np.asarray(_solved(_flipped(flow), times).reward_margin)
    relative = np.stack([start[:, None] + fresh, -np.asarray(_solved(_flipped(flow), times, known).reward_margin)])
    mean, accuracy = relative.mean(axis=-1), (relative > 0).mean(axis=-1)
    shape = (len(config.aligned_margins), config.seeds)
    both = (len(REFERENCES), *shape)
    dims = ("reference", "aligned", "seed")
    return xr.Dataset(
        {
            "aligning_margin": ((*dims[1:], "time"), margin.mean(axis=-1).reshape(*shape, -1)),
            "undone_margin": ((*dims, "time"), mean.reshape(*both, -1)),
            "undone_accuracy": ((*dims, "time"), accuracy.reshape(*both, -1)),
            "reached_margin": (dims[1:], start.mean(axis=-1).reshape(shape)),
            "align_time": (dims[1:], times[at].reshape(shape)),
            "undo_time": (dims, first_reached(times, -mean, 0.0).reshape(both)),
            "undo_half": (dims, first_reached(times, -accuracy, -0.5).reshape(both)),
            "rate": (dims[1:], (config.beta**2 / 2 * _deltas(flow) ** 2).reshape(shape)),
        },
        {"reference": list(REFERENCES), "aligned": list(config.aligned_margins)},
    )
