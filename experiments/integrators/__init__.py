"""Integrators: what full-batch SGD, mini-batches and Adam change about a trajectory, compared with the flow."""

from __future__ import annotations

import dataclasses
from typing import Any

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import xarray as xr

import dynamics as dyn

from .._curves import LEAST_SEEDS, first_reached
from .._framework import Tick, described, require, silent
from .checks import ADAM, BATCHES, FLOW, PATHS, SGD, TURNED, check

__all__ = ["Config", "check", "run"]

FEWEST_STEPS = 20  # steps over the span at the largest rate; all rates share the times of these steps
SHARE = 0.6  # paths are compared where the loss is this fraction of the loss at the reference
CLOCK = np.linspace(0.0, 1.25, 51)  # time in units of the time at which the path reaches that loss


@dataclasses.dataclass(frozen=True)
class Config:
    """DPO on one last layer, with behaviours of unequal distinguishability along the coordinates."""

    beta: float = 0.1
    lengths: tuple[float, ...] = (2.0, 1.4, 0.8)
    """Distinguishability of each behaviour, each along its own coordinate; the first is learned fastest."""
    noise: float = 0.3
    """Standard deviation of the features in each coordinate."""
    dimension: int = 6
    samples: int = 20
    """Samples of each answer of each behaviour."""
    span: float = 40.0
    """beta² t/tau at the end."""
    halvings: int = 4
    """Number of times that SGD's largest rate, span/20, is halved."""
    batch: int = 16
    """Examples in a mini-batch."""
    draws: int = 6
    """Runs with different mini-batches on each data set."""
    adam_rates: tuple[float, ...] = (0.2, 0.1, 0.05, 0.025)
    """beta times the learning rate of Adam, in descending order."""
    seeds: int = 12
    """Data sets."""
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("beta", "lengths", "span", "adam_rates"):
            require(self, name, 0, np.inf, open_low=True, open_high=True)
        require(self, "noise", 0, np.inf, open_high=True)
        require(self, "dimension", len(self.lengths), 100_000)
        require(self, "samples", 1, 1_000_000)
        require(self, "halvings", 2, 16)
        require(self, "batch", 1, 1_000_000)
        require(self, "draws", 2, 10_000)
        require(self, "seeds", LEAST_SEEDS, 100_000)
        if len(self.lengths) < 2:
            raise ValueError("lengths needs at least two behaviours, the fastest first.")

    @classmethod
    def full(cls) -> Config:
        return cls(halvings=6, draws=8, seeds=24)


