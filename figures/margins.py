"""Margins of K value pairs between their bounds, their collapse onto the mean field, and what more values cost."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from dynamics import plot

from ._common import INK, PALE, caption, letter, styled

TRAIN, TEST = plot.PALETTE[0], plot.PALETTE[1]
TIME = "time β²t/τ"
MAX_MARGIN_SHOWN = 6.0  # largest reward margin shown; upper bounds continue beyond it
LETTERS = "abcdefghijklmnopqrstuvwxyz"


@styled
def draw(ds: xr.Dataset) -> Figure:
    """Above: one panel for each K. Below: all K in scaled time, test error over time and over K, class means."""
    figure = Figure(figsize=(7.4, 5.6), layout="constrained")
    count = ds.sizes["pairs"]
    rows = figure.add_gridspec(2, 1, height_ratios=[1, 1.25])
    above = rows[0].subgridspec(1, count).subplots(sharex=True, sharey=True, squeeze=False)[0]
    below = rows[1].subgridspec(1, 4, width_ratios=[1.15, 1, 1, 0.85]).subplots(squeeze=False)[0]
    for ax, K, mark in zip(above, ds.pairs.values, LETTERS, strict=False):
        _margins(ds.sel(pairs=K), ax)
        letter(ax, mark, f"K = {K}")
    above[0].set_ylabel("reward margin")
    above[count // 2].set_xlabel(TIME)
    figure.legend(*above[0].get_legend_handles_labels(), loc="outside upper center", ncols=5, handlelength=2.2)
    panels = ((_collapse, "scaled time"), (_error, "noisy, shared tokens"), (_over_pairs, "noisy: over K"))
    for ax, (panel, name), mark in zip(below, (*panels, (_cosines, "class means")), LETTERS[count:], strict=False):
        panel(ds, ax)
        letter(ax, mark, name)
    c = json.loads(ds.attrs["config"])
    f, g, h, i = LETTERS[count : count + 4]
    caption(
        figure,
        f"DPO, {c['per_cluster']} samples of each of 2K clusters ±c + b in d = {c['d']}, {c['data_sets']} data sets. "
        f"a–{LETTERS[count - 1]}: noise v = {c['noise']:g}, |b| = {c['l_b']:g}; smallest to largest "
        "margin of training samples (band) and fresh draws (dotted), measured; bounds of every training sample (thin; "
        f"proven, 7.8; the loosest data set's); mean field (dashed; proven without noise, 3.3). {f}: training samples of "
        f"a–{LETTERS[count - 1]} over the mean field, median and 5–95 %, colours as in {g}: in scaled time all K are one "
        f"curve. {g}, {h}: v = {c['noisy']:g}, |b| = {c['noisy_l_b']:g}, beyond the bounds; fresh draws (measured), "
        f"range over data sets shaded or as bars; {h} at β²t/τ = {c['common_time']:g}, ticks: error as t → 0 from signal "
        "to noise of the first step (theory, approximate). Im & Li 2025 publish an error about linear in K; here it grows "
        f"only where values share tokens. {i}: cosines of class means at K = {int(ds.pairs[-1])}, mean and range, before "
        "and after the shared mean is removed.",
    )
    return figure


def _margins(one: xr.Dataset, ax: Axes) -> None:
    train, test = (one.margin.sel(sample=name) for name in ("train", "test"))
    low, high = train.isel(quantile=0), train.isel(quantile=-1)
    ax.fill_between(one.time, low, high, color=TRAIN, alpha=0.35, linewidth=0, label="training samples")
    for level, label in ((0, "fresh draws"), (-1, None)):
        edge = test.isel(quantile=level)
        ax.plot(one.time, edge, color=TEST, linestyle=(0, (1, 1)), linewidth=1.1, label=label)
    ax.plot(one.time, train.sel(quantile=0.5), color=TRAIN, linestyle="-", linewidth=1.0, label="training median")
    ax.plot(one.time, one.mean_field, color=INK, linestyle=(0, (4, 2)), linewidth=0.9, label="mean field")
    for bound, label in ((one.lower.min("data_set"), "bounds"), (one.upper.max("data_set"), None)):
        ax.plot(one.time, bound, color=INK, linestyle="-", linewidth=0.6, label=label)
    ax.set_xscale("log")
    ax.set_xlim(0.1, float(one.time[-1]))
    ax.set_ylim(0, MAX_MARGIN_SHOWN)
    ax.set_xticks((0.1, 1, 10, 100))


def _shade(n: int) -> dict[str, Any]:
    return {"color": plot.PALETTE[n % len(plot.PALETTE)], "linestyle": plot.DASHES[n % len(plot.DASHES)]}


def _collapse(ds: xr.Dataset, ax: Axes) -> None:
    ax.axhline(1, color=PALE, linewidth=0.6, linestyle="-", zorder=0)
    for n, K in enumerate(ds.pairs.values):
        one = ds.sel(pairs=K)
        scaled = one.time / K
        ratio = one.margin.sel(sample="train") / one.mean_field
        for level in (0.05, 0.5, 0.95):
            label = f"K = {K}" if level == 0.5 else None
            ax.plot(scaled, ratio.sel(quantile=level), linewidth=1.0 if level == 0.5 else 0.7, label=label, **_shade(n))
    ax.set_xscale("log")
    ax.set_xlabel("β²t/(Kτ)")
    ax.set_ylabel("training margin / mean field")


def _error(ds: xr.Dataset, ax: Axes) -> None:
    shared = ds.test_error.sel(case="noisy, shared tokens")
    for n, K in enumerate(ds.pairs.values):
        one = shared.sel(pairs=K)
        ax.plot(ds.time, one.mean("data_set"), linewidth=1.0, **_shade(n))
        low, high = one.min("data_set"), one.max("data_set")
        ax.fill_between(ds.time, low, high, color=_shade(n)["color"], alpha=0.2, linewidth=0)
        last = (float(ds.time[-1]), float(one.mean("data_set")[-1]))
        ax.annotate(f" {K}", last, color=_shade(n)["color"], fontsize=7, va="center", annotation_clip=False)
    ax.annotate("K", (1.03, 0.97), xycoords="axes fraction", fontsize=7, va="top", annotation_clip=False)
    ax.set_xscale("log")
    ax.set_ylim(-0.01, 1.2 * float(shared.max()) + 0.01)
    ax.set_xlabel(TIME)
    ax.set_ylabel("test error")


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
        ax.plot(K, ticks, "_", color=INK, markersize=8, linestyle="none", zorder=3)
        if colour == TEST:
            fit = np.polynomial.Polynomial.fit(K, mean, 1)
            ax.plot(K, fit(K), color=INK, linestyle=(0, (1, 1.5)), linewidth=0.8, label="linear fit", zorder=1)
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
    ax.set_ylabel("cosine")
