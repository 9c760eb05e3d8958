"""The findings on integrators: orders of the error in the rate, and paths compared at equal loss."""

from __future__ import annotations

import numpy as np
import xarray as xr

from .._curves import median, over_data_sets
from .._framework import Finding, decide

FLOW, SGD, BATCHES, ADAM, TURNED = PATHS = ("flow", "SGD", "mini-batch SGD", "Adam", "Adam, rotated features")


def check(ds: xr.Dataset) -> list[Finding]:
    """Orders of the error in the rate, then paths compared at equal loss."""
    order = "[derived] statement 3.2, whose flow explicit steps follow to first order"
    noise = "[derived] statement 3.2, steps with independent errors of mean 0"
    return [
        _order(ds, "error", 1.0, "full-batch SGD is off the flow by the first power of the step", order),
        _order(ds, "spread", 0.5, "mini-batches scatter about their mean by the square root of the step", noise),
        _sgd_path(ds),
        _adam_path(ds),
        _rotation(ds),
    ]


def _order(ds: xr.Dataset, name: str, expected: float, claim: str, source: str) -> Finding:
    values = ds[name].transpose("rate", "seed").values
    slope = median(np.polyfit(np.log(ds.rate.values), np.log(values), 1)[0])
    inside = bool(expected - 0.1 < slope.low and slope.high < expected + 0.1)
    outside = bool(slope.high < expected - 0.1 or slope.low > expected + 0.1)
    first, last = median(values[0]).value, median(values[-1]).value
    return Finding(
        claim=f"{claim}: order {expected:g} ± 0.1",
        source=source,
        measured=f"slope {slope}; {first:.1%} of the margins at beta² times rate = {ds.rate.values[0]:.3g}, {last:.2%} at "
        f"{ds.rate.values[-1]:.3g} (RMS, medians)",
        interval=over_data_sets(ds.sizes["seed"]),
        status=decide(inside, inside or outside),
    )


def _sgd_path(ds: xr.Dataset) -> Finding:
    off = np.abs(ds.ratio_sgd.sel(kind=SGD).transpose("rate", "seed").values / ds.ratio_flow.values - 1)
    slope = median(np.polyfit(np.log(ds.rate.values), np.log(off), 1)[0])
    return Finding(
        claim="as its step shrinks full-batch SGD takes the path of the flow: at equal loss off by order 0.8 of it or more",
        source="[derived] statement 3.2",
        measured="slowest over fastest behaviour's margin, relative to the flow's: off by "
        f"{median(off[0]).value:.1%} at the largest rate, {median(off[-1]).value:.2%} at the smallest; slope {slope}",
        interval=over_data_sets(ds.sizes["seed"]),
        status=decide(slope.low > 0.8, slope.low > 0.8 or slope.high < 0.8),
    )


def _adam_path(ds: xr.Dataset) -> Finding:
    adam = ds.ratio_adam.sel(features="along coordinates").transpose("adam_rate", "seed").values
    gap = adam - ds.ratio_flow.values
    more, moved = median(gap[-1]), median(np.abs(np.diff(adam[-2:], axis=0)[0] / gap[-1]))
    apart = {p: _apart(ds, p) for p in (ADAM, SGD, BATCHES)}
    decided = np.isfinite(gap).all() and (more.low > 0 or more.high < 0)
    return Finding(
        claim="Adam takes another path however small its rate: at equal loss slow behaviours are further along than in "
        "the flow",
        source="[derived] statement 3.2 preconditioned: no clock turns one path into the other",
        measured=f"slowest over fastest behaviour's margin: {median(adam[-1]).value:.2f} against "
        f"{median(ds.ratio_flow.values).value:.2f}, difference {more}; the last change of the rate moved it by "
        f"{moved.value:.1%} of that; off the flow on a clock of equal loss (RMS): Adam {apart[ADAM]:.0%}, "
        f"SGD at its largest rate {apart[SGD]:.0%}, in mini-batches {apart[BATCHES]:.0%}",
        interval=over_data_sets(ds.sizes["seed"]),
        status=decide(more.low > 0 and moved.value < 0.25, decided),
    )


def _apart(ds: xr.Dataset, path: str) -> float:
    flow, other = (ds.course.sel(path=p).transpose("seed", "clock", "behaviour").values for p in (FLOW, path))
    return float(np.median(np.sqrt(((other - flow) ** 2).mean(axis=(1, 2)) / (flow**2).mean(axis=(1, 2)))))


def _rotation(ds: xr.Dataset) -> Finding:
    last = ds.ratio_adam.isel(adam_rate=-1).transpose("seed", "features").values
    less = median(last[:, 0] - last[:, 1])
    still = float(ds.turned_flow.max())
    return Finding(
        claim="what Adam equalises is coordinates, not behaviours: rotated features leave the flow as it is and cost Adam part "
        "of it",
        source="[derived] statement 3.2: the flow knows features by their inner products alone",
        measured=f"margins of the flow change by {still:.0e}; Adam's slowest over fastest is {median(last[:, 1]).value:.2f} in "
        f"place of {median(last[:, 0]).value:.2f}, lower by {less}",
        interval=over_data_sets(ds.sizes["seed"]),
        status=decide(still < 1e-6 and less.low > 0, still >= 1e-6 or less.low > 0 or less.high < 0),
    )