def run(config: Config, tick: Tick = silent) -> xr.Dataset:
    """Errors by rate, and margins of the behaviours along each path, compared at equal loss."""
    flow, turned = _flow(config), _turned(_flow(config), config)
    rates = config.span / FEWEST_STEPS / 2.0 ** np.arange(config.halvings + 1)
    steps = FEWEST_STEPS * 2**config.halvings
    keys = jax.random.split(jax.random.key(config.seed + 1), (config.seeds, config.draws))
    tick(0.0, "gradient flow")
    ts = jnp.asarray(np.linspace(0, config.span, steps + 1) / config.beta**2)
    solved = [_solved(one, ts, config) for one in (flow, turned)]
    exact = solved[0][0][:, :: steps // FEWEST_STEPS]
    size = np.sqrt((exact**2).mean(axis=(1, 2)))
    tick(0.3, "full-batch SGD")
    full = _descents(flow, "sgd", rates / config.beta**2, keys[:, :1], None, steps, len(config.lengths))
    tick(0.5, "mini-batches")
    some = _descents(flow, "sgd", rates / config.beta**2, keys, config.batch, steps, len(config.lengths))
    tick(0.7, "Adam")
    adam = np.array(config.adam_rates)
    adams = [
        _descents(one, "adam", adam / config.beta, keys[:, :1], None, steps, len(config.lengths))
        for one in (flow, turned)
    ]
    tick(0.9, "paths at equal loss")
    courses = {FLOW: _courses(*solved[0][1:])[None]}
    for name, (_, loss, groups) in zip(PATHS[1:], (full, some, *adams), strict=True):
        courses[name] = _courses(loss[:, :, 0], groups[:, :, 0])
    rms = lambda x, axes: np.sqrt((x**2).mean(axis=axes)) / size
    at = int(np.argmin(np.abs(CLOCK - 1)))
    ratio = {name: course[..., at, -1] / course[..., at, 0] for name, course in courses.items()}
    shown = {FLOW: 0, SGD: 0, BATCHES: 0, ADAM: -1, TURNED: -1}  # SGD at its largest rate, Adam at its smallest
    ds = xr.Dataset(
        {
            "course": (("path", "seed", "clock", "behaviour"), np.array([courses[p][n] for p, n in shown.items()])),
            "error": (("rate", "seed"), rms(full[0][:, :, 0] - exact, (2, 3))),
            "spread": (("rate", "seed"), rms(some[0].std(axis=2, ddof=1), (2, 3))),
            "turned_flow": (("seed",), np.abs(solved[1][0] - solved[0][0]).max(axis=(1, 2)) / size),
            "ratio_flow": (("seed",), ratio[FLOW][0]),
            "ratio_sgd": (("kind", "rate", "seed"), np.array([ratio[SGD], ratio[BATCHES]])),
            "ratio_adam": (("features", "adam_rate", "seed"), np.array([ratio[ADAM], ratio[TURNED]])),
        },
        {
            "path": list(PATHS),
            "clock": CLOCK,
            "behaviour": list(config.lengths),
            "rate": rates,
            "adam_rate": adam,
            "kind": [SGD, BATCHES],
            "features": ["along coordinates", "rotated"],
        },
    )
    units = {
        "clock": ("1", "time over the time to the loss at which paths are compared, each path's own"),
        "course": ("1", "mean reward margin of each behaviour"),
        "rate": ("1", "beta² times the learning rate of SGD"),
        "adam_rate": ("1", "beta times the learning rate of Adam"),
        "error": ("1", "RMS difference of margins, full-batch SGD less flow, over the RMS margin of the flow"),
        "spread": ("1", "RMS standard deviation of margins over mini-batches, over the RMS margin of the flow"),
        "turned_flow": ("1", "largest change of a margin of the flow when features are rotated, over the RMS margin"),
        "ratio_flow": ("1", "mean margin of the slowest behaviour over that of the fastest, at equal loss"),
        "ratio_sgd": ("1", "the same of SGD"),
        "ratio_adam": ("1", "the same of Adam"),
    }
    return described(ds, "integrators", config, units)


def _flow(config: Config) -> dyn.MarginFlow:
    """A flow for each data set."""
    d = np.eye(len(config.lengths), config.dimension) * np.array(config.lengths)[:, None]
    keys = jax.random.split(jax.random.key(config.seed), config.seeds)
    made = [dyn.data.behaviours(d, config.noise**2, config.samples, key=key).samples for key in keys]
    features, chosen, rejected = (jnp.stack(x) for x in list(zip(*made, strict=True))[:3])
    return dyn.MarginFlow(features, chosen, rejected, dyn.DPO(beta=config.beta))


def _turned(flow: dyn.MarginFlow, config: Config) -> dyn.MarginFlow:
    """The same examples in randomly rotated coordinates, which leave the margins of the flow unchanged."""
    random = np.random.default_rng(config.seed)
    frames = np.linalg.qr(random.normal(size=(config.seeds, config.dimension, config.dimension)))[0]
    features, *rest = flow.parts()
    return flow.with_parts((features @ jnp.asarray(frames), *rest))


def _groups(r: Any, config: Config) -> Any:
    """The mean margin of each behaviour, whose examples are consecutive."""
    return r.reshape(*r.shape[:-1], len(config.lengths), -1).mean(axis=-1)


def _solved(flow: dyn.MarginFlow, ts: jax.Array, config: Config) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    sol = dyn.gradient_flow(flow, float(ts[-1]), saveat=diffrax.SaveAt(ts=ts))
    r = np.asarray(sol.reward_margin)
    return r, np.asarray(sol.loss), _groups(r, config)


def _descents(
    flow: dyn.MarginFlow, kind: str, rates: np.ndarray, keys: jax.Array, batch: int | None, steps: int, behaviours: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Margins at the times that all rates share, and loss and mean margins at every step, by rate, seed and draw."""
    often = steps // FEWEST_STEPS
    marks = np.arange(FEWEST_STEPS + 1) * np.minimum(2 ** np.arange(len(rates)), often)[:, None]
    found = _descend(flow, kind, jnp.asarray(rates), jnp.asarray(marks), keys, batch, steps, behaviours)
    return tuple(map(np.asarray, found))  # pyright: ignore[reportReturnType]


@eqx.filter_jit
def _descend(
    flow: dyn.MarginFlow,
    kind: str,
    rates: jax.Array,
    marks: jax.Array,
    keys: jax.Array,
    batch: int | None,
    steps: int,
    behaviours: int,
) -> tuple[jax.Array, jax.Array, jax.Array]:
    make = {"sgd": optax.sgd, "adam": optax.adam}[kind]

    def at_rate(given: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array, jax.Array]:
        rate, mark = given

        def one(flow: dyn.MarginFlow, key: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
            sol = dyn.descend(flow, make(rate), steps, key=key, batch=batch, throw=False)
            r = sol.reward_margin
            return r[mark], sol.loss, r.reshape(len(r), behaviours, -1).mean(axis=-1)

        return flow.over_batch(lambda flow, own: jax.vmap(lambda key: one(flow, key))(own), keys)

    # Rates run one after another, so that the margins of every step are kept for one rate only.
    return jax.lax.map(at_rate, (rates, marks))


def _courses(loss: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """Margins ``(…, T, m)`` on a clock that reads 1 where the loss ``(…, T)`` reaches SHARE of its start; NaN past the end."""
    steps = np.arange(loss.shape[-1], dtype=float)
    half = first_reached(steps, -loss, -SHARE * np.log(2))
    found = np.full((*half.shape, len(CLOCK), groups.shape[-1]), np.nan)
    for at in np.ndindex(half.shape):
        if half[at] * CLOCK[-1] <= steps[-1]:
            for i in range(groups.shape[-1]):
                found[(*at, slice(None), i)] = np.interp(CLOCK * half[at], steps, groups[(*at, slice(None), i)])
    return found
