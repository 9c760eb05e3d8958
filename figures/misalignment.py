"""Flipped labels: aligned features against base features, and how fast an aligned head is undone."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes

from dynamics import plot

from ._common import INK, PALE, caption, in_rows, letter, styled
from ._page import Page

SHOWN = 2.0  # the aligned head with the mean margin nearest to this is shown over time


@styled
def draw(ds: xr.Dataset) -> Page:
    """Above: margins, heads and times of the features; below: a head aligned, then undone."""
    config = json.loads(ds.attrs["config"])
    figure = Page(5.6)
    panels = in_rows(figure, ("abc", "de"))
    a, b, c, d, e = (panels[mark] for mark in "abcde")
    _margins(ds, a, config)
    _heads(ds, b, config)
    _times(ds, c, config)
    _course(ds.sel(law="noisy"), d, config)
    _ratios(ds, e)
    titles = ("flipped labels: margin lost", "flipped labels: head", f"time to lose {config['level']:g}")
    titles += ("a head aligned, then undone", "time to undo over time to align")
    for ax, mark, title in zip((a, b, c, d, e), "abcde", titles, strict=True):
        letter(ax, mark, title)
    caption(
        figure,
        f"One yes-or-no behaviour, DPO by gradient flow, {ds.sizes['seed']} data sets each; noise "
        f"{config['noise']:g} in each coordinate. a–c: labels flipped at the start, features of a base model (least "
        "distinguishability δ) and of aligned ones (larger δ); lines and dots are medians, bands and bars the "
        "middle nine tenths (measured). Dashed in b: initial speed √2βδ/4 of base and most aligned (proven, statement "
        "3.5). Line in c: samples without noise (proven, 3.3). d, e: a head trained on true labels to mean margin R at "
        f"t = 0, then on flipped ones at the same features; margins against the base model (measured). Lines in e: "
        "samples without noise (proven, 3.3), crosses: their flows (measured). That aligned models move faster under "
        "flipped labels is Im and Li's (2024) finding.",
    )
    return figure


def _shade(k: int, count: int) -> Any:
    return INK if k == 0 else plot.PALETTE[(k - 1) % 4] if count <= 5 else plot.PALETTE[0]


def _some(ds: xr.Dataset) -> list[int]:
    """Indices of at most five models: the base, the most aligned, and some between them."""
    count = ds.sizes["model"]
    return sorted({round(x) for x in np.linspace(0, count - 1, min(count, 5))})


def _bands(ds: xr.Dataset, name: str, ax: Axes, time: np.ndarray) -> None:
    for k, n in enumerate(_some(ds)):
        one = ds[name].isel(model=n).transpose("seed", "time").values
        low, middle, high = np.quantile(one, (0.05, 0.5, 0.95), axis=0)
        label = f"δ = {float(ds.model[n]):g}" + (", base" if k == 0 else "")
        ax.fill_between(time, low, high, color=_shade(k, 5), alpha=0.2, linewidth=0)
        ax.plot(time, middle, color=_shade(k, 5), linestyle=plot.DASHES[k], label=label)


def _margins(ds: xr.Dataset, ax: Axes, config: dict) -> None:
    time = ds.time.values * config["beta"] ** 2
    _bands(ds, "true_margin", ax, time)
    end = min(20.0, time[-1])
    ax.axhline(-config["level"], color=PALE, linewidth=0.6, linestyle="-", zorder=0)
    ax.set_xlim(0, end)
    lowest = float(np.quantile(ds.true_margin.isel(model=-1).values[:, time <= end], 0.05, axis=0).min())
    ax.set_ylim(1.05 * lowest, 0)
    ax.set_xlabel("β² t / τ")
    ax.set_ylabel("mean margin of true labels")


def _heads(ds: xr.Dataset, ax: Axes, config: dict) -> None:
    time = ds.time.values * config["beta"] ** 2
    scaled = ds.assign(head_change=config["beta"] * ds.head_change)
    _bands(scaled, "head_change", ax, time)
    first, top = time > 0, float(scaled.head_change.max())
    for model in (0, -1):
        line = np.sqrt(2) / 4 * float(ds.model[model]) * time
        below = first & (line < 1.5 * top)
        ax.plot(time[below], line[below], color=PALE, linestyle="--", linewidth=0.9, zorder=1)
    ax.set_xscale("log")
    ax.set_yscale("log")
    ax.set_xlim(0.05, time[-1])
    ax.set_ylim(0.005, 2 * top)
    ax.set_xlabel("β² t / τ")
    ax.set_ylabel("β ‖W(t) − W(0)‖")
    ax.legend(loc="lower right", borderaxespad=0.1, handlelength=2.4, labelspacing=0.25, fontsize=7)


def _times(ds: xr.Dataset, ax: Axes, config: dict) -> None:
    scale = config["beta"] ** 2
    delta = ds.model.values
    low, middle, high = np.quantile(ds.loss_time.values * scale, (0.05, 0.5, 0.95), axis=1, method="nearest")
    grid = np.geomspace(0.9 * delta[0], 1.1 * delta[-1], 100)
    level = config["level"]
    ax.plot(grid, 2 * (level + np.expm1(level)) / grid**2, color=INK, linestyle="-", linewidth=0.9)
    end = scale * ds.time.values[-1]
    for k in range(len(delta)):
        colour = _shade(_some(ds).index(k), 5) if k in _some(ds) else PALE
        ax.plot([delta[k]] * 2, np.minimum([low[k], high[k]], end), color=colour, linestyle="-", linewidth=1.0)
        ax.plot([delta[k]], [min(middle[k], end)], color=colour, marker="o", markersize=4, linestyle="")
    ax.set_xscale("log")
    ax.set_yscale("log")
    ticks = delta if len(delta) <= 5 else delta[:: (len(delta) - 1) // 3]
    ax.set_xticks(ticks, [f"{x:.2g}" for x in ticks])
    ax.set_xticks([], minor=True)
    ax.set_xlabel("distinguishability δ")
    ax.set_ylabel("β² t / τ")


def _course(one: xr.Dataset, ax: Axes, config: dict) -> None:
    k = int(np.argmin(np.abs(one.aligned.values - SHOWN)))
    one, scale = one.isel(aligned=k), config["beta"] ** 2
    time, wait = one.time.values * scale, float(one.align_time.median()) * scale
    for s in range(one.sizes["seed"]):
        began = float(one.align_time[s]) * scale
        kept = time <= began
        ax.plot(time[kept] - began, one.aligning_margin.values[s][kept], color=PALE, linestyle="-", linewidth=0.5)
    names = {"aligned": "reference: the aligned model", "base": "reference: the base model"}
    for n, (reference, name) in enumerate(names.items()):
        found = one.undone_margin.sel(reference=reference).transpose("seed", "time").values
        low, middle, high = np.quantile(found, (0.05, 0.5, 0.95), axis=0)
        colour = (plot.PALETTE[0], plot.PALETTE[1])[n]
        ax.fill_between(time, low, high, color=colour, alpha=0.2, linewidth=0)
        ax.plot(time, middle, color=colour, linestyle=plot.DASHES[n], label=name)
    ax.plot([], [], color=PALE, linestyle="-", linewidth=0.9, label="true labels, each data set")
    ax.axhline(0, color=INK, linewidth=0.5, linestyle="-", zorder=0)
    ax.axvline(0, color=INK, linewidth=0.5, linestyle="-", zorder=0)
    ax.set_xlim(-1.1 * wait, 2.3 * wait)
    R = float(one.aligned)
    ax.set_ylim(-1.6 * R, 1.75 * R)
    ax.set_xlabel("β² t / τ since labels were flipped")
    ax.set_ylabel("mean margin of true labels")
    ax.legend(loc="upper right", borderaxespad=0.1)


def _ratios(ds: xr.Dataset, ax: Axes) -> None:
    R = ds.aligned.values
    grid = np.linspace(1e-3, 1.08 * R[-1], 200)
    lines = {"aligned": np.ones_like(grid), "base": (grid - np.expm1(-grid)) / (grid + np.expm1(grid))}
    ratio = ds.undo_time / ds.align_time
    for n, (reference, line) in enumerate(lines.items()):
        colour, mark = plot.PALETTE[n], "os"[n]
        ax.plot(grid, line, color=colour, linestyle=plot.DASHES[n], linewidth=0.9)
        at = ds.reached_margin.transpose("law", "aligned", "seed").values
        noisy = ratio.sel(reference=reference, law="noisy").transpose("aligned", "seed").values
        low, middle, high = np.quantile(noisy, (0.05, 0.5, 0.95), axis=1)
        ax.errorbar(
            np.median(at[1], axis=1),
            middle,
            [middle - low, high - middle],
            color=colour,
            fmt=mark,
            markersize=3.5,
            linewidth=1.0,
        )
        still = ratio.sel(reference=reference, law="identical").transpose("aligned", "seed").values
        ax.plot(
            at[0, :, 0], still[:, 0], color=INK, marker="x", markersize=4, linestyle="", markeredgewidth=0.8, zorder=4
        )
        ax.annotate(
            f"reference: the {reference} model",
            (grid[-1], (1.04, 0.62)[n]),
            ha="right",
            color=colour,
        )
    ax.set_xlim(0, grid[-1])
    ax.set_ylim(0, 1.2)
    ax.set_xlabel("mean margin R when labels are flipped")
    ax.set_ylabel("ratio of times")
