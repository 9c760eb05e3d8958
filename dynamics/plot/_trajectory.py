"""Probabilities against rounds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ._style import DASHES, PALE, PALETTE, display_names, names_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def trajectory(
    run: Any,
    ax: Axes,
    *,
    names: Sequence[str] | None = None,
    window: tuple[float | int, float | int] | None = None,
    most: int = len(PALETTE),
) -> None:
    """pi_t(k) against t, one line per response.

    Args:
        run: a Solution, or a Dataset with ``log_policy`` over (``round`` or ``time``, ``response``).
        ax: where to draw.
        names: the K responses' names; those of the run, or else "response 0", …, unless given.
        window: (first, last) coordinate to show, inclusive; everything unless given.
        most: how many responses get their own line, 1 to 6; those with the lowest peaks are drawn in grey.

    Raises:
        ValueError: a run without such rows, names that do not fit, a window without rows, or ``most`` out of range.
    """
    from matplotlib.ticker import MaxNLocator

    dim, coordinate, log_policy = rows(run)
    labels = display_names(names_of(run, names), log_policy.shape[1])
    if not 1 <= most <= len(PALETTE):
        raise ValueError(f"most = {most}; pass a whole number from 1 to {len(PALETTE)}.")
    if window is not None:
        inside = (coordinate >= window[0]) & (coordinate <= window[1])
        if not inside.any():
            raise ValueError(
                f"window = {window} holds no saved {dim}; pass one within [{coordinate[0]}, {coordinate[-1]}]."
            )
        coordinate, log_policy = coordinate[inside], log_policy[inside]
    policy = np.exp(log_policy)
    peaks = np.lexsort((-policy.mean(axis=0), -policy.max(axis=0)))
    named, rest = np.sort(peaks[:most]), peaks[most:]
    for k in rest:
        ax.plot(coordinate, policy[:, k], color=PALE, linewidth=0.6, linestyle="-", zorder=1)
    for n, k in enumerate(named):
        ax.plot(coordinate, policy[:, k], color=PALETTE[n], linestyle=DASHES[n], label=labels[k], zorder=3 - 0.1 * n)
    if len(rest):
        ax.plot([], [], color=PALE, linewidth=0.6, linestyle="-", label=f"{len(rest)} other{'s' * (len(rest) > 1)}")
    top = policy.max()
    ax.set_ylim(*((-0.02, 1.02) if top > 0.6 else (0.0, 1.08 * top)))
    ax.margins(x=0.01)
    ax.set_xlabel(dim)
    ax.set_ylabel("probability")
    ax.yaxis.set_major_locator(MaxNLocator(5))
    ax.xaxis.set_major_locator(MaxNLocator("auto", steps=[1, 2, 5, 10], integer=dim == "round"))
    longest = max(map(len, ax.get_legend_handles_labels()[1]))
    ax.legend(loc="upper center", bbox_to_anchor=(0.5, -0.24), ncols=columns(ax, longest, len(named) + (len(rest) > 0)))


def columns(ax: Axes, longest: int, entries: int) -> int:
    """How many columns of legend entries fit under ``ax``, at 7.5 points a letter."""
    inches = ax.get_position().width * ax.figure.get_figure(root=True).get_figwidth()
    return int(np.clip(inches // (0.45 + 0.065 * longest), 1, entries))


def rows(run: Any) -> tuple[str, np.ndarray, np.ndarray]:
    """The name of the dimension, its values, and the rows ``log_policy`` of a Solution or a Dataset."""
    dataset = hasattr(run, "data_vars")
    if not (dataset or hasattr(run, "coordinate")) or not hasattr(run, "log_policy"):
        raise ValueError(f"run is a {type(run).__name__} without log_policy rows; pass a Solution or its Dataset.")
    log_policy = np.asarray(run.log_policy)
    if log_policy.ndim != 2:
        raise ValueError(f"run.log_policy has shape {log_policy.shape}; pass one run, shape (saved, K).")
    dim = str(run.log_policy.dims[0]) if dataset else run.dim
    return dim, np.asarray(run[dim] if dataset else run.coordinate), log_policy
