"""Finite samples: rounds of n comparisons on the 3-cycle. Single runs keep oscillating while their average flattens."""

from __future__ import annotations

import dataclasses

import numpy as np
import xarray as xr

import dynamics as dyn

from ._curves import median, over_data_sets
from ._framework import OBJECTIVES, Finding, Tick, config_of, decide, described, require, silent
from ._orbits import Mode, cycle_loop, onset_beta
from ._sweeps import sweep

COHERENT, DISPERSED = 0.8, 0.3  # of the coherence: between them its decay is fitted
SETTLED = 0.9  # spectral radius below which a transient is gone and few rounds are enough for a mean


@dataclasses.dataclass(frozen=True)
class Config:
    """Many runs of each size of sample, from one start: orbits at one beta past the onset, mean squares along a cut."""

    advantage: float = 0.4
    """a in P = 1/2 ± a of the 3-cycle."""
    alpha: float = 0.5
    lam: float = 1.0
    samples: tuple[int, ...] = (30, 100, 300, 1000, 3000, 10_000)
    """Comparisons in a round."""
    ratio: float = 0.8
    """beta over the onset's, of the orbits; below 1 uniform repels."""
    runs: int = 128
    """Runs from the same start, of each size of sample."""
    rounds: int = 300
    ratios: tuple[float, ...] = (0.7, 0.8, 0.9, 1.0, 1.1, 1.2, 1.3, 1.5, 1.8)
    """beta over the onset's along the cut."""
    cut_runs: int = 16
    cut_rounds: int = 600
    level: float = 0.1
    """Mean of |w|², in nat², at which a run looks like oscillating."""
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
    """The mode w_t of every run at one beta, and mean squares of w along the cut, by objective and size of sample."""
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
    """Runs of samples: dimensions ratio, samples and run."""
    import jax

    onset = onset_beta(name, config.advantage, config.alpha, config.lam)
    loop = cycle_loop(name, config.advantage, config.alpha, config.lam, onset, samples=config.samples[0])
    over = {
        "beta": onset * np.array(ratios),
        "samples": np.array(config.samples),
        # The same start for all: what differs along this axis is the draw.
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


def coherence(mode: np.ndarray) -> np.ndarray:
    """|mean of w| over the mean of |w|, over runs (last axis of complex ``mode``): 1 in step, 0 at all phases."""
    return np.abs(mode.mean(axis=-1)) / np.abs(mode).mean(axis=-1)


def complex_mode(ds: xr.Dataset) -> np.ndarray:
    """w_t as complex numbers, ``(objective, samples, round, run)``."""
    w = ds["mode"].transpose("objective", "samples", "round", "run", "part").values
    return w[..., 0] + 1j * w[..., 1]


def dispersal_rates(mode: np.ndarray) -> np.ndarray:
    """Rate at which the coherence decays, by size of sample, over the rounds between two levels; NaN where too few."""
    rates = []
    for curve in coherence(mode):
        begun = int(np.argmax(curve < COHERENT)) if (curve < COHERENT).any() else len(curve)
        ended = int(np.argmax(curve < DISPERSED)) if (curve < DISPERSED).any() else len(curve)
        t = np.arange(begun, ended)
        rates.append(-np.polyfit(t, np.log(curve[t]), 1)[0] if len(t) >= 8 else np.nan)
    return np.array(rates)


def check(ds: xr.Dataset) -> list[Finding]:
    """Averages against single runs, how fast phases part, and fluctuations on the stable side."""
    findings = []
    mode = complex_mode(ds)
    for i, name in enumerate(OBJECTIVES):
        findings += [_average_flattens(ds, name, mode[i]), _phases_part(ds, name, mode[i])]
        findings += [_fluctuations(ds.sel(objective=name), name), _onset_is_smeared(ds.sel(objective=name), name)]
    return findings


def _average_flattens(ds: xr.Dataset, name: str, mode: np.ndarray) -> Finding:
    tenth = max(mode.shape[1] // 10, 1)
    late = mode[0, -tenth:]
    single = np.sqrt(np.mean(np.abs(late) ** 2, axis=0))
    average = float(np.sqrt(np.mean(np.abs(late.mean(axis=1)) ** 2)))
    exact = ds["exact"].sel(objective=name).values
    steady = float(np.sqrt(np.mean(np.sum(exact[-tenth:] ** 2, axis=-1))))
    middle = median(single)
    # Of independent phases the average is left with one part in the root of the runs.
    left = average / float(np.mean(single))
    return Finding(
        claim=f"{name}: with {int(ds.samples[0])} comparisons a round every run goes on oscillating while the average flattens",
        source="[paper] Chen26, finite samples: averages over seeds hide oscillation because phases differ",
        measured=f"late amplitude: single runs {middle} nat (without noise {steady:.3g}), their average {average:.3g}: "
        f"{left:.1%}, where independent phases leave {1 / np.sqrt(mode.shape[2]):.1%}",
        interval=over_data_sets(mode.shape[2], "runs"),
        status=decide(float(middle.low) > 0.5 * steady and left < 4 / np.sqrt(mode.shape[2])),
    )


def _phases_part(ds: xr.Dataset, name: str, mode: np.ndarray) -> Finding:
    rates, n = dispersal_rates(mode), ds.samples.values
    seen = np.isfinite(rates)
    slope = float(np.polyfit(np.log(n[seen]), np.log(rates[seen]), 1)[0]) if seen.sum() >= 2 else np.nan
    shown = ", ".join(f"{rate:.2g} at n = {int(size)}" for size, rate in zip(n[seen], rates[seen], strict=True))
    return Finding(
        claim=f"{name}: phases part at a rate like 1/n, the variance of a round's noise",
        source="[derived] statement 7.4: noise of a round falls as n^-1/2; that phases diffuse is measured only",
        measured=f"decay of the coherence per round: {shown or 'none fitted'}; slope {slope:.2f} in log n",
        interval=f"{mode.shape[2]} runs of each size; slope in [-1.3, -0.7] asked for",
        status=decide(-1.3 <= slope <= -0.7, seen.sum() >= 3),
    )


def _fluctuations(one: xr.Dataset, name: str) -> Finding:
    """Where a transient is gone and n is large, mean squares over those of the linear equation with noise."""
    settled = one.spectral_radius.values < SETTLED
    large = one.samples.values >= 1000
    ratio = (one.mean_square / one.linear_noise).transpose("ratio", "samples", "cut_run").values
    chosen = ratio[np.ix_(settled, large)]
    if not chosen.size:
        measured, worst, error = "no such beta and n in this run", np.nan, np.nan
    else:
        means, errors = chosen.mean(axis=-1), chosen.std(axis=-1, ddof=1) / np.sqrt(chosen.shape[-1])
        at = np.unravel_index(np.argmax(np.abs(means - 1)), means.shape)
        worst, error = float(means[at]), float(errors[at])
        measured = f"measured over predicted: mean {means.mean():.3f}, farthest from 1: {worst:.3f} ± {error:.3f}"
    return Finding(
        claim=f"{name}: where uniform attracts, a finite sample keeps |w|² at 1/(8 n beta² (1 - rho²)) (DPO: beta/4 for beta)",
        source="[derived] statement 2.1 with a round's noise Cov f = K/(8n) C (IPO), 2K/n C (DPO) at the uniform policy",
        measured=measured,
        interval=f"standard error over {one.sizes['cut_run']} runs; n ≥ 1000, rho < {SETTLED:g}; 10 % and 4 errors allowed",
        status=decide(abs(worst - 1) < 0.1 + 4 * error, np.isfinite(worst)),
    )


def _onset_is_smeared(one: xr.Dataset, name: str) -> Finding:
    """How far above the onset single runs pass for oscillating."""
    level = config_of(one)["level"]
    reached = np.array([crossing(one.ratio.values, row, level) for row in mean_squares(one)])
    shown = ", ".join(f"{r:.2f} at n = {int(size)}" for r, size in zip(reached, one.samples.values, strict=True))
    decided = np.isfinite(reached).all() and len(reached) > 1
    return Finding(
        claim=f"{name}: the fewer comparisons, the larger the beta at which single runs look like oscillating",
        source="[derived] statement 2.1 with the noise above; past the onset measured only",
        measured=f"beta over the onset's where the mean of |w|² is {level:g} nat²: {shown}",
        interval="linear in log |w|² between the betas of the cut; at most .02 against the trend allowed",
        status=decide(bool((np.diff(reached) <= 0.02).all()) and reached[0] > reached[-1] + 0.05, decided),
    )


def mean_squares(one: xr.Dataset) -> np.ndarray:
    """Means over runs of |w|², ``(samples, ratio)``."""
    return one.mean_square.mean("cut_run").transpose("samples", "ratio").values


def crossing(ratio: np.ndarray, values: np.ndarray, level: float) -> float:
    """The largest ratio at which falling ``values`` pass ``level``; NaN where they do not within the range."""
    above = values >= level
    if above.all() or not above.any():
        return np.nan
    last = int(np.flatnonzero(above)[-1])
    if last + 1 == len(ratio):
        return np.nan
    high, low, want = np.log(values[last]), np.log(values[last + 1]), np.log(level)
    return float(ratio[last] + (high - want) / (high - low) * (ratio[last + 1] - ratio[last]))
