"""The findings on phases: where cycles are strong, and what drives the entropy to 0."""

from __future__ import annotations

import numpy as np
import xarray as xr
from jaxtyping import Float
from scipy.stats import spearmanr

from .._framework import OBJECTIVES, Finding, config_of, decide

SURE = 2.0  # a difference counts from this many standard errors on
NEAR = 1e-6  # nat; entropies that differ by less differ by rounding only


def check(ds: xr.Dataset) -> list[Finding]:
    """Growth of cycle strength, its bound where rounds contract, and what the terminal entropy depends on."""
    findings = [_grows(ds.sel(objective=name)) for name in OBJECTIVES]
    findings.append(_transient(ds.sel(objective="IPO")))
    for name in OBJECTIVES:
        one = ds.sel(objective=name)
        findings += [_within_bound(one), _collapse_without_self_sampling(one), _driven_by(one)]
    return findings


def averages(values: xr.DataArray, count: xr.DataArray) -> tuple[np.ndarray, np.ndarray]:
    """Mean over matrices and its standard error, by setting; ``values`` has dimensions (matrix, setting)."""
    return _mean(values.values, count.values)


def _mean(values: np.ndarray, count: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    total = count.sum()
    mean = count @ values / total
    return mean, np.sqrt(count @ (values - mean) ** 2 / total / max(total - 1, 1))


def _square(one: xr.Dataset, name: str) -> Float[np.ndarray, "M cells cells"]:
    """The square: values by matrix, alpha and lam."""
    cells = config_of(one)["cells"]
    values = one[name].values
    return values[:, : cells**2].reshape(len(values), cells, cells)


def _lines(one: xr.Dataset, name: str) -> Float[np.ndarray, "M lams betas"]:
    """The lines: values by matrix, lam and beta."""
    config = config_of(one)
    values = one[name].values
    return values[:, config["cells"] ** 2 :].reshape(len(values), len(config["lams"]), config["betas"])


def _steps(values: np.ndarray, count: np.ndarray, axis: int) -> tuple[int, int]:
    """How often the mean rises and falls between neighbours along an axis by more than the error of the paired difference."""
    steps = np.diff(values, axis=axis).reshape(len(values), -1)
    mean, error = _mean(steps, count)
    sure = np.abs(mean) > SURE * error
    return int((sure & (mean > 0)).sum()), int((sure & (mean < 0)).sum())


def _grows(one: xr.Dataset) -> Finding:
    name, config, count = str(one.objective.values), config_of(one), one.cyclic_count.values
    square, lines = _square(one, "cycle_strength"), _lines(one, "cycle_strength")
    ends = {
        "alpha from 0 to 1, lam averaged": (square[:, 0].mean(axis=1), square[:, -1].mean(axis=1)),
        "lam from 0 to 1, alpha averaged": (square[..., 0].mean(axis=1), square[..., -1].mean(axis=1)),
        f"beta from the highest to the lowest at lam {config['lams'][-1]:g}": (lines[:, -1, -1], lines[:, -1, 0]),
    }
    told, grown = [], []
    for what, (first, last) in ends.items():
        (difference,), (error,) = _mean((last - first)[:, None], count)
        told.append(f"{what}: {count @ first / count.sum():.3g} → {count @ last / count.sum():.3g}")
        grown.append(difference > SURE * error)
    steps = {"alpha": _steps(square, count, 1), "lam": _steps(square, count, 2), "1/beta": _steps(-lines, count, 2)}
    told.append("; ".join(f"steps in {key}: {up} up, {down} down" for key, (up, down) in steps.items()))
    return Finding(
        claim=f"{name}: averaged over matrices with a majority cycle, cycles grow stronger with alpha, lam and 1/beta",
        source="[paper] Chen26, cycle strength over (alpha, lam) and over beta",
        measured="; ".join(told),
        interval=f"{int(count.sum())} matrices; ends and steps count beyond {SURE:g} standard errors of paired differences",
        status=decide(all(grown)),
    )


def _transient(one: xr.Dataset) -> Finding:
    """The variance is bounded by the sum over rounds of ‖pi_t - pi*‖² ≤ KL(pi*‖pi_t) ≤ q^t KL(pi*‖pi_0)."""
    rate = one.lam.values / one.beta.values * one.cyclic_norm.values[:, None] / 2
    squared = one.alpha.values**2 + rate**2
    q = np.maximum(one.alpha.values, squared)
    proven = (one.alpha.values < 1) & (squared < 1)
    rounds = config_of(one)["rounds"]
    with np.errstate(divide="ignore"):
        bound = one.start_distance.values[:, None] / (one.cyclic_responses.values[:, None] * (rounds + 1) * (1 - q))
    room = (bound - one.cycle_strength.values)[proven]
    worst = (one.cycle_strength.values / bound)[proven].max() if proven.any() else 0.0
    return Finding(
        claim="IPO: where 7.2 proves convergence, cycle strength is that of the approach only, at most max(-log pi_0) / "
        "(K T (1 - q)), q = max(alpha, alpha² + (lam ‖CAC‖₂/(2 beta))²)",
        source="[derived] statement 7.2, summed over T rounds",
        measured=f"largest cycle strength over its bound {worst:.3g}",
        interval=f"{proven.sum()} of {proven.size} pairs of matrix and setting, each one deterministic orbit",
        status=decide((room >= 0).all(), proven.any()),
    )


def _within_bound(one: xr.Dataset) -> Finding:
    name, count = str(one.objective.values), one.transitive_count
    room = (one.entropy_bound - one.final_entropy).values
    bounded = one.entropy_bound.values < np.log(2)
    (mean, _), (bound, _) = averages(one.final_entropy, count), averages(one.entropy_bound, count)
    above = one.entropy_bound.values > NEAR
    nearest = (one.final_entropy.values[above] / one.entropy_bound.values[above]).max() if above.any() else 0.0
    typical = np.median(mean[bound > NEAR] / bound[bound > NEAR]) if (bound > NEAR).any() else 0.0
    return Finding(
        claim=f"{name}: the terminal entropy of every strictly strongly transitive matrix stays below the bound of 2.4, at "
        f"every lam",
        source="[derived] statement 2.4, entropy",
        measured=f"entropy over its bound: at most {nearest:.3g}, of the means {typical:.2g} in the median setting; bound "
        f"below log 2 in {bounded.mean():.0%} of {bounded.size} runs",
        interval="rounding, 1e-9 nat",
        status=decide((room >= -1e-9).all(), bounded.any()),
    )


def _collapse_without_self_sampling(one: xr.Dataset) -> Finding:
    name, drive = str(one.objective.values), _drive(one)
    none = np.flatnonzero((one.lam.values == 0) & np.isfinite(drive))
    none = none[np.argsort(drive[none])]
    mean, error = averages(one.final_entropy[:, none], one.transitive_count)
    return Finding(
        claim=f"{name}: without self-sampling (lam = 0) the terminal entropy still nears 0 as 1/(beta(1 - alpha)) grows, "
        f"where the published lam/(beta(1 - alpha)) is 0 throughout",
        source="[derived] statement 2.4, against [paper] Chen26",
        measured=f"mean entropy at lam 0: {mean[0]:.3g} nat at 1/(beta(1 - alpha)) = {drive[none[0]]:.3g}, {mean[-1]:.2g} at "
        f"{drive[none[-1]]:.3g}",
        interval=f"standard errors over matrices {error[0]:.1g} and {error[-1]:.1g}",
        status=decide(mean[-1] < 0.2 * mean[0]),
    )


def _drive(one: xr.Dataset) -> np.ndarray:
    """1/(beta(1 - alpha)), infinite at alpha = 1."""
    with np.errstate(divide="ignore"):
        return 1 / (one.beta.values * (1 - one.alpha.values))


def _driven_by(one: xr.Dataset) -> Finding:
    name, drive, count = str(one.objective.values), _drive(one), one.transitive_count.values
    mean, _ = averages(one.final_entropy, one.transitive_count)
    inside = np.isfinite(drive) & (mean > NEAR)
    derived = _rank_correlation(drive[inside], mean[inside])
    published = _rank_correlation(drive[inside] * one.lam.values[inside], mean[inside])
    square, lines = _square(one, "final_entropy")[:, :-1], _lines(one, "final_entropy")
    up, down = np.add(_steps(square, count, 2), _steps(lines, count, 1))
    most = max(np.abs(np.ptp(np.tensordot(count, x, 1), axis=axis)).max() for x, axis in ((square, 1), (lines, 0)))
    return Finding(
        claim=f"{name}: the terminal entropy follows 1/(beta(1 - alpha)), not lam/(beta(1 - alpha))",
        source="[derived] statement 2.4, against [paper] Chen26",
        measured=f"rank correlation with 1/(beta(1 - alpha)) {derived:.3f}, with lam/(beta(1 - alpha)) {published:.3f}; over "
        f"lam alone it moves by {most / count.sum():.2g} nat at most, steps in lam: {up} up, {down} down",
        interval=f"{inside.sum()} settings with alpha < 1 and entropy above {NEAR:g} nat; steps beyond {SURE:g} standard "
        f"errors of paired differences",
        status=decide(-derived > -published, inside.sum() > 5),
    )


def _rank_correlation(x: np.ndarray, y: np.ndarray) -> float:
    return float(np.asarray(spearmanr(x, y))[0])
