"""Continuous self-sampling against rounds: orbits of one 3-cycle, spectra and shares of stable loops over many matrices."""

from __future__ import annotations

import json

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from scipy.stats import beta as beta_distribution

from dynamics import plot

from ._common import COLOURS, INK, PALE, caption, letter, styled
from ._page import Page

ROUNDS, FLOW = plot.PALETTE[3], plot.PALETTE[2]
UNSTABLE = "#FBEFE6"
MIN_RADIUS = 0.08  # smallest radius shown; below it, both approach the fixed point almost without turning


@styled
def draw(ds: xr.Dataset) -> Page:
    """Above: the 3-cycle's orbits and their distance from the fixed point. Below: both spectra; shares over beta."""
    figure = Page(6.0)
    axes = figure.subplots(2, 2, width_ratios=[1, 1.25], height_ratios=[1, 1.1])
    _simplex(ds, axes[0, 0])
    _distance(ds, axes[0, 1])
    _spectra(ds, axes[1, 0])
    _shares(ds, axes[1, 1])
    letter(axes[0, 0], "a", "one loop: IPO on a 3-cycle")
    letter(axes[0, 1], "b", "its distance from the fixed point")
    letter(axes[1, 0], "c", "spectra at the same fixed points")
    letter(axes[1, 1], "d", "share of matrices whose fixed point attracts")
    caption(figure, _caption(ds))
    return figure


def _simplex(ds: xr.Dataset, ax: Axes) -> None:
    plot.simplex(ds.rounds_log_policy.values, ax, names=("1", "2", "3"), color=ROUNDS)
    plot.simplex(ds.flow_log_policy.values, ax, color=FLOW, frame=False)


def _distance(ds: xr.Dataset, ax: Axes) -> None:
    away = lambda x: np.linalg.norm(x - x.mean(axis=-1, keepdims=True), axis=-1)
    rounds, flow = away(ds.rounds_log_policy.values), away(ds.flow_log_policy.values)
    ax.plot(ds["round"], rounds, "o-", color=ROUNDS, markersize=3, linewidth=0.9, label="rounds")
    ax.plot(ds.time, flow, "-", color=FLOW, linewidth=1.6, label="flow")
    t = ds.time.values
    later = t >= 0.25 * t[-1]
    line = 3 * flow[later][0] * np.exp(-(t - t[later][0]))
    ax.plot(t[later], line[later], color=INK, linestyle=(0, (1, 1.5)), linewidth=1.0, label="rate without preferences")
    ax.set_yscale("log")
    ax.set_xlabel("round, or time of the flow (1/rate without preferences)")
    ax.set_ylabel("distance in logits (nat)")
    ax.margins(x=0.02)
    ax.legend(loc="lower left")


def _spectra(ds: xr.Dataset, ax: Axes) -> None:
    """Measured: a point for every matrix and beta; the curve is the proven bound on policy."""
    some = ds.isel(lam=0)
    radius = some.spectral_radius.values
    low, high = max(0.8 * radius.min(), MIN_RADIUS), 1.25 * radius.max()
    for name, marker in (("DPO", "s"), ("IPO", "o")):
        one = some.sel(objective=name)
        face = COLOURS[name] if name == "IPO" else "none"
        ax.plot(
            one.spectral_radius.values.ravel(),
            one.damping.values.ravel(),
            marker,
            color=COLOURS[name],
            markerfacecolor=face,
            markersize=1.5 if name == "IPO" else 3.4,
            markeredgewidth=0.4,
            linestyle="none",
            label=name,
            rasterized=True,
        )
    rho = np.geomspace(low, high, 200)
    if float(some.lam) == 1.0:
        ax.plot(rho, 1 / np.sqrt(1 + rho**2), color=INK, linestyle="-", linewidth=1.1, label="1/√(1+ρ²), bound")
    ax.axvspan(1, high, color=UNSTABLE, linewidth=0, zorder=0)
    ax.axvline(1, color=INK, linewidth=0.7, linestyle=(0, (4, 2)), zorder=1)
    ax.axhspan(-0.14, 0, color=PALE, alpha=0.6, linewidth=0, zorder=0)
    ax.annotate("flow would repel", (0.03, -0.07), xycoords=("axes fraction", "data"), va="center", fontsize=7)
    ax.annotate("rounds repel", (0.97, 0.97), xycoords="axes fraction", ha="right", va="top", fontsize=7)
    ax.set_xscale("log")
    ax.set_xlim(low, high)
    ax.set_ylim(-0.14, 1.19)
    ax.set_xlabel("ρ, spectral radius of a round")
    ax.set_ylabel("flow: smallest −Re/|eigenvalue|")
    ax.legend(loc="lower left", bbox_to_anchor=(0.0, 0.1), handlelength=1.4)


