"""The results on the last layer as a table: one row a number, with its interval where it has one."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import xarray as xr
from scipy.stats import t as student

ROW = tuple[str, str, float, float | None, float | None]


def rows(ds: xr.Dataset) -> Iterator[ROW]:
    """(quantity, of what, value, low, high)."""
    for name in ("distinguishability", "concentration", "trace", "speed_in_all"):
        for behaviour, value in zip(ds.behaviour.values, ds[name].values, strict=True):
            yield name, str(behaviour), float(value), None, None
    for behaviour, time in zip(ds.behaviour.values, ds.alone_time.values / float(ds.time_unit), strict=True):
        yield "time to learn alone, units", str(behaviour), float(time), None, None
    for behaviour, ratio in zip(ds.behaviour.values, (ds.first_speed / ds.slope).values, strict=True):
        yield "first speed over slope", str(behaviour), float(ratio), None, None
    times = ds.many_learned_time.values / float(ds.time_unit)
    for member, time in zip(ds.member.values, times.T, strict=True):
        yield "time to learn together, units", str(member), float(np.median(time)), float(time.min()), float(time.max())
    for name in ("test_error", "train_error", "test_margin", "train_margin"):
        for draw in ds.draw.values:
            for k in ds["values"].values:
                found = ds[name].sel(draw=draw, values=k).values
                half = student.ppf(0.975, len(found) - 1) * found.std(ddof=1) / np.sqrt(len(found))
                mean = float(found.mean())
                yield f"{name}, {draw} draws", f"K = {int(k)}", mean, mean - float(half), mean + float(half)
    for name in (str(v) for v in ds.data_vars if str(v).startswith("assumed_")):
        for k, value in zip(ds["values"].values, ds[name].values, strict=True):
            yield name, f"K = {int(k)}", float(value), None, None
    off = ~np.eye(ds.sizes["cluster"], dtype=bool)
    for name in ("similarity", "similarity_centred"):
        low, middle, high = np.quantile(ds[name].values[off], (0.05, 0.5, 0.95))
        yield name, "two class means, median and middle nine tenths", float(middle), float(low), float(high)
    error = np.abs(ds.sgd_margin - ds.flow_margin).isel(moment=-1).max("example") / np.abs(ds.flow_margin).max()
    for n, value in zip(ds.steps.values, error.values, strict=True):
        yield "torch SGD against the flow, relative", f"{int(n)} steps", float(value), None, None
    adam = np.abs(ds.adam_margin - ds.descend_margin).max()
    yield "torch Adam against dyn.descend", f"{ds.sizes['step'] - 1} steps", float(adam), None, None
