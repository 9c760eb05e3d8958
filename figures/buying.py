"""What five laws of comparisons cost over gamma, whether fits confirm it, and what each law compares."""

from __future__ import annotations

import numpy as np
import xarray as xr
from matplotlib.axes import Axes

from dynamics import plot

from ._common import INK, PALE, caption, letter, styled
from ._page import Page

STYLES = dict(
    zip(
        ("uniform", "on-policy", "square-root rule", "best sampler", "best pairs"),
        zip((INK, *plot.PALETTE[:4]), ("-", *plot.DASHES[1:5]), ("o", "s", "D", "^", "v"), strict=True),
        strict=True,
    )
)


@styled
def draw(ds: xr.Dataset) -> Page:
    """V over that of uniform sampling; measured against foretold gains; shares of the responses compared."""
    figure = Page(5.3)
    panels = figure.subplot_mosaic([list("ab"), list("cd")], height_ratios=[1.25, 1])
    _costs(ds, panels["a"])
    _gains(ds, panels["b"])
    _shares(ds, panels["c"], 0)
    _shares(ds, panels["d"], -1)
    panels["d"].sharey(panels["c"])
    gamma = ds.gamma.values
    titles = ("cost of a law of comparisons", "gains at equal n")
    titles += tuple(f"what is compared, γ = {g:g}" for g in (gamma[0], gamma[-1]))
    for mark, title in zip("abcd", titles, strict=True):
        letter(panels[mark], mark, title)
    figure.legend(*panels["a"].get_legend_handles_labels(), loc="outside upper center", ncols=5, fontsize=7)
    caption(
        figure,
        f"{ds.sizes['target']} targets π* over {ds.sizes['response']} responses. a: V, the limit of n KL(π*‖π̂), over that of "
        "uniform sampling (medians and ranges over targets, computed); no estimator does better than V/n (proven, statement "
        "7.9). b: mean errors of fitted policies over those under uniform sampling at the same n (measured, bars: two "
        "standard errors; cases with an infinite fit left out), against the ratio of V (theory); on the line both agree. c, "
        "d: share of each response among those compared, for the sharpest target, responses ordered by π* (computed).",
    )
    return figure


def _costs(ds: xr.Dataset, ax: Axes) -> None:
    for law, (colour, dash, marker) in STYLES.items():
        ratio = (ds.V.sel(law=law) / ds.V.sel(law="uniform")).values
        ax.fill_between(ds.gamma, ratio.min(axis=1), ratio.max(axis=1), color=colour, alpha=0.13, linewidth=0)
        line = {"color": colour, "linestyle": dash, "marker": marker, "markersize": 3.5}
        ax.plot(ds.gamma, np.median(ratio, axis=1), label=law, **line)
    ax.set_xscale("log")
    ax.set_yscale("log")
    _plain(ax.yaxis, (0.3, 0.5, 0.7, 1, 1.5, 2, 3))
    _plain(ax.xaxis, ds.gamma.values)
    ax.set_xlabel("γ")
    ax.set_ylabel("V over V of uniform sampling")


def _gains(ds: xr.Dataset, ax: Axes) -> None:
    V = ds.V.sel(gamma=ds.measured_gamma.values).values[:, :, : ds.sizes["measured_target"]]
    fits = (ds.infinite.values == 0) & (ds.infinite.values[:1] == 0)
    relative = (ds.error_deviation / ds.error).values
    ends = [np.inf, 0.0]
    for k, (law, (colour, _, marker)) in enumerate(STYLES.items()):
        if k == 0:
            continue
        x, y = V[k] / V[0], ds.error.values[k] / ds.error.values[0]
        kept = fits[k]
        bars = 2 * y * np.hypot(relative[k], relative[0])
        look = {"color": colour, "marker": marker, "markersize": 3.5, "linestyle": "none", "elinewidth": 0.7}
        ax.errorbar(x[kept], y[kept], bars[kept], label=law, **look)
        ends = [min(ends[0], x[kept].min(initial=ends[0])), max(ends[1], x[kept].max(initial=ends[1]))]
    grid = np.array([0.9 * ends[0], 1.1 * ends[1]])
    ax.plot(grid, grid, color=PALE, linestyle="-", linewidth=1.0, zorder=0)
    ax.set_xscale("log")
    ax.set_yscale("log")
    for axis in (ax.xaxis, ax.yaxis):
        _plain(axis, (0.3, 0.5, 0.7, 1, 1.5, 2, 3))
    ax.set_xlabel("V over V of uniform sampling (theory)")
    ax.set_ylabel("error over uniform's (measured)")


def _shares(ds: xr.Dataset, ax: Axes, which: int) -> None:
    target = int(ds.policy.values.max(axis=1).argmax())  # the one that differs most from uniform
    policy = ds.policy.values[target]
    order = np.argsort(-policy)
    place = np.arange(len(order))
    ax.bar(place, policy[order], color=PALE, width=0.75, zorder=0)
    for law, (colour, _, marker) in STYLES.items():
        share = ds.share.isel(gamma=which, target=target).sel(law=law).values[order]
        ax.plot(place, share, color=colour, marker=marker, markersize=4, linestyle="none")
    ax.set_xticks(place, [f"{k + 1}" for k in place])
    ax.set_xlabel("response, by π* (bars: π*)")
    ax.set_ylabel("share compared")
    ax.set_ylim(bottom=0)


def _plain(axis, ticks) -> None:
    axis.set_major_locator(_fixed(ticks))
    axis.set_major_formatter("{x:g}")
    axis.set_minor_formatter("")


def _fixed(ticks):
    from matplotlib.ticker import FixedLocator

    return FixedLocator(list(ticks))
