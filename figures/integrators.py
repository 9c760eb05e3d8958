"""What the optimizer adds to a trajectory: margins and paths at equal loss, and errors by step size."""

from __future__ import annotations

import json

import numpy as np
import xarray as xr
from matplotlib.axes import Axes

from dynamics import plot

from ._common import INK, PALE, caption, letter, styled
from ._page import Page

# flow, SGD, mini-batch SGD, Adam, Adam on rotated features
COLOURS = (INK, plot.PALETTE[0], plot.PALETTE[4], plot.PALETTE[1], plot.PALETTE[3])
LINES = ("-", plot.DASHES[1], plot.DASHES[3], plot.DASHES[2], plot.DASHES[5])


@styled
def draw(ds: xr.Dataset) -> Page:
    """Margins on one clock, paths in the plane of fast and slow behaviours, errors by rate, slow over fast by rate."""
    config = json.loads(ds.attrs["config"])
    figure = Page(6.2)
    (a, b), (c, d) = figure.subplots(2, 2)
    _courses(ds, a)
    _paths(ds, b)
    _errors(ds, c)
    _ratios(ds, d)
    titles = ("on a clock of equal loss", "paths of the margins", "error against step", "at equal loss: slow over fast")
    for ax, mark, title in zip((a, b, c, d), "abcd", titles, strict=True):
        letter(ax, mark, title)
    handles, names = b.get_legend_handles_labels()
    figure.legend(handles, names, loc="outside upper center", ncols=5, columnspacing=1.4, handlelength=2.6)
    lengths = ", ".join(f"{x:g}" for x in config["lengths"])
    largest = float(ds.rate[0])
    caption(
        figure,
        f"Behaviours of distinguishability {lengths}, each along a coordinate, DPO, {ds.sizes['seed']} data sets; lines and "
        "dots are medians, bars the middle nine tenths (measured). a, b: SGD at its largest rate "
        f"(β² × rate = {largest:g}), batches of {config['batch']}, Adam at its smallest; time in units of "
        "what each path takes to 60 % of the first loss (circles in b). c: RMS over margins and times, relative "
        "to the flow's margins; dashed: orders 1 and ½ (theory) through the dots of "
        "the smallest step; slopes in the key are least-squares fits (measured), median and middle nine tenths. "
        "d: slowest over fastest behaviour's margin less that of the flow on the same data, rates relative "
        "to the largest of each. A flow knows features by their inner "
        "products alone, so rotating them changes nothing (proven, statement 3.2); Adam sees coordinates.",
    )
    return figure


def _courses(ds: xr.Dataset, ax: Axes) -> None:
    for k, path in enumerate(ds.path.values):
        one = ds.course.sel(path=path).transpose("seed", "clock", "behaviour").values
        for i, width in ((0, 1.7), (-1, 0.9)):
            middle = np.nanmedian(one[..., i], axis=0)
            ax.plot(ds.clock, middle, color=COLOURS[k], linestyle=LINES[k], linewidth=width, zorder=3 - (k == 0))
    ax.axvline(1, color=PALE, linewidth=0.6, linestyle="-", zorder=0)
    ax.set_xlim(0, float(ds.clock[-1]))
    ax.set_xlabel("time / time to 60 % of the loss")
    ax.set_ylabel("mean margin")
    ax.set_ylim(min(0.0, ax.get_ylim()[0]), None)
    ax.annotate("thick: fastest\nthin: slowest", (0.03, 0.98), xycoords="axes fraction", va="top")


def _paths(ds: xr.Dataset, ax: Axes) -> None:
    at = int(np.argmin(np.abs(ds.clock.values - 1)))
    for k, path in enumerate(ds.path.values):
        one = ds.course.sel(path=path).transpose("seed", "clock", "behaviour").values
        fast, slow = np.nanmedian(one[..., 0], axis=0), np.nanmedian(one[..., -1], axis=0)
        ax.plot(fast, slow, color=COLOURS[k], linestyle=LINES[k], label=str(path), zorder=3 - (k == 0))
        ax.plot(
            [fast[at]],
            [slow[at]],
            marker="o",
            markersize=4.5,
            markerfacecolor="white",
            color=COLOURS[k],
            linestyle="",
            zorder=4,
        )
    ax.axhline(0, color=PALE, linewidth=0.6, linestyle="-", zorder=0)
    ax.set_xlim(0, None)
    ax.set_xlabel("mean margin of the fastest behaviour")
    ax.set_ylabel("mean margin of the slowest")


def _bars(ax: Axes, x: np.ndarray, values: np.ndarray, colour: str, mark: str, label: str | None = None) -> np.ndarray:
    """Draws medians and the middle nine tenths over the last axis, and returns the medians."""
    low, middle, high = np.nanquantile(values, (0.05, 0.5, 0.95), axis=-1)
    style = {"color": colour, "fmt": mark, "markersize": 3.8, "linewidth": 1.0, "label": label}
    ax.errorbar(x, middle, [middle - low, high - middle], **style)
    return middle


def _errors(ds: xr.Dataset, ax: Axes) -> None:
    x = ds.rate.values
    names = ("full batch, off the flow", "mini-batches, scatter")
    for k, (name, order, said) in enumerate((("error", 1.0, "1"), ("spread", 0.5, "½"))):
        colour, values = COLOURS[k + 1], ds[name].transpose("rate", "seed").values
        slopes = np.polyfit(np.log(x), np.log(values), 1)[0]
        low, slope, high = np.quantile(slopes, (0.05, 0.5, 0.95))
        middle = _bars(ax, x, values, colour, "os"[k], f"{names[k]}:\nslope {slope:.2f} ({low:.2f} to {high:.2f})")
        line = middle[-1] * (x / x[-1]) ** order
        ax.plot(x, line, color=INK, linestyle=plot.DASHES[1], linewidth=0.9, zorder=1)
        at = len(x) // 2
        ax.annotate(f"slope {said}, theory", (x[at], line[at]), (4, -11), textcoords="offset points", fontsize=7)
    ax.set_xscale("log")
    ax.set_yscale("log")
    low, high = float(ds.error.min()), float(ds.spread.max())
    ax.set_ylim(0.6 * low, 15 * high)
    ax.set_xticks(x, [f"{value:.3g}" for value in x])
    ax.set_xticks([], minor=True)
    ax.set_xlabel("step: β² × learning rate")
    ax.set_ylabel("relative RMS of margins")
    ax.legend(loc="upper left", borderaxespad=0.1)


def _ratios(ds: xr.Dataset, ax: Axes) -> None:
    flow = ds.ratio_flow.values
    ax.axhline(0, color=INK, linewidth=1.0, linestyle="-", zorder=1)
    rate, adam = ds.rate.values, ds.adam_rate.values
    shift = 1.06
    for k, values in enumerate(ds.ratio_sgd.transpose("kind", "rate", "seed").values):
        _bars(ax, rate / rate[0] * shift ** (2 * k - 3), values - flow, COLOURS[k + 1], "os"[k])
    for k, values in enumerate(ds.ratio_adam.transpose("features", "adam_rate", "seed").values):
        _bars(ax, adam / adam[0] * shift ** (2 * k + 1), values - flow, COLOURS[k + 3], "D^"[k])
    ax.set_xscale("log", base=2)
    ax.set_xlabel("learning rate / largest")
    ax.set_ylabel("slow / fast margin, less the flow's")
