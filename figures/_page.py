"""A page to draw a figure on: its caption, and the same figure at the width of a column of text."""

from __future__ import annotations

import itertools
import textwrap
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.gridspec import GridSpec
from matplotlib.text import Text
from matplotlib.transforms import Bbox

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.legend import Legend

WIDTH = 7.4  # inches, unless asked otherwise
LEAST = 7.0  # points of the smallest text
LETTERS = 18.8  # of 7 points that fit into an inch
KEPT = 0.7  # of the width down to which panels that stand side by side stay so
FEW = 5  # panels up to which a narrow page has one column
TALLEST = (2.2, 1.5)  # inches of a panel where one or two are stacked, and where more are
HIGHEST = 8.8  # inches of a narrow page, which has to fit on one of text


class Page(Figure):
    """A figure with a caption below it, 7.4 inches wide until it is fitted to a narrower page.

    Args:
        height: with its caption, in inches.
        width: in inches.
    """

    def __init__(self, height: float, width: float = WIDTH) -> None:
        super().__init__(figsize=(width, height), layout="constrained")
        FigureCanvasAgg(self)  # which measures text
        self.caption = ""
        self._keys: list[tuple[tuple[Any, ...], dict[str, Any]]] = []

    def legend(self, *args: Any, **kwargs: Any) -> Legend:
        self._keys.append((args, kwargs))
        return super().legend(*args, **kwargs)

    def describe(self, text: str) -> None:
        """Sets the caption, wrapped to the width."""
        self.caption = text
        wrapped = textwrap.fill(text, int(LETTERS * self.get_figwidth()), break_on_hyphens=False)
        self.supxlabel(wrapped, x=0.01, ha="left", fontsize=LEAST, linespacing=1.4).set_in_layout(bool(text))

    def fit(self, width: float | None = None, *, caption: bool = True) -> None:
        """Narrows the page to ``width`` inches, with panels below each other where there is no room, and drops the caption.

        No text becomes smaller than 7 points; panels keep about their height, so the page grows or shrinks instead.
        """
        self._text_of_least()
        narrow = width is not None and width < self.get_figwidth()
        if not narrow and caption:
            return
        self._lay_out()
        high = _covered(self._panels())
        text = self.caption
        if not caption:
            self.describe("")
        if narrow and width is not None:
            natural = self.get_figwidth()
            grid = self._grid()
            self.set_figwidth(width)
            high = self._reflow(grid) if self._crowded(grid, width / natural) else (0.5 + 0.5 * width / natural) * high
            if caption:
                self.describe(text)
            self._narrow_text(width)
            self._settle(high)
            self._wrap_labels()
            self._settle(high)
            self._free_data()
        self._settle(high)
        self.caption = text

    def _panels(self) -> list[Axes]:
        return [ax for ax in self.axes if ax.get_subplotspec() is not None]

    def _text_of_least(self) -> None:
        for text in self.findobj(Text):
            assert isinstance(text, Text)
            if float(text.get_fontsize()) < LEAST:
                text.set_fontsize(LEAST)
        for ax in self.axes:
            for axis in (ax.xaxis, ax.yaxis):
                labels = axis.get_ticklabels(which="both")
                if labels and min(float(label.get_fontsize()) for label in labels) < LEAST:
                    axis.set_tick_params(which="both", labelsize=LEAST)

    def _grid(self) -> list[list[Axes]]:
        """The panels by row, from left to right; one that spans several rows is in its first."""
        rows: dict[int, list[Axes]] = {}
        for ax in self._panels():
            box = ax.get_position(original=True)
            top = next((y for y in rows if abs(y - round(1000 * box.y1)) < 20), round(1000 * box.y1))
            rows.setdefault(top, []).append(ax)
        left = lambda ax: ax.get_position(original=True).x0
        return [sorted(rows[y], key=left) for y in sorted(rows, reverse=True)]

    def _crowded(self, grid: list[list[Axes]], share: float) -> bool:
        return max(map(len, grid)) > 3 or (share < KEPT and max(map(len, grid)) > 1)

    def _reflow(self, grid: list[list[Axes]]) -> float:
        """Places the panels in one column, or in two where they are many; the height that they are to cover, in inches."""
        count, across = sum(map(len, grid)), max(map(len, grid))
        tall = lambda ax: ax.get_position(original=True).height * self.get_figheight()
        _complete(grid)
        if across == 4 and all(len(row) == 4 for row in grid):
            # The left half above the right half, so that what is below each other stays so.
            placed = [row[2 * half : 2 * half + 2] for half in (0, 1) for row in grid]
        elif count > FEW:
            flat = [ax for row in grid for ax in row]
            placed = [flat[n : n + 2] for n in range(0, count, 2)]
        else:
            placed = [[ax] for row in grid for ax in row]
        limit = TALLEST[len(placed) > 2]
        heights = [min(limit, max(map(tall, row))) for row in placed]
        cells = GridSpec(len(placed), max(map(len, placed)), figure=self, height_ratios=heights)
        for r, row in enumerate(placed):
            for c, ax in enumerate(row):
                ax.set_subplotspec(cells[r, c:] if len(row) == c + 1 else cells[r, c])
        return float(sum(heights))

    def _narrow_text(self, width: float) -> None:
        for text in self.findobj(Text):
            assert isinstance(text, Text)
            text.set_fontsize(LEAST)
        for ax in self.axes:
            ax.tick_params(which="both", labelsize=LEAST)
        for old in list(self.legends):
            old.remove()
        for args, kwargs in self._keys:
            most = int(kwargs.get("ncols", 1))
            for ncols in range(most, 0, -1):
                told = kwargs | {"ncols": ncols, "fontsize": LEAST, "columnspacing": 1.0}
                key = super().legend(*args, **told)
                if ncols == 1 or key.get_window_extent(self._renderer()).width <= (width - 0.1) * self.dpi:
                    break
                key.remove()
        for key in self._inner_keys():
            # Within a panel it goes where the fewest data are; one that is wider than the panel does not narrow it.
            key.set_bbox_to_anchor(None)
            key.set_loc("best")
            key.set_in_layout(False)

    def _inner_keys(self) -> list[Legend]:
        """The keys that lie in their panels."""
        inside = []
        for ax in self.axes:
            key = ax.get_legend()
            if key is not None:
                box = key.get_window_extent(self._renderer())
                inside += [key] if ax.bbox.contains(0.5 * (box.x0 + box.x1), 0.5 * (box.y0 + box.y1)) else []
        return inside

    def _free_data(self) -> None:
        """Moves a key that still covers data below its panel."""
        for key in self._inner_keys():
            if key.get_window_extent(self._renderer()).width > key.axes.bbox.width:
                labels = [text.get_text() for text in key.get_texts()]
                handles = [handle for handle in key.legend_handles if handle is not None]
                key.axes.legend(handles, labels, loc="best", fontsize=LEAST).set_in_layout(False)
        for key in self._inner_keys():
            ax, box = key.axes, key.get_window_extent(self._renderer())
            assert ax is not None
            if _covers(box, ax):
                foot = ax.get_tightbbox(self._renderer())
                assert foot is not None
                key.set_loc("upper left")
                key.set_bbox_to_anchor((0.0, (foot.y0 - ax.bbox.y0) / ax.bbox.height))
                key.set_in_layout(True)

    def _renderer(self) -> Any:
        canvas: Any = self.canvas
        return canvas.get_renderer()

    def _lay_out(self) -> None:
        engine = self.get_layout_engine()
        assert engine is not None
        engine.execute(self)

    def _settle(self, high: float) -> None:
        """Changes the height of the page until its panels cover ``high`` inches from top to bottom."""
        for _ in range(3):
            self._lay_out()
            missing = high - _covered(self._panels())
            if abs(missing) < 0.02:
                return
            wanted = self.get_figheight() + missing
            self.set_figheight(wanted if self.get_figwidth() >= WIDTH else min(wanted, HIGHEST))

    def _wrap_labels(self) -> None:
        """Breaks titles and labels that are longer than their axes, and turns those of ticks that run into each other."""
        for ax in self.axes:
            labels = [label for label in ax.get_xticklabels() if label.get_text() and label.get_visible()]
            boxes = sorted((label.get_window_extent(self._renderer()) for label in labels), key=lambda box: box.x0)
            if any(right.x0 < left.x1 for left, right in itertools.pairwise(boxes)):
                for label in labels:
                    label.set(rotation=30, ha="right", rotation_mode="anchor")
        for ax in self.axes:
            box = ax.get_position()
            wide, high = box.width * self.get_figwidth(), box.height * self.get_figheight()
            for text, room in ((ax.xaxis.label, wide), (ax.yaxis.label, high + 0.1)):
                _wrap(text, room * self.dpi, self._renderer(), "")
            for title in (
                text for text in ax.findobj(Text) if text.get_text() and text.get_text() == ax.get_title("left")
            ):
                assert isinstance(title, Text)
                _wrap(title, wide * self.dpi, self._renderer(), "    ")


