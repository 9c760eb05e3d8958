"""The findings on calibration: what was asked of a posterior, and on which laws it is not reached."""

from __future__ import annotations

import numpy as np
import xarray as xr

from .._framework import Finding, Status, binomial_interval, decide

ASKED_COVER, ASKED_SAFE = 0.85, 0.90
ENOUGH_VOTES = 10
LEAST_SETS = 5  # that lose stability, for a share of them to be told
ALARMS = (("BT 1, 12", 0.1), ("BT 1 + .3, half missing", 0.2))
SOURCE = "[derived] statements 2.2 and 7.1 for the true radii; the rest is measured"


def counted(values: np.ndarray) -> tuple[float, int, float, float]:
    """Share, number of data sets, and the binomial interval of 0/1 values, NaN left out."""
    known = values[~np.isnan(values)]
    if not len(known):
        return np.nan, 0, 0.0, 1.0
    return (float(known.mean()), len(known), *binomial_interval(int(known.sum()), len(known)))


def largest(safe: xr.DataArray) -> np.ndarray:
    """Whether the larger of both models' betas is safe, with the axes of ``safe`` but for the model."""
    return safe.max("model").values


def check(ds: xr.Dataset) -> list[Finding]:
    """What was asked of the posterior, one finding each."""
    findings = [_every(ds, "hierarchical"), _some(ds, "independent"), _safe(ds)]
    findings += [_alarm(ds, name, most) for name, most in ALARMS if name in ds.law.values]
    return [*findings, _brier(ds)]


def _worst(names: list[str], found: list[tuple[float, int, float, float]], asked: float) -> tuple[str, str, Status]:
    """(measured, interval, status) for a share that is asked of every law."""
    failing = [name for name, (_, _, _, high) in zip(names, found, strict=True) if high < asked]
    worst = int(np.argmin([share for share, *_ in found]))
    share, number, low, high = found[worst]
    measured = f"least on the law '{names[worst]}': {share:.2f} of {number} data sets"
    measured += f"; below beyond doubt: {', '.join(failing)}" if failing else ""
    status = decide(not failing, bool(failing) or all(low >= asked for _, _, low, _ in found))
    return measured, f"95% Clopper–Pearson {low:.2f} to {high:.2f}", status


def _every(ds: xr.Dataset, model: str) -> Finding:
    part = ds.sel(model=model, level=0.9).isel(law=np.flatnonzero(ds.votes.values >= ENOUGH_VOTES))
    found = [counted(part.cover.values[n]) for n in range(part.sizes["law"])]
    measured, interval, status = _worst([str(x) for x in part.law.values], found, ASKED_COVER)
    return Finding(
        claim=f"{model}: 90% intervals of the spectral radius cover at least {ASKED_COVER:.0%} of truths on every law with "
        f"{ENOUGH_VOTES} or more votes a pair",
        source=SOURCE,
        measured=measured,
        interval=interval,
        status=status,
    )


def _some(ds: xr.Dataset, model: str) -> Finding:
    """The opposite of ``_every``, which is known of independent pairs."""
    found = _every(ds, model)
    opposite: dict[Status, Status] = {"holds": "fails", "fails": "holds", "not decided": "not decided"}
    claim = f"{model}: on some law with {ENOUGH_VOTES} or more votes a pair, 90% intervals cover less than {ASKED_COVER:.0%}"
    return Finding(claim, found.source, found.measured, found.interval, opposite[found.status])


def _safe(ds: xr.Dataset) -> Finding:
    part = ds.isel(law=np.flatnonzero(ds.votes.values >= ENOUGH_VOTES))
    values = largest(part.safe.sel(confidence=0.95))
    found = [counted(row) for row in values]
    kept = [n for n, (_, number, _, _) in enumerate(found) if number >= LEAST_SETS]
    claim = (
        f"the larger of both models' betas at .95 is safe for at least {ASKED_SAFE:.0%} of truths that lose stability"
    )
    if not kept:
        return Finding(claim, SOURCE, "too few truths that lose stability", "none", "not decided")
    names = [str(part.law.values[n]) for n in kept]
    measured, interval, status = _worst(names, [found[n] for n in kept], ASKED_SAFE)
    return Finding(claim, SOURCE, measured, interval, status)


def _alarm(ds: xr.Dataset, name: str, most: float) -> Finding:
    values = ds.unstable.sel(law=name, model="hierarchical").values
    values = values[~np.isnan(values)]
    error = 1.96 * float(values.std(ddof=1)) / np.sqrt(len(values)) if len(values) > 1 else np.inf
    mean, truth = float(values.mean()), float(np.nanmean(ds.truth.sel(law=name).values))
    return Finding(
        claim=f"law '{name}': the posterior probability of instability is below {most:g} on average",
        source=SOURCE,
        measured=f"mean {mean:.3f} over {len(values)} data sets, of which {truth:.1%} are unstable",
        interval=f"±{error:.3f}, 1.96 standard errors",
        status=decide(mean < most, abs(mean - most) > error),
    )


def _brier(ds: xr.Dataset) -> Finding:
    score = (ds.unstable - ds.truth) ** 2
    mean = score.mean(("law", "set")).values
    gap = (score.sel(model="independent") - score.sel(model="hierarchical")).values.ravel()
    gap = gap[~np.isnan(gap)]
    error = 1.96 * float(gap.std(ddof=1)) / np.sqrt(len(gap))
    return Finding(
        claim="over all laws, the hierarchical model's probability of instability is the better one (Brier score)",
        source=SOURCE,
        measured=f"{mean[0]:.3f} against {mean[1]:.3f} of the independent model",
        interval=f"difference ±{error:.3f}, 1.96 standard errors of {len(gap)} data sets",
        status=decide(gap.mean() > 0, abs(gap.mean()) > error),
    )
