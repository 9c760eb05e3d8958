"""Alignment as distribution learning on the published toy: error against comparisons, the best beta, and missing estimates."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes

from dynamics import plot

from ._common import INK, PALE, caption, letter, styled
from ._page import Page

# Blue and vermilion, green and ink: told apart by lightness, dash and marker as well.
LOOK = {
    "RLHF": (plot.PALETTE[1], "s", "RLHF = DPO = REBEL"),
    "PMLE": (plot.PALETTE[0], "o", "PMLE = distillation, + β KL"),
    "reverse KL": (plot.PALETTE[2], "^", "reverse KL"),
    "unregularised": (INK, "D", "β = 0: PMLE = distillation = reverse KL"),
}


@styled
def draw(ds: xr.Dataset) -> Page:
    """Left: forward KL against n; right: error over its law, the best beta, and the share without an estimate."""
    config = json.loads(ds.attrs["config"])
    figure = Page(5.9)
    panels = figure.subplot_mosaic([list("aab"), list("aac"), list("aad")])
    a, b, c, d = (panels[mark] for mark in "abcd")
    _errors(ds, a)
    _over_law(ds, b)
    _betas(ds, c, config["gamma"])
    _missing(ds, d)
    titles = ("forward KL at the best β of each", "error over its law", "best β", "no finite reward")
    for ax, mark, title in zip((a, b, c, d), "abcd", titles, strict=True):
        letter(ax, mark, title)
    for ax in (b, c):
        ax.tick_params(labelbottom=False)
    for ax in (a, d):
        ax.set_xlabel("comparisons n, all contexts together")
    caption(
        figure,
        f"{config['contexts']} contexts × {config['size']} responses, logits of π* and π₀ N(0, {config['spread']:g}²), γ = "
        f"{config['gamma']:g}, uniform sampler, {ds.sizes['instance']} instances × {ds.sizes['set']} data sets (PMLE with "
        f"β > 0: {config['pmle_sets']}). Markers: measured means; bands: middle nine tenths of the data sets; β is the best "
        "of one grid (eight per decade, 10⁻³ to 10⁴) for the mean at each n, so it knows π*, as in the published toy. Dashed "
        "lines in a: proven, to leading order (7.13; V/n of 7.9 at β = 0). Where an unregularised reward is infinite in a "
        "context, reverse KL, RLHF and β = 0 have no policy: d shows the share of such data sets (line: 1 - exp(-2XK(1 - q)ⁿ), "
        "q = (K-1)/(XK²), a theory of responses that never win or never lose), and their curves, means over the rest, are "
        "drawn where at least half of the data sets have one. PMLE with β > 0 is drawn at every n; where a response lost all "
        "its comparisons its minimum is local only (9.7). b: bars, 95 % intervals over instances; shaded, ±5 %.",
    )
    return figure


def _kept(ds: xr.Dataset, curve: str) -> np.ndarray:
    """The n at which a curve is drawn: at least half of the data sets have an estimate."""
    return np.ones(ds.sizes["n"], bool) if curve == "PMLE" else ds.exists.mean(("instance", "set")).values >= 0.5


def _errors(ds: xr.Dataset, ax: Axes) -> None:
    for curve, (colour, marker, name) in LOOK.items():
        one = ds.isel(n=_kept(ds, curve))
        error = one.error.sel(curve=curve).values.reshape(one.sizes["n"], -1)
        low, high = np.nanquantile(error, (0.05, 0.95), axis=1)
        ax.fill_between(one.n, low, high, color=colour, alpha=0.14, linewidth=0)
        own: dict[str, Any] = {"markersize": 7, "fillstyle": "none"} if curve == "PMLE" else {"markersize": 4}
        ax.plot(one.n, np.nanmean(error, axis=1), marker, color=colour, label=name, zorder=3, **own)
        if curve != "PMLE":  # PMLE has the law of reverse KL
            ax.plot(ds.n, ds.law.sel(curve=curve).mean("instance"), "--", color=colour, linewidth=1.0, zorder=2)
    top = float(ds.law.sel(curve="RLHF").max())
    ax.set_yscale("log")
    ax.set_ylim(0.5 * float(ds.law.sel(curve="reverse KL").min()), 200 * top)
    ax.set_xscale("log", base=2)
    ax.set_ylabel(r"$\mathrm{E}_x\,\mathrm{KL}(\pi^*\Vert\hat\pi)$, nat")
    ax.plot([], [], "--", color="#777777", linewidth=1.0, label="proven laws (7.9, 7.13)")
    ax.legend(loc="upper right", borderaxespad=0.3)


def _over_law(ds: xr.Dataset, ax: Axes) -> None:
    ax.axhspan(0.95, 1.05, color=PALE, alpha=0.4, linewidth=0)
    ax.axhline(1, color=INK, linewidth=0.6)
    for k, (curve, (colour, marker, _)) in enumerate(LOOK.items()):
        one = ds.isel(n=_kept(ds, curve))
        by_instance = (
            one.error.sel(curve=curve).mean("set").values / one.law.sel(curve=curve).mean("instance").values[:, None]
        )
        count = np.isfinite(by_instance).sum(axis=1)
        centre = np.nanmean(by_instance, axis=1)
        own = one.law.sel(curve=curve) / one.law.sel(curve=curve).mean("instance")
        half = 2 * np.nanstd(by_instance - centre[:, None] * own.values, axis=1) / np.sqrt(count)
        ax.errorbar(
            one.n * 2 ** (0.14 * (k - 1.5)), centre, half, fmt=marker, color=colour, markersize=2.5, linewidth=0.8
        )
    ax.set_ylim(0.85, 1.55)
    ax.set_xscale("log", base=2)
    ax.set_xlim(0.7 * float(ds.n[0]), 1.4 * float(ds.n[-1]))
    ax.set_ylabel("measured/proven")


def _betas(ds: xr.Dataset, ax: Axes, gamma: float) -> None:
    for curve, (colour, marker, _) in LOOK.items():
        if curve == "unregularised":
            continue
        one = ds.isel(n=_kept(ds, curve))
        ax.plot(one.n, one.beta.sel(curve=curve), marker, color=colour, markersize=3)
    # At its best beta, reverse KL has the law gamma v/b, v = ΣV/n, and 1/law = 1/b + 1/v.
    v = ds.error_constant.values / ds.n.values[:, None]
    b = 1 / (1 / ds.law.sel(curve="reverse KL").values - 1 / v)
    ax.plot(ds.n, gamma * v.mean(axis=1) / b.mean(axis=1), "--", color=LOOK["reverse KL"][0], linewidth=0.9)
    ax.axhline(gamma, color=PALE, linewidth=0.7, zorder=0)
    ax.text(float(ds.n[0]), 0.8 * gamma, "γ", fontsize=8, va="top")
    ax.set_yscale("log")
    ax.set_xscale("log", base=2)
    ax.set_xlim(0.7 * float(ds.n[0]), 1.4 * float(ds.n[-1]))
    ax.set_ylabel("β")


def _missing(ds: xr.Dataset, ax: Axes) -> None:
    config = json.loads(ds.attrs["config"])
    X, K = config["contexts"], config["size"]
    ax.plot(ds.n, 1 - ds.exists.mean(("instance", "set")), "D", color=INK, markersize=3)
    grid = np.geomspace(float(ds.n[0]), float(ds.n[-1]), 400)
    ax.plot(grid, -np.expm1(-2 * X * K * (1 - (K - 1) / (X * K**2)) ** grid), "--", color=INK, linewidth=0.9)
    ax.set_ylim(-0.05, 1.05)
    ax.set_xscale("log", base=2)
    ax.set_xlim(0.7 * float(ds.n[0]), 1.4 * float(ds.n[-1]))
    ax.set_ylabel("share of data sets")
