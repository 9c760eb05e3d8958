"""Onset: where oscillation begins along a cut in beta, how large it is, and where it coexists with local stability."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr

import dynamics as dyn
from dynamics.diagnostics import Verdict

from .._framework import OBJECTIVES, Tick, described, require, silent
from .._orbits import Tail, cycle_loop, lyapunov_exponents, onset_beta, squared_amplitude, two_basins
from .._sweeps import sweep
from .checks import check

__all__ = ["Config", "check", "run"]

START = (0.6, 0.3, 0.1)
STRETCH = 2000  # rounds of an average, after transients
NUDGE = (
    1e-4  # nats, added to the state before each step in beta, because a policy exactly at rest would hide instability
)


@dataclasses.dataclass(frozen=True)
class Config:
    """A cut in beta through the onset on the 3-cycle, hysteresis of DPO, and two basins of attraction at K = 4."""

    advantage: float = 0.4
    """a in P = 1/2 ± a of the cut."""
    alpha: float = 0.5
    lam: float = 1.0
    cuts: int = 60
    """Values of beta along the cut."""
    samples: int = 150
    """Last rounds shown at each beta."""
    rounds: int = 1500
    excesses: tuple[float, ...] = (1e-1, 3e-2, 1e-2, 3e-3, 1e-3)
    """rho² - 1 at which the amplitude is measured."""
    hysteresis_advantages: tuple[float, ...] = (0.4, 0.49)
    """a of the sweeps up and down in beta, DPO at lam = 1; 7.5 predicts hysteresis above √3/4 = .433."""
    hysteresis_steps: int = 45
    hysteresis_rounds: int = 600
    starts: int = 400
    """Random starts of the example at K = 4."""
    start_scale: float = 2.0
    """Standard deviation of their logits, nats."""
    seed: int = 0

    def __post_init__(self) -> None:
        require(self, "advantage", 0, 0.5, open_low=True, open_high=True)
        require(self, "alpha", 0, 1, open_low=True, open_high=True)
        require(self, "lam", 0, 1, open_low=True)
        require(self, "excesses", 0, 10, open_low=True)
        require(self, "hysteresis_advantages", 0, 0.5, open_low=True, open_high=True)
        require(self, "start_scale", 0, 1e3, open_low=True)
        for name, least in (("cuts", 3), ("samples", 10), ("rounds", 200), ("starts", 2)):
            require(self, name, least, 10_000_000)
        for name, least in (("hysteresis_steps", 5), ("hysteresis_rounds", 100)):
            require(self, name, least, 10_000_000)
        if self.samples > self.rounds:
            raise ValueError(f"samples = {self.samples} exceeds rounds = {self.rounds}; pass fewer samples.")

    @classmethod
    def full(cls) -> Config:
        excesses = (1e-1, 3e-2, 1e-2, 3e-3, 1e-3, 3e-4, 1e-4)
        return cls(
            cuts=400,
            samples=400,
            rounds=6000,
            excesses=excesses,
            hysteresis_steps=200,
            hysteresis_rounds=3000,
            starts=4000,
        )


def run(config: Config, tick: Tick = silent) -> xr.Dataset:
    """Orbit diagram, exponents, amplitudes, hysteresis and basins, each along its own dimensions."""
    tick(0.0, "orbit diagram")
    parts = [_cut(config)]
    tick(0.35, "critical values and amplitudes")
    parts.append(_amplitudes(config))
    tick(0.55, "hysteresis")
    parts.append(_hysteresis(config, tick))
    tick(0.9, "two basins")
    parts.append(_basins(config))
    ds = xr.merge(parts, combine_attrs="drop")
    units = {
        "orbit": ("1", "pi_t(0) over the last rounds"),
        "lyapunov_exponent": ("1/round", "largest Lyapunov exponent of the orbit"),
        "amplitude_squared": ("nat²", "mean |w|² of the logits' oscillation"),
        "amplitude_predicted": ("nat²", "|w|² to first order in the excess, statement 7.5"),
        "swing": ("1", "largest less smallest pi_t(0) over the last rounds of a step"),
        "distance": ("nat", "largest logit of pi_t less the fixed point's"),
    }
    return described(ds, "onset", config, units)


def _cut(config: Config) -> xr.Dataset:
    # Points are denser near the onset: steps are equal in the square root of the distance from it.
    side = np.linspace(-0.35, 1.0, config.cuts)
    ratio = 1 / (1 + 0.6 * side * np.abs(side))  # beta over the critical beta
    start = np.log(START)
    orbits, exponents, critical = [], [], []
    for name in OBJECTIVES:
        onset = onset_beta(name, config.advantage, config.alpha, config.lam)
        loop = cycle_loop(name, config.advantage, config.alpha, config.lam, onset)
        measures = [Tail(config.samples)]
        over = {"beta": ratio * onset}
        swept = sweep(f"cut-{name}", loop, over, measure=measures, rounds=config.rounds, initial=start)
        orbits.append(swept["orbit"].values)
        at = jnp.asarray(start - start.mean())
        exponents.append(np.asarray(lyapunov_exponents(loop, jnp.asarray(ratio * onset), at, config.rounds)))
        critical.append(onset)
    return xr.Dataset(
        {
            "orbit": (("objective", "beta_ratio", "sample"), np.array(orbits)),
            "lyapunov_exponent": (("objective", "beta_ratio"), np.array(exponents)),
            "critical_beta": (("objective",), np.array(critical)),
        },
        {"objective": list(OBJECTIVES), "beta_ratio": ratio},
    )


def _amplitudes(config: Config) -> xr.Dataset:
    measured, predicted, found = [], [], []
    k = np.sqrt(1 - config.alpha**2)
    for name in OBJECTIVES:
        onset = onset_beta(name, config.advantage, config.alpha, config.lam)
        inputs = {"advantage": config.advantage, "alpha": config.alpha, "lam": config.lam}
        slope = float(dyn.theorems.onset_amplitude(**inputs, objective=name.lower()).upper)
        row = []
        for excess in config.excesses:
            loop = cycle_loop(name, config.advantage, config.alpha, config.lam, onset * k / np.sqrt(k**2 + excess))
            w = np.sqrt(max(slope, 0.01) * excess)
            start = jax.nn.log_softmax(2 * w * jnp.cos(2 * jnp.pi * jnp.arange(3.0) / 3))
            sol = dyn.iterate(loop, STRETCH, initial=start)
            # Per round, the distance to the orbit shrinks at the rate of the excess. Stretches of equal length compile once.
            for _ in range(int(np.ceil(12 / (excess * STRETCH)))):
                sol = dyn.iterate(loop, STRETCH, initial=sol.final)
            row.append(squared_amplitude(np.asarray(sol.log_policy)))
        measured.append(row)
        predicted.append(slope * np.array(config.excesses))
        loop = cycle_loop(name, config.advantage, config.alpha, config.lam, 1.1 * onset)
        crossings = dyn.stability.critical(loop, "beta", bounds=(0.9 * onset, 1.2 * onset))
        found.append(crossings[-1].value if crossings else np.nan)
    return xr.Dataset(
        {
            "amplitude_squared": (("objective", "excess"), np.array(measured)),
            "amplitude_predicted": (("objective", "excess"), np.array(predicted)),
            "critical_found": (("objective",), np.array(found)),
        },
        {"objective": list(OBJECTIVES), "excess": list(config.excesses)},
    )


def _hysteresis(config: Config, tick: Tick) -> xr.Dataset:
    """The swing of pi(0) at each beta as beta rises (from an oscillation) and falls (from rest), keeping the state."""
    ratio = np.linspace(0.97, 1.06, config.hysteresis_steps)
    window = min(100, config.hysteresis_rounds)
    swings = np.empty((len(config.hysteresis_advantages), 2, len(ratio)))
    for n, advantage in enumerate(config.hysteresis_advantages):
        tick(0.55 + 0.35 * n / len(swings), f"hysteresis, a = {advantage:g}")
        onset = onset_beta("DPO", advantage, config.alpha, 1.0)
        for direction, order in enumerate((range(len(ratio)), reversed(range(len(ratio))))):
            log_policy = jnp.log(jnp.asarray(START if direction == 0 else (1 / 3, 1 / 3, 1 / 3)))
            for i in order:
                loop = cycle_loop("DPO", advantage, config.alpha, 1.0, ratio[i] * onset)
                nudged = jax.nn.log_softmax(log_policy + NUDGE * jnp.cos(1.0 + jnp.arange(3.0)))
                sol = dyn.iterate(loop, config.hysteresis_rounds, initial=nudged)
                swings[n, direction, i] = np.ptp(np.exp(np.asarray(sol.log_policy)[-window:, 0]))
                log_policy = sol.final.log_policy
    return xr.Dataset(
        {"swing": (("hysteresis_advantage", "direction", "hysteresis_ratio"), swings)},
        {
            "hysteresis_advantage": list(config.hysteresis_advantages),
            "direction": ["beta rising", "beta falling"],
            "hysteresis_ratio": ratio,
        },
    )


def _basins(config: Config, shown: int = 24, shown_rounds: int = 120) -> xr.Dataset:
    loop = two_basins()
    rng = np.random.default_rng(config.seed)
    starts = np.asarray(jax.nn.log_softmax(jnp.asarray(rng.normal(0, config.start_scale, (config.starts, 4)))))
    swept = sweep("basins", loop, {"initial": starts}, measure=[Verdict(window=512)], rounds=1000)
    (point,) = dyn.stability.find_fixed_points(loop, 16)
    rest = np.asarray(point.log_policy)
    paths = [dyn.iterate(loop, shown_rounds, initial=start).log_policy for start in starts[:shown]]
    gap = np.asarray(paths) - rest
    distance = np.abs(gap - gap.mean(axis=-1, keepdims=True)).max(axis=-1)
    return xr.Dataset(
        {
            "verdict": (("start",), swept["verdict"].values),
            "distance": (("start_shown", "round"), distance),
            "basin_radius": ((), point.spectral_radius),
        },
        {"round": np.arange(shown_rounds + 1)},
    )
