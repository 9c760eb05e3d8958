"""Finite samples: with n comparisons per round on the 3-cycle, single runs keep oscillating while their average flattens."""

from __future__ import annotations

import dataclasses

import numpy as np
import xarray as xr

import dynamics as dyn

from .._framework import OBJECTIVES, Tick, described, require, silent
from .._orbits import Mode, cycle_loop, onset_beta
from .._sweeps import sweep
from .checks import check

__all__ = ["Config", "check", "run"]


@dataclasses.dataclass(frozen=True)
class Config:
    """Many runs for each sample size, from one start: orbits at one beta past the onset, and mean squares along a cut."""

    advantage: float = 0.4
    """a in P = 1/2 ± a of the 3-cycle."""
    alpha: float = 0.5
    lam: float = 1.0
    samples: tuple[int, ...] = (30, 100, 300, 1000, 3000, 10_000)
    """Comparisons in a round."""
    ratio: float = 0.8
    """beta of the orbits over the beta of the onset; below 1 the uniform policy repels."""
    runs: int = 128
    """Runs from the same start for each sample size."""
    rounds: int = 300
    ratios: tuple[float, ...] = (0.7, 0.8, 0.9, 1.0, 1.1, 1.2, 1.3, 1.5, 1.8)
    """beta over the beta of the onset, along the cut."""
    cut_runs: int = 16
    cut_rounds: int = 600
    level: float = 0.1
    """Mean of |w|², in nat², from which a run seems to oscillate."""
    start: tuple[float, float, float] = (0.45, 0.33, 0.22)
    seed: int = 0

    def __post_init__(self) -> None:
        require(self, "advantage", 0, 0.5, open_low=True, open_high=True)
        require(self, "alpha", 0, 1, open_low=True, open_high=True)
        require(self, "lam", 0, 1, open_low=True)
        require(self, "samples", 1, 1e8)
        require(self, "ratio", 0, 1, open_low=True, open_high=True)
        require(self, "ratios", 0, 100, open_low=True)
        require(self, "level", 0, 100, open_low=True)
        require(self, "start", 0, 1, open_low=True)
        for name, least in (("runs", 8), ("cut_runs", 6), ("rounds", 20), ("cut_rounds", 20)):
            require(self, name, least, 1_000_000)

    @classmethod
    def full(cls) -> Config:
        return cls(
            runs=1024, rounds=2000, cut_runs=64, cut_rounds=4000, samples=(30, 100, 300, 1000, 3000, 10_000, 30_000)
        )


def run(config: Config, tick: Tick = silent) -> xr.Dataset:
    """The mode w_t of every run at one beta, and mean squares of w along the cut, by objective and sample size."""
    parts = []
    for i, name in enumerate(OBJECTIVES):
        tick(i / 2, f"{name}: orbits")
        orbits = _sweep(config, f"{name}-orbits", name, (config.ratio,), config.runs, config.rounds)
        tick((i + 0.5) / 2, f"{name}: along beta")
        cut = _sweep(config, f"{name}-cut", name, config.ratios, config.cut_runs, config.cut_rounds)
        part = xr.Dataset({"mode": orbits["mode"].isel(ratio=0, drop=True)})
        part["exact"] = _exact(config, name, (config.ratio,), config.rounds)["mode"].isel(ratio=0, drop=True)
        part["mean_square"] = cut["mean_square"].rename(run="cut_run")
        part["exact_mean_square"] = _exact(config, name, config.ratios, config.cut_rounds)["mean_square"]
        parts.append(part)
    ds = xr.concat(parts, "objective").assign_coords(objective=list(OBJECTIVES))
    onset = onset_beta("IPO", config.advantage, config.alpha, config.lam)
    beta = onset * np.array(config.ratios)
    squared = config.alpha**2 + (1 - config.alpha**2) / np.array(config.ratios) ** 2
    n = np.array(config.samples)[:, None]
    with np.errstate(divide="ignore"):
        noise = np.where(squared < 1, 1 / (8 * n * beta**2 * np.abs(1 - squared)), np.nan)
    ds["linear_noise"] = (("samples", "ratio"), noise)
    ds["spectral_radius"] = (("ratio",), np.sqrt(squared))
    units = {
        "mode": ("nat", "w_t of each run at one beta below the onset's"),
        "exact": ("nat", "w_t with infinitely many comparisons"),
        "mean_square": ("nat²", "mean of |w|² over the second half of a run"),
        "exact_mean_square": ("nat²", "the same with infinitely many comparisons"),
        "linear_noise": ("nat²", "1/(8 n beta² (1 - rho²)), beta IPO's; the mean of |w|² to first order in 1/n"),
        "spectral_radius": ("1", "rho at the uniform policy"),
    }
    return described(ds, "finite_samples", config, units)


def _sweep(config: Config, title: str, name: str, ratios: tuple[float, ...], runs: int, rounds: int) -> xr.Dataset:
    """Runs with finite samples, with the dimensions ratio, samples and run."""
    import jax

    onset = onset_beta(name, config.advantage, config.alpha, config.lam)
    loop = cycle_loop(name, config.advantage, config.alpha, config.lam, onset, samples=config.samples[0])
    over = {
        "beta": onset * np.array(ratios),
        "samples": np.array(config.samples),
        # All runs share the start; along this axis only the random draws differ.
        "initial": np.tile(_start(config), (runs, 1)),
    }
    key = jax.random.fold_in(jax.random.key(config.seed), OBJECTIVES.index(name))
    ds = sweep(title, loop, over, rounds=rounds, measure=Mode(rounds), key=key)
    return ds.rename(beta="ratio", initial="run").assign_coords(ratio=list(ratios)).drop_vars("run", errors="ignore")


def _exact(config: Config, name: str, ratios: tuple[float, ...], rounds: int) -> xr.Dataset:
    onset = onset_beta(name, config.advantage, config.alpha, config.lam)
    loop = cycle_loop(name, config.advantage, config.alpha, config.lam, onset)
    ds = dyn.sweep(
        loop,
        {"beta": onset * np.array(ratios)},
        rounds=rounds,
        measure=Mode(rounds),
        initial=_start(config),
        progress=False,
    )
    return ds.rename(beta="ratio").assign_coords(ratio=list(ratios))


def _start(config: Config) -> np.ndarray:
    policy = np.array(config.start)
    return np.log(policy / policy.sum())
