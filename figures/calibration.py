"""Stated against true probabilities of instability, and how often 90% intervals cover, law by law."""

from __future__ import annotations

import json

import numpy as np
import xarray as xr
from matplotlib.axes import Axes

from dynamics import plot
from dynamics._shares import share

from ._common import INK, PALE, caption, letter, styled
from ._page import Page

EDGES = np.array([0, 0.05, 0.2, 0.4, 0.6, 0.8, 0.95, 1])
ASKED_COVER = 0.85  # of 90% intervals
MARKS = {"hierarchical": "o", "independent": "s"}


@styled
def draw(ds: xr.Dataset) -> Page:
    """Left: stated and true probabilities of instability. Right: coverage of 90% intervals of the radius by law."""
    figure = Page(max(3.2, 0.17 * ds.sizes["law"] + 1.6))
    left, right = figure.subplots(1, 2, width_ratios=[1, 1.1])
    _reliability(left, ds)
    letter(left, "a", "probability of instability")
    _cover(right, ds)
    letter(right, "b", "coverage of 90% intervals of the radius")
    figure.legend(*left.get_legend_handles_labels(), loc="outside upper center", ncols=2, fontsize=7)
    settings = json.loads(ds.attrs["config"])
    caption(
        figure,
        f"Truths from {ds.sizes['law']} laws, at most {settings['sets']} data sets of each, {settings['draws']} draws of each "
        "posterior; IPO, α = 0.5, λ = 1. Left: means over data sets whose stated probability lies between .05, .2, .4, .6, .8 "
        "and .95, with 95% binomial intervals. Right: shares with 95% binomial intervals; the dotted line is what was asked, "
        "the full line what is stated. Measured, against radii at the only fixed point, as proven (2.2, 7.1).",
    )
    return figure


def _reliability(ax: Axes, ds: xr.Dataset) -> None:
    ax.plot([0, 1], [0, 1], color=PALE, linewidth=0.8, zorder=0)
    truth = ds.truth.values.ravel()
    for n, model in enumerate(ds.model.values):
        p = ds.unstable.sel(model=model).values.ravel()
        bins = np.clip(np.digitize(p, EDGES) - 1, 0, len(EDGES) - 2)
        points = []
        for k in range(len(EDGES) - 1):
            inside = (bins == k) & ~np.isnan(p)
            if inside.any():
                true, low, high = share(int(truth[inside].sum()), int(inside.sum()))
                points.append((p[inside].mean(), true, true - low, high - true))
        x, y, below, above = np.array(points).T
        style = {"color": plot.PALETTE[n], "marker": MARKS[str(model)], "markersize": 3.5, "linewidth": 1}
        ax.errorbar(x, y, yerr=np.maximum([below, above], 0), label=str(model), elinewidth=0.7, **style)
    ax.set_xlabel("stated")
    ax.set_ylabel("true")
    ax.set_xlim(-0.03, 1.03)
    ax.set_ylim(-0.03, 1.03)


def _cover(ax: Axes, ds: xr.Dataset) -> None:
    ax.axvline(0.9, color=PALE, linewidth=0.8, zorder=0)
    ax.axvline(ASKED_COVER, color=INK, linewidth=0.6, linestyle=":", zorder=0)
    at = np.arange(ds.sizes["law"])
    for n, model in enumerate(ds.model.values):
        values = ds.cover.sel(model=model, level=0.9).values
        known = [row[~np.isnan(row)] for row in values]
        covered, low, high = np.array([share(int(row.sum()), len(row)) for row in known]).T
        ends = np.maximum([covered - low, high - covered], 0)
        style = {"color": plot.PALETTE[n], "marker": MARKS[str(model)], "markersize": 3, "linestyle": "none"}
        ax.errorbar(covered, at + 0.14 * (2 * n - 1), xerr=ends, elinewidth=0.7, **style)
    ax.set_yticks(at, [str(name) for name in ds.law.values], fontsize=6.5)
    ax.invert_yaxis()
    ax.set_xlim(-0.03, 1.03)
    ax.set_xlabel("share of truths inside")
