"""The probability that rounds are unstable against the number of comparisons, and the number that decides."""

from __future__ import annotations

import json

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from dynamics import plot

from ._common import COLOURS, INK, PALE, caption, letter, styled
from ._page import Page

SURE = 0.95
NAMED = 5  # up to this many cases have lines of their own; with more, all lines are thin
DASHES = {"IPO": "-", "DPO": (0, (5, 1.5))}


@styled
def draw(ds: xr.Dataset) -> Page:
    """Left: posterior probability of instability. Right: share of sub-samples that decide. Lines: IPO, open marks: DPO.

    Of many cases there is a panel for each objective, and the shares are those of all cases together.
    """
    if ds.sizes["case"] <= NAMED:
        return _few(ds)
    figure = Page(3.3)
    panels = figure.subplots(1, 3, width_ratios=[1, 1, 0.9], sharey=True)
    for ax, name, mark in zip(panels, ds.objective.values, "ab", strict=False):
        _thin(ax, ds.sel(objective=name))
        _axis(ax)
        letter(ax, mark, str(name))
    panels[0].set_ylabel("posterior probability of instability")
    for name in ds.objective.values:
        share = _decided(ds, str(name)).mean("case")
        look = {"color": COLOURS[str(name)], "linestyle": DASHES[str(name)], "marker": "o", "markersize": 3}
        panels[2].plot(ds.comparisons, share, label=name, **look)
    panels[2].legend(loc="lower right")
    panels[2].set_ylabel("share of sub-samples decided")
    _axis(panels[2])
    letter(panels[2], "c", "decided sub-samples")
    caption(figure, _caption(ds))
    return figure


def _few(ds: xr.Dataset) -> Page:
    figure = Page(4.0)
    left, right = figure.subplots(1, 2)
    for level in (1 - SURE, SURE):
        left.axhline(level, color=PALE, linewidth=0.7, linestyle="-", zorder=0)
    for c, case in enumerate(ds.case.values):
        colour, marker = plot.PALETTE[c % len(plot.PALETTE)], plot.MARKERS[c % len(plot.MARKERS)]
        line = {"color": colour, "linestyle": plot.DASHES[c % len(plot.DASHES)], "marker": marker, "markersize": 3}
        open_marks = {"color": colour, "linestyle": "none", "marker": marker, "markersize": 6, "fillstyle": "none"}
        for name, look in (("IPO", line), ("DPO", open_marks)):
            p = ds.unstable.sel(objective=name).isel(case=c).transpose("comparisons", "thinning")
            known = p.notnull().any("thinning").values
            x, p = ds.comparisons.values[known], p.values[known]
            left.plot(x, np.median(p, axis=-1), **look)
            if name == "IPO":
                low, high = np.quantile(p, (0.1, 0.9), axis=-1)
                left.fill_between(x, low, high, color=colour, alpha=0.13, linewidth=0)
            share = _decided(ds, name).isel(case=c).values[known]
            right.plot(x, share, label=str(case) if name == "IPO" else None, **look)
    open_mark = {"marker": "o", "fillstyle": "none", "markersize": 6}
    handles = [*right.get_legend_handles_labels()[0], Line2D([], [], color=INK, linestyle="none", **open_mark)]
    names = [*map(str, ds.case.values), "open: DPO"]
    figure.legend(handles, names, loc="outside upper left", ncols=3)
    left.set_ylabel("posterior probability of instability")
    right.set_ylabel("share of sub-samples decided")
    for ax, mark, title in ((left, "a", "what comparisons say"), (right, "b", "how many comparisons decide")):
        _axis(ax)
        letter(ax, mark, title)
    caption(figure, _caption(ds))
    return figure


def _axis(ax: Axes) -> None:
    ax.set_xscale("log")
    ax.set_ylim(-0.03, 1.03)
    ax.set_xlabel("comparisons per pair")


def _thin(ax: Axes, one: xr.Dataset) -> None:
    for level in (1 - SURE, SURE):
        ax.axhline(level, color=PALE, linewidth=0.7, linestyle="-", zorder=0)
    for c in range(one.sizes["case"]):
        p = one.unstable.values[c]
        known = ~np.isnan(p).all(axis=-1)
        colour = COLOURS["DPO"] if one.spectral_radius.values[c] > 1 else COLOURS["IPO"]
        middle = np.median(p[known], axis=-1)
        ax.plot(one.comparisons.values[known], middle, color=colour, linestyle="-", linewidth=0.5, alpha=0.5)


def _decided(ds: xr.Dataset, objective: str) -> xr.DataArray:
    """The share of sub-samples whose posterior is sure, by case and number of comparisons; NaN where there are none."""
    one = ds.sel(objective=objective)
    sure = np.maximum(one.unstable, 1 - one.unstable - one.not_found) >= SURE
    return sure.where(one.unstable.notnull()).mean("thinning")


def _caption(ds: xr.Dataset) -> str:
    settings = json.loads(ds.attrs["config"])
    if ds.attrs["generated"]:
        source = (
            "Win counts drawn from known matrices, K = 3: cycles at shares of the strength at which rounds lose stability "
            "(2.1), and a Bradley–Terry matrix"
        )
    else:
        source = f"Win counts of {ds.sizes['case']} real matrices, thinned without replacement"
    lines = (
        "lines and bands: median and 10 % to 90 % of IPO, open marks: median of DPO; b: by case, DPO open"
        if ds.sizes["case"] <= NAMED
        else "each line the median of one matrix, vermilion where all comparisons together say unstable, blue where stable; c: "
        "mean over matrices"
    )
    return (
        f"{source}; {settings['thinnings']} sub-samples at each number, {settings['draws']} draws of each posterior "
        f"(prior Beta({settings['prior']:g}, {settings['prior']:g}) for each pair); {lines}. α = {settings['alpha']:g}, "
        f"λ = {settings['lam']:g}, β = {settings['beta_ipo']:g} (IPO), {settings['beta_dpo']:g} (DPO). Measured: the spectral "
        f"radius at the point followed from β = ∞ (2.2, 7.1). Decided: probability ≥ {SURE:g} or ≤ {1 - SURE:.2g} (grey "
        "lines). Proven: under IPO, and under DPO at λ = 1, there is no other fixed point (7.1)."
    )
