"""What engineers do to a loop: the spectral radius with each practice over that of the plain loop."""

from __future__ import annotations

import json

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from ._common import COLOURS, INK, PALE, caption, letter, styled
from ._page import Page

LOOKS = {"IPO": ("o", -0.17), "DPO": ("s", 0.17)}
TITLES = ("α = 1/2, critical β", "α = 1: the last policy")


@styled
def draw(ds: xr.Dataset) -> Page:
    """Two panels of practices, one for each reference, and one of samples."""
    figure = Page(4.2)
    left, middle, right = figure.subplots(1, 3, width_ratios=[1, 1, 0.75])
    middle.sharey(left)
    for ax, base, mark, title in zip((left, middle), ds.base.values, "ab", TITLES, strict=True):
        _practices(ds.sel(base=base), ax)
        letter(ax, mark, title)
    names = [str(name) for name in ds.practice.values]
    left.set_yticks(range(len(names)), [_named(ds, name) for name in names])
    left.invert_yaxis()
    left.set_ylabel("practice")
    middle.tick_params(labelleft=False)
    handles = [
        Line2D([], [], linestyle="none", marker=marker, markersize=4, color=COLOURS[name], label=f"{name}, computed")
        for name, (marker, _) in LOOKS.items()
    ]
    handles.append(
        Line2D([], [], linestyle="none", marker="|", markersize=9, markeredgewidth=1.4, color=INK, label="theory, IPO")
    )
    left.legend(handles=handles, loc="center right", bbox_to_anchor=(1.0, 0.79))  # rows that are empty at alpha = 1/2
    _samples(ds, right)
    letter(right, "c", "n comparisons")
    caption(figure, _caption(ds))
    return figure


def _named(ds: xr.Dataset, practice: str) -> str:
    return practice.replace("best of n", f"best of {json.loads(ds.attrs['config'])['best_of']}")


def _practices(ds: xr.Dataset, ax: Axes) -> None:
    ax.axvline(1.0, color=INK, linewidth=0.8, zorder=0)
    attracts = 1 / float(ds.plain.mean())
    if attracts < 0.999:
        ax.axvline(attracts, color=INK, linewidth=0.8, linestyle=":", zorder=0)
        ax.annotate(
            "attracts\nleft of this", (attracts, 0), xytext=(4, 0), textcoords="offset points", ha="left", va="center"
        )
    for name, (marker, shift) in LOOKS.items():
        for row, practice in enumerate(ds.practice.values):
            over = (ds.radius.sel(practice=practice, objective=name) / ds.plain.sel(objective=name)).values
            ax.plot(over, np.full(over.shape, row + shift), linestyle="none", marker=marker, markersize=3.5,
                    color=COLOURS[name], alpha=0.75)  # fmt: skip
            if name == "IPO" and practice in ds.average.values and np.isfinite(over).all():
                theory = ds.expected.sel(average=practice).values / ds.plain.sel(objective=name).values
                ax.plot(theory, np.full(over.shape, row + shift), linestyle="none", marker="|", markersize=8,
                        markeredgewidth=0.7, color=INK)  # fmt: skip
    for row in range(ds.sizes["practice"]):
        ax.axhline(row + 0.5, color=PALE, linewidth=0.4, zorder=0)
    ax.set_xlabel("radius over the plain loop's")
    ax.set_ylim(-0.6, ds.sizes["practice"] - 0.4)


def _samples(ds: xr.Dataset, ax: Axes) -> None:
    ax.axhline(1.0, color=INK, linewidth=0.8, zorder=0)
    for name, (marker, shift) in LOOKS.items():
        one = ds.sel(objective=name)
        for m in range(one.sizes["sampled_matrix"]):
            ax.errorbar(
                one.comparisons.values * np.exp(0.15 * shift * (1 + m)), one.sampled[m].values,
                yerr=2 * one.sampled_error[m].values, color=COLOURS[name], marker=marker, markersize=4, linewidth=0.8,
                linestyle="--" if name == "DPO" else "-", capsize=2,
            )  # fmt: skip
    ax.set_xscale("log")
    ax.set_xticks(ds.comparisons.values, [f"{n:g}" for n in ds.comparisons.values])
    ax.minorticks_off()
    ax.set(xlabel="n, comparisons a round", ylabel="radius of the mean round over the plain loop's")


def _caption(ds: xr.Dataset) -> str:
    settings = json.loads(ds.attrs["config"])
    ratio = ds.critical_ratio.values
    return (
        f"Rounds on {settings['matrices']} matrices with K = {settings['size']}, a regular tournament and generated ones; "
        "a dot is a matrix. a: α = 1/2, β where the plain loop's radius is 1. b: α = 1, β twice (DPO: eight times) the "
        "largest frequency at the equilibrium, where the plain loop repels; bars: theory, derived (ema_spectrum). Steps: "
        "gradient descent at one over the largest curvature, from the last policy. Best of "
        f"{settings['best_of']}: the best answer against the worst; it multiplies the critical β by {ratio.min():.2f} to "
        f"{ratio.max():.2f}. c: radius of the mean round by simulation, ± 2 standard errors; α = 1/2."
    )
