"""The orbit diagram of a loop: late policies against a parameter."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ._style import DASHES, INK, PALETTE, display_names, names_of, style
from ._words import canvas, computed, label, letter, lettered, logarithmic

if TYPE_CHECKING:
    from matplotlib.axes import Axes

LOG_FROM = 3.0  # ratio of the largest value to the smallest


def orbit_diagram(
    loop: Any,
    over: str = "beta",
    values: Any = None,
    *,
    response: int | str = 0,
    names: Sequence[str] | None = None,
    ax: Axes | None = None,
    title: str | None = None,
    **options: Any,
) -> Axes:
    """Late iterates of pi(k) against a parameter (a bifurcation diagram), with the critical values as vertical lines.

    Args:
        loop: a deterministic loop of one prompt, or the Dataset of ``dynamics.atlas.orbit_diagram``.
        over: name of a scalar parameter.
        values: of the parameter, ``(n,)``; around its critical values unless given.
        response: k, the response whose probability is drawn, by number or by name.
        names: of the K responses; those of the loop unless given.
        ax: where to draw; a new Figure unless given.
        title: of the Axes.
        options: ``rounds``, ``keep``, ``initial``, ``progress``, as in ``atlas.orbit_diagram``.

    Returns:
        The Axes; ``ax.figure`` is the Figure.

    Raises:
        ValueError: a loop that draws samples or has several prompts, an unknown parameter or response, or a value out of range.

    >>> loop = dyn.SelfSampling(dyn.preferences.cyclic(3, 0.4), dyn.IPO(0.25), alpha=0.5, lam=1.0)
    >>> ax = dyn.plot.orbit_diagram(loop, "beta", np.linspace(0.2, 0.4, 5), rounds=400, keep=10)
    >>> ax.get_xlabel(), [line.get_label() for line in ax.lines if "critical" in str(line.get_label())]
    ('β, KL coefficient', ['critical (computed): β = 0.2667, Neimark–Sacker, supercritical'])
    """
    if values is not None:
        options["values"] = values
    ds = computed(loop, "orbit_diagram", ["critical_value"], options, {"over": (over, "beta")})
    from matplotlib.collections import PathCollection

    size, names = ds.sizes["response"], names_of(ds, names)
    k, labels = which(response, names, size), display_names(names, size)
    over = ds.attrs["over"]
    with style():
        ax, alone = canvas(ax, 5.6, 3.8)
        value, policy = ds.value.values, np.exp(ds.log_policy.values[:, :, k])
        across = np.repeat(value, policy.shape[1])
        dots = float(np.clip(2e4 / policy.size, 0.4, 6.0))
        ax.scatter(
            across,
            policy.ravel(),
            s=dots,
            color=PALETTE[0],
            linewidths=0,
            rasterized=True,
            label="late rounds (simulated)",
        )
        crossings = zip(ds.critical_value.values, ds.onset.values, strict=True)
        for n, (at, kind) in enumerate(crossings):
            text = f"critical (computed): {letter(over)} = {at:.4g}, {kind}"
            dash = DASHES[(n + 1) % len(DASHES)]
            ax.axvline(at, color=PALETTE[1] if n % 2 == 0 else INK, linestyle=dash, linewidth=1.0, label=text)
        if _is_geometric(value):
            logarithmic(ax, (1.0, 2.0, 5.0))
        ax.set_xlim(value[0], value[-1])
        ax.set_ylim(-0.02, 1.02)
        ax.set_xlabel(label(over))
        ax.set_ylabel(f"probability of {labels[k]}")
        if title:
            ax.set_title(title.replace("$", r"\$"))
        if alone:
            figure = ax.figure.get_figure(root=True)
            assert figure is not None
            legend = figure.legend(*ax.get_legend_handles_labels(), loc="outside upper left", fontsize=7)
            figure.supxlabel(_caption(ds), x=0.01, ha="left", fontsize=7)
        else:
            legend = ax.legend(loc="upper center", bbox_to_anchor=(0.5, -0.2), fontsize=7)
        for handle in legend.legend_handles:
            if isinstance(handle, PathCollection):
                handle.set_sizes([8.0])
    return ax


def which(response: int | str, names: Sequence[str] | None, size: int) -> int:
    """The index of a response by its number or name; a ``ValueError`` lists what there is."""
    if isinstance(response, str):
        if names is None or response not in list(names):
            known = "give names= too, or its number" if names is None else f"pass one of {', '.join(map(str, names))}"
            raise ValueError(f"response = {response!r} is unknown; {known}.")
        return list(names).index(response)
    if isinstance(response, bool) or not isinstance(response, int | np.integer) or not 0 <= response < size:
        raise ValueError(f"response = {response!r}; pass a whole number from 0 to {size - 1}, or a name.")
    return int(response)


def _is_geometric(value: np.ndarray) -> bool:
    """Whether values are spread evenly on a logarithmic axis, over more than a factor of ``LOG_FROM``."""
    if not (value[0] > 0 and value[-1] / value[0] > LOG_FROM):
        return False
    steps = np.diff(np.log(value))
    return bool(np.ptp(steps) < 0.05 * steps.mean())


def _caption(ds: Any) -> str:
    first, last = int(ds["round"].values[0]), int(ds["round"].values[-1])
    held = f"; {lettered(ds.attrs['held'])}" if ds.attrs["held"] else ""
    text = f"{ds.attrs['kind']}, {ds.attrs['responses']} responses{held}. "
    text += f"Dots: rounds {first} to {last} of one run for each value. "
    if ds.attrs["search"]:
        text += ds.attrs["search"][0].upper() + ds.attrs["search"][1:]
    elif len(ds.critical_value):
        text += "Lines: where the spectral radius of the followed fixed point passes 1."
    else:
        text += "The followed fixed point changes its stability nowhere in this range."
    return textwrap.fill(text.replace("$", r"\$"), 104)
