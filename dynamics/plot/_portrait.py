"""Rounds over the simplex of three responses: the field of arrows, and which attractor each start reaches."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ._simplex import barycentric, simplex, triangle
from ._style import INK, PALE, PALETTE, display_names, names_of, style
from ._words import canvas, computed, lettered

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MOST = 4  # attractors with a colour of their own
HATCHES = ("", "////", "....", "xxxx", "\\\\\\\\")
MOVING, UNDECIDED, FAILED = 1, 2, 3  # flags of ``fate``
SLOWEST = 1e-3  # of the longest step, the lower end of the colours


def phase_portrait(
    loop: Any, *, names: Sequence[str] | None = None, ax: Axes | None = None, title: str | None = None, **options: Any
) -> Axes:
    """One round as a field of arrows on the simplex of three responses, with orbits and fixed points.

    Arrows show the direction of pi' - pi and, by their colour, its size in total variation. A filled disc is a fixed point that
    attracts (spectral radius below 1), a ring one that does not.

    Args:
        loop: a deterministic loop of one prompt with K = 3, or the Dataset of ``dynamics.atlas.phase_portrait``.
        names: of the three responses; those of the loop unless given.
        ax: where to draw; a new Figure unless given.
        title: of the Axes.
        options: ``arrows``, ``rounds``, ``initial``, as in ``atlas.phase_portrait``.

    Returns:
        The Axes; ``ax.figure`` is the Figure.

    Raises:
        ValueError: another K, several prompts, a loop that draws samples, or one that carries more than the policy.

    >>> loop = dyn.SelfSampling(dyn.preferences.cyclic(3, 0.4), dyn.IPO(0.25), alpha=0.5, lam=1.0)
    >>> ax = dyn.plot.phase_portrait(loop, arrows=5, rounds=20)
    >>> [text for text in ax.get_legend_handles_labels()[1] if "fixed" in text]
    ['fixed point, does not attract (ρ = 1.05)']
    """
    ds = computed(loop, "phase_portrait", ["step"], options)
    names = names_of(ds, names)
    from matplotlib.colors import LinearSegmentedColormap, LogNorm

    with style():
        ax, alone = canvas(ax, 5.0, 4.6)
        at, step = barycentric(ds.log_policy.values), ds.step.values
        moved, size = _flat(step), 0.5 * np.abs(step).sum(axis=1)
        length = np.linalg.norm(moved, axis=1, keepdims=True)
        spacing = 0.8 / _side(len(at))
        arrows = moved / np.maximum(length, 1e-300) * np.minimum(length, spacing)
        triangle(ax, display_names(names, 3))
        colours = LinearSegmentedColormap.from_list("steps", ["#E3E8ED", "#B4BFCA", "#76879A"])
        scale = LogNorm(max(size.max() * SLOWEST, 1e-12), max(size.max(), 1e-9))
        field = ax.quiver(
            *at.T,
            *arrows.T,
            np.maximum(size, scale.vmin or 0.0),
            cmap=colours,
            norm=scale,
            angles="xy",
            scale_units="xy",
            scale=1.0,
            width=0.0035,
            headwidth=4.0,
            headlength=4.5,
            pivot="tail",
            zorder=1.5,
        )
        for n, orbit in enumerate(ds.log_orbit.values):
            if np.isfinite(orbit).all():
                simplex(orbit, ax, color=PALETTE[n % len(PALETTE)], frame=False)
        ax.plot([], [], "o", markerfacecolor="white", markeredgecolor=INK, markersize=5, label="start of an orbit")
        ax.plot([], [], "s", color=PALE, markeredgecolor=INK, markersize=4.5, label="its end")
        fixed_points(ax, ds)
        figure = ax.figure.get_figure(root=True)
        assert figure is not None
        bar = figure.colorbar(field, ax=ax, shrink=0.6, aspect=28, extend="min")
        bar.set_label("step of a round, total variation")
        bar.outline.set_linewidth(0.4)  # pyright: ignore[reportCallIssue]
        _finish(
            ax,
            alone,
            title,
            _told(ds) + f"Arrows: one round, the longest cut to the grid. Orbits: {ds.attrs['rounds']} rounds.",
        )
    return ax


def basins(
    loop: Any, *, names: Sequence[str] | None = None, ax: Axes | None = None, title: str | None = None, **options: Any
) -> Axes:
    """Which attractor the rounds reach from each start on the simplex of three responses.

    Args:
        loop: a deterministic loop of one prompt with K = 3, or the Dataset of ``dynamics.atlas.basins``.
        names: of the three responses; those of the loop unless given.
        ax: where to draw; a new Figure unless given.
        title: of the Axes.
        options: ``starts``, ``rounds``, ``initial``, ``progress``, as in ``atlas.basins``.

    Returns:
        The Axes; ``ax.figure`` is the Figure.

    Raises:
        ValueError: another K, several prompts, or a loop that draws samples.

    >>> loop = dyn.SelfSampling(dyn.preferences.cyclic(3, 0.4), dyn.IPO(0.5), alpha=0.5, lam=1.0)
    >>> ax = dyn.plot.basins(loop, starts=5, rounds=200)
    >>> ax.get_legend_handles_labels()[1][0]
    'settles at (0.33, 0.33, 0.33): 100% of starts'
    """
    ds = computed(loop, "basins", ["attractor"], options)
    names = names_of(ds, names)
    from matplotlib.collections import PolyCollection
    from matplotlib.patches import Polygon

    with style():
        ax, alone = canvas(ax, 4.6, 4.9)
        triangle(ax, display_names(names, 3))
        inside = Polygon(barycentric(np.log(np.eye(3) + 1e-300)), transform=ax.transData)
        at = barycentric(ds.log_policy.values)
        turn = np.pi / 6 + np.pi / 3 * np.arange(6)
        hexagon = np.stack([np.cos(turn), np.sin(turn)], axis=1) / (math.sqrt(3) * _side(len(at)))
        for where, text, look in _classes(ds, names):
            if where.any():
                tiles = PolyCollection(list(at[where][:, None] + hexagon), zorder=1.5, label=text, linewidths=0, **look)
                ax.add_collection(tiles)
                tiles.set_clip_path(inside)
        for n, place in enumerate(ds.log_place.values[:MOST]):
            mark = {"markersize": 8, "markerfacecolor": PALETTE[n], "markeredgecolor": "white", "markeredgewidth": 1.0}
            ax.plot(*barycentric(place[None])[0], "D", zorder=4, clip_on=False, **mark)
        fixed_points(ax, ds)
        _finish(
            ax,
            alone,
            title,
            _told(ds) + f"Colours: simulated, {ds.attrs['starts']} starts, {ds.attrs['rounds']} rounds each. "
            "Diamonds: where runs settle. Fixed points and ρ: computed.",
        )
    return ax


def fixed_points(ax: Axes, ds: Any) -> None:
    """Discs for fixed points with spectral radius below 1, rings for the others."""
    points, radii = ds.log_fixed_point.values, ds.spectral_radius.values
    for attracts in (True, False):
        some = (radii < 1) == attracts
        if not some.any():
            continue
        near = radii[some]
        range_ = (
            f"{near.min():.3g}"
            if np.ptp(near[np.isfinite(near)]) < 5e-3 or len(near) == 1
            else f"{near.min():.3g} to {near.max():.3g}"
        )
        range_ = range_.replace("inf", "∞")
        word = "attracts" if attracts else "does not attract"
        many = "" if some.sum() == 1 else f" ({some.sum()})"
        text = f"fixed point{many}, {word} (ρ = {range_})"
        face = INK if attracts else "white"
        x, y = barycentric(points[some]).T
        ax.plot(
            x,
            y,
            "o",
            markersize=7 if attracts else 8,
            markerfacecolor=face,
            markeredgecolor=INK,
            markeredgewidth=1.6,
            linestyle="none",
            zorder=6,
            clip_on=False,
            label=text,
        )


def _classes(ds: Any, names: Sequence[str] | None) -> list[tuple[np.ndarray, str, dict[str, Any]]]:
    """The starts of each kind, what to call them, and how they look."""
    attractor, fate = ds.attractor.values, ds.fate.values
    labels = display_names(names, 3)
    out = []
    for n, (place, share) in enumerate(zip(np.exp(ds.log_place.values), ds.share.values, strict=True)):
        if n == MOST:
            rest = attractor >= MOST
            out.append(
                (rest, f"settles elsewhere: {_share(rest.mean())} of starts", {"facecolor": PALE, "hatch": HATCHES[4]})
            )
            break
        where = labels[int(place.argmax())] if place.max() > 0.99 else f"({', '.join(f'{p:.2f}' for p in place)})"
        look = {"facecolor": _pale(PALETTE[n]), "edgecolor": PALETTE[n], "hatch": HATCHES[n % len(HATCHES)]}
        out.append((attractor == n, f"settles at {where}: {_share(share)} of starts", look))
    others = (
        (MOVING, "keeps moving", PALETTE[4]),
        (UNDECIDED, "undecided within the run", PALE),
        (FAILED, "fails", INK),
    )
    for flag, word, colour in others:
        out.append((fate == flag, f"{word}: {_share((fate == flag).mean())} of starts", {"facecolor": _pale(colour)}))
    return out


def _share(value: float) -> str:
    return "< 1%" if 0 < value < 0.005 else f"{value:.0%}" if value <= 0.995 or value == 1 else "> 99%"


def _pale(colour: str) -> tuple[float, ...]:
    from matplotlib.colors import to_rgb

    return tuple(0.45 + 0.55 * channel for channel in to_rgb(colour))


def _flat(step: np.ndarray) -> np.ndarray:
    """Changes of a policy as vectors in the plane of the triangle."""
    return step @ np.array([[0.0, 0.0], [1.0, 0.0], [0.5, math.sqrt(3) / 2]])


def _side(count: int) -> float:
    """Points along a side of a triangular grid of ``count``."""
    return (math.sqrt(8 * count + 1) - 1) / 2


def _told(ds: Any) -> str:
    return f"{ds.attrs['kind']}{', ' * bool(ds.attrs['held'])}{lettered(ds.attrs['held'])}. "


def _finish(ax: Axes, alone: bool, title: str | None, caption: str) -> None:
    if title:
        ax.set_title(title.replace("$", r"\$"))
    handles = ax.get_legend_handles_labels()
    figure = ax.figure.get_figure(root=True)
    if alone and figure is not None:
        figure.legend(*handles, loc="outside upper left", fontsize=7, ncols=1)
        figure.supxlabel(textwrap.fill(caption, int(18.5 * figure.get_figwidth())), x=0.01, ha="left", fontsize=7)
    else:
        ax.legend(*handles, loc="upper center", bbox_to_anchor=(0.5, -0.02), fontsize=7)
