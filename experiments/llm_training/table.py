"""The results of training a model as a table: one row a number, with its interval where it has one."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import xarray as xr

from .._framework import binomial_interval
from .checks import correlations, matched

ROW = tuple[str, str, float, float | None, float | None]


def rows(ds: xr.Dataset) -> Iterator[ROW]:
    """(quantity, of what, value, low, high)."""
    for split in ("train", "held_out"):
        own = (ds.split == split).values
        for name in ("reward_margin", "log_prob_chosen", "log_prob_rejected"):
            for step in ds.step.values:
                yield (
                    f"mean {name}, {split}",
                    f"step {int(step)}",
                    float(ds[name].sel(step=step).values[own].mean()),
                    None,
                    None,
                )
        right = ds.reward_margin.isel(step=-1).values[own] > 0
        yield f"accuracy, {split}", "last step", float(right.mean()), *binomial_interval(int(right.sum()), right.size)
        theory, practice, mean = matched(ds)
        if np.ptp(theory) > 0 and np.ptp(practice) > 0:
            rank, linear, low, high = correlations(theory[own], practice[own])
            yield f"rank correlation with the last layer's flow, {split}", f"mean margin {mean:.3g}", rank, low, high
            yield f"correlation with the last layer's flow, {split}", f"mean margin {mean:.3g}", linear, None, None
    for name in ("entropy", "kl_to_reference"):
        if name in ds:
            error = ds[f"{name}_error"].values if f"{name}_error" in ds else np.full(ds.sizes["step"], np.nan)
            for step, value, e in zip(ds.step.values, ds[name].values, error, strict=True):
                yield name, f"step {int(step)}", float(value), float(value - 1.96 * e), float(value + 1.96 * e)
    for behaviour, before, after in zip(ds.trained.values, ds.delta_before.values, ds.delta_after.values, strict=True):
        yield "distinguishability before", str(behaviour), float(before), None, None
        yield "distinguishability after", str(behaviour), float(after), None, None
