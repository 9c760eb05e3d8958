"""Margins of K value pairs over time: their bounds, their mean field, and the accuracy that more values cost."""

from __future__ import annotations

import dataclasses
import itertools

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from scipy.stats import norm

import dynamics as dyn

from .._framework import Tick, described, require, silent
from .checks import NOISY, check

__all__ = ["Config", "check", "run"]

CASES = ("tight", *NOISY)
QUANTILES = (0.0, 0.05, 0.5, 0.95, 1.0)


@dataclasses.dataclass(frozen=True)
class Config:
    """DPO on K pairs of clusters N(±c_k + b, v² I): tight ones within statement 7.8, and noisy ones beyond it."""

    pairs: tuple[int, ...] = (1, 2, 4, 8, 16)
    """Numbers K of value pairs, in ascending order."""
    per_cluster: int = 20
    """Q, training samples of each of the 2K clusters."""
    d: int = 24
    """Dimension of the features, the same for every K."""
    l_b: float = 0.25
    """Length of the shared mean b of the tight clusters; the centres c_k have length 1."""
    noise: float = 0.03
    """v of the tight clusters."""
    noisy_l_b: float = 2.0
    noisy: float = 0.35
    """v of the noisy clusters."""
    beta: float = 0.1
    common_time: float = 2.0
    """beta² t/tau at which all K are compared."""
    last_time: float = 100.0
    """beta² t/tau at the end."""
    times: int = 32
    tests: int = 200
    """Fresh draws of each cluster."""
    data_sets: int = 4
    """Data sets for each K and case."""
    seed: int = 0

    def __post_init__(self) -> None:
        require(self, "pairs", 1, 1000)
        require(self, "per_cluster", 1, 10_000)
        require(self, "d", max(self.pairs) + 1, 10_000)
        for name in ("l_b", "noisy_l_b", "noise", "noisy"):
            require(self, name, 0, 10)
        for name in ("beta", "common_time"):
            require(self, name, 0, np.inf, open_low=True)
        require(self, "last_time", self.common_time, np.inf, open_low=True)
        require(self, "times", 4, 10_000)
        require(self, "tests", 1, 100_000)
        require(self, "data_sets", 2, 1000)
        if len(self.pairs) < 3 or list(self.pairs) != sorted(set(self.pairs)):
            raise ValueError(f"pairs = {self.pairs}; pass at least three numbers of pairs in ascending order.")

    @classmethod
    def full(cls) -> Config:
        return cls(data_sets=16, times=40)


def run(config: Config, tick: Tick = silent) -> xr.Dataset:
    """Quantiles, extremes and medians of margins, bounds, mean field and test error by K, case, data set and time."""
    tick(0, "drawing")
    made = [[_data(config, case, n) for n in range(config.data_sets)] for case in CASES]
    # beta² t/tau; starts long before the fastest margins depart from a straight line.
    grid = np.geomspace(config.common_time / 100, config.last_time, config.times)
    time = np.sort(np.append(grid[np.abs(np.log(grid / config.common_time)) > 1e-9], config.common_time))
    ts = time / config.beta**2
    flow = _flows(config, made)
    tick(0.2, f"{flow.weights.shape[0]} flows")
    sol = dyn.gradient_flow(flow, float(ts[-1]), saveat=diffrax.SaveAt(ts=jnp.asarray(ts)))
    tick(0.6, "fresh draws")
    margin = np.asarray(sol.reward_margin).reshape(len(CASES), len(config.pairs), config.data_sets, len(ts), -1)
    unseen = _unseen(config, made, flow, sol, len(ts))
    ds = xr.merge(
        [_tight(config, made[0], margin[0], unseen[0], ts), _by_case(config, margin, unseen), _cosines(made[1])]
    )
    ds = ds.assign_coords(pairs=list(config.pairs), case=list(CASES), time=time, data_set=np.arange(config.data_sets))
    units = {
        "time": ("tau/beta²", "time"),
        "margin": ("1", "quantiles of reward margins over the examples of all tight data sets"),
        "lowest": ("1", "least training margin of a tight data set"),
        "highest": ("1", "largest training margin of a tight data set"),
        "lower": ("1", "lower bound of statement 7.8 (NaN: its assumption fails)"),
        "upper": ("1", "upper bound of statement 7.8 (NaN: its assumption fails)"),
        "mean_field": ("1", "mean field of statement 3.3 at c = 2 beta²/K"),
        "median_margin": ("1", "median training margin"),
        "test_error": ("1", "share of fresh draws with a margin below 0"),
        "first_step_error": ("1", "test error as t → 0, to first order in 1/Q and large d"),
        "cosine": ("1", "cosines between class means of the noisy clusters at the largest K"),
    }
    return described(ds, "margins", config, units)


