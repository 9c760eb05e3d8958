"""The probability that rounds are unstable against the number of comparisons, and the number that decides."""

from __future__ import annotations

import json

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from dynamics import plot

from ._common import COLOURS, PALE, caption, letter, styled

SURE = 0.95
NAMED = 5  # up to this many cases have labelled lines; with more, all lines are thin
DASHES = {"IPO": "-", "DPO": (0, (5, 1.5))}


@styled
def draw(ds: xr.Dataset) -> Figure:
    """Left and middle: posterior probability of instability, by objective. Right: share of sub-samples that decide."""
    figure = Figure(figsize=(7.4, 3.3), layout="constrained")
    panels = figure.subplots(1, 3, width_ratios=[1, 1, 0.9])
    for ax, name, mark in zip(panels, ds.objective.values, "ab", strict=False):
        _curves(ax, ds.sel(objective=name))
        letter(ax, mark, str(name))
    panels[0].set_ylabel("posterior probability of instability")
    panels[1].set_yticklabels([])
    _decided(panels[2], ds)
    letter(panels[2], "c", "decided sub-samples")
    if ds.sizes["case"] <= NAMED:
        handles, labels = panels[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside upper center", ncols=3, fontsize=7)
    caption(figure, _caption(ds))
    return figure


def _curves(ax: Axes, one: xr.Dataset) -> None:
    x = one.comparisons.values
    for level in (1 - SURE, SURE):
        ax.axhline(level, color=PALE, linewidth=0.7, zorder=0)
    few = one.sizes["case"] <= NAMED
    for c, case in enumerate(one.case.values):
        p = one.unstable.values[c]
        known = ~np.isnan(p).all(axis=-1)
        middle = np.median(p[known], axis=-1)
        if few:
            colour = plot.PALETTE[c % len(plot.PALETTE)]
            low, high = np.quantile(p[known], (0.1, 0.9), axis=-1)
            ax.fill_between(x[known], low, high, color=colour, alpha=0.15, linewidth=0)
            style = {"linestyle": plot.DASHES[c % len(plot.DASHES)], "marker": "osD^v"[c % 5], "markersize": 3.2}
            ax.plot(x[known], middle, color=colour, label=str(case), **style)
        else:
            colour = COLOURS["DPO"] if one.spectral_radius.values[c] > 1 else COLOURS["IPO"]
            ax.plot(x[known], middle, color=colour, linestyle="-", linewidth=0.5, alpha=0.5)
    ax.set_xscale("log")
    ax.set_ylim(-0.03, 1.03)
    ax.set_xlabel("comparisons per pair")


def _decided(ax: Axes, ds: xr.Dataset) -> None:
    x = ds.comparisons.values
    for name in ds.objective.values:
        one = ds.sel(objective=name)
        p, missing = one.unstable.values, one.not_found.values
        known = ~np.isnan(p)
        sure = np.maximum(np.nan_to_num(p), np.where(known, 1 - np.nan_to_num(p) - missing, 0)) >= SURE
        count = known.sum(axis=(0, 2))
        share = np.where(count > 0, (sure & known).sum(axis=(0, 2)) / np.maximum(count, 1), np.nan)
        ax.plot(x, share, color=COLOURS[str(name)], linestyle=DASHES[str(name)], marker="o", markersize=3, label=name)
    ax.set_xscale("log")
    ax.set_ylim(-0.03, 1.03)
    ax.set_xlabel("comparisons per pair")
    ax.set_ylabel("share of sub-samples decided")
    ax.legend(loc="lower right")


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
        "lines: median, bands: 10% to 90%"
        if ds.sizes["case"] <= NAMED
        else "each line the median of one matrix, vermilion where all comparisons together say unstable, blue where stable"
    )
    return (
        f"{source}; {settings['thinnings']} sub-samples at each number, {settings['draws']} draws of each posterior "
        f"(prior Beta({settings['prior']:g}, {settings['prior']:g}) for each pair); {lines}. α = {settings['alpha']:g}, "
        f"λ = {settings['lam']:g}, β = {settings['beta_ipo']:g} (IPO), {settings['beta_dpo']:g} (DPO). Measured: the spectral "
        f"radius at the point followed from β = ∞ (2.2, 7.1). Decided (grey): probability ≥ {SURE:g} or ≤ {1 - SURE:.2g}. "
        "Proven: under IPO, and under DPO at λ = 1, there is no other fixed point (7.1)."
    )
