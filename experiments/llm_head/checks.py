"""The findings on the last layer of a real model; on a made model or made statements nothing is decided."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import xarray as xr
from scipy.stats import ConstantInputWarning, linregress, spearmanr
from scipy.stats import t as student

from .._curves import median
from .._framework import Finding, config_of
from .._language import decide_of

LIKE = 1e-6  # relative rounding of a bound that is attained at first
PUBLISHED = {  # ImLi25, test errors and training margins of two 7-8B models by number of values
    "values": (1, 2, 4, 8),
    "test_error": ((0.0, 0.008, 0.036, 0.056), (0.0, 0.027, 0.098, 0.183)),
    "train_margin": ((1.991, 1.873, 1.848, 1.731), (0.65, 0.60, 0.435, 0.232)),
}


def check(ds: xr.Dataset) -> list[Finding]:
    """Speeds, orders of learning, errors by number of values, flipped labels, similarity, assumptions, optimizers."""
    return [
        _bridge(ds),
        _speed(ds),
        _ordered_alone(ds),
        _pairs(ds),
        *_many(ds),
        _errors(ds),
        _margins(ds),
        _similarity(ds),
        _undone(ds),
        _assumptions(ds),
    ]


def _bridge(ds: xr.Dataset) -> Finding:
    off = np.abs(ds.sgd_margin - ds.flow_margin).isel(moment=-1).max("example").values
    off = off / float(np.abs(ds.flow_margin).max())
    orders = np.log2(off[:-1] / off[1:])
    adam = float(np.abs(ds.adam_margin - ds.descend_margin).max())
    return Finding(
        claim="torch's SGD on the last layer converges to the margin flow at order 1, and torch's Adam takes the steps of "
        "dyn.descend",
        source="[paper] ImLi25, Lemma 4.1; order of Euler's method [derived]",
        measured=f"relative distance {', '.join(f'{x:.2g}' for x in off)} at {', '.join(map(str, ds.steps.values))} steps: "
        f"orders {', '.join(f'{x:.3f}' for x in orders)}; Adam differs by at most {adam:.1g} over {ds.sizes['step'] - 1} steps",
        interval=f"1 ± 0.1 and 1e-9 (largest margin {float(np.abs(ds.descend_margin).max()):.3g}) asked for",
        status=decide_of(ds, (np.abs(orders - 1) < 0.1).all() and adam < 1e-9),
    )


def _speed(ds: xr.Dataset) -> Finding:
    ratio, over = ds.first_speed / ds.slope, float(ds.over_bound.max())
    return Finding(
        claim="each behaviour alone moves the head at first at sqrt(2) beta delta/4, and never outruns it",
        source="[derived] statement 3.5; ImLi24's theorem is of this form",
        measured=f"first speed over slope {float(ratio.min()):.4f} to {float(ratio.max()):.4f} in {ratio.size} behaviours; "
        f"change over bound at most {over:.6f}",
        interval="at 1e-3 units of time, 1 % below 1 allowed; the bound exactly, up to rounding",
        status=decide_of(ds, float(ratio.min()) > 0.99 and over <= 1 + LIKE),
    )


def _correlated(scores: np.ndarray, order: np.ndarray, rng_seed: int = 0) -> tuple[float, float, float]:
    """Spearman's correlation of large scores with early learning and its 95 % bootstrap interval over behaviours."""
    rng, count = np.random.default_rng(rng_seed), len(scores)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConstantInputWarning)  # a draw of one behaviour only is left out
        again = [spearmanr(scores[i], -order[i])[0] for i in rng.integers(0, count, (2000, count))]
    low, high = np.nanquantile(again, (0.025, 0.975))
    return float(np.asarray(spearmanr(scores, -order)[0])), float(low), float(high)


def _ordered_alone(ds: xr.Dataset) -> Finding:
    time = np.where(np.isinf(ds.alone_time), ds.time.values[-1] * 2, ds.alone_time)
    value, low, high = _correlated(ds.distinguishability.values, time)
    return Finding(
        claim="the more distinguishable a behaviour, the sooner it is learned alone",
        source="[paper] ImLi24",
        measured=f"Spearman {value:.2f} of delta ({float(ds.distinguishability.min()):.3g} to "
        f"{float(ds.distinguishability.max()):.3g}) with early learning, {time.size} behaviours",
        interval=f"[{low:.2f}, {high:.2f}], 95 % bootstrap over behaviours; above 0 asked for",
        status=decide_of(ds, low > 0, low > 0 or high < 0),
    )


