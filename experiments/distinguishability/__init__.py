"""Distinguishability: the speed at which one behaviour moves the last layer, and the accuracy that it reaches."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Sequence

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from scipy.integrate import solve_ivp
from scipy.special import expit
from scipy.stats import norm

import dynamics as dyn

from .._framework import Tick, described, require, silent
from .checks import TAIL, check

__all__ = ["Config", "check", "run"]

CASES = ("balanced", "unbalanced", "oblique")
TESTED = ("balanced", "oblique")
MEANS = 20_000  # mean accuracies drawn to find their interval
NODES, WEIGHTS = np.polynomial.hermite_e.hermegauss(60)


@dataclasses.dataclass(frozen=True)
class Config:
    """DPO on one behaviour with answers s = ±1 and features b + s m + N(0, v² I), so that delta = 2|m|."""

    deltas: tuple[float, ...] = (0.25, 0.35, 0.5, 0.7, 1.0, 1.4, 2.0, 2.8, 4.0)
    """Distinguishabilities in ascending order; accuracy is followed for every second one."""
    noise: float = 0.5
    """v, the standard deviation of the features."""
    shared: float = 1.5
    """|b|; b is orthogonal to m in the balanced and the unbalanced case."""
    angle: float = 45.0
    """The angle between b and m in the oblique case, in degrees."""
    share: float = 0.8
    """The share of the answer yes in the unbalanced case."""
    d: int = 8
    n: int = 500
    """Training samples of each answer; in the unbalanced case, half of all samples."""
    beta: float = 0.1
    short_time: float = 1e-3
    """beta² t/tau at which the initial speed is measured."""
    long_time: float = 10.0
    last_time: float = 30.0
    times: int = 26
    tests: int = 2500
    """Fresh draws of each answer for each data set."""
    data_sets: int = 6
    """Data sets for each case and delta."""
    seed: int = 0

    def __post_init__(self) -> None:
        require(self, "deltas", 0, np.inf, open_low=True)
        if len(self.deltas) < 3 or list(self.deltas) != sorted(set(self.deltas)):
            raise ValueError(f"deltas = {self.deltas}; pass at least three in ascending order.")
        for name in ("noise", "shared", "beta", "short_time"):
            require(self, name, 0, np.inf, open_low=True)
        require(self, "long_time", self.short_time, np.inf, open_low=True)
        require(self, "last_time", self.long_time, np.inf)
        require(self, "angle", 0, 90)
        require(self, "share", 0.5, 1, open_low=True, open_high=True)
        require(self, "d", 2, 10_000)
        require(self, "n", 10, 1_000_000)
        require(self, "times", 4, 10_000)
        require(self, "tests", 10, 1_000_000)
        require(self, "data_sets", 2, 1000)

    @classmethod
    def full(cls) -> Config:
        return cls(n=4000, data_sets=16, tests=5000, times=40)


def run(config: Config, tick: Tick = silent) -> xr.Dataset:
    """Changes of the head with their predicted slopes, and accuracies with their Gaussian predictions."""
    tick(0, "drawing")
    index = list(itertools.product(CASES, range(len(config.deltas)), range(config.data_sets)))
    made = [_data(config, *one) for one in index]
    kept = [_kept(config, case, one.samples) for (case, _, _), one in zip(index, made, strict=True)]
    features, chosen, rejected, sign = (np.array([k[i] for k in kept]) for i in range(4))
    flow = dyn.MarginFlow(features, chosen, rejected, dyn.DPO(beta=config.beta))
    marks = [config.short_time, config.long_time]
    time = np.unique(np.append(np.geomspace(config.short_time, config.last_time, config.times)[1:], marks))
    ts = time / config.beta**2
    tick(0.2, f"{len(index)} flows")
    sol = dyn.gradient_flow(flow, float(ts[-1]), saveat=diffrax.SaveAt(ts=jnp.asarray(ts)))
    tick(0.7, "fresh draws")
    shape = (len(CASES), len(config.deltas), config.data_sets)
    drawn = [dyn.diagnostics.distinguishability(g, s) for g, s in zip(features, sign, strict=True)]
    general = [
        float(dyn.theorems.head_change(features=g, answer=s, beta=config.beta, time=1.0).upper)
        for g, s in zip(features, sign, strict=True)
    ]
    applies = [
        dyn.theorems.distinguishable_head_change(features=g, answer=s, beta=config.beta, time=1.0).applicable
        for g, s in zip(features, sign, strict=True)
    ]
    by_flow = ("case", "delta", "data_set")
    slope = math.sqrt(2) * config.beta / 4 * np.reshape(drawn, shape)
    ds = xr.Dataset(
        {
            "head_change": ((*by_flow, "time"), np.asarray(sol.head_change).reshape(*shape, -1)),
            "drawn_delta": (by_flow, np.reshape(drawn, shape)),
            "balanced_slope": (by_flow, slope),
            "general_slope": (by_flow, np.reshape(general, shape)),
            "applies": (by_flow, np.reshape(applies, shape)),
            "accuracy": (("tested", "shown", "data_set", "time"), _accuracies(config, index, made, flow, sol)),
            **_predictions(config, time),
        },
        {
            "case": list(CASES),
            "delta": list(config.deltas),
            "tested": list(TESTED),
            "shown": list(config.deltas[::2]),
            "data_set": np.arange(config.data_sets),
            "time": time,
            "side": ["low", "high"],
        },
    )
    units = {
        "time": ("tau/beta²", "time"),
        "head_change": ("1", "Frobenius norm of W(t) - W(0)"),
        "drawn_delta": ("1", "distinguishability of the training samples"),
        "balanced_slope": ("1/tau", "sqrt(2) beta delta/4 with the drawn delta, statement 3.5"),
        "general_slope": ("1/tau", "sqrt(2) beta |E[s g]|/2 of the training samples, statement 3.5"),
        "applies": ("1", "whether the bound by delta applies to the training samples"),
        "accuracy": ("1", "share of fresh draws with a positive margin"),
        "first_accuracy": ("1", "accuracy at 0+ for infinitely many samples, statement 3.5"),
        "first_interval": ("1", "99.8 % interval of the mean accuracy over data sets at 0+, for this many samples"),
        "population_accuracy": ("1", "accuracy under the population flow, by quadrature"),
    }
    return described(ds, "distinguishability", config, units)


def _directions(config: Config, case: str, delta: float) -> tuple[np.ndarray, np.ndarray]:
    """m and b, in the span of the first two coordinates, which is enough by symmetry."""
    m, b = np.zeros(config.d), np.zeros(config.d)
    m[0] = delta / 2
    angle = math.radians(config.angle) if case == "oblique" else math.pi / 2
    b[1] = config.shared * math.sin(angle)
    b[0] = config.shared * math.cos(angle) if case == "oblique" else 0.0
    return m, b


def _data(config: Config, case: str, at: int, number: int) -> dyn.data.Behaviours:
    m, b = _directions(config, case, config.deltas[at])
    key = jax.random.fold_in(jax.random.key(config.seed), 1000 * at + number)
    most = round(2 * config.n * config.share)
    return dyn.data.behaviours(2 * m[None], config.noise**2, most, key=key, shared=b)


def _kept(config: Config, case: str, samples: dyn.data.Samples) -> tuple[np.ndarray, ...]:
    """Features, chosen, rejected and sign of 2n samples, with the share of each answer that the case asks for."""
    g, chosen, rejected, _, sign = map(np.asarray, samples)
    plus, minus = np.flatnonzero(sign > 0), np.flatnonzero(sign < 0)
    count = len(plus) if case == "unbalanced" else config.n
    at = np.concatenate([plus[:count], minus[: 2 * config.n - count]])
    return g[at], chosen[at], rejected[at], sign[at]


def _accuracies(
    config: Config,
    index: Sequence[tuple[str, int, int]],
    made: list[dyn.data.Behaviours],
    flow: dyn.MarginFlow,
    sol: dyn.Solution,
) -> np.ndarray:
    """Accuracies on fresh draws, ``(tested, shown, data set, time)``."""
    found = []
    for n, (case, at, _) in enumerate(index):
        if case not in TESTED or at % 2:
            continue
        s = made[n].fresh(config.tests, key=jax.random.fold_in(jax.random.key(config.seed + 1), n))
        one = flow.with_parts(jax.tree.map(lambda x, n=n: x[n], flow.parts()))
        solved = eqx.tree_at(lambda sol: sol.values, sol, {"coefficient": sol.coefficient[n]})
        margin = np.asarray(one.predict(solved, s.features, s.chosen, s.rejected))
        found.append((margin > 0).mean(axis=1))
    return np.reshape(found, (len(TESTED), len(config.deltas[::2]), config.data_sets, -1))


def _predictions(config: Config, time: np.ndarray) -> dict[str, tuple[tuple[str, ...], np.ndarray]]:
    """Accuracy at 0+, and under the population flow at every time."""
    first, later, law = [], [], []
    rng = np.random.default_rng(config.seed)
    for case, delta in itertools.product(TESTED, config.deltas[::2]):
        m, b = _directions(config, case, delta)
        first.append(_accuracy(m, m, b, config.noise))
        later.append(_population(m, b, config.noise, time))
        law.append(_interval(config, m, b, rng))
    shape = (len(TESTED), len(config.deltas[::2]))
    return {
        "first_accuracy": (("tested", "shown"), np.reshape(first, shape)),
        "first_interval": (("tested", "shown", "side"), np.reshape(law, (*shape, 2))),
        "population_accuracy": (("tested", "shown", "time"), np.reshape(later, (*shape, -1))),
    }


def _interval(config: Config, m: np.ndarray, b: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The interval of the mean accuracy over data sets at 0+.

    Heads start along the mean of s g, which is N(m, v²/2n), and the count of accurate fresh draws is binomial.
    """
    shape = (MEANS, config.data_sets)
    heads = m + config.noise / math.sqrt(2 * config.n) * rng.standard_normal((*shape, config.d))
    share = rng.binomial(2 * config.tests, _accuracy(heads, m, b, config.noise)) / (2 * config.tests)
    return np.quantile(share.mean(axis=1), (TAIL, 1 - TAIL))


