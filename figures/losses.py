"""One number per loss: critical betas of twelve losses, and what label noise, smoothing and the robust loss do to them."""

from __future__ import annotations

import json

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from dynamics import plot

from ._common import INK, caption, letter, styled
from ._page import Page

BLUE, RED, GREEN = plot.PALETTE[:3]
LOOKS = {
    "none": (INK, "o", "no treatment"),
    "smoothing": (RED, "s", "label smoothing ρ"),
    "robust": (BLUE, "^", "robust loss"),
}


@styled
def draw(ds: xr.Dataset) -> Page:
    """Two panels: critical betas by loss, and under label noise."""
    figure = Page(3.9)
    left, right = figure.subplots(1, 2, width_ratios=[1.35, 1])
    _losses(ds, left)
    _noise(ds, right)
    caption(figure, _caption(ds))
    return figure


def _losses(ds: xr.Dataset, ax: Axes) -> None:
    rows = np.arange(ds.sizes["loss"])
    for K, colour, marker in zip(ds.responses.values, (BLUE, RED), "os", strict=True):
        one = ds.sel(responses=K)
        ax.plot(
            one.predicted, rows, linestyle="none", marker="|", markersize=11, markeredgewidth=1.6, color=INK, zorder=1
        )
        ax.plot(one.measured, rows, linestyle="none", marker=marker, markersize=4.5, color=colour, zorder=2)
    ax.set_xscale("log")
    names = [f"{name}  {kappa:.3g}" for name, kappa in zip(ds.loss.values, ds.kappa.values, strict=True)]
    ax.set_yticks(rows, names)
    ax.invert_yaxis()
    ax.set_xlabel("critical β: rounds oscillate below it")
    low, high = float(ds.predicted.min()), float(ds.predicted.max())
    ax.set_xlim(low / 1.5, high * 1.5)
    ax.set_xticks([t for t in (0.1, 0.2, 0.5, 1.0, 2.0, 5.0) if low / 1.5 < t < high * 1.5])
    ax.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    ax.xaxis.set_minor_formatter(lambda value, _: "")
    handles = [
        Line2D(
            [], [], marker="|", markersize=9, markeredgewidth=1.6, color=INK, linestyle="none", label="theory (7.17)"
        ),
        Line2D([], [], marker="o", markersize=4.5, color=BLUE, linestyle="none", label="K = 3, simulated"),
        Line2D([], [], marker="s", markersize=4.5, color=RED, linestyle="none", label="K = 5, simulated"),
    ]
    ax.legend(handles=handles, loc="upper right")
    letter(ax, "a", "loss and its κ")


def _noise(ds: xr.Dataset, ax: Axes) -> None:
    for name, (colour, marker, _) in LOOKS.items():
        one = ds.sel(treatment=name)
        ax.semilogy(ds.rate, one.expected, color=colour, linestyle="-", linewidth=1.2)
        ax.semilogy(ds.rate, one.noisy, color=colour, linestyle="none", marker=marker, markersize=5)
    ax.set(xlabel="ρ, rate of flipped labels", ylabel="critical β over that without noise", ylim=(0.03, 1.6))
    ax.set_yticks([0.05, 0.1, 0.2, 0.5, 1.0], ["0.05", "0.1", "0.2", "0.5", "1"])
    ax.set_yticks([], minor=True)
    handles = [
        Line2D([], [], color=colour, marker=marker, markersize=5, linewidth=1.2, label=label)
        for colour, marker, label in LOOKS.values()
    ]
    ax.legend(handles=handles, loc="lower left")
    letter(ax, "b", "DPO under label noise")


def _caption(ds: xr.Dataset) -> str:
    settings = json.loads(ds.attrs["config"])
    return (
        f"Rounds on two tournaments, P = 1/2 ± {settings['advantage']:g}, every response beats the (K-1)/2 after it; α = "
        f"{settings['alpha']:g}, λ = 1. a: β at which the uniform policy loses stability. Bars: theory, derived (7.17): κ "
        "times a number of P, κ = 2|f'(0)|/f''(0). Dots: simulation, where a perturbation of 1e-6 neither grows nor shrinks. "
        "b: lines theory, dots simulation, K = 3. Noise makes rounds stable at a smaller β, smoothing the labels at its rate "
        "once more; the robust loss takes the noise away and, with it, what noise does for stability."
    )