def _data(config: Config, case: str, number: int) -> dyn.data.ValueClusters:
    """A data set at the largest K. Its first K' pairs, whose samples come first, are a data set of K' pairs."""
    # Both noisy cases use the same key, so that they differ only in their tokens.
    key = jax.random.fold_in(jax.random.key(config.seed), number)
    l_b, v = (config.l_b, config.noise) if case == "tight" else (config.noisy_l_b, config.noisy)
    return dyn.data.value_clusters(
        config.pairs[-1], config.per_cluster, config.d, l_b, v, key=key, shared_tokens=case == CASES[2]
    )


def _flows(config: Config, made: list[list[dyn.data.ValueClusters]]) -> dyn.MarginFlow:
    """One batch of flows by case, K and data set; examples of pairs beyond K have weight 0 and so no effect."""
    kept = [(one.samples, one.samples.group < K) for row in made for K, one in itertools.product(config.pairs, row)]
    features, chosen, rejected = (
        np.array([np.asarray(getattr(s, name)) for s, _ in kept]) for name in ("features", "chosen", "rejected")
    )
    return dyn.MarginFlow(
        features, chosen, rejected, dyn.DPO(beta=config.beta), weights=np.array([w for _, w in kept], dtype=float)
    )


def _unseen(
    config: Config, made: list[list[dyn.data.ValueClusters]], flow: dyn.MarginFlow, sol: dyn.Solution, rows: int
) -> np.ndarray:
    """Margins of fresh draws, pair after pair, ``(case, K, data set, time, draw)``."""
    shape = (len(CASES), len(config.pairs), config.data_sets)
    found = np.empty((*shape, rows, 2 * config.pairs[-1] * config.tests))
    for at, (i, k, n) in enumerate(np.ndindex(shape)):
        s = made[i][n].fresh(config.tests, key=jax.random.fold_in(jax.random.key(config.seed), 1000 + n))
        one = flow.with_parts(jax.tree.map(lambda x, at=at: x[at], flow.parts()))
        solved = eqx.tree_at(lambda sol: sol.values, sol, {"coefficient": sol.coefficient[at]})
        found[i, k, n] = one.predict(solved, s.features, s.chosen, s.rejected)
    return found


def _tight(
    config: Config, made: list[dyn.data.ValueClusters], train: np.ndarray, unseen: np.ndarray, ts: np.ndarray
) -> xr.Dataset:
    """The tight clusters: quantiles over all data sets, extremes and bounds for each, and the mean field."""
    quantiles, extremes, bounds, fields = [], [], [], []
    for k, K in enumerate(config.pairs):
        own = [_of(K, some[k], count) for some, count in ((train, config.per_cluster), (unseen, config.tests))]
        quantiles.append([np.quantile(r, QUANTILES, axis=(0, 2)) for r in own])
        extremes.append([own[0].min(axis=-1), own[0].max(axis=-1)])
        bounds.append(np.stack([_bounds(config, K, one, ts) for one in made], axis=1))
        rate = 2 * config.beta**2 / K
        fields.append([float(dyn.theorems.mean_field(rate=rate, time=float(t), beta=config.beta).lower) for t in ts])
    lowest, highest = np.stack(extremes, axis=1)
    lower, upper = np.stack(bounds, axis=1)
    return xr.Dataset(
        {
            "margin": (("pairs", "sample", "quantile", "time"), np.array(quantiles)),
            "lowest": (("pairs", "data_set", "time"), lowest),
            "highest": (("pairs", "data_set", "time"), highest),
            "lower": (("pairs", "data_set", "time"), lower),
            "upper": (("pairs", "data_set", "time"), upper),
            "mean_field": (("pairs", "time"), np.array(fields)),
        },
        {"sample": ["train", "test"], "quantile": list(QUANTILES)},
    )


