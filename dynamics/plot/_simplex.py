"""Orbits over three responses."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float

from ._style import INK, MIST, PALETTE, display_names

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def barycentric(log_policy: Float[Any, "T 3"]) -> Float[np.ndarray, "T 2"]:
    """Σ_k pi(k) v_k: policies over three responses as points of an equilateral triangle of side 1.

    Response 0 is at the lower left (0, 0), 1 at the lower right (1, 0), 2 on top (1/2, √3/2).
    """
    corners = np.array([[0.0, 0.0], [1.0, 0.0], [0.5, math.sqrt(3) / 2]])
    return np.exp(np.asarray(log_policy, dtype=float)) @ corners


def simplex(
    log_policy: Float[Any, "T K"],
    ax: Axes,
    *,
    names: Sequence[str] | None = None,
    color: str = PALETTE[0],
    label: str | None = None,
    frame: bool = True,
) -> None:
    """The orbit of a policy over three responses in the probability simplex, from pale at the start to dark at the end.

    Args:
        log_policy: log pi_t, ``(T, 3)``, in nats.
        ax: where to draw; its axes are hidden.
        names: the three responses' names, at the corners; "response 0", … unless given.
        color: of the orbit. A circle marks its start, a filled square its end.
        label: of the orbit, for a legend.
        frame: whether to draw the triangle and its names; False for a second orbit on the same Axes.

    Raises:
        ValueError: log-policies of another shape, or names that do not fit.
    """
    from matplotlib.collections import LineCollection
    from matplotlib.colors import LinearSegmentedColormap

    log_policy = np.asarray(log_policy, dtype=float)
    if log_policy.ndim != 2 or log_policy.shape[1] != 3 or not len(log_policy):
        raise ValueError(f"log_policy has shape {log_policy.shape}; pass three responses, shape (T, 3).")
    labels = display_names(names, 3)
    if frame:
        triangle(ax, labels)
    points = barycentric(log_policy)
    deepening = LinearSegmentedColormap.from_list("deepening", [_mixed(color, 0.65), color])
    steps = np.linalg.norm(np.diff(points, axis=0), axis=1)
    # Age is the length of the path, not rounds, so that a transient of a few rounds in thousands shows its direction too.
    age = np.append(0.0, np.cumsum(steps)) / max(steps.sum(), 1e-300)
    # Thousands of chords would fill an area that the orbit never visits. Longer orbits get finer chords, and long ones
    # join leaps only at the beginning, with dots for the rest.
    moves = 1 + int((steps > 1e-3).sum())
    width = float(np.clip(20.0 / moves, 0.12, 0.8))
    joined = (steps < 0.1) | (np.arange(len(steps)) < 40) | (moves <= 200)
    chords = np.stack([points[:-1], points[1:]], axis=1)[joined]
    ax.add_collection(LineCollection(list(chords), array=age[1:][joined], cmap=deepening, linewidths=width, zorder=2))
    size = float(np.clip(150.0 / moves, 0.6, 6.0))
    ax.scatter(*points.T, c=age, vmin=0.0, vmax=1.0, cmap=deepening, s=size, linewidths=0, zorder=3)
    ax.plot(*points[0], "o", markersize=5, markerfacecolor="white", markeredgecolor=INK, markeredgewidth=0.8, zorder=4)
    end = {"markersize": 4.5, "markerfacecolor": color, "markeredgecolor": INK, "markeredgewidth": 0.5}
    ax.plot(*points[-1], "s", color=color, label=label, zorder=5, **end)


def triangle(ax: Axes, labels: Sequence[str]) -> None:
    """The frame: edges, lines of equal probability, and a name at each corner."""
    corners = barycentric(np.log(np.eye(3) + 1e-300))
    ax.fill(*corners.T, facecolor=MIST, edgecolor=INK, linewidth=0.6, zorder=0)
    for level in (0.25, 0.5, 0.75):
        for k in range(3):
            ends = [level * corners[k] + (1 - level) * corners[j] for j in range(3) if j != k]
            ax.plot(*np.transpose(ends), color="white", linewidth=0.6, linestyle="-", zorder=1)
    for (x, y), text, side in zip(corners, labels, ("top", "top", "bottom"), strict=True):
        ax.annotate(text, (x, y), (0, -3 if side == "top" else 3), textcoords="offset points", ha="center", va=side)
    ax.set_aspect("equal")
    ax.set_xlim(-0.06, 1.06)
    ax.set_ylim(-0.06, math.sqrt(3) / 2 + 0.14)
    ax.set_axis_off()


def _mixed(color: str, white: float) -> tuple[float, ...]:
    from matplotlib.colors import to_rgb

    return tuple((1 - white) * channel + white for channel in to_rgb(color))
