"""The findings on advice: whether confident posteriors are right, and how many comparisons make them confident."""

from __future__ import annotations

import numpy as np
import xarray as xr

from .._framework import OBJECTIVES, Finding, binomial_interval, decide

SURE = 0.95  # comparisons have decided at a probability above this, or below 1 minus this
SHARES = (0.5, 0.9, 1.1, 1.5)  # of the threshold, for generated cycles


def sure(ds: xr.Dataset) -> np.ndarray:
    """Whether each posterior has decided, ``(case, objective, comparisons, thinning)``; NaN counts as undecided."""
    p = ds.unstable.values
    return np.nan_to_num(np.maximum(p, 1 - p - ds.not_found.values), nan=0.0) >= SURE


def deciding(ds: xr.Dataset) -> np.ndarray:
    """The comparisons per pair from which at least half of the sub-samples have decided, ``(case, objective)``, or NaN."""
    known = ~np.isnan(ds.unstable.values).all(axis=-1)
    enough = (sure(ds).mean(axis=-1) >= 0.5) | ~known
    # The same must be true at every larger number that was tried.
    onward = np.logical_and.accumulate(enough[..., ::-1], axis=-1)[..., ::-1] & known
    first = np.argmax(onward, axis=-1)
    return np.where(onward.any(axis=-1), ds.comparisons.values[first], np.nan)


def check(ds: xr.Dataset) -> list[Finding]:
    """Whether confident posteriors are right, and how many comparisons make them confident."""
    findings = [_right(ds), _found(ds)]
    if ds.attrs["generated"]:
        findings.append(_distance(ds))
    return [*findings, *(_numbers(ds, m) for m in range(len(OBJECTIVES)))]


def _right(ds: xr.Dataset) -> Finding:
    truth = (ds.spectral_radius.values > 1)[:, :, None, None]
    decided = sure(ds) & ~np.isnan(ds.spectral_radius.values)[:, :, None, None]
    wrong = decided & ((ds.unstable.values > 0.5) != truth)
    count, total = int(wrong.sum()), int(decided.sum())
    low, high = binomial_interval(count, total) if total else (0.0, 1.0)
    against = "the known P" if ds.attrs["generated"] else "all comparisons there are"
    return Finding(
        claim=f"where the posterior is {SURE:.0%} sure of stability or instability, it agrees with {against} at least that "
        "often",
        source="[derived] statements 2.2 and 7.1 for the spectral radius; the posterior is computed",
        measured=f"{count} of {total} sure sub-samples on the wrong side",
        interval=f"95% Clopper–Pearson {low:.2%} to {high:.2%}, as if sub-samples were independent",
        status=decide(low <= 1 - SURE, total > 0),
    )


def _found(ds: xr.Dataset) -> Finding:
    worst = float(np.nanmax(ds.not_found.values))
    return Finding(
        claim="the fixed point of nearly every draw was found; the others are counted",
        source="[derived] statement 7.1",
        measured=f"largest share not found in a sub-sample {worst:.2%}",
        interval="exact for these draws",
        status=decide(worst <= 0.05),
    )


def _distance(ds: xr.Dataset) -> Finding:
    needed = deciding(ds)[: len(SHARES)]
    far = np.abs(np.array(SHARES) - 1)
    near_one, far_one = needed[np.argmin(far)], needed[np.argmax(far)]
    near_one = np.where(np.isnan(near_one), np.inf, near_one)
    listed = "; ".join(
        f"{name}: "
        + ", ".join(f"{s:g} of it {'not' if np.isnan(n) else f'{n:g}'}" for s, n in zip(SHARES, row, strict=True))
        for name, row in zip(OBJECTIVES, needed.T, strict=True)
    )
    return Finding(
        claim="a cycle close to the threshold of 2.1 takes more comparisons to decide than one far from it",
        source="[derived] statement 2.1",
        measured=f"comparisons per pair that decide, {listed}",
        interval=f"half of {ds.sizes['thinning']} sub-samples, at the numbers tried",
        # Equal numbers on so coarse a grid decide nothing.
        status=decide((near_one > far_one).all(), not np.isnan(far_one).any() and (near_one != far_one).all()),
    )


def _numbers(ds: xr.Dataset, m: int) -> Finding:
    needed = deciding(ds)[:, m]
    reached = needed[~np.isnan(needed)]
    quantiles = ", ".join(f"{q:g}" for q in np.quantile(reached, (0.25, 0.5, 0.75))) if len(reached) else "none"
    last = sure(ds)[:, m]
    finite = ~np.isnan(ds.unstable.values[:, m]).all(axis=-1)
    at_most = [bool(last[c, np.flatnonzero(row)[-1]].mean() >= 0.5) for c, row in enumerate(finite)]
    return Finding(
        claim=f"{OBJECTIVES[m]}: the comparisons there are decide whether rounds are stable in most cases",
        source="[derived] statements 2.2 and 7.1, evaluated on these counts",
        measured=f"{sum(at_most)} of {len(at_most)} cases decided at the largest number tried; comparisons per pair that "
        f"decide, by quarters: {quantiles}",
        interval=f"{ds.sizes['thinning']} sub-samples of each",
        status=decide(2 * sum(at_most) > len(at_most)),
    )
