"""Methods side by side: spectral radii and the policies that they end at."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ._style import INK, PALE, PALETTE, style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# (marker, filled): shapes, since colours tell responses apart.
VERDICT_MARKERS = {"converged": ("o", True), "oscillating": ("^", False), "collapsed": ("s", True)}
OTHERS = ("X", False)
MAX_SEGMENTS = 6  # responses told apart in a bar; the rest are one grey part


def compared(
    methods: Sequence[str],
    verdicts: Sequence[str],
    radii: Sequence[float | None],
    log_policies: Sequence[np.ndarray | None],
    *,
    names: Sequence[str] | None = None,
    title: str = "",
) -> Figure:
    """Two panels: the spectral radius of each method's rounds (computed), and where its run ends (observed).

    Args:
        methods: their names, from top to bottom.
        verdicts: of each run, told by the shapes of the points.
        radii: spectral radii; None where there is none.
        log_policies: last, or average, policies, ``(K,)`` each, in nats; None where a run failed.
        names: of the K responses; their numbers unless given.
        title: over the figure.

    Returns:
        A Figure, 7.2 inches wide and without a window; save it with ``figure.savefig(path)`` within ``plot.style()``.

    >>> figure = dyn.plot.compared(["a"], ["converged"], [0.5], [np.log(np.array([0.6, 0.4]))])
    >>> len(figure.axes)
    2
    """
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

    with style():
        figure = Figure(figsize=(7.2, 1.3 + 0.22 * len(methods)), layout="constrained")
        left, right = figure.subplots(1, 2, sharey=True, width_ratios=(1.0, 1.3))
        rows = np.arange(len(methods))[::-1]
        known = [r for r in radii if r is not None]
        for y, verdict, radius in zip(rows, verdicts, radii, strict=True):
            if radius is not None:
                left.plot(radius, y, **_marker(verdict))
        left.axvline(1.0, color="black", linewidth=0.8)
        if known and max(known) > 5:
            left.set_xscale("log")
        left.set_xlabel("spectral radius (computed); below 1 it attracts")
        left.set_yticks(rows, methods)
        left.set_ylim(-0.6, len(methods) - 0.4)
        kinds = [kind for kind in dict.fromkeys(verdicts) if kind != "failed"]
        handles = [Line2D([], [], label=f"run {kind}", **_marker(kind)) for kind in kinds]
        figure.legend(handles=handles, loc="outside lower left", fontsize=7, ncols=len(handles) or 1)
        _policies(right, rows, log_policies, names)
        right.set_xlabel("share of each response at the end, or on average (observed)")
        right.set_xlim(0, 1)
        figure.legend(*right.get_legend_handles_labels(), loc="outside lower right", fontsize=7, ncols=4)
        if title:
            figure.suptitle(title, fontsize=9)
    return figure


def _marker(verdict: str) -> dict[str, Any]:
    shape, filled = VERDICT_MARKERS.get(verdict, OTHERS)
    face = INK if filled else "white"
    return {"marker": shape, "linestyle": "none", "color": INK, "markerfacecolor": face, "markersize": 5}


def _policies(
    ax: Axes, rows: np.ndarray, log_policies: Sequence[np.ndarray | None], names: Sequence[str] | None
) -> None:
    given = [np.exp(p) for p in log_policies if p is not None]
    if not given:
        return
    K = len(given[0])
    labels = list(names) if names else [f"response {i}" for i in range(K)]
    # The responses that are largest somewhere come first; beyond a few they share a grey part.
    order = np.argsort(-np.max(given, axis=0), kind="stable")
    first = np.sort(order[:MAX_SEGMENTS]) if K > MAX_SEGMENTS + 1 else np.arange(K)
    rest = order[len(first) :]
    begin = np.zeros(len(rows))
    parts = [(labels[int(i)], [int(i)]) for i in first] + ([(f"{len(rest)} others", list(rest))] if len(rest) else [])
    for n, (label, members) in enumerate(parts):
        sizes = np.array([0.0 if p is None else float(np.exp(p)[members].sum()) for p in log_policies])
        colour = PALE if len(members) > 1 else PALETTE[n % len(PALETTE)]
        ax.barh(
            rows, sizes, left=begin, height=0.7, color=colour, edgecolor="white", linewidth=0.5, label=str(label)[:24]
        )
        begin = begin + sizes
