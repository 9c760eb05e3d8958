"""The findings on finite samples: averages against single runs, dispersing phases, stable fluctuations."""

from __future__ import annotations

import numpy as np
import xarray as xr

from .._curves import median, over_data_sets
from .._framework import OBJECTIVES, Finding, config_of, decide

COHERENT, DISPERSED = 0.8, 0.3  # the decay of the coherence is fitted between these values
SETTLED = 0.9  # below this spectral radius transients have decayed and few rounds suffice for a mean


def coherence(mode: np.ndarray) -> np.ndarray:
    """|mean of w| over the mean of |w|, over runs (the last axis): 1 if all are in phase, 0 if phases are spread evenly."""
    return np.abs(mode.mean(axis=-1)) / np.abs(mode).mean(axis=-1)


def complex_mode(ds: xr.Dataset) -> np.ndarray:
    """w_t as complex numbers, ``(objective, samples, round, run)``."""
    w = ds["mode"].transpose("objective", "samples", "round", "run", "part").values
    return w[..., 0] + 1j * w[..., 1]


def dispersal_rates(mode: np.ndarray) -> np.ndarray:
    """The rate at which the coherence decays between two levels, by sample size; NaN if too few rounds lie between them."""
    rates = []
    for curve in coherence(mode):
        begun = int(np.argmax(curve < COHERENT)) if (curve < COHERENT).any() else len(curve)
        ended = int(np.argmax(curve < DISPERSED)) if (curve < DISPERSED).any() else len(curve)
        t = np.arange(begun, ended)
        rates.append(-np.polyfit(t, np.log(curve[t]), 1)[0] if len(t) >= 8 else np.nan)
    return np.array(rates)


def check(ds: xr.Dataset) -> list[Finding]:
    """Averages against single runs, how fast phases disperse, and fluctuations on the stable side."""
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
    # With independent phases, the average shrinks by the square root of the number of runs.
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
    """Mean squares over those of the linear equation with noise, where transients have decayed and n is large."""
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
        source="[derived] statement 2.5 with a round's noise Cov f = K/(8n) C (IPO), 2K/n C (DPO) at the uniform policy",
        measured=measured,
        interval=f"standard error over {one.sizes['cut_run']} runs; n ≥ 1000, rho < {SETTLED:g}; 10 % and 4 errors allowed",
        status=decide(abs(worst - 1) < 0.1 + 4 * error, np.isfinite(worst)),
    )


def _onset_is_smeared(one: xr.Dataset, name: str) -> Finding:
    """How far above the onset single runs still seem to oscillate."""
    level = config_of(one)["level"]
    reached = np.array([crossing(one.ratio.values, row, level) for row in mean_squares(one)])
    shown = ", ".join(f"{r:.2f} at n = {int(size)}" for r, size in zip(reached, one.samples.values, strict=True))
    decided = np.isfinite(reached).all() and len(reached) > 1
    return Finding(
        claim=f"{name}: the fewer comparisons, the larger the beta at which single runs look like oscillating",
        source="[derived] statement 2.5 with the noise above; past the onset measured only",
        measured=f"beta over the onset's where the mean of |w|² is {level:g} nat²: {shown}",
        interval="linear in log |w|² between the betas of the cut; at most .02 against the trend allowed",
        status=decide(bool((np.diff(reached) <= 0.02).all()) and reached[0] > reached[-1] + 0.05, decided),
    )


def mean_squares(one: xr.Dataset) -> np.ndarray:
    """Means over runs of |w|², ``(samples, ratio)``."""
    return one.mean_square.mean("cut_run").transpose("samples", "ratio").values


def crossing(ratio: np.ndarray, values: np.ndarray, level: float) -> float:
    """The largest ratio at which decreasing ``values`` cross ``level``; NaN if they do not within the range."""
    above = values >= level
    if above.all() or not above.any():
        return np.nan
    last = int(np.flatnonzero(above)[-1])
    if last + 1 == len(ratio):
        return np.nan
    high, low, want = np.log(values[last]), np.log(values[last + 1]), np.log(level)
    return float(ratio[last] + (high - want) / (high - low) * (ratio[last + 1] - ratio[last]))
