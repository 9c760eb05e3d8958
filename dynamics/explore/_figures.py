"""What is drawn: the orbit, the probabilities, the spectrum and the map, and the columns of numbers behind them."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from bokeh.models import ColumnDataSource, Div, LogScale, LogTicker, PrintfTickFormatter, Range1d
from bokeh.plotting import figure

from ..plot import PALETTE
from ._map import LEAST, MOST, Map
from ._setting import Setting, effective
from ._told import dash_of, plain, swatches
from ._view import View

INK, PALE, MIST = "#333333", "#9AA0A6", "#F2F4F7"
STABLE, MATRIX, EVERYONE, UNSTABLE = "#CFE3F1", "#8CCBB4", "#2E9C78", "#FBEDE4"
HEIGHT, WIDTH = 230, 380  # of what the axes frame
REACH = 0.535 * WIDTH / HEIGHT  # of the orbit's axis, as long in points as the other
SHOWN = 100  # rounds of probabilities
CORNERS = {
    3: np.array([[0.0, 0.0], [1.0, 0.0], [0.5, 3**0.5 / 2]]),
    4: np.array([[0.0, 0.12], [0.72, 0.0], [1.0, 0.36], [0.5, 0.9]]),  # a tetrahedron seen from the side
}
COLUMNS = {
    "frame": "x y",
    "corners": "x y name align base offset",
    "orbit": "x y",
    "ends": "x y marker color",
    "sample": "x y",
    "shares": "x y color dash",
    "circle": "x y",
    "values": "x y color marker",
    "map": "x low edge",
    "formulas": "x low matrix everyone local",
    "point": "x y",
}
"""The columns of each source."""
LEGEND = """<style>p {{ margin: 0 0 2px 44px; font: 12px system-ui, sans-serif; color: #333 }}
i {{ display: inline-block; width: 14px; height: 10px; margin: 0 4px 0 10px; border: 1px solid #999 }}
b {{ display: inline-block; width: 18px; margin: 0 4px 3px 10px; border-top: 2px solid #333 }}</style>{}"""


class Drawn(NamedTuple):
    """The figures, the sources that they draw, and what else changes with a setting.

    Attributes:
        figures: "orbit", "shares", "spectrum", "map" by name, each a layout.
        sources: by name.
        ranges: of the axes that move.
        plots: the figures themselves.
        legends: the lines above "shares" and "map".
    """

    figures: dict[str, Any]
    sources: dict[str, ColumnDataSource]
    ranges: dict[str, Range1d]
    plots: dict[str, Any]
    legends: dict[str, Div]


def draw() -> Drawn:
    """Empty figures."""
    from bokeh.layouts import column

    sources = {name: ColumnDataSource({one: [] for one in columns.split()}) for name, columns in COLUMNS.items()}
    ranges = {name: Range1d(start=0, end=1) for name in ("spectrum_x", "spectrum_y", "rounds", "map_x", "map_y")}
    ranges |= {
        "orbit_x": Range1d(start=0.5 - REACH, end=0.5 + REACH),
        "orbit_y": Range1d(start=-0.09, end=0.98),
    }
    plots = {
        "orbit": _plot("Policies, one point a round (○ first, ■ last)", ranges["orbit_x"], ranges["orbit_y"]),
        "shares": _plot(
            f"Probability of each response, first {SHOWN} rounds",
            ranges["rounds"],
            Range1d(start=-0.02, end=1.02),
            "round",
            "probability",
        ),
        "spectrum": _plot(
            "Eigenvalues of a round at the fixed point", ranges["spectrum_x"], ranges["spectrum_y"], "real", "imaginary"
        ),
        "map": _plot("Where the fixed point is stable", ranges["map_x"], ranges["map_y"], "alpha", "lam / beta"),
    }
    _draw_orbit(plots["orbit"], sources)
    plots["shares"].multi_line("x", "y", source=sources["shares"], color="color", line_dash="dash", line_width=1.5)
    one = plots["spectrum"]
    one.patch("x", "y", source=sources["circle"], fill_color=MIST, line_color=INK, line_width=1)
    one.scatter("x", "y", source=sources["values"], marker="marker", size=9, color="color", line_color=INK)
    legends = {name: Div(text="", disable_math=True) for name in ("shares", "map")}
    figures = {name: column(plot, legends[name]) if name in legends else plot for name, plot in plots.items()}
    for name, layout in figures.items():
        layout.name = name
    _draw_map(plots["map"], sources)
    return Drawn(figures, sources, ranges, plots, legends)


def _plot(title: str, x: Range1d, y: Range1d, x_label: str = "", y_label: str = "") -> Any:
    found: Any = figure(
        title=title,
        x_range=x,
        y_range=y,
        frame_height=HEIGHT,
        frame_width=WIDTH,
        tools="",
        toolbar_location=None,
        output_backend="canvas",
    )
    found.title.text_font_size, found.title.text_color = "13px", INK
    found.xgrid.grid_line_color = found.ygrid.grid_line_color = "#E8EAED"
    for axis, label in ((found.xaxis, x_label), (found.yaxis, y_label)):
        axis.axis_label, axis.visible = label, bool(label)
        axis.axis_label_text_font_size, axis.axis_label_text_font_style = "12px", "normal"
        axis.major_label_text_font_size, axis.axis_label_text_color = "11px", INK
        axis.minor_tick_line_color = None
    found.min_border_left, found.min_border_right = 60, 20
    found.outline_line_color = None if not x_label else "#C8CCD0"
    return found


def _draw_orbit(plot: Any, sources: dict[str, ColumnDataSource]) -> None:
    plot.xgrid.grid_line_color = plot.ygrid.grid_line_color = None
    plot.multi_line("x", "y", source=sources["frame"], color=INK, line_width=1)
    plot.line("x", "y", source=sources["sample"], color=PALE, line_width=1, line_dash="dotted")
    plot.line("x", "y", source=sources["orbit"], color=PALETTE[0], line_width=0.8, line_alpha=0.5)
    plot.scatter("x", "y", source=sources["orbit"], color=PALETTE[0], size=3, line_color=None)
    plot.scatter("x", "y", source=sources["ends"], marker="marker", fill_color="color", size=9, line_color=INK)
    # A glyph draws its text as it is; titles and legends would read mathematics in it.
    plot.text("x", "y", text="name", source=sources["corners"], text_font_size="12px", text_color=INK, text_align="align",
              text_baseline="base", y_offset="offset")  # fmt: skip


def _draw_map(plot: Any, sources: dict[str, ColumnDataSource]) -> None:
    plot.y_scale, plot.yaxis.ticker = LogScale(), LogTicker(num_minor_ticks=0)
    plot.yaxis.formatter = PrintfTickFormatter(format="%g")
    plot.background_fill_color = UNSTABLE
    plot.varea("x", "low", "edge", source=sources["map"], fill_color=STABLE)
    plot.varea("x", "low", "matrix", source=sources["formulas"], fill_color=MATRIX)
    plot.varea("x", "low", "everyone", source=sources["formulas"], fill_color=EVERYONE)
    plot.line("x", "edge", source=sources["map"], color=INK, line_width=2)
    plot.line("x", "local", source=sources["formulas"], color=INK, line_width=1.5, line_dash="dashed")
    point = {"marker": "circle", "size": 11, "fill_color": PALETTE[1], "line_color": "white", "line_width": 1.5}
    plot.scatter("x", "y", source=sources["point"], **point)


def orbit_columns(setting: Setting, found: View, sample: np.ndarray | None) -> dict[str, dict[str, Any]]:
    """The columns of the orbit and of the probabilities, by source.

    Args:
        setting: the setting.
        found: its view.
        sample: the logits of a run with few comparisons, ``(T + 1, K)``, or None.
    """
    K, path = len(setting.P), found.policy
    colours = [PALETTE[k % len(PALETTE)] for k in range(K)]
    dashes = [dash_of(k) for k in range(K)]
    drawn = np.isfinite(path).all(axis=1)
    path, rounds = path[drawn], np.flatnonzero(drawn)[: SHOWN + 1].tolist()
    early = path[: SHOWN + 1].T.tolist()
    shares = {"x": [rounds] * K, "y": early, "color": colours, "dash": dashes}
    columns: dict[str, dict[str, Any]] = {"shares": shares}
    at = CORNERS.get(K, np.zeros((K, 2)))
    points = path @ at if K in CORNERS else np.zeros((0, 2))
    few = np.zeros((0, 2))
    if sample is not None and K in CORNERS:
        few = np.exp(sample - sample.max(axis=1, keepdims=True))
        few = (few / few.sum(axis=1, keepdims=True)) @ at
    columns["orbit"], columns["sample"] = _xy(points), _xy(few)
    columns["ends"] = _xy(points[[0, -1]] if len(points) else points) | {
        "marker": ["circle", "square"][: 2 * (len(points) > 0)],
        "color": ["white", PALETTE[0]][: 2 * (len(points) > 0)],
    }
    pairs = [(i, j) for i in range(K) for j in range(i + 1, K)] if K in CORNERS else []
    columns["frame"] = {
        "x": [at[[i, j], 0].tolist() for i, j in pairs],
        "y": [at[[i, j], 1].tolist() for i, j in pairs],
    }
    shown = range(K if K in CORNERS else 0)
    low = [at[k, 1] < 0.2 for k in shown]
    columns["corners"] = {
        "x": [float(at[k, 0]) for k in shown],
        "y": [float(at[k, 1]) for k in shown],
        "name": [plain(setting.names[k], 12 if at[k, 0] > 0.9 else 20) for k in shown],
        "align": ["left" if at[k, 0] > 0.9 and not below else "center" for k, below in zip(shown, low, strict=True)],
        "base": ["top" if below else "bottom" for below in low],
        "offset": [5 if below else -5 for below in low],
    }
    if K not in CORNERS:
        told = {
            "x": 0.5,
            "y": 0.45,
            "name": "drawn for 3 and 4 responses",
            "align": "center",
            "base": "middle",
            "offset": 0,
        }
        columns["corners"] = {name: [value] for name, value in told.items()}
    return columns


def spectrum_columns(found: View) -> dict[str, dict[str, Any]]:
    """The unit circle and the eigenvalues, filled where their modulus is below 1."""
    turn = np.linspace(0, 2 * np.pi, 181)
    values = np.asarray([] if found.eigenvalues is None else found.eigenvalues, np.complex128)
    inside = np.abs(values) < 1
    return {
        "circle": _xy(np.stack([np.cos(turn), np.sin(turn)], axis=1)),
        "values": {
            "x": values.real.tolist(),
            "y": values.imag.tolist(),
            "color": [PALETTE[0] if one else PALETTE[1] for one in inside],
            "marker": ["circle" if one else "diamond" for one in inside],
        },
    }


def map_columns(found: Map) -> dict[str, dict[str, Any]]:
    """The boundary and the proven regions."""
    least = LEAST if found.kind == "rounds" else 1e-3
    local = np.where(np.isfinite(found.local), found.local, np.nan)
    names = {"matrix": found.matrix, "everyone": found.everyone, "local": local}
    return {
        "map": {"x": found.x.tolist(), "edge": found.edge.tolist(), "low": [least] * len(found.x)},
        "formulas": {"x": found.fine.tolist(), "low": [least] * len(found.fine)}
        | {name: column.tolist() for name, column in names.items()},
    }


def point_of(setting: Setting, found: Map) -> dict[str, Any]:
    """The setting on the map, at its edge where it lies beyond."""
    here = effective(setting)
    if found.kind == "none":
        return {"x": [], "y": []}
    x, y = (setting.tau, setting.eta) if here is None else (here.alpha, here.lam / here.beta)
    return {"x": [x], "y": [float(np.clip(y, LEAST * 1.05, MOST / 1.05)) if here is not None else y]}


def map_legend(found: Map) -> str:
    """What the colours of the map mean, as HTML."""
    if found.kind == "none":
        return LEGEND.format(f"<p>{found.note}</p>")
    box = lambda colour, text: f'<i style="background:{colour}"></i>{text}'
    line = lambda style, text: f'<b style="border-top-style:{style}"></b>{text}'
    first = box(STABLE, "stable") + box(UNSTABLE, "unstable") + line("solid", "first boundary (computed)")
    second = ""
    if len(found.fine):
        second = box(EVERYONE, "every P (7.15)") + box(MATRIX, "this P (7.2, 7.15)")
        near = line("dashed", "near the fixed point, every P (7.14)")
        second = f"<p>proven, from every start:{second}</p><p>proven:{near}</p>"
    return LEGEND.format(f"<p>fixed point:{first}</p>{second}" + f"<p>{found.note}</p>" * bool(found.note))


def show(drawn: Drawn, setting: Setting, found: View, sample: np.ndarray | None) -> None:
    """Puts the numbers of a view into the figures."""
    for name, columns in (orbit_columns(setting, found, sample) | spectrum_columns(found)).items():
        drawn.sources[name].data = columns
    few = "" if sample is None else "; dotted: from few comparisons"
    drawn.plots["orbit"].title.text = f"Policies, one point a round (○ first, ■ last{few})"
    reach = 1.15 * max(1.0, found.radius or 1.0)
    side = reach * WIDTH / HEIGHT
    drawn.ranges["spectrum_x"].update(start=-side, end=side)
    drawn.ranges["spectrum_y"].update(start=-reach, end=reach)
    drawn.ranges["rounds"].update(start=0, end=min(setting.rounds, SHOWN))
    drawn.legends["shares"].text = LEGEND.format(f"<p>{swatches(setting)}</p>")


def show_map(drawn: Drawn, setting: Setting, found: Map) -> None:
    """Puts a map into its figure."""
    for name, columns in map_columns(found).items():
        drawn.sources[name].data = columns
    drawn.sources["point"].data = point_of(setting, found)
    game = found.kind == "game"
    drawn.ranges["map_x"].update(start=0.0, end=1.0)
    drawn.ranges["map_y"].update(start=0.03 if game else LEAST, end=100.0 if game else MOST)
    x, y = ("temperature tau", "step eta") if game else ("alpha", "lam / beta")
    if setting.method in ("mirror", "magnetic", "sppo"):
        x, y = "alpha of the equal rounds of IPO (8.1)", "1 / beta of the equal rounds"
    elif not game and setting.gamma > 0:
        x, y = "alpha beta / (beta + gamma)", "lam / (beta + gamma)"
    drawn.plots["map"].xaxis.axis_label, drawn.plots["map"].yaxis.axis_label = x, y
    drawn.legends["map"].text = map_legend(found)


def _xy(points: np.ndarray) -> dict[str, Any]:
    return {"x": points[:, 0].tolist(), "y": points[:, 1].tolist()}
