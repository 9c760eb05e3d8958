"""Margins of K value pairs between their bounds, their collapse onto the mean field, and what more values cost."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes

from dynamics import plot

from ._common import INK, PALE, caption, letter, styled
from ._page import Page

TRAIN, TEST = plot.PALETTE[0], plot.PALETTE[1]
MAX_MARGIN_SHOWN = 6.0  # largest reward margin shown; upper bounds continue beyond it
EVERY = 5  # points of time from one marker of a curve to its next


@styled
def draw(ds: xr.Dataset) -> Page:
    """Margins of one K between their bounds; all K on the mean field in scaled time; test error over K; class means."""
    figure = Page(6.3)
    axes = figure.subplots(2, 2)
    shown = int(ds.pairs[ds.sizes["pairs"] // 2])
    _margins(ds.sel(pairs=shown), axes[0, 0])
    _collapse(ds, axes[0, 1])
    _over_pairs(ds, axes[1, 0])
    _cosines(ds, axes[1, 1])
    titles = (
        f"K = {shown}: margins between bounds",
        "all K in scaled time",
        "test error, noisy samples",
        "class means",
    )
    for ax, mark, title in zip(axes.flat, "abcd", titles, strict=True):
        letter(ax, mark, title)
    c = json.loads(ds.attrs["config"])
    ratio = ds.margin.sel(sample="train") / ds.mean_field
    off = float(abs(ratio.sel(quantile=0.5) - 1).max())
    low, high = float(ratio.sel(quantile=0.05).min()), float(ratio.sel(quantile=0.95).max())
    late = ds.test_error.sel(case="noisy, shared tokens").mean("data_set")
    drift = float((late.max("time") - late.min("time")).max())
    caption(
        figure,
        f"DPO, {c['per_cluster']} samples of each of 2K clusters ±c + b in d = {c['d']}, {c['data_sets']} data sets. a, b: "
        f"noise v = {c['noise']:g}, |b| = {c['l_b']:g}. a: smallest to largest margin of training samples (band) and of "
        "fresh draws (dotted), measured; bounds of every training sample (grey; proven, 7.8; the loosest data set's; the "
        "upper one continues); mean field (dashed; proven without noise, 3.3). b: median margin of training samples "
        f"(marks, measured) on the mean field (line, theory: one curve for all K); medians lie within {off:.1%} of it, "
        f"5 to 95 % of samples between {low:.2f} and {high:.2f} times it. c: v = {c['noisy']:g}, |b| = {c['noisy_l_b']:g}, "
        f"beyond the bounds; fresh draws at β²t/τ = {c['common_time']:g} (measured; bars: range over data sets; over time no "
        f"mean moves by more than {drift:.3f}); black ticks: error as t → 0 from signal to noise of the first step (theory, "
        "approximate). Im & Li 2025 publish an error about linear in K; here it grows only where values share tokens. "
        f"d: cosines between class means at K = {int(ds.pairs[-1])}, mean and range (measured), before and after the mean "
        "that all classes share is removed.",
    )
    return figure


def _margins(one: xr.Dataset, ax: Axes) -> None:
    train, test = (one.margin.sel(sample=name) for name in ("train", "test"))
    low, high = train.isel(quantile=0), train.isel(quantile=-1)
    for bound, label in ((one.lower.min("data_set"), "proven bounds"), (one.upper.max("data_set"), None)):
        ax.plot(one.time, bound, color="#888888", linestyle="-", linewidth=1.4, label=label)
    ax.fill_between(one.time, low, high, color=TRAIN, alpha=0.35, linewidth=0, label="training samples")
    for level, label in ((0, "fresh draws"), (-1, None)):
        edge = test.isel(quantile=level)
        ax.plot(one.time, edge, color=TEST, linestyle=(0, (1, 1)), linewidth=1.1, label=label)
    ax.plot(one.time, one.mean_field, color=INK, linestyle=(0, (4, 2)), linewidth=0.9, label="mean field")
    ax.set_xscale("log")
    ax.set_xlim(0.1, float(one.time[-1]))
    ax.set_ylim(0, MAX_MARGIN_SHOWN)
    ax.set_xlabel("time β²t/τ")
    ax.set_ylabel("reward margin")
    ax.legend(loc="upper left")


def _shade(n: int) -> dict[str, Any]:
    return {"color": plot.PALETTE[n % len(plot.PALETTE)], "marker": plot.MARKERS[n % len(plot.MARKERS)]}


def _collapse(ds: xr.Dataset, ax: Axes) -> None:
    for n, K in enumerate(ds.pairs.values):
        field = ds.mean_field.sel(pairs=K)
        ax.plot(ds.time / K, field, color=INK, linestyle="-", linewidth=0.9, label=None if n else "mean field")
    for n, K in enumerate(ds.pairs.values):
        one = ds.sel(pairs=K).isel(time=slice(n % EVERY, None, EVERY))
        middle = one.margin.sel(sample="train", quantile=0.5)
        look = {"markersize": 4, "linestyle": "none", "markerfacecolor": "white", "markeredgewidth": 1.0}
        ax.plot(one.time / K, middle, label=f"K = {K}", **look, **_shade(n))
    ax.set_xscale("log")
    ax.set_yscale("log")
    ax.set_xlabel("scaled time β²t/(Kτ)")
    ax.set_ylabel("median reward margin")
    ax.legend(loc="upper left")


def _over_pairs(ds: xr.Dataset, ax: Axes) -> None:
    at = ds.test_error.sel(time=json.loads(ds.attrs["config"])["common_time"], method="nearest")
    K = ds.pairs.values
    for case, colour, marker, dashes in (
        ("noisy, shared tokens", TEST, "s", (0, (5, 1.5))),
        ("noisy, own tokens", TRAIN, "o", "-"),
    ):
        one = at.sel(case=case)
        mean = one.mean("data_set")
        reach = np.abs(np.array([one.min("data_set") - mean, one.max("data_set") - mean]))
        ax.errorbar(K, mean, yerr=reach, color=colour, marker=marker, linestyle=dashes, markersize=3.5, label=case[7:])
        ticks = ds.first_step_error.sel(noisy_case=case)
        ax.plot(K, ticks, "_", color=INK, markersize=9, linestyle="none", zorder=3)
        if colour == TEST:
            fit = np.polynomial.Polynomial.fit(K, mean, 1)
            ax.plot(K, fit(K), color=INK, linestyle=(0, (1, 1.5)), linewidth=0.8, label="linear fit", zorder=1)
    ax.plot([], [], "_", color=INK, markersize=9, linestyle="none", label="first step (theory)")
    ax.set_xticks(K, [str(k) for k in K])
    ax.set_xlabel("value pairs K")
    ax.set_ylabel("test error")
    ax.set_ylim(-0.01, 1.5 * float(at.max()) + 0.01)
    ax.legend(loc="upper left")


def _cosines(ds: xr.Dataset, ax: Axes) -> None:
    ax.axhline(0, color=PALE, linewidth=0.6, linestyle="-", zorder=0)
    for n, (name, colour, marker) in enumerate((("other pairs", TRAIN, "o"), ("same pair", TEST, "s"))):
        one = ds.cosine.sel(classes=name)
        mean = one.sel(statistic="mean")
        reach = np.abs(np.array([one.sel(statistic="min") - mean, one.sel(statistic="max") - mean]))
        x = np.arange(2) + 0.16 * (n - 0.5)
        ax.errorbar(x, mean, yerr=reach, color=colour, marker=marker, linestyle="none", markersize=4)
        place = (1, float(one.sel(shared_mean="removed", statistic="max")) + 0.06)
        ax.annotate(name, place, color=colour, fontsize=7, ha="center", va="bottom")
    ax.set_xticks((0, 1), ("kept", "removed"))
    ax.set_xlim(-0.45, 1.45)
    ax.set_ylim(-1.08, 1.08)
    ax.set_xlabel("shared mean")
    ax.set_ylabel("cosine between class means")
