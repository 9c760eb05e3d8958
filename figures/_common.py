"""Helpers that all figures share: style, colours of the objectives, captions."""

from __future__ import annotations

import functools
import textwrap
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from dynamics import plot

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.figure import Figure

# Blue and vermilion of Okabe and Ito, which differ in grey as well; DPO is always dashed or below IPO.
COLOURS = {"IPO": plot.PALETTE[0], "DPO": plot.PALETTE[1]}
INK, PALE = "#333333", "#BBBBBB"


def styled(draw: Callable[[xr.Dataset], Figure]) -> Callable[[xr.Dataset], Figure]:
    """Decorates a function to draw in the common style."""

    @functools.wraps(draw)
    def inside(ds: xr.Dataset) -> Figure:
        with plot.style():
            return draw(ds)

    return inside


def caption(figure: Figure, text: str) -> None:
    """Adds a caption below the figure, wrapped to its width."""
    width = int(18.8 * figure.get_figwidth())  # 18.8 characters of 7 points fit into an inch
    figure.supxlabel(textwrap.fill(text, width), x=0.01, ha="left", fontsize=7, linespacing=1.4)


def letter(ax: Any, mark: str, text: str) -> None:
    """Adds the letter and the title of a panel."""
    ax.set_title(f"{mark}  {text}", fontsize=8)
