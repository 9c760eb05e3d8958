"""Where each method goes on a cycle as the sampler moves, how far, and what it sees of the preferences."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes

from dynamics import plot

from ._common import INK, PALE, caption, letter, styled
from ._page import Page

LABELS = {
    "DPO": "DPO = RLHF",
    "reverse KL": "reverse KL",
    "PMLE": "PMLE = distillation",
    "IPO": "IPO",
    "reverse KL, win rates": "reverse KL,\nwin rates",
}
KINDS = {"cyclic": ("o", 0), "Bradley–Terry": ("s", 2), "linear": ("^", 1)}
FLOOR = 1e-17


@styled
def draw(ds: xr.Dataset) -> Page:
    """Left: optima on a 3-cycle along a path of samplers; right: movement by kind of matrix, and the effect of a nudge."""
    figure = Page(5.2)
    panels = figure.subplot_mosaic([["a", "b"], ["a", "c"]], width_ratios=[1.0, 1.15], height_ratios=[1.25, 1])
    _paths(ds, panels["a"])
    _movement(ds, panels["b"])
    _nudged(ds, panels["c"])
    for mark, title in zip(
        "abc", ("optima as the sampler moves", "how far they move", "same win rates, another P"), strict=True
    ):
        letter(panels[mark], mark, title)
    caption(
        figure,
        "Optima on exact comparisons (expected counts). a: a 3-cycle (P = 1/2 ± .45: response "
        "1 beats 2 beats 3 beats 1), uniform reference; the sampler moves from response 3 (circles) to response 1 (squares). "
        "b: largest total variation between the optima under two samplers (measured; one mark per matrix, bars: medians); "
        "methods of odds must stand still on Bradley–Terry matrices and those of win rates on P = 1/2 + xᵢ - xⱼ (theory, "
        "statement 1.3), where marks show rounding. c: the same between two matrices with equal win rates Pμ, which every "
        "method but the last must take for one (proven, statement 7.17).",
    )
    return figure


def _colour(name: str) -> tuple[str, object]:
    k = list(LABELS).index(name)
    return plot.PALETTE[k], plot.DASHES[k]


def _paths(ds: xr.Dataset, ax: Axes) -> None:
    corners = np.array([[0.0, 0.0], [1.0, 0.0], [0.5, np.sqrt(0.75)]])
    ax.plot(*corners[[0, 1, 2, 0]].T, color=INK, linewidth=0.8, linestyle="-", zorder=0)
    ax.plot(*corners.mean(0), "+", color=PALE, markersize=8)
    for k, (x, y) in enumerate(corners):
        ax.annotate(f"response {k + 1}", (x, y), (0, -11 if k < 2 else 5), textcoords="offset points", ha="center")
    for name, label in LABELS.items():
        colour, dash = _colour(name)
        xy = np.exp(ds.path.sel(approach=name).values) @ corners
        ax.plot(*xy.T, color=colour, linestyle=dash, linewidth=1.6, label=label.replace("\n", " "))
        ax.plot(*xy[0], "o", color=colour, markersize=5)
        ax.plot(*xy[-1], "s", color=colour, markersize=5)
    ax.set_aspect("equal")
    ax.set_axis_off()
    ax.legend(loc="upper center", bbox_to_anchor=(0.5, -0.06), ncols=2, fontsize=7)


def _movement(ds: xr.Dataset, ax: Axes) -> None:
    pi = np.exp(ds.log_policy.values)
    gap = 0.5 * np.nansum(np.abs(pi[:, :, :, None] - pi[:, :, None]), axis=-1).max((2, 3))
    for kind, (marker, colour) in KINDS.items():
        which = ds.kind.values == kind
        shift = 0.25 * (list(KINDS).index(kind) - 1)
        for n, name in enumerate(LABELS):
            y = np.maximum(gap[ds.approach.values.tolist().index(name)][which], FLOOR)
            x = np.full(len(y), n + shift)
            look: dict[str, Any] = {"color": plot.PALETTE[colour], "linestyle": "none"}
            label = (kind if kind != "linear" else "1/2 + xᵢ - xⱼ") if n == 0 else None
            ax.plot(x, y, marker, markersize=2.6, alpha=0.55, label=label, **look)
            ax.hlines(np.median(y), x[0] - 0.1, x[0] + 0.1, color=INK, linewidth=1.1)
    _log(ax, list(LABELS.values()))
    ax.set_ylabel("total variation")
    ax.legend(loc="lower center", bbox_to_anchor=(0.5, 0.32), fontsize=7, ncols=3, columnspacing=0.8, handletextpad=0.1)


def _nudged(ds: xr.Dataset, ax: Axes) -> None:
    names = [*LABELS, "exponential loss"]
    for n, name in enumerate(names):
        y = ds.nudged.sel(objective=name).values
        y = np.maximum(y[np.isfinite(y)], FLOOR)
        ax.plot(np.full(len(y), n), y, "o", color=plot.PALETTE[0], markersize=2.6, alpha=0.5, linestyle="none")
        ax.hlines(np.median(y), n - 0.2, n + 0.2, color=INK, linewidth=1.1)
    _log(ax, [*LABELS.values(), "loss\nexp(-r)"])
    ax.set_ylabel("total variation")


def _log(ax: Axes, labels: list[str]) -> None:
    ax.set_yscale("log")
    ax.set_ylim(FLOOR / 3, 3)
    ax.set_xticks(
        range(len(labels)), [label.replace(" = ", " =\n").replace("reverse KL,", "rev. KL,") for label in labels]
    )
    ax.tick_params(axis="x", labelsize=7)
    ax.set_xlabel("method")
    ax.grid(axis="y", color=PALE, linewidth=0.4)
