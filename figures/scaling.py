"""How fast sweeps run: rounds per second against K, the number of runs, threads and workers."""

from __future__ import annotations

import xarray as xr
from matplotlib.axes import Axes

from dynamics import plot

from ._common import INK, PALE, caption, letter, styled
from ._page import Page

BLUE, RED, GREEN = plot.PALETTE[:3]


@styled
def draw(ds: xr.Dataset) -> Page:
    """Three panels of rounds per second: by K, by the number of runs, by threads and workers."""
    figure = Page(3.1)
    a, b, c = figure.subplots(1, 3, width_ratios=[1.2, 1, 0.8])
    _by_size(ds, a)
    _by_runs(ds, b)
    _by_count(ds, c)
    caption(
        figure,
        f"Rounds per second of dyn.sweep (measured, medians; {ds.attrs['machine']}, float64): uniform reference, cycle "
        "strength and final entropy streamed. a: dashed, IPO's arithmetic limit (theory): multiply-adds per second that a "
        "product of matrices reaches on this machine, over K² + 25K for each round; grey: falling like 1/K². Crosses are "
        "kernels in C++ at K = 4, by hand. DPO takes as many steps of Newton's method as its runs need. b: IPO, K = 4, "
        "dotted: C++. c: IPO, K = 4, threads of one process, and worker processes of one thread each that write to a store.",
    )
    return figure


def _by_size(ds: xr.Dataset, ax: Axes) -> None:
    K, rate = ds.K.values, ds.by_size.values
    ax.loglog(K, ds.limit.values, color=INK, linestyle=(0, (5, 1.5)))
    ax.loglog(K, rate[-1] * (K[-1] / K) ** 2, color=PALE, linestyle="-", linewidth=0.8, zorder=0)
    ax.loglog(K, rate, color=BLUE, linestyle="-", marker="o", markersize=4)
    ax.loglog([4], [float(ds.c)], color=BLUE, linestyle="none", marker="X", markersize=7)
    ax.loglog(ds.K_dpo, ds.dpo_by_size, color=RED, linestyle=(0, (4, 1.5)), marker="s", markersize=4)
    ax.loglog([4], [float(ds.c_dpo)], color=RED, linestyle="none", marker="X", markersize=7)
    ax.set_xticks([2, 4, 8, 16, 32, 64], ["2", "4", "8", "16", "32", "64"])
    ax.set_xticks([], minor=True)
    low, high = min(rate.min(), ds.dpo_by_size.values.min()), ds.limit.values.max()
    ax.set(xlabel="responses K", ylabel="rounds per second", ylim=(low / 2, high * 4))
    end = ds.sizes["K_dpo"] - 1
    for text, x, y, color, shift, side in (
        ("IPO's arithmetic limit", 10, 0.9 * float(ds.limit.interp(K=10)), INK, (6, 8), "left"),
        ("IPO", K[-1], rate[-1], BLUE, (0, -12), "center"),
        ("DPO", ds.K_dpo.values[end], ds.dpo_by_size.values[end], RED, (6, -3), "left"),
        ("C++", 4, float(ds.c), BLUE, (-6, 3), "right"),
        ("C++", 4, float(ds.c_dpo), RED, (6, -9), "left"),
    ):
        ax.annotate(text, (float(x), float(y)), xytext=shift, textcoords="offset points", color=color, ha=side)
    letter(ax, "a", "number of responses")


def _by_runs(ds: xr.Dataset, ax: Axes) -> None:
    ax.loglog(ds.runs, ds.by_runs, color=BLUE, linestyle="-", marker="o", markersize=4)
    ax.axhline(float(ds.c), color=INK, linestyle=(0, (1, 1)), linewidth=1.2)
    ax.annotate("C++", (float(ds.runs[0]), float(ds.c)), xytext=(0, 3), textcoords="offset points", color=INK)
    ax.set(xlabel="runs in a sweep", ylim=(1e7, 1e9))
    letter(ax, "b", "number of runs")


def _by_count(ds: xr.Dataset, ax: Axes) -> None:
    at = range(len(ds["count"]))
    ax.plot(at, ds.by_threads / 1e6, color=BLUE, linestyle="-", marker="o", markersize=5, label="threads")
    ax.plot(
        at, ds.by_workers / 1e6, color=GREEN, linestyle=(0, (4, 1.5, 1, 1.5)), marker="s", markersize=5, label="workers"
    )
    ax.set_xticks(list(at), [str(int(n)) for n in ds["count"]])
    top = 1.3e-6 * float(max(ds.by_threads.max(), ds.by_workers.max()))
    ax.set(xlabel="how many", ylabel="million rounds per second", ylim=(0, top), xlim=(-0.3, len(at) - 0.7))
    ax.legend(loc="upper left")
    letter(ax, "c", "threads, workers")
