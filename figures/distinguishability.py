"""Distinguishability: speed of the head against its slope and bounds, accuracy against the Gaussian prediction."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.ticker import NullFormatter

from dynamics import plot

from ._common import INK, PALE, caption, letter, styled
from ._page import Page

BLUE, VERMILION, GREEN = plot.PALETTE[:3]
TIME = "time β²t/τ"
MARKERS = "osD^v"


@styled
def draw(ds: xr.Dataset) -> Page:
    """Above: speed against delta, and over the bound by delta. Below: accuracy over time for both positions of b."""
    figure = Page(6.0)
    axes = figure.subplots(2, 2)
    _speeds(ds, axes[0, 0])
    _ratios(ds, axes[0, 1])
    c = json.loads(ds.attrs["config"])
    split = f"{100 * c['share']:.0f}/{100 - 100 * c['share']:.0f}"
    names = (
        "balanced answers: speed",
        f"{split} answers: over the bound by δ",
        "accuracy, b ⊥ m",
        f"accuracy, b at {c['angle']:g}° to m",
    )
    for case, ax in zip(ds.tested.values, axes[1], strict=True):
        _accuracy(ds.sel(tested=case), ax)
    for mark, name, ax in zip("abcd", names, axes.flat, strict=True):
        letter(ax, mark, name)
    axes[1, 0].set_ylabel("accuracy on fresh draws")
    draws = 2 * c["tests"] * c["data_sets"]
    caption(
        figure,
        f"DPO on one behaviour with answers s = ±1; features sm + b and noise of v = {c['noise']:g} in {c['d']} dimensions, "
        f"δ = 2|m|, |b| = {c['shared']:g}; {2 * c['n']} training\u00a0samples\u00a0in\u00a0each of {c['data_sets']} sets. a: "
        "mean speed of the head W up to t (measured); the line is the first speed and bounds the mean speed to every t "
        "(proven, statement 3.5). b: largest mean speed (measured) over √2βδ/4, which is no bound here, and over the bound "
        "that holds for any balance of the answers; curve: first speed for infinitely many samples (proven). c: mean over "
        f"data sets (measured), shaded: binomial 95 % interval of {draws:,} draws; dashed: Φ(δ/2v) for all t > 0 (proven "
        "for infinitely many samples; finite training sets cost the least distinguishable a little). d: likewise; squares: "
        "accuracy at 0+ (proven); dashed: population flow (theory, by quadrature), in which the head turns away from b.",
    )
    return figure


def _speeds(ds: xr.Dataset, ax: Axes) -> None:
    c = json.loads(ds.attrs["config"])
    one = ds.sel(case="balanced")
    speed = one.head_change / one.time * c["beta"]
    reach = np.array([0.8 * float(one.drawn_delta.min()), 1.25 * float(one.drawn_delta.max())])
    ax.plot(reach, np.sqrt(2) / 4 * reach, color=INK, linestyle="-", linewidth=0.8, label="√2 δ/4: slope and bound")
    for time, colour, marker in ((c["short_time"], BLUE, "o"), (c["long_time"], VERMILION, "s")):
        at = speed.sel(time=time, method="nearest")
        face = colour if marker == "o" else "none"
        ax.plot(
            one.drawn_delta.values.ravel(),
            at.values.ravel(),
            marker,
            color=colour,
            markerfacecolor=face,
            markersize=3.5,
            linestyle="none",
            label=f"to β²t/τ = {time:g}",
        )
    _log_delta(ax, ds)
    ax.set_yscale("log")
    ax.set_xlabel("distinguishability δ of the training samples")
    ax.set_ylabel("‖W(t) − W(0)‖ τ/(βt)")
    ax.legend(loc="upper left")


def _ratios(ds: xr.Dataset, ax: Axes) -> None:
    c = json.loads(ds.attrs["config"])
    one = ds.sel(case="unbalanced")
    speed = (one.head_change / one.time * c["beta"] ** 2).max("time")
    ax.axhline(1, color=PALE, linewidth=0.8, linestyle="-", zorder=0)
    delta = np.geomspace(float(ds.delta[0]), float(ds.delta[-1]), 200)
    tilt = (2 * c["share"] - 1) * c["shared"]
    label = "infinitely many samples"
    ax.plot(delta, np.hypot(1, tilt / (delta / 2)), color=INK, linestyle="-", linewidth=0.8, label=label)
    for slope, name, colour, marker in (
        (one.balanced_slope, "over √2 βδ/4", VERMILION, "s"),
        (one.general_slope, "over √2 β|E[sg]|/2", BLUE, "o"),
    ):
        ratio = (speed / slope).values
        where = np.repeat(ds.delta.values, ratio.shape[1])
        ax.plot(where, ratio.ravel(), marker, color=colour, markersize=3.5, linestyle="none", label=name)
    _log_delta(ax, ds)
    ax.set_yscale("log")
    ax.set_yticks((1, 2, 4, 8), ("1", "2", "4", "8"))
    ax.yaxis.set_minor_formatter(NullFormatter())
    ax.set_xlabel("distinguishability δ")
    ax.set_ylabel("largest speed / bound")
    ax.legend(loc="upper right")


def _log_delta(ax: Axes, ds: xr.Dataset) -> None:
    ax.set_xscale("log")
    ticks = ds.shown.values
    ax.set_xticks(ticks, [f"{t:g}" for t in ticks])
    ax.xaxis.set_minor_formatter(NullFormatter())


def _accuracy(one: xr.Dataset, ax: Axes) -> None:
    c = json.loads(one.attrs["config"])
    draws = 2 * c["tests"] * c["data_sets"]
    first, last = float(one.time[0]), float(one.time[-1])
    balanced = str(one.tested.values) == "balanced"
    for n, delta in enumerate(one.shown.values):
        style: dict[str, Any] = {"color": plot.PALETTE[n % 6]}
        at = one.sel(shown=delta)
        mean = at.accuracy.mean("data_set")
        half = 1.96 * np.sqrt(mean * (1 - mean) / draws)
        ax.fill_between(one.time, mean - half, mean + half, alpha=0.25, linewidth=0, **style)
        ax.plot(one.time[::2], mean[::2], MARKERS[n % len(MARKERS)], markersize=3, linestyle="none", **style)
        theory = np.full(one.sizes["time"], float(at.first_accuracy)) if balanced else at.population_accuracy
        ax.plot(one.time, theory, color=INK, linestyle=(0, (4, 2)), linewidth=0.9, zorder=3)
        if not balanced:
            ax.plot(0.5 * first, float(at.first_accuracy), "s", color=INK, markersize=3.5, linestyle="none")
        place, side = (1.2 * last, float(mean[-1])), "bottom" if float(mean[-1]) > 0.99 else "center"
        ax.annotate(f" δ = {delta:g}", place, fontsize=7, va=side, annotation_clip=False, **style)
    ax.set_xscale("log")
    ax.set_xlim(0.35 * first, 1.3 * last)
    ax.set_ylim(0.5, 1.02)
    ax.set_xlabel(TIME)
