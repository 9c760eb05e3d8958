"""The first rounds on a preference cycle and on a transitive matrix: orbits in the simplex, coordinates, entropy."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes

from dynamics import plot

from ._common import COLOURS, PALE, caption, letter, styled
from ._page import Page

NAMES = ("1", "2", "3")
SHOWN = 40  # rounds shown in coordinates; more would be hard to read


@styled
def draw(ds: xr.Dataset) -> Page:
    """Three rows: the simplex with both objectives, then IPO and DPO in coordinates; the collapse as entropy."""
    figure = Page(6.0)
    axes = figure.subplots(3, 4, height_ratios=[1.35, 1, 1])
    for column, case in enumerate(ds.case.values):
        one = ds.sel(case=case)
        _simplex(one, axes[0, column])
        letter(axes[0, column], "abcd"[column], _title(one))
        for row, name in enumerate(ds.objective.values, start=1):
            panel = _entropy if case == "collapse" else _coordinates
            panel(one.sel(objective=name), axes[row, column])
    _labels(axes)
    handles, names = axes[1, 0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside upper left", ncols=3, handlelength=2.6)
    settings = json.loads(ds.attrs["config"])
    caption(
        figure,
        f"Top: orbits from one start (circle) to round {settings['rounds']} (square), IPO blue, DPO vermilion; DPO "
        "runs at 4 times IPO's β, where its rounds agree with IPO's near uniform. Below: probabilities over "
        f"the first {min(SHOWN, settings['rounds'])} rounds (measured); 3-cycle, P = 1/2 ± {settings['advantage']:g}. "
        "ρ: spectral radius of a round at the uniform policy, which attracts if ρ\u00a0<\u00a01 and repels if "
        "ρ\u00a0>\u00a01 (proven; Chen et al. "
        "2026 for IPO). d: entropy (line, measured) and its bounds (shaded, proven: statement 2.4; for DPO there is no "
        "lower bound).",
    )
    return figure


def _title(one: xr.Dataset) -> str:
    case = str(one.case.values)
    name = {"collapse": "transitive P"}.get(case, case.replace("lam", "λ").replace("beta", "β").replace("alpha", "α"))
    return f"{name}, α\u00a0=\u00a0{float(one.alpha):g}"


def _say(ax: Axes, one: xr.Dataset, *rest: str) -> None:
    """The beta of this objective, and what else is to be said, above the lines of a panel."""
    text = ", ".join([f"β = {float(one.beta):g}", *rest])
    ax.annotate(text, (0.99, 0.99), xycoords="axes fraction", ha="right", va="top", fontsize=7)


def _simplex(one: xr.Dataset, ax: Axes) -> None:
    for name in one.objective.values:
        log_policy = one.log_policy.sel(objective=name).values
        plot.simplex(log_policy, ax, names=NAMES, color=COLOURS[str(name)], frame=name == "IPO")


def _coordinates(one: xr.Dataset, ax: Axes) -> None:
    policy = np.exp(one.log_policy.values[: SHOWN + 1])
    shades: tuple[Any, ...] = (plot.PALETTE[0], plot.PALETTE[1], plot.PALETTE[2])
    ax.axhline(1 / 3, color=PALE, linewidth=0.6, linestyle="-", zorder=0)
    for k in range(policy.shape[1]):
        ax.plot(
            one["round"][: SHOWN + 1],
            policy[:, k],
            color=shades[k],
            linestyle=plot.DASHES[k],
            linewidth=0.9,
            label=f"response {k + 1}",
        )
    ax.set_ylim(-0.03, 1.16)
    ax.set_yticks((0, 0.5, 1))
    ax.margins(x=0.01)
    _say(ax, one, f"ρ = {float(one.spectral_radius):.3f}")


def _entropy(one: xr.Dataset, ax: Axes) -> None:
    name = str(one.objective.values)
    label = "bounds" if (one.entropy_lower > 0).any() and name == "IPO" else "upper bound"
    low = np.maximum(one.entropy_lower.values, 1e-12)
    ax.fill_between(
        one["round"], low, one.entropy_upper.values, color=COLOURS[name], alpha=0.25, linewidth=0, label=label
    )
    ax.plot(one["round"], one.entropy.values, color=COLOURS[name], linestyle="-", label="measured")
    ax.set_yscale("log")
    ax.set_ylim(min(0.3 * float(one.entropy.min()), 0.05), 2.5)
    ax.margins(x=0.01)
    ax.legend(loc="lower left")
    _say(ax, one)


def _labels(axes: np.ndarray) -> None:
    for row, name in ((1, "IPO"), (2, "DPO")):
        axes[row, 0].set_ylabel(f"{name}: probability")
        axes[row, -1].set_ylabel(f"{name}: entropy (nat)")
        for ax in axes[row, 1:-1]:
            ax.tick_params(labelleft=False)
    for ax in axes[1]:
        ax.tick_params(labelbottom=False)
    for ax in axes[2]:
        ax.set_xlabel("round")
