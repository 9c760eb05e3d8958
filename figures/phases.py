"""Cycle strength and terminal entropy: maps over (alpha, lam), lines over beta, and what the entropy follows."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap, LogNorm, Normalize
from matplotlib.ticker import MaxNLocator

from dynamics import plot

from ._common import INK, caption, letter, styled
from ._page import Page

MARKERS = "osD^vP"
LOWEST = 1e-3  # nat; smaller entropies share a colour
STRENGTH = LinearSegmentedColormap.from_list("strength", ["#FFFFFF", "#FFE9C4", "#F6B45E", "#D55E00", "#7A2E00"])
ENTROPY = LinearSegmentedColormap.from_list("entropy", ["#08306B", "#2C7FB8", "#A6CEE3", "#FFFFFF"])


@styled
def draw(ds: xr.Dataset) -> Page:
    """A row per objective: the two maps, cycle strength over 1/beta, entropy over 1/(beta(1 - alpha)) with its bound."""
    figure = Page(5.6)
    axes = figure.subplots(2, 4, width_ratios=[1, 1.15, 1, 1.15])
    largest = max(_mean(ds.sel(objective=name), "cycle_strength").max() for name in ds.objective.values)
    log_k = _log_k(ds)
    for row, name in enumerate(ds.objective.values):
        one = ds.sel(objective=name)
        strength = _map(one, axes[row, 0], "cycle_strength", STRENGTH, largest)
        _lines(one, axes[row, 1])
        entropy = _map(one, axes[row, 2], "final_entropy", ENTROPY, log_k)
        _drive(one, axes[row, 3], log_k)
        titles = ("cycle strength", "strength over 1/β", "entropy", "entropy, bound")
        for column, title in enumerate(titles):
            letter(axes[row, column], "abcdefgh"[4 * row + column], f"{name}: {title}")
    for ax in axes.flat:
        ax.yaxis.labelpad = 2
    for drawn, column, label in ((strength, 0, "variance of π"), (entropy, 2, "entropy (nat)")):
        bar = figure.colorbar(drawn, ax=list(axes[:, column]), location="bottom", shrink=0.95, aspect=16, pad=0.02)
        bar.set_label(label, fontsize=7)
        bar.outline.set_linewidth(0.4)  # pyright: ignore[reportCallIssue]
        if column:
            bar.set_ticks([1e-3, 1e-2, 1e-1, 1], labels=["0.001", "0.01", "0.1", "1"])
            bar.minorticks_off()
        else:
            bar.locator = MaxNLocator(3)
            bar.update_ticks()
    axes[0, 1].legend(loc="upper left", fontsize=7)
    handles, names = axes[0, 3].get_legend_handles_labels()
    figure.legend(handles, [f"d, h: {names[0]}", *names[1:]], loc="outside upper right", ncols=4)
    caption(figure, _caption(ds))
    return figure


def _mean(one: xr.Dataset, name: str) -> np.ndarray:
    return _weighted(one, name)[0]


def _weighted(one: xr.Dataset, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Mean over matrices and its standard error, by setting."""
    count = one["cyclic_count" if name == "cycle_strength" else "transitive_count"].values
    values, total = one[name].values, count.sum()
    mean = count @ values / total
    return mean, np.sqrt(count @ (values - mean) ** 2 / total / max(total - 1, 1))


def _log_k(ds: xr.Dataset) -> float:
    return max(np.log(4), float(ds.final_entropy.max()))


def _settings(one: xr.Dataset) -> dict[str, Any]:
    return json.loads(one.attrs["config"])


