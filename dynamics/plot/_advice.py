"""Safe regions: the smallest beta that keeps rounds stable, over alpha."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ._style import DASHES, INK, MARKERS, PALETTE, style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SAFE = "#E3F1EA"


def advice(found: Sequence[Any], *, title: str | None = None) -> Figure:
    """The smallest safe beta over alpha, a panel for each objective and a line for each lam; above all lines is safe.

    Args:
        found: results of ``dyn.stability.safe_beta`` (or ``known_beta``), one for each panel.
        title: a line on top, such as the name of the file.

    Returns:
        A Figure, 7.2 inches wide and without a window; save it with ``figure.savefig(path)`` within ``plot.style()``.

    Raises:
        ValueError: ``found`` is empty.
    """
    from matplotlib.figure import Figure

    if not len(found):
        raise ValueError("found is empty; pass results of dyn.stability.safe_beta.")
    with style():
        figure = Figure(figsize=(7.2, 3.9), layout="constrained")
        panels = np.atleast_1d(figure.subplots(1, len(found), sharey=True))
        for ax, limits in zip(panels, found, strict=True):
            _panel(ax, limits)
        low, high = panels[0].get_ylim()
        for ax, limits in zip(panels, found, strict=True):
            _shade(ax, limits, min(low, 0.8 * limits.floor) if (limits.beta <= limits.floor).any() else low, 1.3 * high)
        panels[0].set_ylabel("β")
        handles, labels = panels[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside right upper", fontsize=7)
        if title:
            figure.suptitle(title.replace("$", r"\$"), x=0.01, ha="left", fontsize=9.5)
        figure.supxlabel(_caption(found[0]), x=0.01, ha="left", fontsize=7)
    return figure


def _panel(ax: Axes, limits: Any) -> None:
    ax.set_yscale("log")
    known, last = limits.confidence is None, int(np.argmax(limits.lam))
    lam = f"λ = {limits.lam[last]:g}"
    for n, value in enumerate(limits.lam):
        shown, colour, marker = _finite(limits.beta[:, n]), PALETTE[n % len(PALETTE)], MARKERS[n % len(MARKERS)]
        line = {"color": colour, "linestyle": DASHES[n % len(DASHES)], "marker": marker, "markersize": 3.5}
        ax.plot(limits.alpha, shown, label=f"λ = {value:g}", **line)
        floor = shown <= limits.floor
        ax.plot(limits.alpha[floor], shown[floor], marker, color="white", markeredgecolor=colour, markersize=3.5)
        if not known:
            top = np.where(np.isfinite(limits.high[:, n]), limits.high[:, n], shown)
            ax.fill_between(limits.alpha, limits.low[:, n], top, color=colour, alpha=0.2, linewidth=0)
    if not known:
        mean = _finite(limits.mean[:, last])
        ax.plot(limits.alpha, mean, "x-", color=INK, linewidth=0.7, markersize=3.5, label=f"posterior mean,\n{lam}")
    if limits.proven is not None:
        proven = limits.proven[:, last]
        ax.plot(
            limits.alpha, proven, color="#888888", linestyle="-", linewidth=1.4, label=f"proven above,\n{lam} (IPO)"
        )
    ax.set_xlabel("α")
    ax.set_title(limits.objective, fontsize=8.5)


def _shade(ax: Axes, limits: Any, low: float, high: float) -> None:
    """Shades where every lam shown is safe, up to the top of the panel."""
    ax.set_ylim(low, high)
    ax.fill_between(limits.alpha, _finite(limits.high.max(axis=1)), high, color=SAFE, linewidth=0, zorder=0)


def _finite(values: np.ndarray) -> np.ndarray:
    return np.where(np.isfinite(values), values, np.nan)


def _caption(limits: Any) -> str:
    local = "Shaded: locally stable there and at every larger β, for every λ shown"
    if limits.confidence is None:
        text = f"{local}, if P is exactly as given (no counts are known)."
    else:
        text = (
            f"{local}, with probability {limits.confidence:g} given {limits.comparisons:g} comparisons (prior "
            f"Beta({limits.prior:g}, {limits.prior:g}) for each pair; {limits.draws} draws, bands: 95% intervals of Monte "
            "Carlo)."
        )
    text += (
        f" Measured: the fixed point is followed down from β = ∞ to where its spectral radius passes 1; hollow: no loss "
        f"down to {limits.floor:g}. Proven (IPO, 7.2 and 7.15): convergence from every start."
    )
    return textwrap.fill(text, 140)
