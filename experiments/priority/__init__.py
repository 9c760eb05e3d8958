"""Priority: behaviours trained together are learned in the order of <dbar, d_i>, not in that of their distinguishability."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import diffrax
import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr

import dynamics as dyn

from .._curves import LEAST_SEEDS, first_reached
from .._framework import Tick, described, require, silent
from .checks import check, rank_correlations

__all__ = ["Config", "check", "run"]

MANY = 16
SIZES = {"two": 2, "random pairs": 2, "four": 4, "sixteen": MANY}
FOUR = ((1.5, 0.0), (0.0, 1.0), (0.0, 1.0), (0.0, 1.0))  # the behaviour with the largest difference is the slowest
LEVELS = np.geomspace(0.05, 3.0, 15)  # mean margins at which the figure compares orders


@dataclasses.dataclass(frozen=True)
class Config:
    """DPO from the reference on two, four and sixteen yes-or-no behaviours with the same two tokens and equal weights."""

    beta: float = 0.1
    seeds: int = 20
    """Data sets for each case."""
    samples: int = 20
    """Samples of each answer of each of sixteen behaviours; cases with fewer behaviours have the same total."""
    dimension: int = 8
    """Dimension of the features."""
    noise: float = 0.3
    """Standard deviation of the features in each coordinate."""
    lengths: tuple[float, float] = (0.5, 2.0)
    """Smallest and largest distinguishability; draws are log-uniform."""
    lean: float = 0.5
    """Length of the direction that all random behaviours share, where their own direction has length 1."""
    span: float = 100.0
    """beta² t/tau at the end."""
    level: float = 0.5
    """Mean margin at which a behaviour counts as learned."""
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("beta", "span", "level"):
            require(self, name, 0, np.inf, open_low=True, open_high=True)
        for name in ("noise", "lean"):
            require(self, name, 0, np.inf, open_high=True)
        require(self, "lengths", 0, 1e3, open_low=True)
        require(self, "seeds", LEAST_SEEDS, 100_000)
        require(self, "samples", 1, 1_000_000)
        require(self, "dimension", 2, 100_000)

    @classmethod
    def full(cls) -> Config:
        return cls(seeds=60)


def run(config: Config, tick: Tick = silent) -> xr.Dataset:
    """Mean margins by case, seed, time and behaviour, with predicted speeds and distinguishabilities."""
    tick(0.0, "data")
    random = np.random.default_rng(config.seed)
    laws = [_differences(case, config, random) for case in SIZES for _ in range(config.seeds)]
    keys = jax.random.split(jax.random.key(config.seed), len(laws))
    drawn = [_draw(law, config, key) for law, key in zip(laws, keys, strict=True)]
    features, differences, groups = zip(*drawn, strict=True)
    sign = np.tile(np.repeat([1, -1], config.samples), MANY)
    tick(0.3, "margins over time")
    times = np.append(0.0, np.geomspace(1e-6, 1.0, 120)) * config.span / config.beta**2
    margins = _margins(np.array(features), groups, sign, times, config)
    shape = (len(SIZES), config.seeds)
    differences = np.array(differences).reshape(*shape, MANY, -1)
    speed = np.full((*shape, MANY), np.nan)
    for c, m in enumerate(SIZES.values()):
        for s in range(config.seeds):
            speed[c, s, :m] = dyn.theorems.priority(differences=differences[c, s, :m], beta=config.beta).upper
    tick(0.9, "orders of learning")
    margins = margins.reshape(*shape, len(times), MANY)
    learned = np.full((*shape, MANY), np.nan)
    for c, m in enumerate(SIZES.values()):
        learned[c, :, :m] = _learned(times, margins[c, ..., :m], config.level)
    scores = (speed[-1], np.linalg.norm(differences[-1], axis=-1))
    orders = [_learned(times, margins[-1], level) for level in LEVELS]
    correlations = [[rank_correlations(score, order) for order in orders] for score in scores]
    ds = xr.Dataset(
        {
            "mean_margin": (("case", "seed", "time", "behaviour"), margins),
            "difference": (("case", "seed", "behaviour", "coordinate"), differences),
            "distinguishability": (("case", "seed", "behaviour"), np.linalg.norm(differences, axis=-1)),
            "speed": (("case", "seed", "behaviour"), speed),
            "learned": (("case", "seed", "behaviour"), learned),
            "rank_correlation": (("score", "level", "seed"), np.array(correlations)),
        },
        {"case": list(SIZES), "time": times, "score": ["speed", "distinguishability"], "level": LEVELS},
    )
    units = {
        "time": ("tau", "time since the reference"),
        "mean_margin": ("1", "mean reward margin of a behaviour's samples; NaN where a case has fewer behaviours"),
        "difference": ("1", "difference of the two answers' mean features in the sample"),
        "distinguishability": ("1", "its length"),
        "speed": ("1/tau", "initial speed of the mean margin, statement 3.6"),
        "learned": ("tau", "when the mean margin reaches the level; after the end by what it lacks, where it does not"),
        "level": ("1", "mean margin"),
        "rank_correlation": ("1", "Spearman's, of a score of sixteen behaviours with how early each reaches a level"),
    }
    return described(ds, "priority", config, units)


def _differences(case: str, config: Config, random: np.random.Generator) -> np.ndarray:
    """The differences d_i of a case, ``(m, d)``."""
    d = config.dimension
    if case == "two":
        return np.eye(2, d) * np.array([[1.5], [0.75]])
    if case == "four":
        return np.pad(FOUR, ((0, 0), (0, d - 2)))
    unit = lambda x: x / np.linalg.norm(x, axis=-1, keepdims=True)
    shared, own = unit(random.normal(size=d)), unit(random.normal(size=(SIZES[case], d)))
    lengths = np.exp(random.uniform(*np.log(config.lengths), size=(SIZES[case], 1)))
    return lengths * unit(config.lean * shared + own)


def _draw(law: np.ndarray, config: Config, key: jax.Array) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Features, sample differences padded to sixteen rows, and the behaviour of each sample."""
    m = len(law)
    # Every case has sixteen blocks of equal size, so that all cases form one batch of flows.
    blocks = np.repeat(law, MANY // m, axis=0)
    g = np.asarray(dyn.data.behaviours(blocks, config.noise**2, config.samples, key=key).samples.features)
    means = g.reshape(m, MANY // m, 2, config.samples, -1).mean(axis=(1, 3))
    padded = np.full((MANY, config.dimension), np.nan)
    padded[:m] = means[:, 0] - means[:, 1]
    return g, padded, np.repeat(np.arange(m), len(g) // m)


def _margins(
    features: np.ndarray, groups: Sequence[np.ndarray], sign: np.ndarray, times: np.ndarray, config: Config
) -> np.ndarray:
    """Mean margin of each behaviour over time, ``(flow, T, 16)``; NaN where a case has fewer behaviours."""
    chosen = np.broadcast_to(np.where(sign > 0, 0, 1), features.shape[:2])
    flow = dyn.MarginFlow(features, chosen, 1 - chosen, dyn.DPO(beta=config.beta))
    sol = dyn.gradient_flow(flow, times[-1], saveat=diffrax.SaveAt(ts=jnp.asarray(times)))
    r = np.asarray(sol.reward_margin)
    found = np.full((*r.shape[:2], MANY), np.nan)
    for n, group in enumerate(groups):
        for i in range(group.max() + 1):
            found[n, :, i] = r[n][:, group == i].mean(axis=1)
    return found


def _learned(times: np.ndarray, margins: np.ndarray, level: float) -> np.ndarray:
    """When mean margins ``(seed, T, m)`` reach a level; after the end if they do not, later the more they lack."""
    curves = np.moveaxis(margins, 1, -1)
    found = first_reached(times, curves, level)
    return np.where(np.isfinite(found), found, times[-1] * (1 + level - curves[..., -1]))
