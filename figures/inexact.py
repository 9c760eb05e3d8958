"""Inexact rounds: oscillation, spectral radius and time to collapse against optimizer steps per round."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, NullLocator

from dynamics import plot
from dynamics.plot import MARKERS

from ._common import COLOURS, INK, PALE, caption, letter, styled
from ._page import Page

STILL = 1e-6  # as the caption says: variance below which a run has settled


@styled
def draw(ds: xr.Dataset) -> Page:
    """Above: cycle strength of IPO and DPO by optimizer. Below: SGD's spectral radius, rounds until the entropy halves."""
    figure = Page(5.3)
    axes = figure.subplots(2, 2, sharex=True)
    onset = _onset(ds)
    for ax, mark, name in zip(axes[0], "ab", ds.objective.values, strict=True):
        _strength(ds.sel(objective=name), ax, onset)
        letter(ax, mark, f"{name}: oscillation on the 3-cycle")
    axes[0, 0].set_ylabel("variance of π over late rounds")
    _radius(ds, axes[1, 0], onset)
    letter(axes[1, 0], "c", "SGD: spectral radius of a round")
    _halved(ds.sel(objective="IPO"), axes[1, 1])
    letter(axes[1, 1], "d", "IPO, α = 1, transitive P: collapse")
    for ax in axes[1]:
        ax.set_xlabel("optimizer steps a round")
    handles, names = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside upper left", ncols=len(handles), handlelength=2.4, columnspacing=1.3)
    settings = json.loads(ds.attrs["config"])
    caption(
        figure,
        f"a–c: P = 1/2 ± {settings['advantage']:g}, α = {settings['alpha']:g}, λ = {settings['lam']:g}, β = "
        f"{settings['ratio']:g} of that at which exact rounds lose stability; SGD goes {settings['approach']:.0%} of the "
        "way a step at the uniform policy. a, b: variance of a coordinate over the second half of "
        f"{settings['rounds']} rounds (measured; open marks, shaded: below 10⁻⁶, one row for each optimizer); “kept”: "
        "moments go on from round to round, “reset”: they start anew. Dotted: exact "
        "rounds. Vertical: where SGD's spectral radius passes 1 (proven: p of the way makes α + (1−p)(1−α) of α and p/β "
        "of 1/β in 2.1). c: line derived, marks by differentiating a round. d: the same β and learning rates (measured), "
        "first round from which the entropy stays below half of log 3.",
    )
    return figure


def _onset(ds: xr.Dataset) -> float:
    """The number of steps, interpolated, at which the predicted radius crosses 1; NaN if it does not."""
    radius, steps = ds.predicted_radius.values, np.log(ds.steps.values)
    up = np.flatnonzero((radius[:-1] <= 1) & (radius[1:] > 1))
    return float(np.exp(np.interp(1.0, radius[up[0] : up[0] + 2], steps[up[0] : up[0] + 2]))) if len(up) else np.nan


def _look(index: int) -> dict[str, Any]:
    return {
        "color": plot.PALETTE[index],
        "linestyle": plot.DASHES[index],
        "marker": MARKERS[index],
        "markersize": 2.8,
        "linewidth": 0.9,
    }


def _strength(one: xr.Dataset, ax: Axes, onset: float) -> None:
    """Lines where runs oscillate; below them a row of open marks for each optimizer where the variance is 0 to rounding."""
    rows = 0
    for index, name in enumerate(one.optimizer.values):
        strength, look = one.cycle_strength.sel(optimizer=name).values, _look(index)
        ax.plot(one.steps, np.where(strength > STILL, strength, np.nan), label=str(name), **look)
        still = one.steps.values[strength <= STILL]
        row = np.full(len(still), 0.25 * STILL * 0.1**rows)
        ax.plot(still, row, **(look | {"linestyle": "none", "fillstyle": "none", "markersize": 3.5}))
        rows += bool(len(still))
    floor = STILL * 10.0 ** -(rows + 0.3)
    ax.axhspan(floor, STILL, color=PALE, alpha=0.3, linewidth=0, zorder=0)
    ax.text(0.98, 0.02, "settled", transform=ax.transAxes, ha="right", va="bottom", fontsize=7)
    ax.axhline(float(one.exact_cycle_strength), color=INK, linestyle=":", linewidth=0.9)
    ax.axvline(onset, color=PALE, linewidth=0.8, linestyle="-", zorder=0)
    ax.set_xscale("log", base=2)
    ax.set_yscale("log")
    ax.set_ylim(floor, 0.6)
    ax.set_yticks([10.0**k for k in range(-6, 0)])
    ax.yaxis.set_minor_locator(NullLocator())


def _radius(ds: xr.Dataset, ax: Axes, onset: float) -> None:
    ax.axhline(1, color=PALE, linewidth=0.8, linestyle="-", zorder=0)
    ax.axvline(onset, color=PALE, linewidth=0.8, linestyle="-", zorder=0)
    ax.plot(ds.steps, ds.predicted_radius, color=INK, linestyle="-", linewidth=0.9, label="derived")
    for name, marker, size in (("IPO", "o", 4.5), ("DPO", "x", 3.5)):
        radius = ds.spectral_radius.sel(objective=name)
        ax.plot(
            ds.steps,
            radius,
            marker,
            color=COLOURS[name],
            markersize=size,
            fillstyle="none",
            linestyle="none",
            label=name,
        )
    ax.set_ylabel("ρ at the uniform policy")
    ax.legend(loc="upper left")
    ax.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g}"))


def _halved(one: xr.Dataset, ax: Axes) -> None:
    for index, name in enumerate(one.optimizer.values):
        rounds = one.half_entropy_round.sel(optimizer=name).values.astype(float)
        ax.plot(one.steps, np.where(rounds > 0, rounds, np.nan), **_look(index))
    ax.set_yscale("log")
    ax.yaxis.set_major_formatter(FuncFormatter(lambda y, _: f"{y:g}"))
    ax.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g}"))
    ax.set_ylabel("rounds until half the entropy")
