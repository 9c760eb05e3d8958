"""How reverse KL smooths a peaked prior and RLHF does not: responses, powers, the mass of rare ones, and errors."""

from __future__ import annotations

import json

import numpy as np
import xarray as xr
from matplotlib.axes import Axes

from dynamics import plot

from ._common import INK, PALE, caption, letter, styled
from ._page import Page

LOOK = {"reverse KL": (plot.PALETTE[2], "^", plot.DASHES[0]), "RLHF": (plot.PALETTE[1], "s", plot.DASHES[1])}
BETAS = (1e-2, 1e3)  # shown range


@styled
def draw(ds: xr.Dataset) -> Page:
    """Above: one instance, and what the prior adds to log-policies; below: rare mass against beta, error against the decay."""
    config = json.loads(ds.attrs["config"])
    figure = Page(6.4)
    (a, b), (c, d) = figure.subplots(2, 2)
    n = float(ds.n[-2])
    _responses(ds, a, config)
    _moves(ds, b, config)
    _mass(ds, c, n)
    _errors(ds, d, n)
    titles = (f"one instance, β = {config['beta']:g}, exact preferences", "what the prior adds, by dyn.fit")
    titles += (f"rare responses (π₀ < {config['rare']:g})", f"best β of each, n = {n:g}")
    for ax, mark, title in zip((a, b, c, d), "abcd", titles, strict=True):
        letter(ax, mark, title)
    power = config["beta"] / (config["beta"] + config["gamma"])
    caption(
        figure,
        f"{config['size']} responses, one context, γ = {config['gamma']:g}, logits of π* N(0, {config['spread']:g}²), log π₀ "
        f"falling by {config['decay']:g} nat from response to response (in d: by the number on the axis) in an order "
        f"independent of π*, uniform sampler, {ds.sizes['instance']} instances × {ds.sizes['set']} data sets. b: markers, "
        f"measured: log-policies from π₀ less those from a uniform prior, {ds.sizes['fitted_instance']} instances; lines, "
        f"proven (5.2): slope β/(β+γ) = {power:g} for reverse KL, 1 for RLHF. c: mass over that under π*; lines: theory, exact "
        f"at n = ∞, medians over instances; markers: measured at n = {n:g}, band: middle nine tenths of instances; dotted: π₀; "
        "as β → 0 RLHF puts all mass on one response, rare or not. d: measured medians and middle nine tenths of instances; β "
        "is the best of the grid for each instance, so it knows π*; dashed: the least KL that RLHF reaches with any β, theory.",
    )
    return figure


def _responses(ds: xr.Dataset, ax: Axes, config: dict) -> None:
    order = np.argsort(-ds.log_prior.values[0])
    x = np.arange(len(order)) + 1
    ax.plot(x, np.exp(ds.log_prior.values[0][order]), color=INK, linestyle=":", label="prior π₀")
    ax.plot(
        x, np.exp(ds.log_target.values[0][order]), "D", color=INK, fillstyle="none", markersize=6, label="target π*"
    )
    for name, (colour, marker, dash) in LOOK.items():
        pi = np.exp(ds.fitted.sel(objective=name, prior_kind="peaked").values[0][order])
        ax.plot(x, pi, marker, color=colour, linestyle=dash, markersize=4, linewidth=0.9, label=name)
    ax.axhline(config["rare"], color=PALE, linewidth=0.7, zorder=0)
    ax.set_yscale("log")
    ax.set_xticks(x)
    ax.set_xlabel("response, by falling π₀")
    ax.set_ylabel("probability")
    ax.legend(loc="lower left", borderaxespad=0.3)


def _moves(ds: xr.Dataset, ax: Axes, config: dict) -> None:
    centred = lambda x: x - x.mean(axis=-1, keepdims=True)
    prior = centred(ds.log_prior.values[: ds.sizes["fitted_instance"]])
    ends = np.array([prior.min(), prior.max()])
    for name, (colour, marker, dash) in LOOK.items():
        one = ds.fitted.sel(objective=name)
        move = centred((one.sel(prior_kind="peaked") - one.sel(prior_kind="uniform")).values)
        power = config["beta"] / (config["beta"] + config["gamma"]) if name == "reverse KL" else 1.0
        ax.plot(ends, power * ends, color=colour, linestyle=dash, linewidth=0.9)
        ax.plot(prior.ravel(), move.ravel(), marker, color=colour, markersize=3.5, label=name)
    ax.set_xlabel("log π₀, centred, nat")
    ax.set_ylabel("shift of log π, centred, nat")
    ax.legend(loc="upper left", borderaxespad=0.3)


def _mass(ds: xr.Dataset, ax: Axes, n: float) -> None:
    ratio = ds.mass / ds.target_mass
    for name, (colour, marker, dash) in LOOK.items():
        one = ratio.sel(objective=name).transpose("n", "beta", "instance")
        ax.plot(ds.beta, np.median(one.sel(n=np.inf), axis=-1), color=colour, linestyle=dash, label=name)
        low, middle, high = np.nanquantile(one.sel(n=n), (0.05, 0.5, 0.95), axis=-1)
        ax.fill_between(ds.beta, low, high, color=colour, alpha=0.15, linewidth=0)
        ax.plot(ds.beta[::3], middle[::3], marker, color=colour, markersize=3.5)
    ax.axhline(float(np.median(ds.prior_mass / ds.target_mass)), color=INK, linestyle=":", linewidth=0.9)
    ax.axhline(1, color=PALE, linewidth=0.7, zorder=0)
    ax.set_xscale("log")
    ax.set_yscale("log")
    ax.set_xlim(*BETAS)
    ax.set_ylim(1e-4, 20)
    ax.set_xlabel("β")
    ax.set_ylabel("mass over that under π*")
    ax.legend(loc="upper right", borderaxespad=0.3)


def _errors(ds: xr.Dataset, ax: Axes, n: float) -> None:
    least = ds.error.min("beta").transpose("objective", "n", "decay", "instance")
    for name, (colour, marker, _) in LOOK.items():
        low, middle, high = np.quantile(least.sel(objective=name, n=n), (0.05, 0.5, 0.95), axis=-1)
        ax.errorbar(
            ds.decay, middle, [middle - low, high - middle], fmt=marker, color=colour, markersize=4.5, linewidth=0.9
        )
    limit = np.median(least.sel(objective="RLHF", n=np.inf), axis=-1)
    kept = limit > 1e-12
    ax.plot(ds.decay.values[kept], limit[kept], "--", color=LOOK["RLHF"][0], linewidth=0.9)
    ax.set_yscale("log")
    ax.set_xlabel("fall of log π₀ from response to response, nat")
    ax.set_ylabel(r"$\mathrm{KL}(\pi^*\Vert\hat\pi)$, nat")
