"""Onset: orbit diagrams and exponents along a cut in beta, amplitudes at small excess, hysteresis, and two basins."""

from __future__ import annotations

import json

import numpy as np
import xarray as xr
from matplotlib.axes import Axes

from dynamics import plot

from ._common import COLOURS, INK, PALE, caption, in_rows, letter, styled
from ._page import Page

OSCILLATING = 2  # value of the flags of verdict


@styled
def draw(ds: xr.Dataset) -> Page:
    """The cut for IPO and DPO, orbits above exponents; below, amplitude, hysteresis, basins."""
    figure = Page(7.2)
    panels = in_rows(figure, ("ab", "cd", "efg"), (1.7, 0.9, 1.15))
    for above, below, name in (("a", "c", "IPO"), ("b", "d", "DPO")):
        one = ds.sel(objective=name)
        _orbit(one, panels[above], name)
        _exponent(one, panels[below], name)
        letter(panels[above], above, f"{name}: orbits")
        letter(panels[below], below, f"{name}: exponents")
        panels[above].set_ylabel("π(1) after transients")
        panels[below].set_ylabel("Lyapunov exponent\n(1/round)")
    panels["c"].sharey(panels["d"])
    for mark, panel in (("e", _amplitude), ("f", _hysteresis), ("g", _basins)):
        panel(ds, panels[mark])
    handles, names = panels["f"].get_legend_handles_labels()
    figure.legend(handles, [f"f: {names[0]}", *names[1:]], loc="outside upper right", ncols=4)
    settings = json.loads(ds.attrs["config"])
    caption(
        figure,
        f"a–d: 3-cycle, P = 1/2 ± {settings['advantage']:g}, α = {settings['alpha']:g}, λ = {settings['lam']:g}. "
        f"a, b: the last {settings['samples']} of {settings['rounds']} rounds (dots, measured), the envelope to first "
        "order past the onset (dashed; proven, 7.5), critical β (vertical; proven, 2.1). c, d: exponents along the "
        "orbits (dots, measured), log ρ at uniform (line, proven). e: amplitude over that of 7.5; it tends to 1 at the "
        "onset, as 7.5 says. "
        "f: DPO, state handed on from one β to the next with a nudge of 1e-4 nat; 7.5 proves the onset "
        "subcritical iff aλ > √3/4 "
        "≈ 0.433; past the onset the oscillation sets in late, growth being slow. g: IPO, the example of 7.2: its only "
        f"fixed point is stable (ρ² = {float(ds.basin_radius) ** 2:.3f}), yet many of {ds.sizes['start']} random "
        "starts never reach it.",
    )
    return figure


def _orbit(one: xr.Dataset, ax: Axes, name: str) -> None:
    samples = one.orbit.transpose("beta_ratio", "sample").values
    x = np.repeat(one.beta_ratio.values, samples.shape[1])
    ax.scatter(x, samples.ravel(), s=0.5, color=COLOURS[name], linewidths=0, alpha=0.6, rasterized=True, zorder=2)
    slope = float((one.amplitude_predicted / one.excess).mean())
    ratio = np.linspace(float(one.beta_ratio.min()), 1, 400)
    k2 = 1 - json.loads(one.attrs["config"])["alpha"] ** 2
    excess = k2 * (1 / ratio**2 - 1)
    if slope > 0:
        w = np.sqrt(slope * excess)
        high = np.exp(2 * w) / (np.exp(2 * w) + 2 * np.exp(-w))
        low = np.exp(-2 * w) / (np.exp(-2 * w) + 2 * np.exp(w))
        for edge in (high, low):
            ax.plot(ratio, edge, color=INK, linestyle=(0, (4, 2)), linewidth=0.9, zorder=3)
    _onset_line(ax)
    ax.set_ylim(-0.02, 1.02)
    ax.set_xlim(one.beta_ratio.values.max(), one.beta_ratio.values.min())
    ax.set_xlabel("β / critical β")


