"""Prompts that share parameters: orbit diagrams of two without a cycle, and neighbours of a cyclic one."""

from __future__ import annotations

import json

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from dynamics import plot

from ._common import INK, caption, letter, styled
from ._page import Page

PROMPTS = (plot.PALETTE[0], plot.PALETTE[1])
MARKERS = "os^Dv<"


@styled
def draw(ds: xr.Dataset) -> Page:
    """Orbit diagrams of IPO and DPO, the plane of win rates, and amplitudes beside a cyclic prompt."""
    figure = Page(5.6)
    (one, two), (three, four) = figure.subplots(2, 2)
    for ax, objective, mark in ((one, "IPO", "a"), (two, "DPO", "b")):
        _orbits(ds, objective, ax)
        letter(ax, mark, f"two prompts, two answers each, {objective}")
    _plane(ds, three, figure)
    letter(three, "c", f"which pairs, IPO, β = {json.loads(ds.attrs['config'])['map_beta']:g}")
    _cyclic(ds, four)
    letter(four, "d", "beside a cyclic prompt, IPO")
    caption(figure, _caption(ds))
    return figure


def _orbits(ds: xr.Dataset, objective: str, ax: Axes) -> None:
    orbit = ds.orbit.sel(objective=objective)
    beta = ds.beta.values * (4 if objective == "DPO" else 1)
    for prompt, colour in enumerate(PROMPTS):
        values = orbit.isel(prompt=prompt).transpose("beta", "last").values
        ax.plot(
            np.repeat(beta, values.shape[1]), values.ravel(), linestyle="none", marker=".", markersize=0.9, color=colour,
            rasterized=True,
        )  # fmt: skip
        ax.plot(
            beta,
            ds.alone.sel(objective=objective).isel(prompt=prompt).values,
            color=colour,
            linestyle="--",
            linewidth=1,
        )
    if objective == "IPO":
        ax.axvline(float(ds.critical), color=INK, linewidth=0.8, linestyle=":")
    else:
        handles = [
            Line2D([], [], linestyle="none", marker="o", markersize=3, color=colour, label=f"prompt {n + 1}, together")
            for n, colour in enumerate(PROMPTS)
        ]
        handles.append(Line2D([], [], color=INK, linestyle="--", linewidth=1, label="each alone"))
        handles.append(Line2D([], [], color=INK, linestyle=":", linewidth=0.8, label="theory: slope -1 (a)"))
        ax.legend(handles=handles, loc="center right", bbox_to_anchor=(1.0, 0.4))
    ticks = [b for b in (0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0) if beta[0] <= b <= beta[-1] * 1.001]
    ax.set_xscale("log")
    ax.set_xticks(ticks, [f"{b:g}" for b in ticks])
    ax.minorticks_off()
    ax.set(xlabel="β", ylabel="probability of the first answer", ylim=(-0.03, 1.03))


def _plane(ds: xr.Dataset, ax: Axes, figure: Page) -> None:
    x, y = ds.second.values, ds["first"].values
    drawn = ax.pcolormesh(
        x, y, ds.plane.transpose("first", "second").values, cmap="viridis", vmin=0, vmax=0.5, rasterized=True
    )
    figure.colorbar(drawn, ax=ax, label="amplitude of prompt 2", ticks=[0, 0.25, 0.5])
    ax.set(xlabel="first answer preferred, prompt 2", ylabel="the same, prompt 1")
    ax.set(xlim=(0, 1), ylim=(0, 1), xticks=[0, 0.5, 1], yticks=[0, 0.5, 1])


def _cyclic(ds: xr.Dataset, ax: Axes) -> None:
    wide = len(ds.parameters)
    for n, size in enumerate(ds.parameters.values):
        one = ds.amplitude.sel(parameters=size)
        shift = 0.03 * (n - (wide - 1) / 2)
        marker = MARKERS[n % len(MARKERS)]
        for which, colour in zip(ds.which.values, PROMPTS, strict=True):
            values = one.sel(which=which).transpose("overlap", "draw").values
            ax.plot(
                np.repeat(ds.overlap.values + shift, values.shape[1]), values.ravel(), linestyle="none", marker=marker,
                markersize=3, color=colour, alpha=0.45,
            )  # fmt: skip
            ax.plot(
                ds.overlap.values + shift,
                values.mean(axis=1),
                color=colour,
                marker=marker,
                markersize=5,
                linewidth=0.9,
                linestyle="-",
            )
    handles = [
        Line2D(
            [],
            [],
            color=INK,
            linestyle="none",
            marker=MARKERS[n % len(MARKERS)],
            markersize=4,
            label=f"{size} parameters",
        )
        for n, size in enumerate(ds.parameters.values)
    ]
    handles += [
        Line2D([], [], color=colour, linewidth=1.5, label=label)
        for colour, label in zip(PROMPTS, ("cyclic prompt", "most shaken neighbour"), strict=True)
    ]
    ax.legend(handles=handles, loc="upper center", bbox_to_anchor=(0.5, 0.92), ncols=2)
    ax.set(xlabel="overlap of features", ylabel="amplitude", ylim=(-0.03, 0.95), xlim=(-0.1, 1.02))
    ax.set_yticks([0, 0.25, 0.5])


def _caption(ds: xr.Dataset) -> str:
    settings = json.loads(ds.attrs["config"])
    (first, second), most = settings["wins"], float(ds.exponent.max())
    return (
        f"Exact rounds, α = {settings['alpha']:g}, λ = 1. a, b: margins θ and {settings['slope']:g}θ of two prompts; their "
        f"first answers are preferred with {first:g} and {second:g}; simulation, the last 64 of {settings['rounds']:,} rounds. "
        f"Each alone converges at rate α; together they alternate and become chaotic (Lyapunov exponent up to {most:.2f} a "
        "round); at small β prompt 1 wins. Dotted: theory, derived. c: simulation, measured. d: four prompts with three "
        f"answers, one cyclic, the others Bradley–Terry, β = {settings['beta']:g}; dots are draws, lines means. Eight "
        "parameters allow any policies, and then, by theory, neighbours rest."
    )
