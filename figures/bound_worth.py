"""What guarantees are worth: bounds beside the true quantile, how far they are above it, and how often they cover."""

from __future__ import annotations

import json

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from scipy.stats import beta as beta_distribution

from dynamics import plot

from ._common import INK, PALE, caption, letter, styled
from ._page import Page

LOOK = {
    "Theorem 4": (plot.PALETTE[1], "s", plot.DASHES[0], "Theorem 4 (Yun25)"),
    "7.11 corollary": (plot.PALETTE[3], "v", plot.DASHES[1], "corollary of 7.11"),
    "7.12 certificate": (plot.PALETTE[2], "^", plot.DASHES[2], "certificate 7.12 (median)"),
    "7.11 Chernoff": (plot.PALETTE[0], "o", plot.DASHES[3], "Chernoff 7.11"),
    "7.9 quantile": (INK, "x", plot.DASHES[0], "law of 7.9, 95 %"),
    "7.9 plug-in": (INK, "+", plot.DASHES[1], "law of 7.9 at the estimate"),
}
AT = 2**16  # n at which looseness is drawn against B


@styled
def draw(ds: xr.Dataset) -> Page:
    """Above: bounds and the true quantile against n for the smallest and the largest B; below: looseness and coverage."""
    config = json.loads(ds.attrs["config"])
    figure = Page(6.8)
    (a, b), (c, d) = figure.subplots(2, 2, height_ratios=[1.25, 1])
    for ax, B in ((a, ds.B.values[0]), (b, ds.B.values[-1])):
        _against_n(ds.sel(B=B), ax)
    at = int(ds.n[np.argmin(np.abs(np.log(ds.n.values / AT)))])
    _looseness(ds.sel(n=at), c)
    _coverage(ds, d, 1 - config["failure"])
    a.legend(loc="upper right", borderaxespad=0.2)
    titles = (
        f"B = {ds.B.values[0]:g}",
        f"B = {ds.B.values[-1]:g}",
        f"bound over true quantile, n = {at}",
        "share covered",
    )
    for ax, mark, title in zip((a, b, c, d), "abcd", titles, strict=True):
        letter(ax, mark, title)
    for ax in (a, b):
        ax.set_xlabel("comparisons n")
    a.set_ylabel(r"$\mathrm{KL}(\pi^*\Vert\hat\pi)$, nat")
    caption(
        figure,
        f"Three responses, one context, γ = {config['gamma']:g}, uniform sampler; a class of 865 policies around π*, whose "
        f"centred log-policies stay within ±B. Filled diamonds: measured {1 - config['failure']:.0%} quantile of the class's "
        f"maximum-likelihood policy; open ones: of the unregularised one among all policies ({config['sets']} data sets; left "
        "out where that estimate is infinite too often). Lines: bounds that hold with that probability, proven for every n "
        "(Theorem 4, 7.11 and its corollary for the class; the certificate 7.12 among all policies, from the data alone, band: "
        "middle nine tenths of data sets), and the limit law of 7.9, proven for n → ∞ only. Grey: above the largest KL of the "
        "class, where a bound says nothing. c: linear in the exponent up to 10². d: measured, all n ≥ 10⁴ together, 95 % "
        "Clopper–Pearson; the line is what was asked for.",
    )
    return figure


def _against_n(one: xr.Dataset, ax: Axes) -> None:
    for name, (colour, _, dash, label) in LOOK.items():
        if name == "7.9 plug-in":
            continue
        y = one.bound.sel(name=name)
        ax.plot(one.n, y.where(np.isfinite(y)), color=colour, linestyle=dash, linewidth=1.3, label=label)
        if name == "7.12 certificate":
            low, high = one.spread.sel(name=name).values
            known = np.isfinite(high)
            ax.fill_between(one.n.values[known], low[known], high[known], color=colour, alpha=0.2, linewidth=0)
    true = one["quantile"].where(np.isfinite(one["quantile"]))
    ax.plot(one.n, true.sel(estimate="tabular"), "D", color=INK, fillstyle="none", markersize=7, zorder=4)
    ax.plot(one.n, true.sel(estimate="class"), "D", color=INK, markersize=3.5, zorder=4, label="measured quantile")
    ax.set_xscale("log", base=2)
    ax.set_yscale("log")
    low, high = ax.get_ylim()
    ax.axhspan(float(one.largest), 1e80, color=PALE, alpha=0.35, linewidth=0, zorder=0)
    ax.set_ylim(low, high * (high / low) ** 0.55 if float(one.B) < 1 else high)


def _ratios(ds: xr.Dataset, name: str) -> xr.DataArray:
    true = ds["quantile"].sel(estimate="tabular" if name.startswith(("7.9", "7.12")) else "class")
    return ds.bound.sel(name=name) / true.where(np.isfinite(true))


def _looseness(one: xr.Dataset, ax: Axes) -> None:
    for name, (colour, marker, dash, _) in LOOK.items():
        if name != "7.9 plug-in":
            ax.plot(
                one.B, np.log10(_ratios(one, name)), marker, linestyle=dash, color=colour, markersize=4.5, linewidth=0.8
            )
    ax.axhline(0, color=PALE, linewidth=0.7, zorder=0)
    # From 1 to 100 the scale is that of a logarithm; above, the exponent itself is on one.
    ax.set_yscale("symlog", linthresh=2, linscale=1.6)
    ticks = (0, 1, 2, 5, 10, 20, 50)
    ax.set_yticks(ticks, [f"$10^{{{k}}}$" for k in ticks])
    ax.minorticks_off()
    ax.set_ylim(-0.3, 80)
    ax.set_xlabel("B, nat")
    ax.set_ylabel("times the true quantile")


def _coverage(ds: xr.Dataset, ax: Axes, asked: float) -> None:
    late = ds.sel(n=ds.n[ds.n >= 1e4])
    late = late if late.sizes["n"] else ds
    hit, out_of = (late[key].sum(("B", "n")).astype(int) for key in ("covered", "trials"))
    ax.axvline(asked, color=INK, linewidth=0.7, zorder=0)
    for k, (name, (colour, marker, _, _)) in enumerate(LOOK.items()):
        h, t = int(hit.sel(name=name)), int(out_of.sel(name=name))
        low = beta_distribution.ppf(0.025, h, t - h + 1) if h else 0.0
        high = beta_distribution.ppf(0.975, h + 1, t - h) if h < t else 1.0
        ax.plot(np.array([low, high], float), [k, k], "-", color=colour, linewidth=1.2)
        ax.plot(h / t, k, marker, color=colour, markersize=5)
    ax.set_yticks(range(len(LOOK)), list(LOOK))
    ax.invert_yaxis()
    ax.set_xlim(0.9, 1.004)
    ax.set_xlabel("share of data sets with KL within the bound")
