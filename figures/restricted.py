"""Errors within and outside a class of features against its coverage, and errors in finite classes."""

from __future__ import annotations

import numpy as np
import xarray as xr
from matplotlib.axes import Axes

from dynamics import plot

from ._common import INK, PALE, caption, letter, styled
from ._page import Page

MARKS = {
    "PMLE": (plot.PALETTE[0], "o"),
    "distillation, uniform pairs": (plot.PALETTE[3], "^"),
    "distillation, pairs of pi*": (plot.PALETTE[2], "D"),
    "reverse KL": (plot.PALETTE[1], "s"),
}


@styled
def draw(ds: xr.Dataset) -> Page:
    """Constants against coverage; measured against foretold; limits outside the class; finite classes by coverage and size."""
    figure = Page(5.6)
    panels = figure.subplot_mosaic([list("ab"), list("cd")])
    _constants(ds, panels["a"])
    _outside(ds, panels["b"])
    _by_coverage(ds, panels["c"])
    _by_size(ds, panels["d"])
    titles = ("π* in the class of features", "π* outside the class")
    titles += (f"lists: {int(ds['size'][-1])} policies", f"lists: mass {float(ds.rare[-1]):g} where Π differs")
    for mark, title in zip("abcd", titles, strict=True):
        letter(panels[mark], mark, title)
    handles = [_handle(name) for name in MARKS]
    figure.legend(handles=handles, loc="outside upper center", ncols=4, fontsize=7)
    caption(
        figure,
        f"a, b: log-linear policies, tabular rewards, {ds.sizes['instance']} draws of features and five samplers each, from "
        "on-policy to away from π*. a: n E KL(π*‖π̂) over that of PMLE, which no method can beat in the limit (proven, "
        "statement 7.9); lines: foretold, one for each draw; dots: measured, two standard errors. b: KL(π*‖limit) of "
        "many comparisons over that of reverse KL (exact expected counts; medians and ranges over draws). c, d: "
        "finite lists Π that hold the policies of "
        f"{int(ds['size'][0])} rewards R and others that differ where comparisons may be rare; mean errors over data sets "
        "(measured, two standard errors). Yun et al.'s bounds have $C_Π$ ln|Π| for PMLE, $C_R$ ln|R| for reverse KL (theory).",
    )
    return figure


def _handle(name: str):
    from matplotlib.lines import Line2D

    colour, marker = MARKS[name]
    return Line2D([], [], color=colour, marker=marker, markersize=4, linestyle="none", label=name.replace("pi*", "π*"))


def _constants(ds: xr.Dataset, ax: Axes) -> None:
    ratio = (ds.V / ds.V.sel(approach="PMLE")).values
    bar = ds.n / ds.V.sel(approach="PMLE")
    x = ds.coverage.values
    for k, (colour, marker) in enumerate(MARKS.values()):
        for i in range(ds.sizes["instance"]):
            order = np.argsort(x[i])
            ax.plot(x[i][order], ratio[k, i][order], color=colour, linewidth=0.6, linestyle="-", alpha=0.6)
        y, side = (ds[name].values[k] * bar.values for name in ("error", "error_deviation"))
        kept = np.isfinite(y) & (ds.infinite.values == 0)
        look = {"color": colour, "marker": marker, "markersize": 2.8, "linestyle": "none", "elinewidth": 0.6}
        ax.errorbar(x[kept], y[kept], 2 * side[kept], **look)
    ax.set_xscale("log")
    ax.set_yscale("log")
    ax.set_xlabel("coverage $C_Π$ of the class")
    ax.set_ylabel("n E KL(π*‖π̂) over PMLE's")


def _outside(ds: xr.Dataset, ax: Axes) -> None:
    for name, (colour, marker) in MARKS.items():
        y = (ds.floor.sel(approach=name) / ds.floor.sel(approach="reverse KL")).transpose("instance", "tilt").values
        shift = 0.03 * (list(MARKS).index(name) - 1.5)
        middle = np.median(y, axis=0)
        sides = [middle - y.min(0), y.max(0) - middle]
        look = {"color": colour, "marker": marker, "markersize": 4, "elinewidth": 0.7, "linewidth": 1.0}
        ax.errorbar(ds.tilt.values + shift, middle, sides, linestyle=plot.DASHES[list(MARKS).index(name)], **look)
    ax.set_xlabel("tilt s of the sampler, μ ∝ π*$^{-s}$")
    ax.set_ylabel("KL(π*‖limit) over reverse KL's")


def _lines(ax: Axes, x: np.ndarray, ds: xr.Dataset) -> None:
    names = {"PMLE": "PMLE", "distillation": "distillation, uniform pairs", "reverse KL": "reverse KL"}
    for k, (chooser, name) in enumerate(names.items()):
        colour, marker = MARKS[name] if chooser != "distillation" else (INK, "x")
        y, side = ds.list_error.sel(chooser=chooser).values, ds.list_deviation.sel(chooser=chooser).values
        label = {"distillation": "distillation, compared pairs"}.get(chooser, chooser)
        look = {"color": colour, "marker": marker, "markersize": 4.5, "elinewidth": 0.7, "linewidth": 1.0}
        ax.errorbar(x, y, 2 * side, linestyle=plot.DASHES[k], label=label, **look)
    ax.set_xscale("log")
    ax.set_xticks(x, [f"{value:.3g}" for value in x])
    ax.minorticks_off()
    ax.set_ylabel("mean KL(π*‖π̂) (nats)")
    ax.set_ylim(bottom=0)
    ax.grid(axis="y", color=PALE, linewidth=0.4)


def _by_coverage(ds: xr.Dataset, ax: Axes) -> None:
    last = ds.isel(size=-1)
    _lines(ax, last.list_coverage.values, last)
    low, high = float(ds.reward_coverage.min()), float(ds.reward_coverage.max())
    ax.set_xlabel(f"coverage $C_Π$ of the list ($C_R$: {low:.2g} to {high:.2g})")
    ax.legend(loc="upper left", fontsize=7)


def _by_size(ds: xr.Dataset, ax: Axes) -> None:
    worst = ds.isel(rare=-1)
    _lines(ax, worst["size"].values / float(worst["size"][0]), worst)
    ax.set_xlabel("|Π| / |R|")