def _pairs(ds: xr.Dataset) -> Finding:
    first = ds.two_learned_time.isel(side=0) < ds.two_learned_time.isel(side=1)
    larger = ds.two_delta_of.isel(side=0) > ds.two_delta_of.isel(side=1)
    right = (first == larger).values
    count = round((1 + np.sqrt(1 + 8 * right.size)) / 2)
    low, high = _over_members(right, count)
    return Finding(
        claim="of two behaviours trained together the more distinguishable is learned first",
        source="[paper] ImLi24; its initial speed is the larger by statement 3.6",
        measured=f"in {int(right.sum())} of {right.size} pairs of {count} behaviours",
        interval=f"share [{low:.2f}, {high:.2f}], 95 % jackknife over behaviours; above 1/2 asked for",
        status=decide_of(ds, low > 0.5, low > 0.5 or high < 0.5),
    )


def _over_members(right: np.ndarray, count: int) -> tuple[float, float]:
    """An interval of a share over pairs, which leaves out one member at a time."""
    a, b = np.triu_indices(count, 1)
    left = np.array([right[(a != i) & (b != i)].mean() for i in range(count)])
    error = np.sqrt((count - 1) / count * ((left - left.mean()) ** 2).sum())
    half = float(student.ppf(0.975, count - 1)) * error
    return max(float(right.mean() - half), 0.0), min(float(right.mean() + half), 1.0)


def _many(ds: xr.Dataset) -> list[Finding]:
    time, speed, size = (ds[f"many_{n}"].values for n in ("learned_time", "priority_speed", "delta_of"))
    members = time.shape[1]
    by = lambda x: np.array([spearmanr(a, -b)[0] for a, b in zip(x, time, strict=True)])
    found = []
    for name, label, source in (
        ("<dbar, d_i>", by(speed), "[derived] statement 3.6, an initial speed, taken for the whole course"),
        ("|d_i|", by(size), "[paper] ImLi24, priority, carried over to more than two"),
    ):
        mean = (speed if name.startswith("<") else size).mean(axis=0)
        value, low, high = _correlated(mean, np.median(time, axis=0))
        found.append(
            Finding(
                claim=f"{members} behaviours trained together are learned in the order of {name}",
                source=source,
                measured=f"Spearman {median(label).value:.2f} (median over {len(label)} halves of the statements, "
                f"{label.min():.2f} to {label.max():.2f}); of means over halves {value:.2f}",
                interval=f"[{low:.2f}, {high:.2f}], 95 % bootstrap over behaviours; above 0 asked for",
                status=decide_of(ds, low > 0, low > 0 or high < 0),
            )
        )
    return found


def _fit(ds: xr.Dataset, draw: str) -> tuple[float, float, float]:
    """Slope, its half interval and R² of the mean test error against the number of values."""
    error = ds.test_error.sel(draw=draw).mean("split").values
    fit: Any = linregress(ds["values"].values, error)
    half = student.ppf(0.975, max(len(error) - 2, 1)) * fit.stderr
    return float(fit.slope), float(half), float(fit.rvalue**2)


def _errors(ds: xr.Dataset) -> Finding:
    slope, half, r2 = _fit(ds, "random")
    each = ds.test_error.mean("split")
    say = lambda draw: ", ".join(
        f"{int(k)}: {100 * float(v):.1f} %" for k, v in zip(ds["values"], each.sel(draw=draw), strict=True)
    )
    own = ds.test_error.sel(draw="random")
    rise = (own.isel(values=-1) - own.isel(values=0)).values
    error = student.ppf(0.975, len(rise) - 1) * rise.std(ddof=1) / np.sqrt(len(rise))
    return Finding(
        claim="the test error rises with the number of values trained together, at the same time",
        source="[paper] ImLi25, on 7–8B models trained by Adam: linear, R² .97, .95, .99",
        measured=f"behaviours at random, error at K = {say('random')}; slope {100 * slope:.2f} ± {100 * half:.2f} % a value, "
        f"R² {r2:.2f}; the papers' own draws {say('published')}, R² {_fit(ds, 'published')[2]:.2f}",
        interval=f"rise from K = {int(ds['values'][0])} to {int(ds['values'][-1])}: {100 * rise.mean():.1f} ± "
        f"{100 * error:.1f} % (95 %, t over {len(rise)} draws)",
        status=decide_of(ds, rise.mean() > error, abs(rise.mean()) > error),
    )


