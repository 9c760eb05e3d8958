"""Eigenvalues against the unit circle."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ._style import INK, MARKERS, MIST, PALE, PALETTE, display_names, names_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MAX_MODULUS = 2.5  # beyond which an eigenvalue is drawn at the rim instead of to scale


def spectrum(found: Any, ax: Axes, *, names: Sequence[str] | None = None, most: int = 4) -> None:
    """The eigenvalues of one round at each fixed point of a Report, with the unit circle; a point attracts if all lie inside.

    Args:
        found: a Report.
        ax: where to draw.
        names: the K responses' names, for vertices; those of the Report unless given.
        most: how many fixed points are named in the legend, 1 to 6, in the report's order; the rest are drawn in grey.

    Raises:
        ValueError: ``most`` out of range.
    """
    if not 1 <= most <= len(PALETTE):
        raise ValueError(f"most = {most}; pass a whole number from 1 to {len(PALETTE)}.")
    points = found.fixed_points
    sizes = [np.abs(np.asarray(p.eigenvalues)) for p in points]
    largest = max((float(np.max(s[np.isfinite(s)], initial=0.0)) for s in sizes), default=0.0)
    rim = 1.12 * min(max(largest, 1.0), MAX_MODULUS)
    angle = np.linspace(0.0, 2 * np.pi, 361)
    ax.fill(np.cos(angle), np.sin(angle), facecolor=MIST, edgecolor=INK, linewidth=0.8, zorder=0)
    ax.axhline(0.0, color=PALE, linewidth=0.5, linestyle="-", zorder=1)
    ax.axvline(0.0, color=PALE, linewidth=0.5, linestyle="-", zorder=1)
    for n, point in enumerate(points):
        told = n < most
        color, marker = (PALETTE[n], MARKERS[n]) if told else (PALE, "o")
        # Points may share eigenvalues: markers drawn underneath are larger and appear as rings.
        size = 4.5 + 1.5 * min(n, most)
        _eigenvalues(
            ax,
            np.asarray(point.eigenvalues),
            rim,
            {"marker": marker, "color": color, "markersize": size},
            4.0 - 0.01 * n,
        )
        if told:
            label = f"{_place(point, names_of(found, names), len(points))}, ρ = {_short(point.spectral_radius)}"
            ax.plot([], [], marker, color=color, markersize=size, markeredgecolor="white", label=label)
    if len(points) > most:
        ax.plot([], [], "o", color=PALE, markersize=4.5, label=f"{len(points) - most} more")
    if any((s > 0.97 * rim).any() for s in sizes):
        ax.plot([], [], ">", color=INK, markersize=5, label="beyond the frame")
    ax.set_aspect("equal")
    ax.set_xlim(-rim, rim)
    ax.set_ylim(-rim, rim)
    ax.locator_params(nbins=5)
    ax.set_xlabel("real part")
    ax.set_ylabel("imaginary part")
    if points:
        ax.legend(loc="upper center", bbox_to_anchor=(0.5, -0.24), handlelength=1.0, handletextpad=0.4)
    else:
        ax.text(0.0, 0.0, "no fixed point found", ha="center", va="center", backgroundcolor=MIST)


def _eigenvalues(ax: Axes, values: np.ndarray, rim: float, look: dict[str, Any], zorder: float) -> None:
    edge = {"linestyle": "none", "markeredgecolor": "white", "markeredgewidth": 0.4, "zorder": zorder}
    far = np.abs(values) > 0.97 * rim
    ax.plot(np.real(values[~far]), np.imag(values[~far]), **look, **edge)
    for value in values[far]:
        turn = float(np.angle(value)) if np.isfinite(value) else 0.0
        # A triangle that points outwards marks a value beyond the frame.
        arrow = {"marker": (3, 0, math.degrees(turn) - 90.0), "color": look["color"], "markersize": 7}
        ax.plot([0.94 * rim * math.cos(turn)], [0.94 * rim * math.sin(turn)], **arrow, **edge)


def _place(point: Any, names: Sequence[str] | None, count: int) -> str:
    if point.vertex is not None:
        return f"vertex {point.vertex}" if names is None else f"vertex {display_names(names, len(names))[point.vertex]}"
    return "fixed point" if count == 1 else "interior"


def _short(value: float) -> str:
    return "∞" if np.isinf(value) else f"{value:.4g}"
