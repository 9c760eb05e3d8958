"""Where each method ends: distances from equilibria, and pairs ordered against average win rates."""

from __future__ import annotations

import json

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from dynamics import plot

from ._common import INK, PALE, caption, letter, styled
from ._page import Page

RESTS, MOVES = plot.PALETTE[:2]
FLOOR = 1e-17


@styled
def draw(ds: xr.Dataset) -> Page:
    """Three panels with a row for each method; a dot is a matrix."""
    figure = Page(4.6)
    axes = figure.subplots(1, 3, sharey=True)
    for ax, name, mark, title in zip(
        axes,
        ("to_nash", "to_lottery", "against_borda"),
        "abc",
        ("equilibrium at τ", "maximal lottery", "Borda's order"),
        strict=True,
    ):
        _dots(ds, name, ax)
        letter(ax, mark, title)
    axes[0].set_xscale("log")
    axes[0].set_xlim(FLOOR / 3, 3)
    axes[0].set_xticks([1e-16, 1e-8, 1.0])
    axes[0].minorticks_off()
    axes[0].set_xlabel("total variation")
    axes[1].set(xlabel="total variation", xlim=(-0.04, 1.04))
    axes[2].set(xlabel="share of pairs reversed", xlim=(-0.04, 1.04))
    axes[0].set_yticks(range(ds.sizes["approach"]), list(ds.approach.values))
    axes[0].set_ylabel("method")
    axes[0].set_ylim(ds.sizes["approach"] - 0.5, -0.5)
    handles = [
        Line2D([], [], linestyle="none", marker=marker, color=colour, markersize=4, label=label)
        for marker, colour, label in (("o", RESTS, "at rest"), ("s", MOVES, "average of a run that keeps moving"))
    ]
    handles.append(
        Line2D([], [], linestyle="none", marker="|", color=INK, markersize=9, markeredgewidth=1.5, label="median")
    )
    figure.legend(handles=handles, loc="outside upper right", ncols=3)
    caption(figure, _caption(ds))
    return figure


def _dots(ds: xr.Dataset, name: str, ax: Axes) -> None:
    for row, approach in enumerate(ds.approach.values):
        one = ds.sel(approach=approach)
        values = np.maximum(one[name].values, FLOOR) if name == "to_nash" else one[name].values
        still = one.rests.values
        for chosen, colour, marker, shift in ((still, RESTS, "o", -0.12), (~still, MOVES, "s", 0.16)):
            ax.plot(
                values[chosen], np.full(int(chosen.sum()), row + shift), linestyle="none", marker=marker,
                markersize=3.2, color=colour, alpha=0.5,
            )  # fmt: skip
        if np.isfinite(values).any():
            ax.plot([np.nanmedian(values)], [row], marker="|", color=INK, markersize=10, markeredgewidth=1.5)
        ax.axhline(row + 0.5, color=PALE, linewidth=0.4, zorder=0)


def _caption(ds: xr.Dataset) -> str:
    settings = json.loads(ds.attrs["config"])
    families = ", ".join(dict.fromkeys(map(str, ds.family.values)))
    return (
        f"Last policies on {ds.sizes['matrix']} preference matrices ({families}) by simulation, {settings['rounds']:,} rounds "
        f"from the uniform policy at temperature τ = γ = β = {settings['temperature']:g} and each method's usual step. a: "
        "distance from the equilibrium regularised at τ; theory, derived (7.1, 8.1, 8.2): all that rest, but Nash-MD, do so "
        "there. b: distance from the equilibrium without temperature; where it is not unique, from one of them. c: pairs of "
        "responses in another order than that of their average win rates."
    )
