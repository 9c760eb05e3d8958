"""A report on one page."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ._simplex import simplex
from ._spectrum import spectrum
from ._style import names_of, style
from ._trajectory import rows, trajectory

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MAX_SWITCHES = 12  # changes of the top response shown for an orbit without a period


def report(found: Any, run: Any, *, names: Sequence[str] | None = None, title: str | None = None) -> Figure:
    """A report on one page: orbit (at K = 3 also in the simplex), spectrum, and what was measured and proven.

    Args:
        found: the Report of ``dyn.stability.analyze``.
        run: the Solution (or Dataset) of the same process from ``found.log_initial``.
        names: the K responses' names; those of the run, or else "response 0", …, unless given.
        title: a line on top, such as the process and its parameters.

    Returns:
        A Figure, 7.2 inches wide and without a window; save it with ``figure.savefig(path)`` within ``plot.style()``.

    Raises:
        ValueError: a run without ``log_policy`` rows, or names that do not fit.
    """
    from matplotlib.figure import Figure

    dim, coordinate, log_policy = rows(run)
    with style():
        figure = Figure(figsize=(7.2, 3.6), layout="constrained")
        flat = log_policy.shape[1] == 3
        panels = figure.subplots(1, 3 if flat else 2, width_ratios=[1.35, 1.0, 1.0] if flat else [2.0, 1.0])
        window, log = _window(found, coordinate, log_policy)
        trajectory(run, panels[0], names=names, window=window)
        first, last = window or (coordinate[0], coordinate[-1])
        panels[0].set_title(f"{dim}s {first:.0f}–{last:.0f} of {coordinate[-1]:.0f}")
        if log:
            panels[0].set_xscale("symlog", linthresh=1.0)
        if flat:
            simplex(log_policy, panels[1], names=names_of(run, names))
            panels[1].set_title(f"all {dim}s: ○ start, ■ end")
        spectrum(found, panels[-1], names=names)
        panels[-1].set_title("eigenvalues of one round")
        if title:
            figure.suptitle(title, x=0.01, ha="left", fontsize=9.5)
        figure.supxlabel(caption(found), x=0.01, ha="left", fontsize=7.5)
    return figure


def caption(found: Any) -> str:
    """The measured verdict on the orbit and what is proven of the process, in wrapped lines."""
    proven = {
        "none": "Proven: nothing",
        "unstable at every fixed point found": "Computed: unstable at every fixed point found",
    }
    claim = proven.get(found.certificate, f"Proven: {found.certificate.removeprefix('proven ')}")
    lines = [f"Measured: {found.verdict}; {found.reason}", f"{claim}; {found.certificate_reason}."]
    return "\n".join(textwrap.fill(line, 125, subsequent_indent="    ") for line in lines)


def _window(found: Any, coordinate: np.ndarray, log_policy: np.ndarray) -> tuple[tuple[float, float] | None, bool]:
    """The rounds to show, a transient or the onset and some turns (None: all), and whether on a logarithmic axis."""
    policy = np.exp(log_policy)
    if found.verdict in ("converged", "collapsed"):
        away = np.abs(policy - policy[-1]).max(axis=1) > 0.01
        settled = int(np.flatnonzero(away)[-1]) + 1 if away.any() else 0
        last = min(max(10, 3 * settled // 2), len(policy) - 1)
        return (float(coordinate[0]), float(coordinate[last])), False
    moved = np.abs(policy - policy[0]).max(axis=1)
    onset = int(np.argmax(moved >= 0.5 * moved.max()))
    switches = onset + 1 + np.flatnonzero(np.diff(np.argmax(policy[onset:], axis=1)))
    if found.period is not None:
        span = 8.0 * found.period
    elif len(switches) >= MAX_SWITCHES:
        # Without a period the time between changes may keep growing, as near a cycle of vertices: show a fixed number.
        span = float(coordinate[switches[MAX_SWITCHES - 1]] - coordinate[onset])
    else:
        return None, True
    start, span = float(coordinate[onset]), max(span, 20.0)
    first = float(coordinate[0]) if start <= coordinate[0] + 2 * span else start - 0.5 * span
    return (first, min(start + span, float(coordinate[-1]))), False