def _margins(ds: xr.Dataset) -> Finding:
    own = ds.train_margin.sel(draw="random")
    each, fall = own.mean("split"), (own.isel(values=0) - own.isel(values=-1)).values
    error = student.ppf(0.975, len(fall) - 1) * fall.std(ddof=1) / np.sqrt(len(fall))
    say = ", ".join(f"{int(k)}: {float(v):.3f}" for k, v in zip(ds["values"], each, strict=True))
    theirs = "; ".join(", ".join(f"{x:g}" for x in row) for row in PUBLISHED["train_margin"])
    return Finding(
        claim="the mean training margin falls with the number of values, at the same time",
        source="[paper] ImLi25, Theorem 4.2: margins grow like t/K",
        measured=f"behaviours at random, K = {say}; ImLi25 at K = 1, 2, 4, 8: {theirs}",
        interval=f"fall {fall.mean():.3f} ± {error:.3f} (95 %, t over {len(fall)} draws)",
        status=decide_of(ds, fall.mean() > error, abs(fall.mean()) > error),
    )


def _similarity(ds: xr.Dataset) -> Finding:
    count = ds.sizes["cluster"]
    off = ~np.eye(count, dtype=bool)
    before, after = (np.median(ds[name].values[off]) for name in ("similarity", "similarity_centred"))
    return Finding(
        claim="class means are nearly parallel, and are spread out once their shared mean is removed",
        source="[paper] ImLi25, class-mean cosines on real models",
        measured=f"median cosine of two of {count} class means {before:.3f}, without their shared mean {after:+.3f}",
        interval=f"all {count * (count - 1) // 2} pairs; above 0.5 before and below 0.5 after in absolute value asked for",
        status=decide_of(ds, before > 0.5 and abs(after) < 0.5),
    )


def _undone(ds: xr.Dataset) -> Finding:
    ratio = ds.undo_time / ds.align_time
    base, aligned = (ratio.sel(reference=r).values for r in ("base", "aligned"))
    known = np.isfinite(ds.aligned_margin.values) & np.isfinite(base) & np.isfinite(aligned)
    base, aligned = base[known], aligned[known]
    if not known.any():
        base = aligned = np.array([np.nan])
    return Finding(
        claim="flipped labels undo an aligned head sooner than it was aligned if the base model is the reference, and in the "
        "same time if the aligned model is",
        source="[derived] statement 3.3 for samples without noise: (R + 1 - exp(-R))/(R - 1 + exp(R)); that aligned "
        "models move faster under flipped labels is ImLi24's finding",
        measured=f"median time to undo over time to align: {np.median(base):.2f} with the base model as reference "
        f"({base.min():.2f} to {base.max():.2f}), {np.median(aligned):.2f} with the aligned one",
        interval=f"{int(known.sum())} behaviours, mean margin {config_of(ds)['level']:g} when labels are flipped; below 1, "
        "and 1 within 1e-3, in all asked for",
        status=decide_of(ds, (base < 1).all() and (np.abs(aligned - 1) < 1e-3).all(), known.any()),
    )


def _assumptions(ds: xr.Dataset) -> Finding:
    one = ds.isel(values=-1)
    return Finding(
        claim=f"the margin bounds of statement 7.8 apply to {int(one['values'])} behaviours with Yes and No as answers",
        source="[derived] statement 7.8; [paper] ImLi25, Theorem 4.2, with the same assumptions",
        measured=f"they do not: every behaviour has the same two tokens; noise eps = {float(one.assumed_noise):.2f} and shift "
        f"l_b = {float(one.assumed_shift):.2f} in units of |c_k| give e = {float(one.assumed_excess):.3g} where 1 - l_b² = "
        f"{float(one.assumed_allowed_excess):.3g} is allowed; largest cosine of two c_k "
        f"{float(one.assumed_centre_cosine):.2f}. With tokens of their own, margins at beta² t = K tau lie between "
        f"{float(one.assumed_least_margin):.3g} and {float(one.assumed_largest_margin):.3g}, where clusters without noise have "
        f"{float(one.assumed_scalar_margin):.3g}",
        interval="exact, of these statements",
        status="not decided",
    )
