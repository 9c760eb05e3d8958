"""Which of several behaviours is learned first: margins over time, and the order against two predictions."""

from __future__ import annotations

import json

import numpy as np
import xarray as xr
from matplotlib.axes import Axes

from dynamics import plot

from ._common import INK, PALE, caption, in_rows, letter, styled
from ._page import Page

SPEED, LENGTH = r"$\langle\bar{d}, d_i\rangle$", r"$\Vert d_i\Vert$"
BLUE, RED, GREEN = plot.PALETTE[:3]


@styled
def draw(ds: xr.Dataset) -> Page:
    """Above: two behaviours, four, and rank correlations; below: the times of sixteen against two scores."""
    config = json.loads(ds.attrs["config"])
    figure = Page(5.9)
    panels = in_rows(figure, ("abc", "de"), (1, 1.15))
    a, b, c, d, e = (panels[mark] for mark in "abcde")
    _course(ds.sel(case="two"), a, ["d = (1.5, 0)", "d = (0, 0.75)"], config)
    _course(ds.sel(case="four"), b, ["d = (1.5, 0)", "three d = (0, 1)"], config)
    _correlations(ds, c, config)
    _times(ds.sel(case="sixteen"), d, "speed", config)
    _times(ds.sel(case="sixteen"), e, "distinguishability", config)
    e.sharey(d)
    e.tick_params(labelleft=False)
    titles = ("two behaviours", "four: the largest last", "sixteen: who is first")
    titles += ("sixteen: time against speed", "sixteen: time against length")
    for ax, mark, title in zip((a, b, c, d, e), "abcde", titles, strict=True):
        letter(ax, mark, title)
    caption(
        figure,
        "Yes-or-no behaviours of equal weight on the same two tokens, one last layer, DPO by gradient flow. a, b: mean "
        f"margin of each behaviour (lines: medians of {ds.sizes['seed']} data sets, bands: all of them, measured); "
        "pale lines: initial speeds (β²/4)⟨d̄, dᵢ⟩ (proven, statement 3.6), d̄ the mean of all dᵢ. c: rank "
        "correlation of a prediction with how early a level is reached (median and middle nine tenths of the data "
        "sets, measured). d, e: one dot per behaviour of every data set (measured), filled in the first; triangles: not "
        "within the run. Line in d: the level over the initial speed, as if it were kept. Two behaviours: the more "
        "distinguishable begins faster (proven; Im and Li 2024); of more, ⟨d̄, dᵢ⟩ decides (proven).",
    )
    return figure


def _course(one: xr.Dataset, ax: Axes, names: list[str], config: dict) -> None:
    time = one.time.values * config["beta"] ** 2
    ax.axhline(config["level"], color=PALE, linewidth=0.6, zorder=0)
    margin = one.mean_margin.values
    end = min(12.0, time[-1])
    top = np.nanmax(margin[:, time <= end])
    for k, name in enumerate(names):
        own = margin[..., k] if k + 1 < len(names) or len(names) == margin.shape[-1] else margin[..., k:]
        own = own if own.ndim == 2 else np.nanmean(own, axis=-1)
        speed = float(one.speed.isel(behaviour=k).median()) / config["beta"] ** 2
        below = speed * time < top
        ax.plot(time[below], speed * time[below], color=PALE, linestyle=plot.DASHES[k], linewidth=0.9, zorder=1)
        ax.fill_between(time, own.min(axis=0), own.max(axis=0), color=(BLUE, RED)[k], alpha=0.22, linewidth=0)
        ax.plot(time, np.median(own, axis=0), color=(BLUE, RED)[k], linestyle=plot.DASHES[k], label=name)
    ax.set_xlim(0, end)
    ax.locator_params(axis="x", integer=True)
    ax.set_ylim(0, 1.45 * top)  # room for the legend above all curves
    ax.set_xlabel("β² t / τ")
    ax.set_ylabel("mean margin r")
    ax.legend(loc="upper left", borderaxespad=0.1, handlelength=2.0)


def _correlations(ds: xr.Dataset, ax: Axes, config: dict) -> None:
    names = {"speed": SPEED, "distinguishability": LENGTH}
    for k, (score, name) in enumerate(names.items()):
        found = ds.rank_correlation.sel(score=score).transpose("level", "seed").values
        low, middle, high = np.quantile(found, (0.05, 0.5, 0.95), axis=1)
        colour = (GREEN, INK)[k]
        ax.fill_between(ds.level, low, high, color=colour, alpha=0.2, linewidth=0)
        ax.plot(ds.level, middle, color=colour, linestyle=plot.DASHES[k], label=name)
    ax.axvline(config["level"], color=PALE, linewidth=0.6, zorder=0)
    ax.set_xscale("log")
    ax.set_xlim(float(ds.level[0]), float(ds.level[-1]))
    ax.set_ylim(min(0.0, float(ds.rank_correlation.min()) - 0.05), 1.04)
    ax.set_xlabel("level of the mean margin")
    ax.set_ylabel("Spearman correlation")
    ax.legend(loc="lower left", ncols=2, borderaxespad=0.1, columnspacing=1.2)


def _times(one: xr.Dataset, ax: Axes, score: str, config: dict) -> None:
    scale = config["beta"] ** 2
    x = one[score].values * (4 / scale if score == "speed" else 1)
    end = one.time.values[-1] * scale
    y = one.learned.values * scale
    late = y > end
    colour = (GREEN, INK)[score != "speed"]
    y = np.where(late, 1.35 * end, y)
    for rows, style in (
        (slice(1, None), {"s": 8, "facecolors": "none", "linewidths": 0.5, "alpha": 0.55}),
        (slice(0, 1), {"s": 22, "linewidths": 0.6, "facecolors": colour}),
    ):
        for which, marker in ((~late, "o"), (late, "^")):
            kept = which[rows]
            ax.scatter(x[rows][kept], y[rows][kept], marker=marker, edgecolors=colour, **style)
    if score == "speed":
        grid = np.linspace(4 * config["level"] / end, x.max(), 300)
        ax.plot(grid, 4 * config["level"] / grid, color=INK, linewidth=0.9, linestyle=plot.DASHES[1])
    ax.axhline(end, color=PALE, linewidth=0.6, zorder=0)
    ax.set_yscale("log")
    ax.set_xlabel(SPEED if score == "speed" else f"distinguishability {LENGTH}")
    if score == "speed":
        ax.set_ylabel(f"time to r = {config['level']:g}, β² t / τ")
