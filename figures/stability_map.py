"""The stability map: what is proven (shades of blue), what is unstable, what simulation found (colour of the cells)."""

from __future__ import annotations

import json

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LinearSegmentedColormap, Normalize
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from ._common import INK, caption, letter, styled

CONVERGED, OSCILLATING = 1, 2  # values of the flags of verdict
BLUES = ("#08519C", "#4292C6", "#9ECAE1")
STRIP = "#F0F0EC"
UNSTABLE = "#FFE9C4"
AMPLITUDE = LinearSegmentedColormap.from_list("amplitude", ["#FFE9C4", "#F6B45E", "#D55E00", "#7A2E00"])


@styled
def draw(ds: xr.Dataset) -> Figure:
    """IPO and DPO side by side over (alpha, lam/beta), with a legend."""
    figure = Figure(figsize=(7.4, 4.9), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    for ax, name, mark in ((left, "IPO", "a"), (right, "DPO", "b")):
        one = ds.sel(objective=name)
        widest = _widest(one)
        _regions(one, ax, name, widest)
        _cells(one, ax)
        _curve(one, ax)
        letter(ax, mark, f"iterated {name}")
        ax.set_xlim(0, widest)
        ax.set_ylim(0, 1)
        ax.set_xlabel("λ/β")
    left.set_ylabel("α, share of the policy in the next reference")
    bar = figure.colorbar(
        ScalarMappable(Normalize(0, 0.5), AMPLITUDE), ax=[left, right], shrink=0.75, pad=0.015, aspect=28
    )
    bar.set_label("amplitude of the oscillation, measured")
    bar.outline.set_linewidth(0.4)  # pyright: ignore[reportCallIssue]
    _key(figure)
    caption(figure, _caption(ds))
    return figure


def _widest(one: xr.Dataset) -> float:
    ratio = one.lam_over_beta.values
    return float(ratio[-1] + ratio[0])


def _regions(one: xr.Dataset, ax: Axes, name: str, widest: float) -> None:
    alpha = one.curve_alpha.values
    curve = {str(s): np.minimum(one.boundary.sel(statement=s).values, widest) for s in one.statement.values}
    onset = curve["2.1 onset"]
    ax.fill_betweenx(alpha, 0, onset, color=STRIP, linewidth=0, zorder=0)
    ax.fill_betweenx(alpha, onset, widest, color=UNSTABLE, linewidth=0, zorder=0)
    if name == "DPO":
        return
    # Each shade adds the region that the previous ones do not reach.
    reached = np.zeros_like(alpha)
    norms = np.maximum(curve["7.3 span"], curve["7.3 two-norm"])
    added = (curve["2.3 published"], norms, np.maximum(curve["7.2 global"], curve["7.15 global"]))
    for end, colour in zip(added, BLUES, strict=True):
        ax.fill_betweenx(alpha, reached, np.maximum(reached, end), color=colour, linewidth=0, zorder=0)
        reached = np.maximum(reached, end)


def _cells(one: xr.Dataset, ax: Axes) -> None:
    """Measured: cells that oscillate, by amplitude; dots where runs settle; crosses where neither was decided."""
    verdict = one.verdict.transpose("start", "alpha", "column").values
    amplitude = one.amplitude.transpose("start", "alpha", "column").values.max(axis=0)
    moving, settled = (verdict == OSCILLATING).any(axis=0), (verdict == CONVERGED).all(axis=0)
    ratio, alpha = one.lam_over_beta.values, one.alpha.values
    shown = np.ma.masked_where(~moving, amplitude)
    ax.pcolormesh(_edges(ratio), _edges(alpha), shown, cmap=AMPLITUDE, vmin=0, vmax=0.5, zorder=1, rasterized=True)
    thin = max(1, round(len(alpha) / 41))
    x, y = np.meshgrid(ratio, alpha)
    pick = (np.arange(len(alpha)) % thin == 0)[:, None] & (np.arange(len(ratio)) % thin == 0)[None]
    dots = settled & pick
    ax.scatter(x[dots], y[dots], s=1.2, color="white", edgecolors=INK, linewidths=0.25, zorder=2)
    neither = ~settled & ~moving & pick
    ax.scatter(x[neither], y[neither], s=7, marker="x", color=INK, linewidths=0.5, zorder=3)


def _edges(centres: np.ndarray) -> np.ndarray:
    step = centres[1] - centres[0]
    return np.append(centres - step / 2, centres[-1] + step / 2)


def _curve(one: xr.Dataset, ax: Axes) -> None:
    onset = one.boundary.sel(statement="2.1 onset").values
    ax.plot(onset, one.curve_alpha.values, color="white", linewidth=3.0, linestyle="-", zorder=4)
    ax.plot(onset, one.curve_alpha.values, color=INK, linewidth=1.5, linestyle="-", zorder=5)


def _key(figure: Figure) -> None:
    edge = {"edgecolor": INK, "linewidth": 0.3}
    handles = [
        Patch(facecolor=BLUES[0], label="proven to converge: published contraction (2.3)", **edge),
        Patch(facecolor=BLUES[1], label="… and further: other norms (7.3)", **edge),
        Patch(facecolor=BLUES[2], label="… and further: relative entropy (7.2, 7.15)", **edge),
        Patch(facecolor=STRIP, label="locally stable (2.1); globally unproven", **edge),
        Line2D([], [], color=INK, linewidth=1.5, label="onset (2.1): unstable to the right, proven"),
        Patch(facecolor=AMPLITUDE(0.6), label="simulated: oscillates", **edge),
        Line2D(
            [],
            [],
            marker="o",
            markersize=2.5,
            color="white",
            markeredgecolor=INK,
            markeredgewidth=0.4,
            linestyle="none",
            label="simulated: converges",
        ),
        Line2D(
            [],
            [],
            marker="x",
            markersize=3.5,
            color=INK,
            markeredgewidth=0.6,
            linestyle="none",
            label="simulated: undecided within the run",
        ),
    ]
    figure.legend(handles=handles, loc="outside upper center", ncols=3, fontsize=7, columnspacing=1.4, handlelength=1.6)


def _caption(ds: xr.Dataset) -> str:
    settings = json.loads(ds.attrs["config"])
    starts = len(settings["starts"])
    return (
        f"Three responses in a preference cycle, P = 1/2 ± {settings['advantage']:g}; λ = 1; {settings['cells']} × "
        f"{settings['cells']} runs of {settings['rounds']} rounds from {starts} start{'s' * (starts > 1)} off uniform. "
        "Shades and curve: theory. Cells, dots and crosses: simulation. For DPO no global theorem applies; its onset "
        "is that of IPO at a quarter of λ/β. Numbers in brackets: statements; 2.3 and IPO's 2.1 are Chen et al. 2026, "
        "the rest derived."
    )
