"""The last layer of a real model: theory and torch on the same axes, orders of learning, and errors by number of values."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.ticker import NullFormatter

from dynamics import plot

from ._common import INK, PALE, caption, letter, styled
from ._page import Page

EXAMPLES = 8  # margins shown over time, from the slowest to the fastest


@styled
def draw(ds: xr.Dataset) -> Page:
    """Above: margins over time, time against distinguishability, order of many; below: errors, margins, similarity."""
    config = json.loads(ds.attrs["config"])
    figure = Page(5.6)
    panels = figure.subplot_mosaic([list("abc"), list("def")])
    for mark, say, title in (
        ("a", _bridge, "margins: flow and torch"),
        ("b", _alone, "one behaviour alone"),
        ("c", _many, f"{ds.sizes['member']} behaviours together"),
        ("d", _errors, "test error by number of values"),
        ("e", _margins, "training margin by number of values"),
        ("f", _similarity, "class means"),
    ):
        say(ds, panels[mark], config)
        letter(panels[mark], mark, title)
    model = "a small made model" if ds.attrs["made_model"] else ds.attrs["model"]
    data = "made statements" if ds.attrs["made_data"] else "persona statements"
    caption(
        figure,
        f"DPO on the last layer of {model}, {data} answered Yes or No, {int(ds.statements)} of each of "
        f"{ds.sizes['behaviour']} behaviours. a: lines, the margin flow on the model's features (theory); dots, torch's SGD in "
        f"{int(ds.steps[-1])} steps (measured); {EXAMPLES} of {ds.sizes['example']} examples. b: time to a mean margin of "
        f"{config['level']:g} (measured) against the time without noise (line, proven, statement 3.3); open: not reached. c: "
        f"the same time, median and range over {config['splits']} halves of the statements, against <d̄, d> (statement 3.6). "
        f"d, e: at the time when one value has the mean training margin {config['trained']:g}: behaviours drawn at random, "
        "mean and 95 % interval, and the published draws (measured here); grey: ImLi25 on two models of 7 to 8 billion "
        "parameters (published). f: cosines of two class means.",
    )
    return figure


def _bridge(ds: xr.Dataset, ax: Axes, config: dict) -> None:
    time = ds.moment.values * config["beta"] ** 2
    order = np.argsort(ds.flow_margin.isel(moment=-1).values)
    for n, i in enumerate(order[np.linspace(0, len(order) - 1, EXAMPLES).astype(int)]):
        colour = plot.PALETTE[n % 4]
        ax.plot(time, ds.flow_margin.isel(example=i), color=colour, linestyle="-", linewidth=0.9)
        sgd = ds.sgd_margin.isel(steps=-1, example=i)
        ax.plot(time, sgd, color=colour, marker="o", markersize=2, linestyle="")
    ax.plot([], [], color=INK, linestyle="-", linewidth=0.9, label="flow")
    ax.plot([], [], color=INK, marker="o", markersize=2, linestyle="", label="torch SGD")
    ax.set_xlim(0, time[-1])
    ax.set_xlabel("β² t / τ")
    ax.set_ylabel("reward margin")
    ax.legend(loc="upper left", borderaxespad=0.1)


def _alone(ds: xr.Dataset, ax: Axes, config: dict) -> None:
    delta, scale = ds.distinguishability.values, config["beta"] ** 2
    time, end = ds.alone_time.values * scale, float(ds.time[-1]) * scale
    reached = np.isfinite(time)
    ax.plot(delta[reached], time[reached], color=plot.PALETTE[0], marker="o", markersize=3, linestyle="")
    ax.plot(
        delta[~reached],
        np.full((~reached).sum(), end),
        color=plot.PALETTE[0],
        marker="o",
        markersize=3,
        linestyle="",
        markerfacecolor="none",
    )
    grid, level = np.geomspace(0.9 * delta.min(), 1.1 * delta.max(), 50), config["level"]
    ax.plot(grid, 2 * (level + np.expm1(level)) / grid**2, color=INK, linestyle="-", linewidth=0.9)
    ax.set_xscale("log")
    ax.set_yscale("log")
    ticks = [x for x in (1, 2, 3, 5, 8, 10, 15, 20, 30) if grid[0] <= x <= grid[-1]]
    ax.set_xticks(ticks, [str(x) for x in ticks])
    ax.set_xticks([], minor=True)
    ax.set_xlabel("distinguishability δ")
    ax.set_ylabel("β² t / τ until learned")


def _many(ds: xr.Dataset, ax: Axes, config: dict) -> None:
    time = ds.many_learned_time.values * config["beta"] ** 2
    end = float(ds.time[-1]) * config["beta"] ** 2
    low, middle, high = np.minimum(
        np.quantile(time, (0, 0.5, 1), axis=0), end
    )  # later times only rank what is not reached
    at = np.median(ds.many_priority_speed.values, axis=0)
    for reached, face in ((middle < end, plot.PALETTE[1]), (middle >= end, "none")):
        ax.errorbar(
            at[reached],
            middle[reached],
            [(middle - low)[reached], (high - middle)[reached]],
            fmt="o",
            color=plot.PALETTE[1],
            markerfacecolor=face,
            markersize=3,
            linewidth=0.8,
        )
    ax.set_yscale("log")
    ax.yaxis.set_minor_formatter(NullFormatter())
    ax.set_xlabel("⟨d̄, dᵢ⟩")
    ax.set_ylabel("β² t / τ until learned")


def _by_values(ds: xr.Dataset, ax: Axes, name: str, scale: float) -> None:
    K = ds["values"].values
    published = scale * ds[f"published_{name}"].values
    for row, mark in zip(published, "v^", strict=True):
        ax.plot(ds.published_values, row, color=PALE, marker=mark, markersize=3, linewidth=0.8, linestyle="-")
    random = scale * ds[name].sel(draw="random").values
    half = 2.0 * random.std(axis=0, ddof=1) / np.sqrt(len(random))
    ax.errorbar(
        K,
        random.mean(axis=0),
        half,
        color=plot.PALETTE[0],
        fmt="o-",
        markersize=3.5,
        linewidth=1.0,
        label="random draws",
    )
    drawn = scale * ds[name].sel(draw="published").mean("split").values
    ax.plot(
        K,
        drawn,
        color=plot.PALETTE[1],
        marker="s",
        markersize=3.5,
        linestyle="--",
        linewidth=0.9,
        label="published draws",
    )
    ax.plot([], [], color=PALE, marker="v", markersize=3, linewidth=0.8, linestyle="-", label="ImLi25")
    ax.set_xscale("log", base=2)
    ax.set_xticks(K, [str(k) for k in K])
    ax.set_xticks([], minor=True)
    ax.set_xlabel("values K")


def _errors(ds: xr.Dataset, ax: Axes, config: dict) -> None:
    _by_values(ds, ax, "test_error", 100.0)
    ax.set_ylim(bottom=0)
    ax.set_ylabel("test error, %")


def _margins(ds: xr.Dataset, ax: Axes, config: dict) -> None:
    _by_values(ds, ax, "train_margin", 1.0)
    ax.set_ylim(bottom=0)
    ax.set_ylabel("mean training margin")
    ax.legend(loc="upper right", borderaxespad=0.1)


def _similarity(ds: xr.Dataset, ax: Axes, config: dict) -> None:
    off = ~np.eye(ds.sizes["cluster"], dtype=bool)
    bins = np.linspace(-1, 1, 41).tolist()
    for n, (name, label) in enumerate((("similarity", "as they are"), ("similarity_centred", "less their mean"))):
        style: dict[str, Any] = {
            "histtype": "step",
            "color": plot.PALETTE[n],
            "linestyle": plot.DASHES[n],
            "density": True,
        }
        ax.hist(ds[name].values[off], bins=bins, label=label, **style)
    ax.set_yscale("log")
    ax.set_xlim(-1, 1)
    ax.set_xlabel("cosine of two class means")
    ax.set_ylabel("density")
    ax.legend(loc="upper left", borderaxespad=0.1)
