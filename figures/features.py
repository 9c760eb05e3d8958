"""What features do to stability: the map of one matrix by number of features, critical betas, ways to lose stability."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.legend_handler import HandlerTuple
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from dynamics import plot

from ._common import COLOURS, INK, PALE, caption, letter, styled
from ._page import Page

NEVER, TURNS, FLIPS, FOLDS, FAILED = range(5)  # values of the flags of outcome
WAYS = {TURNS: "turns (pair at modulus 1)", FLIPS: "flips (at −1)", FOLDS: "folds or branches (at +1)"}
SHADES = {NEVER: "#F0F0EC", TURNS: "#9ECAE1", FLIPS: "#D55E00", FOLDS: "#7A2E00"}
HATCHES = {NEVER: "", TURNS: "", FLIPS: "////", FOLDS: ""}
BAND_FACTOR = 1.2  # half the height, as a factor, of the bands for ratios 0 and infinity
SHADED = "#E4EAF2"
LINES: dict[int, Any] = {TURNS: "-", FLIPS: (0, (4, 1.5)), FOLDS: (0, (1, 1.2))}


@styled
def draw(ds: xr.Dataset) -> Page:
    """Above: the map of one matrix, and how IPO and DPO lose stability. Below: critical beta against tabular, by family."""
    figure = Page(6.3)
    axes = figure.subplots(2, 2, width_ratios=[1.15, 1], height_ratios=[1.12, 1])
    _map(ds, axes[0, 0])
    _ways(ds, axes[0, 1])
    _ratios(ds, axes[1, 0], "cyclic")
    _ratios(ds, axes[1, 1], "balanced")
    letter(axes[0, 0], "a", "IPO on one matrix with a majority cycle")
    letter(axes[0, 1], "b", "how stability is lost, majority cycles")
    letter(axes[1, 0], "c", "majority cycles")
    letter(axes[1, 1], "d", "balanced matrices")
    caption(figure, _caption(ds))
    return figure


def _map(ds: xr.Dataset, ax: Axes) -> None:
    """Measured: the first loss of stability as lam/beta rises from 0, with a curve for each number of features."""
    alpha, lam = ds.alpha.values, json.loads(ds.attrs["config"])["lam"]
    ranks = ds["rank"].values
    ratio = lam / np.where(ds.map_beta.values > 0, ds.map_beta.values, np.nan)
    kinds = ds.map_outcome.transpose("rank", "alpha").values
    at_zero = ratio[:, alpha < 0.5]
    widest = 1.15 * float(np.nanmax(at_zero)) if np.isfinite(at_zero).any() else 1.0
    tabular = np.where(np.isfinite(ratio[-1]), ratio[-1], widest)
    widest = min(widest, 3.2 * float(tabular.max()))
    ax.fill_betweenx(alpha, 0, np.minimum(tabular, widest), color=SHADED, linewidth=0, zorder=0)
    for r, d in enumerate(ranks):
        colour, width = (INK, 1.9) if r == len(ranks) - 1 else (plot.PALETTE[r % len(plot.PALETTE)], 1.2)
        for kind, line in LINES.items():
            here = kinds[r] == kind
            # Each segment extends to the next, so that there is no gap where the kind changes.
            wide = here | np.append(here[1:], False)
            ax.plot(
                np.where(wide, ratio[r], np.nan), alpha, color=colour, linestyle=line, linewidth=width, zorder=2 + r
            )
        label = f"{d} (tabular)" if r == len(ranks) - 1 else str(d)
        # Dashes say what happens at a curve, so the key to colours has none.
        ax.plot([], [], "s", color=colour, markersize=5, linestyle="none", label=label)
    ax.set_xlim(0, widest)
    ax.set_ylim(0, 1)
    ax.set_xlabel("λ/β")
    ax.set_ylabel("α")
    ax.legend(title="features", loc="lower right", title_fontsize=7.5, fontsize=7, handlelength=1.0)


def _ways(ds: xr.Dataset, ax: Axes) -> None:
    """Measured: shares of outcomes, IPO left and DPO right of each number of features."""
    ranks = ds["rank"].values
    for side, name in ((-0.2, "IPO"), (0.2, "DPO")):
        outcome = ds.outcome.sel(family="cyclic", objective=name).transpose("rank", "matrix").values
        foot = np.zeros(len(ranks))
        for code in (TURNS, FLIPS, FOLDS, NEVER):
            share = (outcome == code).mean(axis=1)
            ax.bar(
                ranks + side,
                share,
                0.36,
                bottom=foot,
                color=SHADES[code],
                edgecolor="white" if code == FLIPS else INK,
                hatch=HATCHES[code],
                linewidth=0.3,
            )
            foot += share
    ax.set_ylim(0, 1.0)
    ax.set_xticks(ranks)
    ax.set_xlabel("number of features (IPO left, DPO right)")
    ax.set_ylabel("share of matrices")
    figure = ax.get_figure(root=True)
    assert figure is not None
    keys: list[Any] = [
        (
            Line2D([], [], color=INK, linewidth=1.2, linestyle=LINES[code]),
            Patch(
                facecolor=SHADES[code],
                edgecolor="white" if code == FLIPS else INK,
                hatch=HATCHES[code],
                linewidth=0.3,
            ),
        )
        for code in WAYS
    ]
    never = Patch(facecolor=SHADES[NEVER], edgecolor=INK, linewidth=0.3)
    figure.legend(
        [*keys, never],
        [*WAYS.values(), "never in range"],
        loc="outside upper center",
        ncols=4,
        handlelength=3.2,
        columnspacing=1.4,
        handler_map={tuple: HandlerTuple(ndivide=None, pad=0.5)},
    )


def _ratios(ds: xr.Dataset, ax: Axes, family: str) -> None:
    """Measured: quantiles of the critical beta over the tabular one; a matrix that never loses stability counts as 0."""
    one = ds.sel(family=family)
    ranks = ds["rank"].values[:-1]
    lowest, highest = (0.008, 50.0) if family == "cyclic" else (0.008, 2.0)
    for shift, name, marker in ((-0.09, "IPO", "o"), (0.09, "DPO", "s")):
        beta = np.where(one.sel(objective=name).outcome == FAILED, np.nan, one.critical_beta.sel(objective=name).values)
        with np.errstate(divide="ignore", invalid="ignore"):
            ratio = beta[:, :-1] / beta[:, -1:]
        columns = [column[~np.isnan(column)] for column in ratio.T]
        levels = (0.1, 0.25, 0.5, 0.75, 0.9)
        q = np.array([np.quantile(c, levels, method="inverted_cdf") if len(c) else np.full(5, np.nan) for c in columns])
        q = np.clip(q, BAND_FACTOR * lowest, highest / BAND_FACTOR)
        x, face = ranks + shift, COLOURS[name] if name == "IPO" else "white"
        ax.vlines(x, q[:, 0], q[:, 4], color=COLOURS[name], linewidth=0.9, zorder=2)
        ax.vlines(x, q[:, 1], q[:, 3], color=COLOURS[name], linewidth=3.4, alpha=0.55, zorder=2)
        ax.plot(
            x, q[:, 2], marker, color=COLOURS[name], markerfacecolor=face, markersize=4.2, linestyle="none", zorder=3
        )
    ax.axhline(1, color=INK, linewidth=0.8, linestyle=(0, (4, 2)), zorder=1)
    ax.axhspan(lowest, BAND_FACTOR**2 * lowest, color=PALE, alpha=0.45, linewidth=0, zorder=0)
    if family == "cyclic":
        ax.axhspan(highest / BAND_FACTOR**2, highest, color=PALE, alpha=0.45, linewidth=0, zorder=0)
    ax.set_yscale("log")
    ax.set_ylim(lowest, highest)
    ax.set_xticks(ranks)
    ax.set_xlim(0.5, len(ranks) + 0.5)
    ax.set_xlabel("number of features")
    ax.set_ylabel("critical β over the tabular one")
    handles = [
        Line2D([], [], marker="o", color=COLOURS["IPO"], markersize=4.2, linestyle="none", label="IPO"),
        Line2D(
            [],
            [],
            marker="s",
            color=COLOURS["DPO"],
            markerfacecolor="white",
            markersize=4.2,
            linestyle="none",
            label="DPO",
        ),
    ]
    ax.legend(handles=handles, loc="lower right", bbox_to_anchor=(1.0, 0.07), ncols=2, handlelength=1)


def _caption(ds: xr.Dataset) -> str:
    s = json.loads(ds.attrs["config"])
    K = s["size"]
    return (
        f"Rounds with log-linear policies, K = {K}, nested Gaussian features ({K - 1} are tabular), λ = {s['lam']:g}; b–d: "
        f"α = {s['alpha']:g}, {s['matrices']} random matrices of each kind; uniform reference. Measured: the fixed point is "
        f"followed down in β over {s['decades']:g} decades to where it stops attracting. a: stable to the left of a "
        "curve (shaded: tabular), which is dashed by how it is lost there. c, d: median, quarters "
        "(thick) and 10% to 90% (thin) of the ratio, where either loses stability; above 1 features destabilise; grey "
        "bands: the class never does (below), "
        "tabular policies never do (above). Proven: tabular rounds only turn (7.1; DPO at λ = 1); one feature never turns; "
        "on balanced matrices (all rows of P sum to K/2) fewer features never raise the critical β."
    )
