"""The findings on priority: initial speeds, which behaviour is first or last, and rank correlations."""

from __future__ import annotations

import numpy as np
import xarray as xr
from scipy.stats import spearmanr

import dynamics as dyn

from .._curves import median, over_data_sets
from .._framework import Finding, binomial_interval, config_of, decide

GAP = 0.2  # pairs with a larger entry of the priority matrix, which lies in [-2, 2], should keep their order
CORRELATED = 0.8  # rank correlation above which one order counts as following another


def rank_correlations(scores: np.ndarray, order: np.ndarray) -> np.ndarray:
    """Spearman's correlation between large scores and early learning, by seed."""
    return np.array([spearmanr(s, -o)[0] for s, o in zip(scores, order, strict=True)])


def check(ds: xr.Dataset) -> list[Finding]:
    """Initial speeds, the first of two and the last of four behaviours, and rank correlations over sixteen."""
    return [_initial_speeds(ds), _first_of_two(ds), _last_of_four(ds), *_sixteen(ds), _gaps(ds)]


def _initial_speeds(ds: xr.Dataset) -> Finding:
    early = ds.mean_margin.isel(time=1).values / ds.time.values[1]
    off = np.nanmax(np.abs(early - ds.speed.values), axis=-1) / np.nanmax(np.abs(ds.speed.values), axis=-1)
    return Finding(
        claim="mean margins begin at the speeds (beta²/4) <dbar, d_i> of the sample's own differences",
        source="[derived] statement 3.6",
        measured=f"largest deviation in {off.size} data sets {off.max():.1e}, relative to the largest speed, at beta² t "
        f"= {ds.time.values[1] * config_of(ds)['beta'] ** 2:.0e} tau",
        interval="exact as t → 0; 1e-3 allowed for the time passed",
        status=decide((off < 1e-3).all()),
    )


def _first_of_two(ds: xr.Dataset) -> Finding:
    one = ds.sel(case="random pairs")
    level = config_of(ds)["level"]
    order = one.learned.values[:, :2]
    size = one.distinguishability.values[:, :2]
    right = (order[:, 0] < order[:, 1]) == (size[:, 0] > size[:, 1])
    low, high = binomial_interval(int(right.sum()), len(right))
    return Finding(
        claim=f"of two random behaviours trained together the more distinguishable reaches the mean margin {level:g} first",
        source="[paper] ImLi24, priority; its initial speed is exactly the larger by statement 3.6",
        measured=f"in {right.sum()} of {len(right)} data sets",
        interval=f"share [{low:.2f}, {high:.2f}], Clopper and Pearson over data sets; above 1/2 asked for",
        status=decide(low > 0.5, low > 0.5 or high < 0.5),
    )


def _last_of_four(ds: xr.Dataset) -> Finding:
    one = ds.sel(case="four")
    level = config_of(ds)["level"]
    order, size = one.learned.values[:, :4], one.distinguishability.values[:, :4]
    last = (order.argmax(axis=1) == 0) & (size.argmax(axis=1) == 0)
    late = median(order[:, 0] / order[:, 1:].max(axis=1))
    low, high = binomial_interval(int(last.sum()), len(last))
    return Finding(
        claim=f"d_1 = (1.5, 0), d_2 = d_3 = d_4 = (0, 1): the most distinguishable of four reaches {level:g} last",
        source="[derived] statement 3.6, the counterexample",
        measured=f"in {last.sum()} of {len(last)} data sets; its time is {late.value:.2f} that of the next slowest (median)",
        interval=f"share [{low:.2f}, {high:.2f}], Clopper and Pearson over noise; above 1/2 asked for; median's "
        f"[{late.low:.2f}, {late.high:.2f}]",
        status=decide(low > 0.5, low > 0.5 or high < 0.5),
    )


def _sixteen(ds: xr.Dataset) -> list[Finding]:
    one = ds.sel(case="sixteen")
    level = config_of(ds)["level"]
    order = one.learned.values
    by_speed = rank_correlations(one.speed.values, order)
    by_size = rank_correlations(one.distinguishability.values, order)
    speed, size, gain = median(by_speed), median(by_size), median(by_speed - by_size)
    spread = over_data_sets(len(order))
    unreached = int((order > ds.time.values[-1]).sum())
    return [
        Finding(
            claim=f"sixteen behaviours are learned in the order of <dbar, d_i>: rank correlation above {CORRELATED:g}",
            source="[derived] statement 3.6, an initial speed, taken for the whole course",
            measured=f"Spearman {speed} with the times to a mean margin of {level:g}; {unreached} of {order.size} "
            "are never reached and ranked by their margin at the end",
            interval=spread,
            status=decide(speed.low > CORRELATED, speed.low > CORRELATED or speed.high < CORRELATED),
        ),
        Finding(
            claim="of sixteen behaviours, the more distinguishable tend to be learned first",
            source="[paper] ImLi24, priority, carried over to more than two",
            measured=f"Spearman {size} of ||d_i|| with the same times",
            interval=f"{spread}; above 0 asked for",
            status=decide(size.low > 0, size.low > 0 or size.high < 0),
        ),
        Finding(
            claim="<dbar, d_i> orders sixteen behaviours better than ||d_i|| does",
            source="[derived] statement 3.6",
            measured=f"difference of the two rank correlations, by data set: {gain}",
            interval=spread,
            status=decide(gain.low > 0, gain.low > 0 or gain.high < 0),
        ),
    ]


def _gaps(ds: xr.Dataset) -> Finding:
    one = ds.sel(case="sixteen")
    order = one.learned.values
    wide, kept = [], []
    for d, o in zip(one.difference.values, order, strict=True):
        gap = dyn.diagnostics.priority_matrix(d)
        wide.append(float((gap > GAP).sum()))
        kept.append(float(((gap > GAP) & (o[:, None] < o[None, :])).sum()))
    shares = np.array(kept) / np.maximum(wide, 1)
    share = median(shares)
    return Finding(
        claim=f"pairs of sixteen behaviours whose priority differs by more than {GAP:g} are learned in that order",
        source="[derived] statement 3.6; the gap is ImLi24's",
        measured=f"share in order {share} of {sum(wide):.0f} such pairs, {shares.min():.2f} in the worst data set",
        interval=f"{over_data_sets(len(order))}; above 0.9 asked for",
        status=decide(share.low > 0.9, share.low > 0.9 or share.high < 0.9),
    )
