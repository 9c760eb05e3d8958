"""Entropy as a remedy: where rounds on a preference cycle settle over beta and gamma, for two rewards and two references."""

from __future__ import annotations

import json

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LinearSegmentedColormap, Normalize
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from ._common import INK, caption, letter, styled
from ._page import Page

CONVERGED, OSCILLATING = 1, 2
PROVEN, STABLE, UNSTABLE = "#9ECAE1", "#F0F0EC", "#FFE9C4"
AMPLITUDE = LinearSegmentedColormap.from_list("amplitude", ["#FFE9C4", "#F6B45E", "#D55E00", "#7A2E00"])
TITLES = {"win-rate": "win rates", "bradley-terry": "Bradley–Terry rewards"}


@styled
def draw(ds: xr.Dataset) -> Page:
    """Four panels over (beta, gamma): rewards by columns, alpha by rows."""
    figure = Page(6.4)
    grid = figure.subplots(2, 2, sharex=True, sharey=True)
    marks = iter("abcd")
    for row, alpha in zip(grid, ds.alpha.values, strict=True):
        for ax, reward in zip(row, ds.reward.values, strict=True):
            _panel(ds.sel(alpha=alpha, reward=reward), ax)
            letter(ax, next(marks), f"{TITLES[str(reward)]}, α = {alpha:g}")
    for ax in grid[:, 0]:
        ax.set_ylabel("γ, weight of the entropy")
    for ax in grid[1]:
        ax.set_xlabel("β")
    bar = figure.colorbar(ScalarMappable(Normalize(0, 0.5), AMPLITUDE), ax=list(grid.ravel()), shrink=0.6, aspect=30)
    bar.set_label("amplitude of the oscillation, simulated")
    handles = [
        Patch(facecolor=PROVEN, edgecolor=INK, linewidth=0.3, label="proven to converge (7.16)"),
        Patch(facecolor=STABLE, edgecolor=INK, linewidth=0.3, label="locally stable (7.16)"),
        Line2D([], [], color=INK, linewidth=1.5, label="onset (7.16): unstable below, proven"),
        Line2D(
            [], [], marker="o", markersize=2.5, color="white", markeredgecolor=INK, linestyle="none", label="settles"
        ),
    ]
    figure.legend(handles=handles, loc="outside upper center", ncols=4, fontsize=7)
    caption(figure, _caption(ds))
    return figure


def _panel(one: xr.Dataset, ax: Axes) -> None:
    beta, gamma = one.beta.values, one.gamma.values
    edges = _edges(beta)
    ground = np.where(one.proven.values, 0.0, np.where(one.radius.values < 1, 1.0, 2.0))
    colours = LinearSegmentedColormap.from_list("ground", [PROVEN, STABLE, UNSTABLE])
    ax.pcolormesh(edges, _edges(gamma), ground.T, cmap=colours, vmin=0, vmax=2, rasterized=True)
    moving = one.verdict.values == OSCILLATING
    shown = np.ma.masked_where(~moving, one.amplitude.values)
    ax.pcolormesh(edges, _edges(gamma), shown.T, cmap=AMPLITUDE, vmin=0, vmax=0.5, rasterized=True)
    x, y = np.meshgrid(beta, gamma, indexing="ij")
    settled = np.isin(one.verdict.values, (0, CONVERGED))
    ax.scatter(x[settled], y[settled], s=1.5, color="white", edgecolors=INK, linewidths=0.25, zorder=2)
    edge = one.threshold.values
    ax.plot(beta, np.where(edge > 0, edge, np.nan), color=INK, linewidth=1.5, linestyle="-", zorder=3)
    ax.set_xscale("log")
    ax.set_yscale("log")
    ax.set_xlim(edges[0], edges[-1])
    ax.set_ylim(edges[0], edges[-1])


def _edges(centres: np.ndarray) -> np.ndarray:
    step = np.log(centres[1] / centres[0])
    return np.exp(np.append(np.log(centres) - step / 2, np.log(centres[-1]) + step / 2))


def _caption(ds: xr.Dataset) -> str:
    settings = json.loads(ds.attrs["config"])
    return (
        f"Three responses in a preference cycle, P = 1/2 ± {settings['advantage']:g}; reverse KL in rounds, λ = 1. Shades "
        f"and line: theory, derived (7.16). Cells and dots: simulation, {settings['rounds']} rounds from (.5, .3, .2). With "
        "Bradley–Terry rewards no global theorem applies: other matrices and references make any γ unstable (squared radius "
        f"{float(ds.run_square):.2f} at α = .5, β = γ = 1 for one of them)."
    )
