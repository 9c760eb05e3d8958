"""The findings on misaligned starts: aligned features against base features, then aligned heads."""

from __future__ import annotations

import numpy as np
import xarray as xr

from .._curves import median, over_data_sets
from .._framework import Finding, config_of, decide


def check(ds: xr.Dataset) -> list[Finding]:
    """Aligned features against base features, then aligned heads with both references."""
    return [_initial_speed(ds), _aligned_loses_sooner(ds), _base_catches_up(ds), *_heads_undone(ds)]


def _initial_speed(ds: xr.Dataset) -> Finding:
    beta = config_of(ds)["beta"]
    expected = np.sqrt(2) * beta / 4 * ds.delta.values
    off = np.abs(ds.head_change.values[..., 1] / ds.time.values[1] / expected - 1)
    return Finding(
        claim="under flipped labels too the head starts at speed √2 beta delta/4: aligned features, larger delta, faster",
        source="[derived] statement 3.5; the direction is ImLi24's",
        measured=f"largest relative deviation in {off.size} data sets {off.max():.1e}, at beta² t = "
        f"{ds.time.values[1] * beta**2:.0e} tau",
        interval="exact as t → 0; 1e-3 allowed for the time passed",
        status=decide((off < 1e-3).all()),
    )


def _aligned_loses_sooner(ds: xr.Dataset) -> Finding:
    config, loss = config_of(ds), ds.loss_time.transpose("seed", "model").values
    with np.errstate(invalid="ignore"):
        ratio = median(loss[:, :1] / loss[:, 1:])
    known = np.isfinite(loss[:, 1:]).all()
    each = "; ".join(
        f"delta {delta:g}: {v:.3g} [{low:.3g}, {high:.3g}]"
        for delta, v, low, high in zip(ds.model.values[1:], ratio.value, ratio.low, ratio.high, strict=True)
    )
    return Finding(
        claim=f"under flipped labels an aligned model loses {config['level']:g} of mean true margin sooner than the base "
        f"(delta {ds.model.values[0]:g})",
        source="[paper] ImLi24, misaligned start, aligned features being further apart",
        measured=f"time of the base over that of the aligned model, {each}",
        interval=f"{over_data_sets(len(loss))}; above 1 asked for",
        status=decide(bool((ratio.low > 1).all()), known and not np.isnan(ratio.low).any()),
    )


def _base_catches_up(ds: xr.Dataset) -> Finding:
    ends = ds.head_change.isel(model=[0, -1]).transpose("seed", "model", "time").values
    growth = np.diff(ends, axis=-1)
    slower = growth[:, 1] < growth[:, 0]
    times = config_of(ds)["beta"] ** 2 * ds.time.values[1:]
    found = median(np.where(slower.any(axis=-1), times[slower.argmax(axis=-1)], np.inf))
    return Finding(
        claim=f"the head on the most aligned features (delta {ds.model.values[-1]:g}) is the faster one early only: its "
        "margins saturate, and within the run the base's head grows faster",
        source="[derived] statement 3.5 speaks of t → 0, and so does the comparison",
        measured=f"beta² t/tau from which on the base's ||W(t) - W(0)|| grows faster: {found}",
        interval=over_data_sets(len(ends)),
        status=decide(np.isfinite(found.high), np.isfinite(found.high) or np.isinf(found.low)),
    )


def _heads_undone(ds: xr.Dataset) -> list[Finding]:
    ratio = ds.undo_time / ds.align_time
    same = ratio.sel(reference="aligned").values
    exact, noisy = ds.sel(law="identical", reference="base"), ds.sel(law="noisy", reference="base")
    r, R = exact.undone_margin.values, exact.reached_margin.values[..., None]
    shift = r - np.exp(-r) - R + np.exp(-R) + exact.rate.values[..., None] * exact.time.values
    off = np.abs(shift) / (R + exact.rate.values[..., None] * exact.time.values)
    against = median((noisy.undo_time / noisy.align_time).transpose("seed", "aligned").values)
    half = median((noisy.undo_half / noisy.undo_time).values.ravel())
    each = "; ".join(
        f"R = {R:g}: {v:.2f} [{low:.2f}, {high:.2f}]"
        for R, v, low, high in zip(noisy.aligned.values, against.value, against.low, against.high, strict=True)
    )
    return [
        Finding(
            claim="with the aligned model as reference, flipped labels undo a head's alignment in the time it took",
            source="[derived] statement 3.2: r(0) = 0 whatever the reference, and turned labels turn all margins",
            measured=f"time to undo over time to align, {same.size} heads: {same.min():.4f} to {same.max():.4f}",
            interval="exact; 1e-4 allowed for interpolation between saved times",
            status=decide((np.abs(same - 1) < 1e-4).all()),
        ),
        Finding(
            claim="with the base as reference, identical samples lose margin along r - exp(-r) = R - exp(-R) - ct: "
            "alignment is undone at ct = R + 1 - exp(-R), though it took R + exp(R) - 1",
            source="[derived] statement 3.3, continued to before its start",
            measured=f"largest deviation of the curve {off.max():.1e}, relative to R + ct",
            interval="the solver's tolerance; 1e-6 allowed",
            status=decide((off < 1e-6).all()),
        ),
        Finding(
            claim="with the base as reference, noisy samples are undone sooner than they were aligned, the more so the "
            "further they were",
            source="[derived] statement 3.3 has it so for identical samples",
            measured=f"time to undo over time to align, {each}; half of the samples prefer the flipped answer at "
            f"{half.value:.2f} of the time to undo",
            interval=f"{over_data_sets(ds.sizes['seed'])}; each below 1 and falling asked for",
            status=decide((against.high < 1).all() and (np.diff(against.value) < 0).all()),
        ),
    ]
