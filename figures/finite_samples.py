"""Finite samples: runs and their average, how phases disperse, and fluctuations along beta."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from dynamics import plot
from dynamics.plot import MARKERS

from ._common import COLOURS, INK, PALE, caption, letter, styled
from ._page import Page

SHOWN = 40  # rounds of single runs that are shown; more would be hard to read
RUNS = 4
TITLES = ("single runs, average", "how phases disperse", "fluctuations along β")


@styled
def draw(ds: xr.Dataset) -> Page:
    """A column for each objective: runs and their average, coherence by round, mean squares along beta."""
    figure = Page(6.6)
    axes = figure.subplots(3, 2, sharey="row")
    for column, name in enumerate(ds.objective.values):
        one = ds.sel(objective=name)
        for row, panel in enumerate((_runs, _coherence, _along_beta)):
            panel(one, axes[row, column])
            letter(axes[row, column], "abcdef"[2 * row + column], f"{name}: {TITLES[row]}")
    for ax, label in zip(axes[:, 0], ("Re w (nat)", "coherence", "mean |w|² (nat²)"), strict=True):
        ax.set_ylabel(label)
    handles, names = axes[1, 0].get_legend_handles_labels()
    handles = [Line2D([], [], marker=MARKERS[n % len(MARKERS)], markersize=3, **_shade(n)) for n in range(len(handles))]
    figure.legend(handles, names, loc="outside upper left", ncols=len(handles), handlelength=2.0, columnspacing=1.2)
    settings = json.loads(ds.attrs["config"])
    caption(
        figure,
        f"Rounds of n comparisons on the 3-cycle, P = 1/2 ± {settings['advantage']:g}, α = {settings['alpha']:g}, λ = "
        f"{settings['lam']:g}; w is the oscillating mode, logits z_j = w exp(2πij/3) + c.c. a–d: β = "
        f"{settings['ratio']:g} of the onset's, {ds.sizes['run']} runs from one start (measured). a, b: n = "
        f"{settings['samples'][0]}; {RUNS} runs (thin) and the average of all (thick). c, d: coherence |mean of w| / mean of "
        "|w|, 1 while all runs are in step; a curve ends (dot) where it enters what independent phases leave "
        "(grey). e, f: mean of |w|² over the second half of a run (marks, measured); dashed: 1/(8nβ²(1−ρ²)), for DPO with "
        "β/4 for β (theory, first order in 1/n about the uniform policy, right of the onset); black: exact rounds, which "
        "oscillate only left of the onset (vertical; proven, 2.1).",
    )
    return figure


def _shade(index: int) -> dict[str, Any]:
    return {"color": plot.PALETTE[index % len(plot.PALETTE)], "linestyle": plot.DASHES[index % len(plot.DASHES)]}


def _complex(one: xr.Dataset) -> np.ndarray:
    w = one["mode"].transpose("samples", "round", "run", "part").values
    return w[..., 0] + 1j * w[..., 1]


def _runs(one: xr.Dataset, ax: Axes) -> None:
    w = np.real(_complex(one)[0, : SHOWN + 1])
    ax.axhline(0, color=PALE, linewidth=0.6, linestyle="-", zorder=0)
    ax.plot(w[:, :RUNS], color=COLOURS[str(one.objective.values)], linestyle="-", linewidth=0.6, alpha=0.6)
    ax.plot(w.mean(axis=1), color=INK, linestyle="-", linewidth=1.6)
    ax.margins(x=0.01)
    ax.set_xlabel("round")


def _coherence(one: xr.Dataset, ax: Axes) -> None:
    # The mean of m independent phases has length √(pi/m)/2 on average; below that, a curve is noise.
    floor = float(np.sqrt(np.pi / one.sizes["run"]) / 2)
    for index, w in enumerate(_complex(one)):
        curve = np.abs(w.mean(axis=1)) / np.abs(w).mean(axis=1)
        below = np.flatnonzero(curve < floor)
        last = int(below[0]) if len(below) else len(curve) - 1
        shade = _shade(index)
        ax.plot(curve[: max(last, 1)], label=f"n = {int(one.samples[index]):,}", linewidth=0.9, **shade)
        if len(below):
            ax.plot([max(last, 1) - 1], [curve[max(last, 1) - 1]], ".", color=shade["color"], markersize=4)
    ax.axhspan(0.5 * floor, floor, color=PALE, alpha=0.45, linewidth=0, zorder=0)
    ax.text(0.98, 0.03, "independent", transform=ax.transAxes, ha="right", va="bottom", fontsize=7)
    ax.set_yscale("log")
    ax.set_ylim(0.5 * floor, 1.15)
    ax.set_yticks([0.1, 0.3, 1.0], ["0.1", "0.3", "1"])
    ax.set_xlim(-0.01 * one.sizes["round"], 1.01 * one.sizes["round"])
    ax.set_xlabel("round")


def _along_beta(one: xr.Dataset, ax: Axes) -> None:
    ratio = one.ratio.values
    measured = one.mean_square.mean("cut_run").transpose("samples", "ratio").values
    for index, row in enumerate(measured):
        colour = plot.PALETTE[index % len(plot.PALETTE)]
        ax.plot(ratio, row, MARKERS[index % len(MARKERS)], color=colour, markersize=2.4, linestyle="none")
        line = one.linear_noise.transpose("samples", "ratio").values[index]
        ax.plot(ratio, line, color=colour, linestyle=(0, (3, 1.5)), linewidth=0.8)
    exact = one.exact_mean_square.values
    left = ratio < 1
    ax.plot(ratio[left], exact[left], color=INK, linestyle="-", linewidth=1.1, label="exact rounds")
    ax.axvline(1, color=PALE, linewidth=0.7, linestyle="-", zorder=0)
    ax.set_yscale("log")
    ax.set_xlabel("β / β at the onset")