def _covered(panels: list[Axes]) -> float:
    """The height in inches of what is beside some panel."""
    total, reached = 0.0, -np.inf
    for box in sorted((ax.get_position(original=True) for ax in panels), key=lambda box: box.y0):
        total += max(0.0, box.y1 - max(box.y0, reached))
        reached = max(reached, box.y1)
    figure = panels[0].get_figure(root=True)
    assert figure is not None
    return float(total * figure.get_figheight())


def _covers(box: Bbox, ax: Axes) -> bool:
    """Whether a line that is not in the background, or a mark, lies in a box of the screen."""
    lines = (line for line in ax.lines if line.get_visible() and line.get_zorder() > 0)
    if any(line.get_transform().transform_path(line.get_path()).intersects_bbox(box, filled=False) for line in lines):
        return True
    drawn = [np.asarray(marks.get_offset_transform().transform(marks.get_offsets())) for marks in ax.collections]
    return any(box.contains(x, y) for points in drawn for x, y in points)


def _complete(grid: list[list[Axes]]) -> None:
    """Gives panels the labels that they shared with those beside and below them."""
    for row in grid:
        for ax in row:
            if not ax.axison:
                continue
            if row[0].get_shared_y_axes().joined(ax, row[0]) or ax.get_ylim() == row[0].get_ylim():
                ax.tick_params(which="both", labelleft=True)
                if not ax.get_ylabel():
                    ax.set_ylabel(row[0].get_ylabel())
            column = [other[n] for other in grid for n, one in enumerate(row) if one is ax and n < len(other)]
            if not ax.get_xlabel() and ax.get_shared_x_axes().joined(ax, column[-1]):
                ax.set_xlabel(column[-1].get_xlabel())
                ax.tick_params(which="both", labelbottom=True)


def _wrap(text: Text, room: float, renderer: Any, indent: str) -> None:
    box = text.get_window_extent(renderer)
    long = max(box.width, box.height) if text.get_rotation() in (0.0, 90.0) else box.width
    if not text.get_text() or long <= room:
        return
    lines = text.get_text().split("\n")
    letters = max(8, int(max(map(len, lines)) * room / long))
    fill = lambda line: textwrap.fill(line, letters, subsequent_indent=indent, break_long_words=False)
    text.set_text("\n".join(map(fill, lines)))
