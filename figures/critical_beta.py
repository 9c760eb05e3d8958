"""Critical beta of preference matrices with a majority cycle, as distributions for IPO and DPO."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes

from ._common import COLOURS, INK, caption, letter, styled
from ._page import Page

LOSES, NEVER, UNDEFINED = 0, 1, 2  # values of the flags of outcome
CUSTOMARY = 0.1
DASHES = {"IPO": "-", "DPO": (0, (5, 1.5))}
MARKERS = {"IPO": "o", "DPO": "s"}


@styled
def draw(ds: xr.Dataset) -> Page:
    """Left: share of matrices that are unstable at each beta. Right: critical beta against the cycle's margin."""
    figure = Page(3.6)
    left, right = figure.subplots(1, 2, width_ratios=[1.25, 1])
    for name in ds.objective.values:
        _distribution(ds.sel(objective=name), left, str(name))
        _against_margin(ds.sel(objective=name), right, str(name))
    _customary(ds.sel(objective="DPO"), left)
    right.axhline(CUSTOMARY, color=INK, linewidth=0.7, linestyle=(0, (1, 1.5)), zorder=0)
    left.set_xscale("log")
    left.set_ylim(-0.02, 1.02)
    left.set_xlabel("β")
    left.set_ylabel(f"share of {'generated ' if ds.attrs['generated'] else ''}matrices unstable at β")
    figure.legend(*left.get_legend_handles_labels(), loc="outside upper left", ncols=2)
    letter(left, "a", "distribution of the critical β")
    right.set_xscale("log")
    right.set_yscale("log")
    right.set_xlabel("margin of the strongest majority cycle")
    right.set_ylabel("critical β")
    letter(right, "b", "critical β and the strength of the cycle")
    caption(figure, _caption(ds))
    return figure


def _distribution(one: xr.Dataset, ax: Axes, name: str) -> None:
    outcome = one.outcome.values
    defined = np.isin(outcome, (LOSES, NEVER))
    values = np.sort(one.critical_beta.values[outcome == LOSES])
    if not len(values):
        return
    # No matrix is unstable above the largest critical beta; each adds its share below its own critical beta.
    x = np.concatenate([[values[0] / 3], values, [values[-1] * 3]])
    y = np.concatenate([[len(values)], len(values) - np.arange(len(values)), [0]]) / defined.sum()
    label = f"{name} ({len(values)} of {defined.sum()} lose stability)"
    ax.step(x, y, where="pre", color=COLOURS[name], linestyle=DASHES[name], linewidth=1.4)
    median = float(np.median(values))
    above = float(np.interp(median, x, y))
    look: dict[str, Any] = {"color": COLOURS[name], "marker": MARKERS[name], "markersize": 4.5}
    face: dict[str, Any] = {"markerfacecolor": COLOURS[name] if name == "IPO" else "white"}
    ax.plot([median], [above], **look, **face)
    ax.plot([], [], linestyle=DASHES[name], linewidth=1.4, label=label, **look, **face)
    offset, side = ((-6, -9), "right") if name == "IPO" else ((6, 2), "left")
    text = f"median {median:.3g}"
    ax.annotate(text, (median, above), offset, textcoords="offset points", ha=side, color=COLOURS[name], fontsize=7)


def _customary(one: xr.Dataset, ax: Axes) -> None:
    defined = np.isin(one.outcome.values, (LOSES, NEVER))
    share = float((one.critical_beta.values[defined] > CUSTOMARY).mean()) if defined.any() else np.nan
    ax.axvline(CUSTOMARY, color=INK, linewidth=0.7, linestyle=(0, (1, 1.5)), zorder=0)
    ax.plot([CUSTOMARY], [share], "D", color="white", markeredgecolor=INK, markersize=5, zorder=5)
    kind = "these generated matrices" if one.attrs["generated"] else "the matrices read"
    text = f"DPO's customary β = {CUSTOMARY:g}:\nDPO unstable on {share:.0%}\nof {kind}"
    ax.annotate(text, (CUSTOMARY, 1.0), (5, 0), textcoords="offset points", ha="left", va="top", fontsize=7)


def _against_margin(one: xr.Dataset, ax: Axes, name: str) -> None:
    lost = one.outcome.values == LOSES
    style = {"markersize": 3.2, "linestyle": "none", "markeredgewidth": 0.6, "color": COLOURS[name]}
    face = COLOURS[name] if name == "IPO" else "white"
    ax.plot(
        one.cycle_margin.values[lost],
        one.critical_beta.values[lost],
        MARKERS[name],
        markerfacecolor=face,
        label=name,
        **style,
    )


def _caption(ds: xr.Dataset) -> str:
    settings = json.loads(ds.attrs["config"])
    sizes = ds.num_responses.values
    kind, made = "matrices read from files", ""
    if ds.attrs["generated"]:
        kind = "generated matrices (uniform entries; noisy Bradley–Terry)"
        made = " They are made up, so that shares say nothing about the preferences of people."
    undefined = int((ds.outcome.sel(objective="DPO").values == UNDEFINED).sum())
    without = (
        f"DPO has no optimum on {undefined} of them (a group beats the rest with certainty). " if undefined else ""
    )
    return (
        f"{ds.sizes['matrix']} {kind} with a majority cycle, K = {sizes.min()} to {sizes.max()}.{made} Setting: "
        f"α = {settings['alpha']:g}, λ = {settings['lam']:g}, uniform reference and start. Measured: the fixed point "
        "is followed down in β to where its spectral radius passes 1. Proven: above λ‖CAC‖₂/(2√(1−α²)) IPO's rounds "
        f"converge (7.2); the fixed point is unique (7.1; DPO's at λ = 1). {without}Matrices that never lose stability count "
        "as 0. Dotted: DPO's customary β."
    )