def _map(one: xr.Dataset, ax: Axes, name: str, colours: LinearSegmentedColormap, top: float) -> Any:
    cells = _settings(one)["cells"]
    values = _mean(one, name)[: cells**2].reshape(cells, cells)
    # Cells are centred at the values that were run; those at 0 and 1 end there.
    edges = np.clip((np.arange(cells + 1) - 0.5) / (cells - 1), 0, 1)
    norm = Normalize(0, top) if name == "cycle_strength" else LogNorm(LOWEST, top)
    drawn = ax.pcolormesh(edges, edges, np.maximum(values, norm.vmin or 0.0), cmap=colours, norm=norm, rasterized=True)
    ax.set_xticks((0, 0.5, 1), ("0", "0.5", "1"))
    ax.set_yticks((0, 0.5, 1), ("0", "0.5", "1"))
    ax.set_xlabel("λ (sampler)")
    ax.set_ylabel("α (reference)")
    beta = float(one.beta.values[0])
    ax.text(
        0.04,
        0.05,
        f"β = {beta:g}",
        transform=ax.transAxes,
        fontsize=7,
        bbox={"facecolor": "white", "pad": 1.5, "lw": 0},
    )
    return drawn


def _lines(one: xr.Dataset, ax: Axes) -> None:
    settings = _settings(one)
    mean, error = (
        x[settings["cells"] ** 2 :].reshape(len(settings["lams"]), -1) for x in _weighted(one, "cycle_strength")
    )
    beta = one.beta.values[settings["cells"] ** 2 :][: settings["betas"]]
    for k, lam in enumerate(settings["lams"]):
        colour: Any = plot.PALETTE[k % len(plot.PALETTE)]
        dash: Any = plot.DASHES[k % len(plot.DASHES)]
        ax.fill_between(1 / beta, mean[k] - 2 * error[k], mean[k] + 2 * error[k], color=colour, alpha=0.2, linewidth=0)
        marker = MARKERS[k % len(MARKERS)]
        ax.plot(1 / beta, mean[k], color=colour, linestyle=dash, marker=marker, markersize=2.5, label=f"λ = {lam:g}")
    ax.set_xscale("log")
    ax.set_ylim(bottom=-0.002)
    ax.set_xlabel("1/β")
    ax.set_ylabel("variance of π")


def _drive(one: xr.Dataset, ax: Axes, log_k: float) -> None:
    """Every setting with alpha < 1; after transients the bound depends only on 1/(beta(1 - alpha))."""
    inside = one.alpha.values < 1
    drive = 1 / (one.beta.values[inside] * (1 - one.alpha.values[inside]))
    lam, mean = one.lam.values[inside], _mean(one, "final_entropy")[inside]
    bound = _mean(one, "entropy_bound")[inside]
    order = np.argsort(drive)
    ax.plot(drive[order], bound[order], color=INK, linestyle="-", linewidth=1.0, label="bound (2.4)")
    groups = (("λ = 0", lam == 0), ("0 < λ < 1", (lam > 0) & (lam < 1)), ("λ = 1", lam == 1))
    for k, (label, members) in enumerate(groups):
        ax.plot(
            drive[members],
            mean[members],
            color=plot.PALETTE[k],
            linestyle="none",
            marker=MARKERS[k],
            markersize=3,
            markerfacecolor="none",
            markeredgewidth=0.7,
            label=label,
        )
    ax.set_xscale("log")
    ax.set_ylim(-0.04, 1.1 * log_k)
    ax.set_yticks((0, 0.5, 1))
    ax.set_xlabel("1/(β(1 − α))")
    ax.set_ylabel("entropy (nat)")


def _caption(ds: xr.Dataset) -> str:
    settings, cyclic, transitive = _settings(ds), int(ds.cyclic_count.sum()), int(ds.transitive_count.sum())
    source = "generated ratings, four responses each" if ds.attrs["generated"] else "the files given"
    return (
        f"Means over {cyclic} preference matrices with a majority cycle (a, b, e, f) and {transitive} strictly strongly "
        f"transitive ones (c, d, g, h), from {source}; {settings['rounds']} rounds from a start off uniform (measured). "
        f"Lines and band: α = {settings['alpha']:g}, ± two standard errors over matrices. d, h: every setting with α < 1; "
        "the line is the mean of the upper bound of statement 2.4, proven for each matrix at every λ. Entropy falls "
        "with 1/(β(1 − α)) at λ = 0 too. The darkest cells of c and g have 0.001 nat or less. DPO runs at 4 times the β of IPO."
    )