def _shares(ds: xr.Dataset, ax: Axes) -> None:
    """Measured, with 95% intervals over matrices: every lam, both objectives, rounds and flow."""
    beta, count = ds.beta.values, ds.sizes["matrix"]
    for l, lam in enumerate(ds.lam.values[:2]):
        for name, marker, line in (("IPO", "o", "-"), ("DPO", "s", (0, (5, 1.5)))):
            one = ds.sel(objective=name).isel(lam=l)
            stable = (one.spectral_radius.values < 1).sum(axis=-1)
            low, high = _interval(stable, count)
            if l == 0:
                ax.fill_between(beta, low, high, color=COLOURS[name], alpha=0.15, linewidth=0)
            face = COLOURS[name] if l == 0 else "white"
            label = f"rounds, {name}, λ = {lam:g}"
            ax.plot(
                beta,
                stable / count,
                marker,
                color=COLOURS[name],
                markerfacecolor=face,
                markersize=3.6,
                linestyle=line,
                label=label,
            )
    flow = (ds.damping.isel(lam=slice(0, 2)).values > 0).mean(axis=-1).min(axis=(0, 1))
    ax.plot(beta, flow, "D-", color=FLOW, markersize=3, linewidth=1.8, label="flow: least of all four")
    ax.set_xscale("log")
    ax.set_xticks(beta, [f"{b:g}" for b in beta])
    ax.minorticks_off()
    ax.set_ylim(-0.03, 1.05)
    ax.set_xlabel("β (DPO at 4β)")
    ax.set_ylabel("share of matrices")
    ax.legend(loc="upper left", bbox_to_anchor=(0.0, 0.93), fontsize=7, handlelength=2.2)


def _interval(hits: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """95% Clopper–Pearson intervals."""
    low = np.where(hits == 0, 0.0, beta_distribution.ppf(0.025, np.maximum(hits, 1), count - hits + 1))
    high = np.where(hits == count, 1.0, beta_distribution.ppf(0.975, hits + 1, np.maximum(count - hits, 1)))
    return low, high


def _caption(ds: xr.Dataset) -> str:
    s = json.loads(ds.attrs["config"])
    sizes = ", ".join(map(str, s["sizes"]))
    return (
        f"α = 0, uniform reference. a, b: P = 1/2 ± {s['advantage']:g}, β = {s['drawn_beta']:g}, λ = 1, one start (circle); "
        f"rounds purple, the flow whose sampler follows the policy green. c, d: {s['matrices']} random matrices with a "
        f"majority cycle of each size K = {sizes}. Measured: all points and orbits; spectra of the library's rounds and flow, "
        f"c at λ = {s['lams'][0]:g}, every β of d and ρ ≥ {MIN_RADIUS:g}; bands: 95%, Clopper–Pearson. Proven: both rest at "
        "the same policies; on policy (λ = 1) every fixed point attracts the flow at every β, "
        "and its eigenvalues stay above the curve in c. For "
        "λ < 1 the flow's stability is measured only."
    )
