"""RLHF's dilemma: error over beta and n, its plateau, reverse KL without one, and priors without a dilemma."""

from __future__ import annotations

import json

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.collections import QuadMesh
from matplotlib.colors import LogNorm

from dynamics import plot

from ._common import INK, caption, letter, styled
from ._page import Page

RED, GREEN, BLUE, SKY = plot.PALETTE[1], plot.PALETTE[2], plot.PALETTE[0], plot.PALETTE[3]
LEVELS = (1e-5, 1e-1)  # ends of the colour scale, nat
BETAS = (1e-3, 1e3)  # shown range


@styled
def draw(ds: xr.Dataset) -> Page:
    """Above: error over n and beta of RLHF and reverse KL; below: the best error against n, and exact preferences."""
    config = json.loads(ds.attrs["config"])
    figure = Page(6.6)
    axes = figure.subplots(2, 2, height_ratios=[1, 1.05])
    (a, b), (c, d) = axes
    mesh = _map(ds, a, "RLHF", config)
    _map(ds, b, "reverse KL", config)
    figure.colorbar(
        mesh, ax=[a, b], label=r"$\mathrm{E}_x\,\mathrm{KL}(\pi^*\Vert\hat\pi)$, nat", extend="both", pad=0.01
    )
    _best(ds, c, config)
    _exact(ds, d, config)
    b.sharey(a)
    b.tick_params(labelleft=False)
    b.set_ylabel("")
    titles = ("RLHF, independent prior", "reverse KL, independent prior")
    titles += ("error at the best β", "exact preferences, n = ∞")
    for ax, mark, title in zip((a, b, c, d), "abcd", titles, strict=True):
        letter(ax, mark, title)
    k = config["part"]
    caption(
        figure,
        f"Toy of {config['contexts']} contexts × {config['size']} responses, logits of π* and of the independent π₀ N(0, "
        f"{config['spread']:g}²), γ = {config['gamma']:g}, uniform sampler; means over {ds.sizes['instance']} instances × "
        f"{ds.sizes['set']} data sets that have a finite unregularised reward. a, b: measured; dots: the best β of the grid; "
        "dashed: proven to leading order (7.13), γ(Var u + 2v)/Cov(d, u) for RLHF and γv/b for reverse KL, v = ΣV/n, d = "
        "log π*/π₀, u = log π*, b = ½Var d. c: measured (markers) at the best β, and at the proven β = γ/(1-k) for the "
        f"priors π₀ ∝ π*ᵏ, k = {k:g} and 0 (uniform); dashed: the proven plateau ½Var d (1 - corr²(d, u)) and laws "
        "(1-k)²ΣV/n. d: theory, exact on the grid of β, with πₖ ∝ π₀ π*ᵏ, k = γ/β, for RLHF: its error reaches 0 only for "
        "priors that are a power of π*, at the vertical lines β = γ/(1-k), or at β = ∞ for π₀ = π*.",
    )
    return figure


def _map(ds: xr.Dataset, ax: Axes, name: str, config: dict) -> QuadMesh:
    one = ds.error.sel(objective=name, prior="independent").mean("instance").transpose("beta", "n")
    norm = LogNorm(*LEVELS)
    mesh = ax.pcolormesh(ds.n, ds.beta, one, norm=norm, cmap="viridis_r", shading="nearest", rasterized=True)
    best = one.idxmin("beta")
    ax.plot(ds.n, best, "o", color="white", markeredgecolor=INK, markersize=4, markeredgewidth=0.7)
    v = ds.error_constant.values / ds.n.values[:, None]
    var_d, cov, var_u = ds.moment.values
    if name == "RLHF":
        law = config["gamma"] / (np.maximum(cov, 0) / (var_u + 2 * v)).mean(axis=1)
    else:
        law = config["gamma"] * v.mean(axis=1) / (var_d.mean() / 2)
    ax.plot(ds.n, law, "--", color=INK, linewidth=1.2)
    ax.set_xscale("log", base=2)
    ax.set_yscale("log")
    ax.set_ylim(*BETAS)
    ax.set_xlabel("comparisons n, all contexts together")
    ax.set_ylabel("β")
    return mesh


def _best(ds: xr.Dataset, ax: Axes, config: dict) -> None:
    for name, colour, marker in (("RLHF", RED, "s"), ("reverse KL", GREEN, "^")):
        one = ds.error.sel(objective=name, prior="independent").mean("instance").min("beta")
        ax.plot(ds.n, one, marker, color=colour, markersize=4, label=f"{name}, independent prior")
    v = float(ds.error_constant.mean()) / ds.n
    looks = ((config["part"], BLUE, "o"), (0.0, SKY, "D"))
    for k, colour, marker in looks:
        name = f"RLHF, prior ∝ π*$^{{{k:g}}}$" if k else "RLHF, uniform prior"
        ax.plot(ds.n, ds.at_power.sel(power=k).mean("instance"), marker, color=colour, markersize=4, label=name)
        ax.plot(ds.n, (1 - k) ** 2 * v, "--", color=colour, linewidth=0.9)
    ax.axhline(float(ds.plateau.mean()), color=RED, linestyle="--", linewidth=0.9)
    ax.set_xscale("log", base=2)
    ax.set_yscale("log")
    ax.set_xlabel("comparisons n, all contexts together")
    ax.set_ylabel(r"$\mathrm{E}_x\,\mathrm{KL}(\pi^*\Vert\hat\pi)$, nat")
    ax.set_ylim(bottom=0.02 * float(v[-1]) * (1 - config["part"]) ** 2)
    ax.legend(loc="lower left", borderaxespad=0.3)


def _exact(ds: xr.Dataset, ax: Axes, config: dict) -> None:
    exact = ds.exact.mean("instance")
    names = {
        "independent": "independent",
        "part": f"∝ π*$^{{{config['part']:g}}}$",
        "uniform": "uniform",
        "equal": "π₀ = π*",
    }
    colours = (RED, BLUE, SKY, INK)
    for k, (prior, name) in enumerate(names.items()):
        ax.plot(
            ds.beta,
            exact.sel(objective="RLHF", prior=prior),
            color=colours[k],
            linestyle=plot.DASHES[k],
            label=f"RLHF, {name}",
        )
    ax.plot(
        ds.beta, exact.sel(objective="reverse KL", prior="independent"), color=GREEN, label="reverse KL, independent"
    )
    for k, colour in ((config["part"], BLUE), (0.0, SKY)):
        ax.axvline(config["gamma"] / (1 - k), color=colour, linewidth=0.6, zorder=0)
    ax.set_xscale("log")
    ax.set_yscale("log")
    ax.set_xlim(*BETAS)
    ax.set_ylim(1e-6, 3e3)
    ax.set_xlabel("β")
    ax.set_ylabel("KL at n = ∞, nat")
    ax.legend(loc="upper right", borderaxespad=0.3)