def _accuracy(u: np.ndarray, m: np.ndarray, b: np.ndarray, v: float) -> np.ndarray:
    """The accuracy of heads along u, (…, d), on N(±m + b, v² I). Population flows start at u = m, by statement 3.5."""
    along, across, length = u @ m, u @ b, v * np.linalg.norm(u, axis=-1)
    return 0.5 * (norm.cdf((along + across) / length) + norm.cdf((along - across) / length))


def _population(m: np.ndarray, b: np.ndarray, v: float, time: np.ndarray) -> np.ndarray:
    """Accuracies under dU/dT = E[s sigma(-2 s U·g) g] with U = beta u, T = beta² t/tau; noise is integrated by parts."""
    both = np.array([1.0, -1.0])[:, None]

    def velocity(_: float, u: np.ndarray) -> np.ndarray:
        # The margin of a draw with answer s is normal: 2 (u·m + s u·b + v |u| x).
        low = expit(-2 * (u @ m + both * (u @ b) + v * np.linalg.norm(u) * NODES))
        mean, bend = (low @ WEIGHTS / WEIGHTS.sum()), (low * (1 - low) @ WEIGHTS / WEIGHTS.sum())
        return (mean[:, None] * (m + both * b)).mean(axis=0) - 2 * v**2 * bend.mean() * u

    out = solve_ivp(velocity, (0.0, time[-1]), np.zeros(len(m)), t_eval=time, rtol=1e-8, atol=1e-10)
    return _accuracy(out.y.T, m, b, v)
