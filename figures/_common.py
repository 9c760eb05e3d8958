"""Helpers that all figures share: style, colours of the objectives, captions."""

from __future__ import annotations

import functools
import textwrap
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from dynamics import plot

from ._page import LEAST, LETTERS, Page

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Blue and vermilion of Okabe and Ito, which differ in grey as well; DPO is always dashed or below IPO.
COLOURS = {"IPO": plot.PALETTE[0], "DPO": plot.PALETTE[1]}
KAPPA = {"IPO": 1.0, "DPO": 4.0}  # statement 2.1: at the uniform policy DPO with beta is IPO with beta/4
INK, PALE = "#333333", "#BBBBBB"


class Draw(Protocol):
    """Draws a Dataset, at a width in inches (the page's own unless given), with or without the caption below."""

    def __call__(self, ds: xr.Dataset, *, width: float | None = None, caption: bool = True) -> Page: ...


def styled(draw: Callable[[xr.Dataset], Page]) -> Draw:
    """Decorates a function to draw in the common style, at any width, with or without its caption."""

    @functools.wraps(draw)
    def inside(ds: xr.Dataset, *, width: float | None = None, caption: bool = True) -> Page:
        with plot.style():
            page = draw(ds)
            page.fit(width, caption=caption)
            return page

    return inside


def caption(figure: Figure, text: str) -> None:
    """Adds a caption below the figure, wrapped to its width."""
    if isinstance(figure, Page):
        figure.describe(text)
        return
    wrapped = textwrap.fill(text, int(LETTERS * figure.get_figwidth()), break_on_hyphens=False)
    figure.supxlabel(wrapped, x=0.01, ha="left", fontsize=LEAST, linespacing=1.4)


def letter(ax: Any, mark: str, text: str) -> None:
    """Adds the letter and the title of a panel."""
    ax.set_title(f"{mark}  {text}", fontsize=8)


def in_rows(figure: Page, marks: Sequence[str], heights: Sequence[float] | None = None) -> dict[str, Axes]:
    """Panels by letter, in rows of as many as each string has; a row is laid out by itself."""
    panels, places = {}, figure.add_gridspec(len(marks), 1, height_ratios=heights)
    for r, row in enumerate(marks):
        cells = places[r].subgridspec(1, len(row))
        panels |= {mark: figure.add_subplot(cells[c]) for c, mark in enumerate(row)}
    return panels