def _exponent(one: xr.Dataset, ax: Axes, name: str) -> None:
    ratio, alpha = one.beta_ratio.values, json.loads(one.attrs["config"])["alpha"]
    log_radius = 0.5 * np.log(alpha**2 + (1 - alpha**2) / ratio**2)
    stable = ratio >= 1
    ax.axhline(0, color=PALE, linewidth=0.6, linestyle="-", zorder=0)
    ax.plot(ratio[stable], log_radius[stable], color=INK, linestyle="-", linewidth=0.9, zorder=1)
    ax.plot(ratio, one.lyapunov_exponent.values, "o", color=COLOURS[name], markersize=2, linestyle="none", zorder=2)
    _onset_line(ax)
    ax.set_xlim(ratio.max(), ratio.min())
    ax.set_xlabel("β / critical β")


def _onset_line(ax: Axes) -> None:
    ax.axvline(1, color=INK, linewidth=0.7, linestyle="-", zorder=1)


def _amplitude(ds: xr.Dataset, ax: Axes) -> None:
    ax.axhline(1, color=PALE, linewidth=0.6, linestyle="-", zorder=0)
    for name, marker, dashes in (("IPO", "o", "-"), ("DPO", "s", (0, (4, 2)))):
        one = ds.sel(objective=name)
        ratio = np.sqrt((one.amplitude_squared / one.amplitude_predicted.where(one.amplitude_predicted > 0)).values)
        ax.plot(ds.excess, ratio, marker=marker, color=COLOURS[name], linestyle=dashes, markersize=3.5, label=name)
    ax.set_xscale("log")
    ax.set_xlabel("excess ρ² − 1")
    ax.set_ylabel("amplitude,\nmeasured / predicted")
    ax.legend(loc="lower left")
    letter(ax, "e", "amplitude at the onset")


def _hysteresis(ds: xr.Dataset, ax: Axes) -> None:
    for n, a in enumerate(ds.hysteresis_advantage.values):
        one = ds.swing.sel(hysteresis_advantage=a)
        colour = plot.PALETTE[(2, 1, 3, 4)[n % 4]]
        rising, falling = (one.sel(direction=f"beta {way}").values for way in ("rising", "falling"))
        ratio = ds.hysteresis_ratio.values
        ax.fill_between(ratio, falling, rising, where=ratio >= 1, color=colour, alpha=0.18, linewidth=0)
        ax.plot(ratio, rising, color=colour, linestyle="-")
        ax.plot(ratio, falling, color=colour, linestyle=(0, (3, 1.5)))
        ax.plot([], [], "s", color=colour, markersize=5, linestyle="none", label=f"aλ = {a:g}")
    _onset_line(ax)
    ax.plot([], [], color=INK, linestyle="-", label="β rising")
    ax.plot([], [], color=INK, linestyle=(0, (3, 1.5)), label="β falling")
    ax.set_xlim(ds.hysteresis_ratio.values.max(), ds.hysteresis_ratio.values.min())
    ax.set_ylim(-0.03, 1.03)
    ax.set_xlabel("β / critical β")
    ax.set_ylabel("swing of π(1)")
    letter(ax, "f", "DPO: hysteresis")


def _basins(ds: xr.Dataset, ax: Axes) -> None:
    moving = ds.verdict.values == OSCILLATING
    for n in range(ds.sizes["start_shown"]):
        colour, dashes = (plot.PALETTE[1], "-") if moving[n] else (plot.PALETTE[0], (0, (4, 1.5)))
        ax.plot(
            ds["round"],
            np.maximum(ds.distance.values[n], 1e-12),
            color=colour,
            linestyle=dashes,
            linewidth=0.6,
            alpha=0.8,
        )
    share = moving.mean()
    ax.plot([], [], color=plot.PALETTE[1], linestyle="-", label=f"oscillate ({share:.0%})")
    ax.plot([], [], color=plot.PALETTE[0], linestyle=(0, (4, 1.5)), label="converge")
    ax.set_yscale("log")
    ax.set_ylim(bottom=1e-3 * max(float(ds.distance.min()), 1e-12))  # room for the key
    ax.set_xlabel("round")
    ax.set_ylabel("distance from the\nfixed point (nat)")
    ax.legend(loc="lower left", fontsize=7)
    letter(ax, "g", "IPO, K = 4: two basins")
