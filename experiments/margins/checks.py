"""The findings on margins of value clusters: bounds, mean field, and the published effects of more values."""

from __future__ import annotations

import numpy as np
import xarray as xr
from scipy.stats import t as student

from .._framework import Finding, binomial_interval, config_of, decide

NOISY = ("noisy, own tokens", "noisy, shared tokens")
NEAR = 0.05  # relative deviation from the mean field that is allowed for a median


def check(ds: xr.Dataset) -> list[Finding]:
    """Margins against bounds and mean field; noisy clusters against what is published about more values."""
    found = [_between(ds), _mean_field(ds), _tight_error(ds)]
    found += [_falling(ds, case) for case in NOISY]
    return [*found, _rising(ds), _own_tokens(ds), _shared_mean(ds)]


def _between(ds: xr.Dataset) -> Finding:
    inside = ds.lower.notnull()
    above, below = (ds.lowest / ds.lower).min(), (ds.upper / ds.highest).min()
    covered = [int(K) for K in ds.pairs.values if bool(inside.sel(pairs=K).all())]
    left = [int(K) for K in ds.pairs.values if K not in covered]
    config = config_of(ds)
    return Finding(
        claim="every training margin of the tight clusters lies between the bounds at every time",
        source="[derived] statement 7.8, margins",
        measured=f"least margin/bound {float(above):.3f} below, least bound/margin {float(below):.3f} above, at "
        f"K = {', '.join(map(str, covered)) or 'none'}"
        + (f"; not decided at K = {', '.join(map(str, left))}: e > 1 - l_b² in some data set" if left else ""),
        interval=f"every example of {config['data_sets']} data sets of each K; 1 asked for, rounding 1e-6",
        status=decide(min(float(above), float(below)) >= 1 - 1e-6, bool(inside.any())),
    )


def _mean_field(ds: xr.Dataset) -> Finding:
    off = np.abs(ds.margin.sel(quantile=0.5) / ds.mean_field - 1).max(["pairs", "time"])
    train, test = (float(off.sel(sample=name)) for name in ("train", "test"))
    return Finding(
        claim="the median margin of the tight clusters follows the mean field, c = 2 beta²/K, for every K",
        source="[derived] statement 3.3",
        measured=f"largest deviation over K and time: {train:.2%} of the mean field in training, {test:.2%} on fresh "
        "draws",
        interval=f"medians over {config_of(ds)['data_sets']} data sets of each K; {NEAR:.0%} asked for",
        status=decide(max(train, test) <= NEAR),
    )


def _tight_error(ds: xr.Dataset) -> Finding:
    config = config_of(ds)
    # At the largest K, whose fresh draws include those of every smaller K.
    trials = 2 * int(ds.pairs[-1]) * config["tests"] * config["data_sets"]
    share = ds.test_error.sel(case="tight").isel(pairs=-1).max("time").mean("data_set")
    wrong = round(float(share) * trials)
    return Finding(
        claim="fresh draws of clusters this tight are ranked rightly from the first step on",
        source="[paper] ImLi25, Theorem 4.3: small test error; its own bound is vacuous at this Q",
        measured=f"at K = {int(ds.pairs[-1])} at most {wrong} of {trials} fresh draws wrong at any time",
        interval=f"error below {binomial_interval(wrong, trials)[1]:.1g} (binomial, 95 %)",
        status=decide(wrong == 0),
    )


def _at_common_time(ds: xr.Dataset, name: str, case: str) -> xr.DataArray:
    return ds[name].sel(case=case).sel(time=config_of(ds)["common_time"], method="nearest")


def _falling(ds: xr.Dataset, case: str) -> Finding:
    margin = _at_common_time(ds, "median_margin", case)
    low, high = margin.min("data_set").values, margin.max("data_set").values
    means = ", ".join(f"{m:.3f}" for m in margin.mean("data_set").values)
    pairs = ", ".join(str(int(K)) for K in ds.pairs.values)
    return Finding(
        claim=f"{case}: at a common time the training margin falls with the number of values",
        source="[paper] ImLi25, margins over steps (.65, .60, .435, .232 at K = 1, 2, 4, 8 on one model)",
        measured=f"median margin at beta² t/tau = {config_of(ds)['common_time']:g}: {means} at K = {pairs}",
        interval=f"range over {config_of(ds)['data_sets']} data sets at most ±{np.max(high - low) / 2:.3f}",
        # Margins fall if every data set lies below all those of the previous K; they rise if it lies above.
        status=decide(
            (np.diff(margin.mean("data_set")) < 0).all(), (high[1:] < low[:-1]).all() or (low[1:] > high[:-1]).any()
        ),
    )


