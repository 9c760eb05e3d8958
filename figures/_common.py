"""What figures share: the look of the house, objectives' colours and captions."""

from __future__ import annotations

import functools
import textwrap
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from dynamics import plot

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.figure import Figure

# Okabe and Ito's blue and vermilion: apart in grey too, the second always dashed or below.
COLOURS = {"IPO": plot.PALETTE[0], "DPO": plot.PALETTE[1]}
INK, PALE = "#333333", "#BBBBBB"


def styled(draw: Callable[[xr.Dataset], Figure]) -> Callable[[xr.Dataset], Figure]:
    """Draws within the style of the house."""

    @functools.wraps(draw)
    def inside(ds: xr.Dataset) -> Figure:
        with plot.style():
            return draw(ds)

    return inside


def caption(figure: Figure, text: str) -> None:
    """Text under the whole figure, wrapped to its width."""
    width = int(18.8 * figure.get_figwidth())  # characters of 7 points to the inch
    figure.supxlabel(textwrap.fill(text, width), x=0.01, ha="left", fontsize=7, linespacing=1.4)


def letter(ax: Any, mark: str, text: str) -> None:
    """A panel's letter and title."""
    ax.set_title(f"{mark}  {text}", fontsize=8)
