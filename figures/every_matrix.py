"""What is safe for every preference matrix: thresholds of beta over alpha, and the matrices that come closest to them."""

from __future__ import annotations

import numpy as np
import xarray as xr
from matplotlib.axes import Axes

from dynamics.plot import PALETTE

from ._common import INK, caption, letter, styled
from ._page import Page

BLUES = ("#08519C", "#9ECAE1")
STRIP, UNSTABLE = "#F0F0EC", "#FFE9C4"


@styled
def draw(ds: xr.Dataset) -> Page:
    """Left: beta/lam over alpha. Right: frequencies of tournaments and of what a search found, over K."""
    figure = Page(4.3)
    left, right = figure.subplots(1, 2, width_ratios=(1.25, 1.0))
    _thresholds(ds, left)
    _frequencies(ds, right)
    figure.legend(*left.get_legend_handles_labels(), loc="outside upper left", fontsize=7, ncols=3)
    caption(figure, _caption(ds))
    return figure


def _thresholds(ds: xr.Dataset, ax: Axes) -> None:
    alpha = ds.curve_alpha.values
    span, proven, local = (ds[f"{name}_threshold"].values for name in ("span", "proven", "local"))
    top, bottom = 60.0, 0.1
    ax.fill_between(alpha, span, top, color=BLUES[0], linewidth=0, label="proven for every P (7.3)")
    ax.fill_between(alpha, proven, np.minimum(span, top), color=BLUES[1], linewidth=0, label="… and further (7.15)")
    ax.fill_between(alpha, local, proven, color=STRIP, linewidth=0, label="attracts for every P (7.14)")
    ax.fill_between(alpha, bottom, local, color=UNSTABLE, linewidth=0, label="some P are unstable (2.1)")
    ax.plot(alpha, local, color=INK, linewidth=1.5, linestyle="-", label="below it large tournaments are unstable")
    smallest = ds.isel(size=0)
    edge = float(smallest.tournament) / np.sqrt((1 - alpha) * (1 + alpha))
    ax.plot(
        alpha,
        edge,
        color=PALETTE[1],
        linestyle=(0, (4, 1.5)),
        linewidth=1.2,
        label=f"below it the cycle of {int(smallest['size'])} is",
    )
    ax.set_yscale("log")
    ax.set_ylim(bottom, top)
    ax.set_xlim(0, alpha.max())
    ax.set_xlabel("α, share of the policy in the next reference")
    ax.set_ylabel("β/λ")
    letter(ax, "a", "iterated IPO, whatever people prefer")


def _frequencies(ds: xr.Dataset, ax: Axes) -> None:
    ax.axhline(1 / np.pi, color=INK, linewidth=1.2, linestyle="-", label="1/π, the bound (proven)")
    ax.plot(ds["size"], ds.tournament, "o-", color=PALETTE[0], markersize=4, label="regular tournament (computed)")
    best = ds.searched.max("search")
    ax.plot(ds.K, best, "s", linestyle="none", color=PALETTE[1], markersize=4, label="worst that a search found")
    ax.set_xscale("log")
    ax.set_xticks([3, 5, 10, 30, 100], ["3", "5", "10", "30", "100"])
    ax.minorticks_off()
    ax.set_xlabel("number of responses K")
    ax.set_ylabel("frequency ω")
    ax.legend(loc="lower right", fontsize=7)
    letter(ax, "b", "the matrices that come closest")


def _caption(ds: xr.Dataset) -> str:
    runs = int(ds.verdict.sel(gap=list(ds.gap.values[:2])).size)
    moving = int((ds.verdict.sel(gap=list(ds.gap.values[:2])).values == 2).sum())
    return (
        "Proven: the shades of a, for every number of responses, reference and sampler. ± iω are eigenvalues of "
        "A(diag π − ππᵀ), A = P − 1/2; the fixed point attracts if α² + (λω/β)² < 1, and ω ≤ 1/π for every P and π (7.14). "
        f"Measured: {moving} of {runs} simulated runs with β between 7.14 and 7.15 keep moving (random matrices of certain "
        "wins, references and far starts), and a search over matrices and policies stays below 1/π. All statements derived."
    )
