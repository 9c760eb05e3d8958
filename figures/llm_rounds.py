"""Rounds of a language model: its orbits on the simplex and the simulator's, their distance, and departures."""

from __future__ import annotations

import json

import numpy as np
import xarray as xr
from matplotlib.axes import Axes

from dynamics import plot

from ._common import INK, PALE, caption, letter, styled
from ._page import Page

MARKS = "osD^vPX<>"
CORNERS = np.array([[0.0, 0.0], [1.0, 0.0], [0.5, np.sqrt(3) / 2]])
TURN = np.exp(-2j * np.pi * np.arange(3) / 3) / 3


@styled
def draw(ds: xr.Dataset) -> Page:
    """Above: exact rounds on the simplex; below: distance from uniform, total variation, few steps of Adam."""
    config = json.loads(ds.attrs["config"])
    exact = [str(name) for name in ds.case.values[ds.kind.values == "exact"]]
    sides = [name for name in exact if bool(ds.cyclic.sel(case=name))]
    rest = [name for name in exact if name not in sides]
    shown = [*sides[:2], *(rest[:1] or sides[2:3])]
    figure = Page(5.6)
    panels = figure.subplot_mosaic([list("abc"), list("def")], gridspec_kw={"height_ratios": [1.0, 1.0]})
    for mark, name in zip("abc", [*shown, *[None] * 3], strict=False):
        if name is None:
            panels[mark].remove()
            continue
        _orbit(ds.sel(case=name), panels[mark], mark == "a")
        letter(panels[mark], mark, name)
    _amplitudes(ds, sides, panels["d"])
    letter(panels["d"], "d", "distance from uniform")
    _variation(ds, panels["e"])
    letter(panels["e"], "e", "total variation to the simulator")
    few = [str(name) for name in ds.case.values[ds.kind.values == "adam"]]
    if few:
        _few(ds.sel(case=few[0]), panels["f"])
        letter(panels["f"], "f", few[0])
    else:
        panels["f"].remove()
    model = "a small made model" if ds.attrs["made_model"] else ds.attrs["model"]
    caption(
        figure,
        f"Rounds on one prompt and three answers by a LoRA adapter of rank {config['rank']} of {model} (measured, "
        "marks) beside the simulator from the same start (theory, lines). a–c: policies on the simplex of the three "
        "answers, the first one ringed, the uniform one a cross. d: size |w| of the oscillating mode of the "
        "log-policy; its critical beta is "
        f"{_critical(ds, sides)}. e: of all cases with exact rounds or drawn comparisons, the latter with the same draws. "
        "f: few steps of Adam in a round; the simulator takes exact rounds, or as many steps on logits with a learning rate "
        "that moves the first round as far.",
    )
    return figure


def _critical(ds: xr.Dataset, sides: list[str]) -> str:
    found = {name.partition(",")[0]: float(ds.critical_beta.sel(case=name)) for name in sides}
    return " and ".join(f"{beta:.3f} ({name})" for name, beta in found.items()) or "not shown"


def _orbit(ds: xr.Dataset, ax: Axes, legend: bool) -> None:
    ax.plot(*CORNERS[[0, 1, 2, 0]].T, color=PALE, linestyle="-", linewidth=0.8, zorder=0)
    ax.plot(*CORNERS.mean(axis=0), color=INK, marker="x", markersize=4, linestyle="", zorder=1)
    path, theory = (np.exp(x.values) @ CORNERS for x in (ds.log_policy, ds.log_policy_predicted))
    ax.plot(*theory.T, color=plot.PALETTE[1], linewidth=0.8, linestyle="-", label="simulator")
    ax.plot(*path.T, color=plot.PALETTE[0], marker="o", markersize=2.5, linestyle="", label="model")
    ax.plot(*path[0], color=INK, marker="o", markersize=6, markerfacecolor="none", linestyle="")
    for k, (x, y) in enumerate(CORNERS):
        up = y > 0
        ax.annotate(
            f"answer {k}",
            (x, y),
            xytext=(0, 3 if up else -3),
            textcoords="offset points",
            ha="center",
            va="bottom" if up else "top",
            fontsize=7,
        )
    ax.set_aspect("equal")
    ax.set_axis_off()
    ax.set_xlim(-0.15, 1.15)
    ax.set_ylim(-0.12, 1.0)
    if legend:
        ax.legend(loc="upper right", bbox_to_anchor=(1.02, 0.86), borderaxespad=0.0, handlelength=1.2, fontsize=7)


def _amplitudes(ds: xr.Dataset, sides: list[str], ax: Axes) -> None:
    t = ds["round"].values
    for n, name in enumerate(sides):
        own, colour = ds.sel(case=name), plot.PALETTE[n % len(plot.PALETTE)]
        ax.semilogy(t, np.abs(own.log_policy_predicted.values @ TURN), color=colour, linewidth=0.8, linestyle="-")
        ours = np.abs(own.log_policy.values @ TURN)
        ax.semilogy(t, ours, color=colour, marker=MARKS[n], markersize=3, linestyle="", label=name)
    ax.set_xlabel("round")
    ax.set_ylabel("|w|, nats")
    ax.legend(fontsize=7, loc="lower left", borderaxespad=0.1)


def _variation(ds: xr.Dataset, ax: Axes) -> None:
    t = ds["round"].values
    for n, name in enumerate(map(str, ds.case.values)):
        own = ds.sel(case=name)
        if str(own.kind.values) == "adam":
            continue
        found = np.maximum(own.total_variation.values[1:], 1e-9)
        style = {"color": plot.PALETTE[n % len(plot.PALETTE)], "marker": MARKS[n % len(MARKS)]}
        ax.semilogy(t[1:], found, markersize=2.5, linewidth=0.7, label=name.replace(", alpha 1, beta 1", ""), **style)
    ax.axhline(1e-3, color=INK, linewidth=0.6, linestyle=":", zorder=0)
    ax.annotate("allowed", (t[-1], 1e-3), xytext=(0, -2), textcoords="offset points", fontsize=7, ha="right", va="top")
    ax.set_ylim(1e-14, 1.0)  # the legend lies below the curves
    ax.set_xlabel("round")
    ax.set_ylabel("total variation")
    ax.legend(fontsize=7, loc="lower left", borderaxespad=0.1)


def _few(ds: xr.Dataset, ax: Axes) -> None:
    t = ds["round"].values
    labels = {"log_policy_predicted": "simulator, exact rounds", "log_policy_descend": "simulator, steps on logits"}
    for n, (name, label) in enumerate(labels.items()):
        ax.plot(t, np.abs(ds[name].values @ TURN), color=plot.PALETTE[n + 1], linestyle=plot.DASHES[n], label=label)
    ax.plot(t, np.abs(ds.log_policy.values @ TURN), color=plot.PALETTE[0], marker="o", markersize=3, label="model")
    ax.set_ylim(0, 1.35 * float(np.nanmax(np.abs(ds.log_policy.values @ TURN))))
    ax.set_xlabel("round")
    ax.set_ylabel("|w|, nats")
    ax.legend(fontsize=7, loc="upper right", borderaxespad=0.1)
