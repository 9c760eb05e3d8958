"""A policy fitted to votes with its uncertainty, and the pairs that are worth asking about next."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ._style import INK, PALE, PALETTE, display_names, style
from ._words import logarithmic

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MOST = 20  # responses, and pairs, that are drawn
WIDE = 1.959963984540054  # standard deviations of an interval of 95 %


def fitted(
    log_policy: Any,
    *,
    deviation: Any = None,
    pairs: Sequence[Mapping[str, Any]] = (),
    V: tuple[float | None, float | None] = (None, None),
    names: Sequence[str] | None = None,
    title: str | None = None,
) -> Figure:
    """The policy with intervals, the pairs to ask about next, and what one more comparison of each is worth.

    Args:
        log_policy: log pihat, ``(K,)``.
        deviation: standard deviation of log pihat, ``(K,)``, for intervals of 95 %; None draws none.
        pairs: as ``dynamics fit --json`` lists them: first, second, share, share_now and worth, the best first.
        V: the error constant now and with the best pairs.
        names: of the responses.
        title: a line on top, such as the name of the file.

    Returns:
        A Figure, 7.2 inches wide and without a window; save it with ``figure.savefig(path)`` within ``plot.style()``.

    Raises:
        ValueError: ``log_policy`` is not one distribution, or ``names`` or ``deviation`` do not fit it.
    """
    from matplotlib.figure import Figure

    logs = np.asarray(log_policy, float)
    if logs.ndim != 1 or len(logs) < 2:
        raise ValueError(f"log_policy has shape {logs.shape}; pass log pihat of one prompt, (K,) with K ≥ 2.")
    if deviation is not None and np.shape(deviation) != logs.shape:
        raise ValueError(f"deviation has shape {np.shape(deviation)}, log_policy {logs.shape}; pass the same shape.")
    labels = display_names(names, len(logs))
    shown = list(pairs)[:MOST]
    rows = max(min(len(logs), MOST), len(shown))
    with style():
        figure = Figure(figsize=(7.2, 1.75 + 0.17 * max(rows, 6)), layout="constrained")
        panels = figure.subplots(1, 3 if shown else 1, squeeze=False)[0]
        _policy(panels[0], logs, None if deviation is None else np.asarray(deviation, float), labels)
        if shown:
            _pairs(panels[1], panels[2], shown)
            figure.legend(*panels[1].get_legend_handles_labels(), loc="outside upper right", ncols=2, fontsize=7)
        if title:
            figure.suptitle(title.replace("$", r"\$"), x=0.01, ha="left", fontsize=9.5)
        figure.supxlabel(_caption(len(logs), deviation is not None, pairs, V), x=0.01, ha="left", fontsize=7)
    return figure


def _policy(ax: Axes, logs: np.ndarray, deviation: np.ndarray | None, labels: list[str]) -> None:
    order = np.argsort(-logs, kind="stable")[:MOST]
    y, p = np.arange(len(order)), np.exp(logs[order])
    if deviation is not None:
        low, high = (np.exp(logs[order] + sign * WIDE * deviation[order]) for sign in (-1, 1))
        ax.hlines(y, low, np.minimum(high, 1.0), color=PALETTE[0], linewidth=1.4)
    ax.plot(p, y, "o", color=PALETTE[0], markersize=4, linestyle="none")
    _logarithmic(ax)
    ax.set_yticks(y, [labels[k] for k in order])
    ax.set_ylim(len(order) - 0.5, -0.5)
    ax.set_xlabel("probability")
    ax.set_title("a  policy", fontsize=8)
    ax.grid(axis="x", color=PALE, linewidth=0.4)


def _pairs(left: Axes, right: Axes, shown: Sequence[Mapping[str, Any]]) -> None:
    y = np.arange(len(shown))
    labels = [" / ".join(display_names([pair["first"], pair["second"]], 2)) for pair in shown]
    left.barh(y, [100 * pair["share"] for pair in shown], height=0.62, color=PALETTE[2], label="in the best design")
    now = [100 * pair["share_now"] for pair in shown]
    left.plot(
        now,
        y,
        "D",
        markerfacecolor="white",
        markeredgecolor=INK,
        markersize=4,
        linestyle="none",
        label="so far",
        clip_on=False,
    )
    left.set_yticks(y, labels)
    left.set_xlabel("share (%)")
    left.set_title("b  pairs", fontsize=8)
    right.axvline(1.0, color=INK, linewidth=0.8, linestyle="--")
    right.plot([pair["worth"] for pair in shown], y, "s", color=PALETTE[1], markersize=4, linestyle="none")
    right.set_yticks(y, [])
    _logarithmic(right)
    right.set_xlabel("× average")
    right.set_title("c  one more", fontsize=8)
    for ax in (left, right):
        ax.set_ylim(len(shown) - 0.5, -0.5)
        ax.grid(axis="x", color=PALE, linewidth=0.4)


def _logarithmic(ax: Axes) -> None:
    """Decades, or two labels to a decade where there are few."""
    low, high = ax.dataLim.intervalx
    logarithmic(ax, (1.0, 3.0) if high < 100 * low else (1.0,))


def _caption(K: int, intervals: bool, pairs: Sequence[Any], V: tuple[float | None, float | None]) -> str:
    text = "a: the fitted policy, the likeliest first" + (f" ({MOST} of {K})" if K > MOST else "") + ". "
    if intervals:
        text += "Lines: 95 % intervals of each response by its normal law to leading order (plug-in, not a bound). "
    if pairs:
        text += "b: pairs by what one more comparison is worth" + (
            f" ({MOST} of {len(pairs)})" if len(pairs) > MOST else ""
        )
        text += ", with the law for which V is least at the fitted policy"
        if V[0] is not None and V[1] is not None:
            text += f": V = {V[1]:.4g} instead of {V[0]:.4g}, as n KL(pi*||pihat) → V on average (7.9, 7.10)"
        text += ". c: fall of V per comparison of the pair, in units of the average one so far (dashed)."
    return textwrap.fill(text, 140)
