"""Shares of matrices on which an optimum violates each desideratum, by sampler and by family."""

from __future__ import annotations

import json

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from scipy.stats import beta as beta_distribution

from dynamics import plot

from ._common import INK, PALE, caption, letter, styled
from ._page import Page

NAMES = {"condorcet": "Condorcet-top", "smith": "Smith-top", "order": "order"}
SAMPLERS = {
    "uniform": "uniform",
    "reference": "random\nreference",
    "towards": "skewed to\nthe top",
    "away": "skewed to\nthe bottom",
    "fitted": "fitted",
}
OFFSET = 0.22  # distance between the desiderata of one sampler or family
MARKERS = "osD"
FEW, ROW = 8, 0.21  # number of families that fit beside the samplers; height in inches of each below them


@styled
def draw(ds: xr.Dataset) -> Page:
    """Shares that fail, by sampler (ranking by h and by pi) and by family under uniform and fitted sampling."""
    families = _families(ds)
    if len(families) <= FEW:
        figure = Page(3.9)
        left, right = figure.subplots(1, 2, width_ratios=[1.15, 1])
    else:
        figure = Page(3.6 + ROW * len(families))
        left, right = figure.subplots(2, 1, height_ratios=[2.6, ROW * len(families)])
    _by_sampler(ds, left)
    letter(left, "a", "by sampler, all matrices")
    _by_family(ds, right, families)
    letter(right, "b", "by family, uniform sampling")
    caption(figure, _caption(ds))
    return figure


def _families(ds: xr.Dataset) -> list[str]:
    return list(dict.fromkeys(ds.source.values.tolist())) if ds.attrs["generated"] else sorted(set(ds.source.values))


def _share(outcome: np.ndarray) -> tuple[float, float, float]:
    """The share of failures and its Clopper–Pearson interval; NaN if there are no outcomes."""
    failed, asked = int((outcome == 1).sum()), int((outcome >= 0).sum())
    if not asked:
        return np.nan, np.nan, np.nan
    low = beta_distribution.ppf(0.025, failed, asked - failed + 1) if failed else 0.0
    high = beta_distribution.ppf(0.975, failed + 1, asked - failed) if failed < asked else 1.0
    return failed / asked, float(low), float(high)


def _by_sampler(ds: xr.Dataset, ax: Axes) -> None:
    one = ds.outcome.sel(objective="IPO")
    x, highest = np.arange(len(SAMPLERS)), 0.0
    for d, (target, name) in enumerate(NAMES.items()):
        for by in ("pi", "h"):
            rows = one.sel(by=by, desideratum=target)
            share, low, high = np.transpose([_share(rows.sel(sampler=s).values) for s in SAMPLERS])
            highest = max(highest, np.nanmax(high, initial=0.0))
            at = x + OFFSET * (d - 1) + (0.08 if by == "pi" else 0.0)
            face = plot.PALETTE[d] if by == "h" else "white"
            style = {"color": plot.PALETTE[d], "marker": MARKERS[d], "markerfacecolor": face, "markersize": 4.5}
            ax.errorbar(at, share, [share - low, high - share], linestyle="none", linewidth=0.8, **style)
            if by == "h":
                ax.plot([], [], linestyle="none", label=name, **style)
    ax.plot([], [], "o", color=INK, markerfacecolor="white", markersize=4.5, label="ranking by π")
    ax.set_xticks(x, list(SAMPLERS.values()), fontsize=7)
    ax.set_ylabel("share of matrices that fail")
    ax.set_ylim(-0.02, 1.3 * max(highest, 0.1))  # room for the legend above all bars
    ax.legend(loc="upper center", ncols=2, columnspacing=1.2, handletextpad=0.3)
    ax.axhline(0, color=PALE, linewidth=0.6, zorder=0)


def _by_family(ds: xr.Dataset, ax: Axes, families: list[str]) -> None:
    one = ds.outcome.sel(objective="IPO", by="h", sampler="uniform")
    y = np.arange(len(families))
    for d, target in enumerate(NAMES):
        rows = [one.sel(desideratum=target).values[ds.source.values == family] for family in families]
        share, low, high = np.transpose([_share(row) for row in rows])
        style = {"color": plot.PALETTE[d], "marker": MARKERS[d], "markersize": 4.0, "linestyle": "none"}
        ax.errorbar(share, y + OFFSET * (d - 1), xerr=[share - low, high - share], linewidth=0.8, **style)
    counts = [int((ds.source.values == family).sum()) for family in families]
    ax.set_yticks(y, [f"{family} ({n})" for family, n in zip(families, counts, strict=True)], fontsize=7)
    ax.set_ylim(len(families) - 0.5, -0.5)
    ax.set_xlim(-0.02, 1.02 if len(families) > FEW else None)
    ax.set_xlabel("share of matrices that fail")
    ax.axvline(0, color=PALE, linewidth=0.6, zorder=0)


def _caption(ds: xr.Dataset) -> str:
    config = json.loads(ds.attrs["config"])
    K, t = ds.num_responses.values, ds.margin.sel(desideratum="order").values
    kind = "generated matrices" if ds.attrs["generated"] else "matrices read from files"
    sizes = f"K = {K.min()} to {K.max()}" if K.min() < K.max() else f"K = {K.min()}"
    asked = np.isfinite(t)
    return (
        f"{ds.sizes['matrix']} {kind}, {sizes}. Measured: shares of the matrices that ask for a desideratum (there is a "
        "Condorcet winner; the Smith set is not everything; the majority relation is transitive) on which the optimum at "
        "the sampler fails it; bars: 95 % Clopper–Pearson. Filled: ranking by h, the same for IPO and DPO (proven, 1.8). "
        f"Open: ranking by π, reference with logits N(0, {config['spread']:g}²), β = {config['beta']:g}. Skewed by "
        f"{config['amount']:g} nats. Proven: fitted sampling never fails the tops by h (1.5), and strongly transitive "
        f"matrices never fail (1.6). Of {asked.sum()} transitive matrices {(t[asked] <= 0).sum()} have an order that no "
        "sampler keeps."
    )