def _slopes(ds: xr.Dataset, case: str) -> tuple[float, float]:
    """The mean slope over data sets of the test error by K, and the half-width of its 95 % interval."""
    error = _at_common_time(ds, "test_error", case).transpose("pairs", "data_set").values
    slopes = np.polyfit(ds.pairs.values, error, 1)[0]
    count = len(slopes)
    return float(slopes.mean()), float(student.ppf(0.975, count - 1) * slopes.std(ddof=1) / np.sqrt(count))


def _rising(ds: xr.Dataset) -> Finding:
    case = NOISY[1]
    slope, half = _slopes(ds, case)
    error = _at_common_time(ds, "test_error", case).mean("data_set").values
    fit = np.corrcoef(ds.pairs.values, error)[0, 1] ** 2
    return Finding(
        claim=f"{case}: the test error grows with the number of values, near linearly",
        source="[paper] ImLi25, test error linear in K (R² .95 to .99 on three models)",
        measured=f"test error {', '.join(f'{e:.4f}' for e in error)} at K = "
        f"{', '.join(str(int(K)) for K in ds.pairs.values)}; linear fit R² = {fit:.3f}, {slope:.4f} per value pair",
        interval=f"slope ±{half:.4f} (95 %, t over {config_of(ds)['data_sets']} data sets); R² ≥ 0.9 asked for",
        status=decide(slope > 0 and fit >= 0.9, slope - half > 0 or slope + half < 0),
    )


def _own_tokens(ds: xr.Dataset) -> Finding:
    (slope, half), (shared, _) = (_slopes(ds, case) for case in NOISY)
    error = _at_common_time(ds, "test_error", NOISY[0]).mean("data_set").values
    low, high, room = slope - half, slope + half, 0.1 * abs(shared)
    return Finding(
        claim=f"{NOISY[0]}: pairs do not enter each other's margins, so the test error does not grow with K",
        source="[paper] ImLi25, Lemma 4.1: C_ij = 0 between pairs that share no token",
        measured=f"test error {', '.join(f'{e:.4f}' for e in error)}; slope {slope:.5f} per value pair, "
        f"{slope / shared:.1%} of that with shared tokens",
        interval=f"slope ±{half:.5f} (95 %, t over {config_of(ds)['data_sets']} data sets); within 10 % of the shared "
        "one's asked for",
        status=decide(-room <= low and high <= room, (-room <= low and high <= room) or low > room or high < -room),
    )


def _shared_mean(ds: xr.Dataset) -> Finding:
    kept, removed = (ds.cosine.sel(shared_mean=name) for name in ("kept", "removed"))
    say = lambda cos: ", ".join(
        f"{name} {float(one.sel(statistic='mean')):.2f} [{float(one.sel(statistic='min')):.2f}, "
        f"{float(one.sel(statistic='max')):.2f}]"
        for name, one in ((str(n), cos.sel(classes=n)) for n in cos.classes.values)
    )
    before = float(kept.sel(classes="other pairs", statistic="min"))
    after = float(removed.sel(classes="other pairs", statistic="rms"))
    apart = float(removed.sel(classes="same pair", statistic="max"))
    return Finding(
        claim="class means look alike until the shared mean is removed; then pairs are nearly orthogonal and the two "
        "clusters of a pair nearly opposite",
        source="[paper] ImLi25, class-mean cosines before and after removing the shared mean",
        measured=f"cosines at K = {int(ds.pairs[-1])}, mean [least, largest]: before, {say(kept)}; after, {say(removed)}, "
        f"other pairs' root mean square {after:.2f}",
        interval=f"over {config_of(ds)['data_sets']} data sets; asked for: other pairs above 0.5 before, root mean "
        "square below 0.2 after, same pair below -0.5 after",
        status=decide(before > 0.5 and after < 0.2 and apart < -0.5),
    )
