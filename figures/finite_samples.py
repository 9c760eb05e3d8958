"""Finite samples: runs and their average, how phases disperse, and fluctuations along beta."""

from __future__ import annotations

import json

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from dynamics import plot
from dynamics.plot import MARKERS

from ._common import COLOURS, INK, PALE, caption, letter, styled

SHOWN = 40  # rounds of single runs that are shown; more would be hard to read
RUNS = 4


@styled
def draw(ds: xr.Dataset) -> Figure:
    """A row for each objective: runs and average, the last w of every run, coherence, mean squares along beta."""
    figure = Figure(figsize=(7.4, 4.6), layout="constrained")
    axes = figure.subplots(2, 4, width_ratios=[1.15, 0.95, 1.05, 1.15])
    for row, name in enumerate(ds.objective.values):
        one = ds.sel(objective=name)
        for column, panel in enumerate((_runs, _plane, _coherence, _along_beta)):
            panel(one, axes[row, column])
            letter(axes[row, column], "abcdefgh"[4 * row + column], _TITLES[column] if row == 0 else "")
        axes[row, 0].set_ylabel(f"{name}: Re w (nat)")
    handles, names = axes[0, 2].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside upper left", ncols=len(handles), handlelength=2.0, columnspacing=1.2)
    settings = json.loads(ds.attrs["config"])
    caption(
        figure,
        f"Rounds of n comparisons on the 3-cycle, P = 1/2 ± {settings['advantage']:g}, α = {settings['alpha']:g}, λ = "
        f"{settings['lam']:g}; w is the oscillating mode, logits z_j = w exp(2πij/3) + c.c. a–c, e–g: β = "
        f"{settings['ratio']:g} of the onset's, {ds.sizes['run']} runs from one start. a, e: n = "
        f"{settings['samples'][0]}; {RUNS} runs (thin) and the average of all (thick). b, f: w of every run in round "
        f"{settings['rounds']}, at the smallest n and at the largest; circle: amplitude without noise. c, g: |mean of w| "
        "over mean of |w|, 1 in step, drawn until it first falls "
        "to what independent phases leave (grey). d, h: mean of |w|² over the second half of "
        "a run (dots, measured); dashed: 1/(8nβ²(1-ρ²)), DPO: β/4 for β (derived, first order in 1/n about "
        "the uniform policy); black: without noise; vertical: the onset (proven, 2.1).",
    )
    return figure


_TITLES = ("single runs, average", "phases", "coherence", "fluctuations")


def _shade(index: int) -> dict[str, object]:
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


def _plane(one: xr.Dataset, ax: Axes) -> None:
    w = _complex(one)
    exact = one["exact"].values
    tenth = max(len(exact) // 10, 1)
    radius = float(np.sqrt(np.mean(np.sum(exact[-tenth:] ** 2, axis=-1))))
    ring = radius * np.exp(1j * np.linspace(0, 2 * np.pi, 200))
    ax.plot(ring.real, ring.imag, color=PALE, linestyle="-", linewidth=0.7, zorder=0)
    largest = len(w) - 1
    for index, marker in ((0, "o"), (largest, "D")):
        last = w[index, -1]
        ax.plot(last.real, last.imag, marker, color=plot.PALETTE[index], markersize=1.8, markeredgewidth=0, alpha=0.8)
    ax.set_aspect("equal")
    extent = 1.25 * np.quantile(np.abs(w[[0, largest], -1]), 0.98)
    ax.set_xlim(-extent, extent)
    ax.set_ylim(-extent, extent)
    ax.set_xlabel("Re w (nat)")
    ax.set_ylabel("Im w (nat)")


def _coherence(one: xr.Dataset, ax: Axes) -> None:
    # The mean of m independent phases has length √(pi/m)/2 on average; below that, a curve is noise.
    floor = float(np.sqrt(np.pi / one.sizes["run"]) / 2)
    for index, w in enumerate(_complex(one)):
        curve = np.abs(w.mean(axis=1)) / np.abs(w).mean(axis=1)
        curve = np.where(np.cumsum(curve < floor) > 0, np.nan, curve)
        ax.plot(curve, label=f"n = {int(one.samples[index]):,}", linewidth=0.9, **_shade(index))  # pyright: ignore
    ax.axhline(floor, color=PALE, linewidth=0.6, linestyle="-", zorder=0)
    ax.set_yscale("log")
    ax.set_ylim(0.7 * floor, 1.15)
    ax.margins(x=0.01)
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
    ax.plot(ratio, np.where(exact > 1e-9, exact, np.nan), color=INK, linestyle="-", linewidth=0.9)
    ax.axvline(1, color=PALE, linewidth=0.7, linestyle="-", zorder=0)
    ax.set_yscale("log")
    ax.set_ylim(0.5 * np.nanmin(measured), 3 * np.nanmax(measured))
    ax.set_ylabel("mean |w|² (nat²)")
    ax.set_xlabel("β / β at the onset")
