"""Methods of Nash learning against their step: spectral radius, width of the oscillation, and the largest stable step."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes

from dynamics.plot import DASHES, MARKERS, PALETTE

from ._common import INK, caption, letter, styled
from ._page import Page

OSCILLATING = 2  # of the flags of verdict
NEVER = 100.0  # where a line without a critical step leaves the panel
LABELS = {
    "inpo": "INPO (online IPO)",
    "mmd": "magnetic mirror descent",
    "nash-md": "Nash-MD",
    "onpo": "ONPO (optimistic)",
    "egpo": "EGPO (extragradient)",
    "nash-mp": "Nash-MP (mirror prox)",
}


@styled
def draw(ds: xr.Dataset) -> Page:
    """Radii over steps, amplitudes over steps, and critical steps over temperatures."""
    figure = Page(3.9)
    left, middle, right = figure.subplots(1, 3)
    _radii(ds, left)
    _amplitudes(ds, middle)
    _critical(ds, right)
    handles, labels = left.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=3, fontsize=7)
    caption(figure, _caption(ds))
    return figure


def _style(n: int) -> dict[str, Any]:
    return {"color": PALETTE[n], "linestyle": DASHES[n], "linewidth": 1.2}


def _radii(ds: xr.Dataset, ax: Axes) -> None:
    for n, name in enumerate(ds.game.values):
        ax.plot(ds.step, ds.radius.sel(game=name), label=LABELS[str(name)], **_style(n))
    ax.axhline(1.0, color=INK, linewidth=0.8, linestyle="-")
    ax.set_xscale("log")
    ax.set_ylim(0.0, 2.0)
    ax.set_xlabel("step η")
    ax.set_ylabel("spectral radius of a round (computed)")
    letter(ax, "a", f"τ = {_settings(ds)['temperature']:g}")


def _amplitudes(ds: xr.Dataset, ax: Axes) -> None:
    for n, name in enumerate(ds.game.values):
        one = ds.sel(game=name)
        moving = one.verdict.values == OSCILLATING
        shown = np.where(moving, one.amplitude.values, 0.0)
        ax.plot(ds.step, shown, MARKERS[n], markersize=3, **_style(n))
    ax.set_xscale("log")
    ax.set_ylim(-0.02, 0.52)
    ax.set_xlabel("step η")
    ax.set_ylabel("amplitude of the oscillation (simulated)")
    letter(ax, "b", f"τ = {_settings(ds)['temperature']:g}")


def _critical(ds: xr.Dataset, ax: Axes) -> None:
    for n, name in enumerate(ds.game.values):
        one = ds.sel(game=name)
        value = np.where(np.isfinite(one.critical_line.values), one.critical_line.values, 10 * NEVER)
        ax.plot(ds.curve_temperature, value, **_style(n))
        run = np.isfinite(one.rate.values).all(axis=1)
        ax.plot(
            ds.temperature.values[run],
            one.critical.values[run],
            MARKERS[n],
            linestyle="none",
            color=PALETTE[n],
            markersize=3.5,
        )
    ax.set_xscale("log")
    ax.set_yscale("log")
    ax.set_ylim(0.2, NEVER)
    ax.set_xlabel("temperature τ")
    ax.set_ylabel("largest stable step η")
    letter(ax, "c", "where the radius is 1")


def _settings(ds: xr.Dataset) -> dict[str, float]:
    return json.loads(ds.attrs["config"])


def _caption(ds: xr.Dataset) -> str:
    advantage, rounds = (_settings(ds)[name] for name in ("advantage", "rounds"))
    return (
        f"Three responses in a preference cycle, P = 1/2 ± {advantage:g}, uniform magnet. Lines in a and c: theory, the closed "
        f"forms of section 8 [derived], proven near the equilibrium. b: simulation, {rounds:g} rounds from (.5, .3, .2); 0 "
        "where a run settles. Points in c: simulation returns to the equilibrium 3 % below and leaves it 3 % above at the "
        "computed rate; without a point the method refuses the step (ητ > 1) or none is unstable, as where a line leaves at "
        "the top."
    )
