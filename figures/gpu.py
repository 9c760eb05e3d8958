"""Rounds and training of a language model on a GPU: against the simulator, and by the number of values."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from dynamics import plot

from ._common import INK, caption, letter

MARKS = "osD^vPX<>"


def draw(runs: dict[str, Any], errors: list[Any], correlations: list[Any], model: str, device: str) -> Figure:
    """Above: distance to the uniform policy and total variation by round; below: errors and rank correlation by K.

    Args:
        runs: by case, the Dataset of ``llm.self_sample``.
        errors, correlations: rows (quantity, "kind, K = …", value, low, high).
        model, device: their names.
    """
    with plot.style():
        figure = Figure(figsize=(10.4, 5.6), layout="constrained")
        panels = figure.subplot_mosaic([list("ab"), list("cd")])
        _distance({name: runs[name] for name in list(runs)[:4]}, panels["a"])
        _variation(runs, panels["b"])
        _by_size(errors, panels["c"], "share of held-out statements")
        _by_size(correlations, panels["d"], "Spearman correlation")
        panels["d"].axhline(0.0, color=INK, linewidth=0.5, zorder=0)
        titles = (
            "distance to the uniform policy",
            "total variation to the simulator",
            "held-out error by K",
            "held-out margins against the last layer's flow",
        )
        for mark, title in zip("abcd", titles, strict=True):
            letter(panels[mark], mark, title)
        caption(
            figure,
            f"{model}, on {device}. a: the model (marks, as in b) and the simulator from the same start (lines). b: half "
            "the sum of the differences of probabilities, model and simulator, by round. c: share of held-out statements "
            "with a negative margin after the same number of steps, with 95 % Clopper–Pearson intervals. d: Spearman "
            "correlation of held-out margins with those of the last layer's flow on the features before training, where both "
            "have the same mean training margin, with 95 % bootstrap intervals.",
        )
    return figure


def _distance(runs: dict[str, Any], ax: Axes) -> None:
    for n, (name, ds) in enumerate(runs.items()):
        t, colour = ds["round"].values, plot.PALETTE[n % len(plot.PALETTE)]
        ax.plot(t, distance(ds.log_policy_predicted.values), color=colour, linewidth=1)
        ours = distance(ds.log_policy.values)
        ax.plot(t, ours, MARKS[n], color=colour, markersize=3, linestyle="none", label=name)
    ax.set_xlabel("round")
    ax.set_ylabel("|π − 1/K|")


def _variation(runs: dict[str, Any], ax: Axes) -> None:
    for n, (name, ds) in enumerate(runs.items()):
        found = np.maximum(ds.total_variation.values[1:], 1e-9)
        style = {"color": plot.PALETTE[n % len(plot.PALETTE)], "marker": MARKS[n % len(MARKS)]}
        ax.semilogy(ds["round"].values[1:], found, markersize=2.5, linewidth=0.8, label=name, **style)
    ax.axhline(1e-3, color=INK, linewidth=0.6, linestyle=":", zorder=0)
    ax.annotate("largest allowed, 1e-3", (1, 1e-3), xytext=(0, 2), textcoords="offset points", fontsize=7, color=INK)
    ax.set_xlabel("round")
    ax.set_ylabel("total variation")
    ax.legend(fontsize=7, loc="center left", bbox_to_anchor=(1.0, 0.5))


def distance(log_policy: np.ndarray) -> np.ndarray:
    """|pi - 1/K|, Euclidean, by round."""
    p = np.exp(log_policy)
    return np.linalg.norm(p - 1 / p.shape[-1], axis=-1)


def _by_size(rows: list[Any], ax: Axes, label: str) -> None:
    kinds = list(dict.fromkeys(of.partition(", K = ")[0] for _, of, *_ in rows))
    for n, kind in enumerate(kinds):
        found = sorted(
            (int(of.partition(", K = ")[2].split(",")[0]), value, low, high)
            for _, of, value, low, high in rows
            if of.partition(", K = ")[0] == kind
        )
        k, value, low, high = np.array(found, float).T
        shift = 1.04 ** (n - (len(kinds) - 1) / 2)
        bars = np.abs(np.stack([value - low, high - value]))
        ax.errorbar(
            k * shift,
            value,
            bars,
            color=plot.PALETTE[n],
            marker=MARKS[n],
            markersize=3,
            linewidth=1,
            capsize=2,
            label=kind,
        )
    ax.set_xscale("log", base=2)
    sizes = sorted({int(of.partition(", K = ")[2].split(",")[0]) for _, of, *_ in rows})
    ax.set_xticks(sizes, labels=list(map(str, sizes)))
    ax.minorticks_off()
    ax.set_xlabel("K, values trained together")
    ax.set_ylabel(label)
    if kinds:
        ax.legend(fontsize=7)