def _of(K: int, values: np.ndarray, per_cluster: int) -> np.ndarray:
    """The draws of the first K pairs."""
    return values[..., : 2 * K * per_cluster]


def _bounds(config: Config, K: int, made: dyn.data.ValueClusters, ts: np.ndarray) -> np.ndarray:
    """The bounds of statement 7.8 at the largest noise drawn, ``(2, T)``; NaN where its assumption fails."""
    s = made.samples
    signed = s.sign[:, None].astype(float) * made.centres[s.group]
    noise = np.asarray(s.features - signed - made.shared[None])[s.group < K]
    found = [
        dyn.theorems.noisy_margins(pairs=K, l_b=config.l_b, noise=noise, beta=config.beta, time=float(t)) for t in ts
    ]
    edges = np.array([(b.lower[0], b.upper[0]) for b in found]).T
    # The bounds are infinite where the theorem does not apply.
    return np.where(np.isfinite(edges), edges, np.nan)


def _by_case(config: Config, train: np.ndarray, unseen: np.ndarray) -> xr.Dataset:
    median, wrong = [], []
    for k, K in enumerate(config.pairs):
        median.append(np.median(_of(K, train[:, k], config.per_cluster), axis=-1))
        wrong.append(0.5 * (1 - np.sign(_of(K, unseen[:, k], config.tests))).mean(axis=-1))
    # w is the mean of s g over a pair, or over all pairs if tokens are shared: c_k/K against the noise v |w| of a draw.
    spread = config.noisy * np.sqrt(1 + config.noisy**2 * config.d / (2 * config.per_cluster))
    sharing = np.array([np.ones(len(config.pairs)), np.sqrt(config.pairs)])
    dims = ("pairs", "case", "data_set", "time")
    return xr.Dataset(
        {
            "median_margin": (dims, np.array(median)),
            "test_error": (dims, np.array(wrong)),
            "first_step_error": (("noisy_case", "pairs"), norm.sf(1 / (spread * sharing))),
        },
        {"noisy_case": list(NOISY)},
    )


def _cosines(made: list[dyn.data.ValueClusters]) -> xr.Dataset:
    """Cosines between the 2K class means at the largest K: within a pair, and between pairs."""
    group = np.repeat(np.arange(made[0].centres.shape[0]), 2)
    same = (group[:, None] == group) & ~np.eye(len(group), dtype=bool)
    found = np.empty((2, 2, 4))
    for i, removed in enumerate((False, True)):
        labels = [2 * one.samples.group + (one.samples.sign < 0).astype(int) for one in made]
        matrices = np.array(
            [
                dyn.diagnostics.class_mean_cosine(one.samples.features, label, remove_mean=removed)
                for one, label in zip(made, labels, strict=True)
            ]
        )
        for j, where in enumerate((same, group[:, None] != group)):
            chosen = matrices[:, where]
            found[i, j] = chosen.min(), chosen.mean(), chosen.max(), np.sqrt((chosen**2).mean())
    return xr.Dataset(
        {"cosine": (("shared_mean", "classes", "statistic"), found)},
        {
            "shared_mean": ["kept", "removed"],
            "classes": ["same pair", "other pairs"],
            "statistic": ["min", "mean", "max", "rms"],
        },
    )
