"""How reward gaps change as the top is sampled more often: which shrink, and by how much the others grow."""

from __future__ import annotations

import json

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from scipy.stats import beta as beta_distribution

from ._common import COLOURS, INK, PALE, caption, letter, styled
from ._page import Page

SHRINKS = 1e-9
TICKS, LABELS = (-1, -0.1, -0.01, 0, 0.01, 0.1, 1), ("−1", "−0.1", "", "0", "", "0.1", "1")
DASHES = {"IPO": "-", "DPO": (0, (5, 1.5))}
MARKERS = {"IPO": "o", "DPO": "s"}
LINEAR = 0.01  # within which axes of changes are linear


@styled
def draw(ds: xr.Dataset) -> Page:
    """Left: how gaps are distributed by their change, inside the assumption and outside. Right: by the amount of skewing."""
    figure = Page(4.2)
    left, right = figure.subplots(1, 2, width_ratios=[1.15, 1])
    amount = json.loads(ds.attrs["config"])["amount"]
    one = ds.change.sel(amount=amount, method="nearest")
    for objective in ("IPO", "DPO"):
        for inside in (True, False):
            _distribution(one.sel(objective=objective).values[ds.qualifies.values == inside], left, objective, inside)
        _changes(ds, right, objective)
    left.axvline(0, color=PALE, linewidth=0.7, linestyle="-", zorder=0)
    left.set_xscale("asinh", linear_width=LINEAR)
    left.set_xticks(TICKS, LABELS)
    left.set_ylim(0, 1)
    left.set_xlabel("change of the gap β(hᵢ − hⱼ), nats")
    left.set_ylabel("share of gaps that change by less")
    figure.legend(*left.get_legend_handles_labels(), loc="outside upper left", ncols=2, handlelength=2.6)
    letter(left, "a", f"skewed by {float(one.amount):g} nat")
    right.axhline(0, color=PALE, linewidth=0.7, linestyle="-", zorder=0)
    right.set_xscale("log")
    right.set_xlabel("amount of skewing towards the top, nats")
    right.set_yscale("asinh", linear_width=LINEAR)
    right.set_ylabel("change of the gap β(hᵢ − hⱼ), nats")
    right.set_yticks(TICKS, LABELS)
    right.plot([], [], "o-", color=INK, markersize=4, label="median")
    right.plot([], [], linestyle=(0, (1, 1)), color=INK, label="least")
    right.legend(loc="upper left")
    letter(right, "b", "inside the assumption, by amount")
    caption(figure, _caption(ds))
    return figure


def _distribution(change: np.ndarray, ax: Axes, objective: str, inside: bool) -> None:
    if not len(change):
        return
    count, total = int((change < -SHRINKS).sum()), len(change)
    low = beta_distribution.ppf(0.025, count, total - count + 1) if count else 0.0
    high = beta_distribution.ppf(0.975, count + 1, total - count) if count < total else 1.0
    where = "inside" if inside else "outside"
    label = f"{objective}, {where}: {count / total:.1%} shrink ({low:.1%} to {high:.1%})"
    look = {"color": COLOURS[objective], "linewidth": 1.8 if inside else 0.8}
    ax.step(
        np.sort(change), np.arange(1, total + 1) / total, where="post", linestyle=DASHES[objective], label=label, **look
    )


def _changes(ds: xr.Dataset, ax: Axes, objective: str) -> None:
    change = ds.change.sel(objective=objective).values[ds.qualifies.values]
    if not len(change):
        return
    least, low, middle, high = np.quantile(change, (0.0, 0.05, 0.5, 0.95), axis=0)
    colour = COLOURS[objective]
    ax.fill_between(ds.amount, low, high, color=colour, alpha=0.2, linewidth=0)
    ax.plot(ds.amount, middle, MARKERS[objective], linestyle="-", color=colour, markersize=4)
    ax.plot(ds.amount, least, linestyle=(0, (1, 1)), color=colour)


def _caption(ds: xr.Dataset) -> str:
    inside, total, K = int(ds.qualifies.sum()), ds.sizes["pair"], ds.num_responses.values
    spread = json.loads(ds.attrs["config"])["spread"]
    return (
        f"{total} pairs i above j in the majority order of generated matrices, K = {K.min()} to {K.max()}, samplers with "
        f"logits N(0, {spread:g}²); the sampler is tilted towards the top of the order. Inside the assumption: Pᵢₖ − Pⱼₖ does "
        f"not rise with the rank of k ({inside} pairs, thick). Proven (1.7): there IPO's gap never shrinks; for DPO, and "
        "outside (thin), it may. Measured: a: shares of gaps, in brackets 95 % Clopper–Pearson intervals of the share that "
        f"shrinks (axes: arsinh, linear within ±{LINEAR:g}); b: medians, the middle nine tenths of the pairs (bands) and the "
        "least change."
    )
