"""The stability map: what is proven (shades of blue), what is unstable, what simulation found (colour of the cells)."""

from __future__ import annotations

import json

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LinearSegmentedColormap, Normalize
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from dynamics import plot

from ._common import INK, KAPPA, caption, letter, styled
from ._page import Page

CONVERGED, OSCILLATING, UNDECIDED = 1, 2, 3  # values of the flags of verdict
PERIODIC = 1  # value of the flags of period_kind
BLUES = ("#08519C", "#4292C6", "#9ECAE1")
STRIP = "#F0F0EC"
UNSTABLE = "#FFE9C4"
AMPLITUDE = LinearSegmentedColormap.from_list("amplitude", ["#FFE9C4", "#F6B45E", "#D55E00", "#7A2E00"])


@styled
def draw(ds: xr.Dataset) -> Page:
    """IPO and DPO side by side over (alpha, kappa lam/beta), where their onsets are one curve, with a legend."""
    figure = Page(4.9)
    left, right = figure.subplots(1, 2, sharey=True)
    for ax, name, mark in ((left, "IPO", "a"), (right, "DPO", "b")):
        one = _scaled(ds.sel(objective=name))
        widest = _widest(one)
        _regions(one, ax, name, widest)
        _cells(one, ax)
        _curve(one, ax)
        letter(ax, mark, f"iterated {name}")
        ax.set_xlim(0, widest)
        ax.set_ylim(0, 1)
        ax.set_xlabel(f"κλ/β (κ = {KAPPA[name]:g})")
    left.set_ylabel("α, share of the policy in the next reference")
    bar = figure.colorbar(
        ScalarMappable(Normalize(0, 0.5), AMPLITUDE), ax=[left, right], shrink=0.75, pad=0.015, aspect=28
    )
    bar.set_label("amplitude of the oscillation, measured")
    bar.outline.set_linewidth(0.4)  # pyright: ignore[reportCallIssue]
    _key(figure)
    caption(figure, _caption(ds))
    return figure


def _scaled(one: xr.Dataset) -> xr.Dataset:
    """With kappa lam/beta in place of lam/beta."""
    kappa = KAPPA[str(one.objective.values)]
    return one.assign(lam_over_beta=kappa * one.lam_over_beta, boundary=kappa * one.boundary)


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
    flags = np.select([moving, settled], [OSCILLATING, CONVERGED], UNDECIDED)
    plot.verdict_cells(ax, ratio, alpha, flags, amplitude, bar=False)
    x, y = np.meshgrid(ratio, alpha)
    locked = moving & (one.period_kind.transpose("start", "alpha", "column").values == PERIODIC).any(axis=0)
    ax.scatter(x[locked], y[locked], s=2.5, marker="s", color="white", linewidths=0, zorder=3)


def _curve(one: xr.Dataset, ax: Axes) -> None:
    onset = one.boundary.sel(statement="2.1 onset").values
    ax.plot(onset, one.curve_alpha.values, color="white", linewidth=3.0, linestyle="-", zorder=4)
    ax.plot(onset, one.curve_alpha.values, color=INK, linewidth=1.5, linestyle="-", zorder=5)


def _key(figure: Page) -> None:
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
            marker="s",
            markersize=3,
            color=AMPLITUDE(0.8),
            markerfacecolor="white",
            markeredgewidth=2.0,
            linestyle="none",
            label="simulated: locked to a period",
        ),
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
            label="simulated: undecided",
        ),
    ]
    figure.legend(handles=handles, loc="outside upper center", ncols=3, fontsize=7, columnspacing=1.4, handlelength=1.6)


def _caption(ds: xr.Dataset) -> str:
    settings = json.loads(ds.attrs["config"])
    starts = len(settings["starts"])
    return (
        f"Three responses in a preference cycle, P = 1/2 ± {settings['advantage']:g}; λ = 1; {settings['cells']} × "
        f"{settings['cells']} runs of {settings['rounds']} rounds from {starts} start{'s' * (starts > 1)} off uniform. "
        "Shades and curve: theory. Cells, dots, squares and crosses: simulation (crosses: neither settled nor steady within "
        f"the run). {_locking(ds)}In κλ/β the onset of both is one curve (2.1); for DPO no global theorem applies. "
        "Numbers in brackets: statements; 2.3 and IPO's 2.1 are Chen et al. 2026, the rest derived."
    )


def _locking(ds: xr.Dataset) -> str:
    periods = ds.period.values[(ds.period_kind.values == PERIODIC) & (ds.verdict.values == OSCILLATING)]
    if not len(periods):
        return ""
    lengths, count = np.unique(periods.round(6), return_counts=True)
    most = np.sort(lengths[np.argsort(-count, kind="stable")[:3]])
    listed = " or ".join(f"{length:g}" for length in most)
    return (
        f"Stripes: an orbit that locks to a period (mostly {listed} rounds) visits few points, so that its range, the "
        "amplitude, can be smaller than that of the closed curves around. "
    )
