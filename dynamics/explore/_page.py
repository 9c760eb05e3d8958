"""The page of ``dynamics explore``: controls, figures and text of one session, which Bokeh's server keeps up with."""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import Callable
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
from bokeh.application import Application
from bokeh.application.handlers.function import FunctionHandler
from bokeh.core.templates import get_env
from bokeh.document import Document
from bokeh.layouts import column
from bokeh.models import (
    Button,
    CustomJS,
    CustomJSTickFormatter,
    Div,
    InlineStyleSheet,
    PreText,
    Select,
    Slider,
    Spinner,
)
from bokeh.server.server import BaseServer
from bokeh.server.tornado import BokehTornado
from bokeh.server.util import bind_sockets
from bokeh.settings import settings
from tornado.httpserver import HTTPServer
from tornado.ioloop import IOLoop

from .. import preferences
from ..preferences import PreferenceSet
from . import _figures
from ._map import Map, stability_map
from ._setting import LARGEST, METHODS, OBJECTIVES, Setting, sampled
from ._told import advice_html, plain, script, verdict_html
from ._view import advice, view

HOST = "127.0.0.1"
SOON, SETTLED = 10, 200  # ms after a change until the run is drawn, and after the last until the rest is
ROUNDS_OF_SAMPLES = 150
FAMILIES = {
    "cyclic": "cycle: each beats the next",
    "bradley_terry": "Bradley–Terry scores",
    "strongly_transitive": "random, strongly transitive",
    "transitive": "random, transitive",
    "random": "random",
}
SIZES = ("3", "4", "5", "6")
ADVANTAGE, SCORES = 0.2, 1.5  # of the cycle; from the first to the last score
POWER = "return Number((10 ** tick).toPrecision(3)).toString()"
# name: title, lowest, highest, first value, step, whether the slider moves the logarithm
NUMBERS = {
    "alpha": ("alpha", 0.0, 1.0, 0.5, 0.01, False),
    "lam": ("lam", 0.0, 1.0, 1.0, 0.01, False),
    "beta": ("beta", -2.0, 1.0, -1.0, 0.01, True),
    "gamma": ("gamma (entropy weight)", 0.0, 1.0, 0.0, 0.01, False),
    "comparisons": ("comparisons per round (0: exact only)", 0, 2000, 0, 10, False),
    "eta": ("eta (step)", -1.5, 2.0, 0.0, 0.01, True),
    "tau": ("tau (temperature)", -3.0, 0.0, -1.0, 0.01, True),
    "start": ("first policy: nats from uniform", 0.0, 3.0, 1.0, 0.05, False),
}
OF_ROUNDS, OF_GAMES = ("alpha", "lam", "beta", "gamma", "comparisons"), ("eta", "tau")
STYLE = """
p, table, ul, h3, pre { font: 13px system-ui, sans-serif; margin: 0 0 6px; color: #333 }
h3 { font-weight: 600 } ul { padding-left: 18px }
.verdict { font-size: 24px; font-weight: 600; color: #333 } .oscillating, .failed { color: #B34700 }
.converged { color: #00724D } .dim { color: #5F6368 } .error { color: #B34700; font-weight: 600 }
th { text-align: left; vertical-align: top; font-weight: 400; color: #5F6368; padding: 0 10px 2px 0 } td { padding: 0 0 2px }
pre { font: 12px monospace; background: #F2F4F7; padding: 8px; white-space: pre-wrap; overflow-wrap: anywhere }
"""


class Page:
    """One open page.

    Args:
        doc: the document of its session.
        matrices: those of a file, or None.
        index: the one that is shown first.
    """

    def __init__(self, doc: Document, matrices: PreferenceSet | None, index: int):
        self.doc, self.matrices = doc, matrices
        self.pending: Any = None
        self.settling: Any = None
        self.map_key: Any = None
        self.map: Map | None = None
        self.logits: np.ndarray | None = None  # of the last fixed point
        self.drawn = _figures.draw()
        sheet: list[Any] = [InlineStyleSheet(css=STYLE)]
        self.verdict = Div(name="verdict", disable_math=True, stylesheets=sheet)
        self.advice = Div(name="advice", disable_math=True, stylesheets=sheet)
        self.code = PreText(disable_math=True, stylesheets=sheet, sizing_mode="stretch_width")
        source = [] if matrices is None else [("file", plain(matrices.source.rpartition("/")[2] or "the file", 28))]
        self.family = Select(title="preferences", options=[*source, *FAMILIES.items()], width=250, name="family")
        self.family.value = "cyclic" if matrices is None else "file"
        self.index = Spinner(title="matrix of the file", low=0, step=1, value=index, width=250)
        self.index.high = 0 if matrices is None else len(matrices) - 1
        self.size = Select(title="responses", options=list(SIZES), value="3", width=120)
        self.seed = Spinner(title="draw", low=0, high=10**6, step=1, value=0, width=120)
        self.method = Select(
            title="objective, or method of a game", options=list(METHODS.items()), width=250, value="ipo"
        )
        self.method.name = "method"
        self.sliders = {name: _slider(name, *row) for name, row in NUMBERS.items()}
        self.pairs = column(width=250)
        self._take_matrix()
        for control in (self.family, self.index, self.size, self.seed):
            control.on_change("value", lambda attr, old, new: self._take_matrix())
        for control in (self.method, *self.sliders.values()):
            control.on_change("value", lambda attr, old, new: self._touch())
        controls = column(
            self.method,
            *self.sliders.values(),
            self.family,
            self.index,
            self.size,
            self.seed,
            self.pairs,
            name="controls",
        )
        copy = Button(label="copy this Python", width=160)
        copy.js_on_click(CustomJS(args={"code": self.code}, code="navigator.clipboard.writeText(code.text)"))
        code = column(copy, self.code, name="code", sizing_mode="stretch_width")
        for root in (controls, self.verdict, self.advice, *self.drawn.figures.values(), code):
            doc.add_root(root)
        doc.title = "dynamics explore"
        doc.template = template()
        self._update()

    def _take_matrix(self) -> None:
        """Takes the chosen matrix, and a slider for each of its pairs."""
        kind, K, names = str(self.family.value), int(str(self.size.value)), None
        drawn = kind in ("random", "transitive", "strongly_transitive")
        self.index.visible = kind == "file" and self.matrices is not None and len(self.matrices) > 1
        self.size.visible, self.seed.visible = kind != "file", drawn
        if kind == "file":
            assert self.matrices is not None
            m = int(np.clip(self.index.value or 0, 0, len(self.matrices) - 1))
            P, names = np.asarray(self.matrices[m], np.float64), self.matrices.names[m]
        else:
            P = family(kind, K, int(self.seed.value or 0))
        self.P, self.names = P, names or tuple(f"response {k}" for k in range(len(P)))
        pairs = [(i, j) for i in range(len(P)) for j in range(i + 1, len(P))] if len(P) <= LARGEST else []
        self.pairs.children = [self._pair(i, j) for i, j in pairs]
        self._touch()

    def _pair(self, i: int, j: int) -> Slider:
        title = f"P({plain(self.names[i], 16)} beats {plain(self.names[j], 16)})"
        made = Slider(
            title=title, start=0.01, end=0.99, step=0.01, value=float(np.clip(self.P[i, j], 0.01, 0.99)), width=250
        )

        def moved(attr: str, old: float, new: float) -> None:
            self.P = self.P.copy()
            self.P[i, j], self.P[j, i] = round(new, 6), round(1 - new, 6)
            self._touch()

        made.on_change("value", moved)
        return made

    def setting(self) -> Setting:
        """What the controls say.

        Raises:
            ValueError: settings without rounds.
        """
        values = {name: _value(name, float(slider.value)) for name, slider in self.sliders.items()}
        values["comparisons"] = int(values["comparisons"])
        method = str(self.method.value)
        if method not in OBJECTIVES:
            values |= {"comparisons": 0}
        return Setting(self.P, self.names, method, **values)  # pyright: ignore[reportArgumentType]

    def _touch(self) -> None:
        """Draws soon, once for all the changes until then."""
        if self.pending is None:
            self.pending = self.doc.add_timeout_callback(self._update, SOON)

    def _update(self) -> None:
        self.pending = None
        rounds = self.method.value in OBJECTIVES
        for name, slider in self.sliders.items():
            slider.visible = name not in (OF_GAMES if rounds else OF_ROUNDS)
        try:
            now = self.setting()
            found = view(now, self.logits)
            sample = sampled(now, ROUNDS_OF_SAMPLES) if now.comparisons else None
        except ValueError as error:
            self.verdict.text = f'<p class="error">{escape(str(error))}</p>'
            return
        self.logits = found.logits
        _figures.show(self.drawn, now, found, sample)
        if self.map is not None and self.map_key == _key(now):
            self.drawn.sources["point"].data = _figures.point_of(now, self.map)
        self.verdict.text = verdict_html(now, found)
        self.code.text = script(now)
        if self.settling is not None:
            self.doc.remove_timeout_callback(self.settling)
        self.settling = self.doc.add_timeout_callback(lambda: self._settle(now, found.radius), SETTLED)

    def _settle(self, now: Setting, radius: float | None) -> None:
        """What takes longer, a part at a time, so that a slider that moves again does not wait for all: the advice, and …"""
        self.advice.text = advice_html(advice(now, radius))
        self.settling = self.doc.add_timeout_callback(lambda: self._settle_map(now), SOON)

    def _settle_map(self, now: Setting) -> None:
        """… the map, where the matrix, the method or lam is another."""
        self.settling = None
        if self.map is None or self.map_key != _key(now):
            self.map, self.map_key = stability_map(now), _key(now)
        _figures.show_map(self.drawn, now, self.map)


def _key(setting: Setting) -> tuple[Any, ...]:
    return setting.P.tobytes(), setting.method, setting.lam


def _slider(name: str, title: str, low: float, high: float, value: float, step: float, power: bool) -> Slider:
    made = Slider(title=title, start=low, end=high, value=value, step=step, width=250, name=name)
    if power:
        made.format = CustomJSTickFormatter(code=POWER)
    return made


def _value(name: str, at: float) -> float:
    """The number that the slider shows."""
    return float(f"{10**at:.3g}") if NUMBERS[name][-1] else round(at, 6)


def family(kind: str, K: int, seed: int) -> np.ndarray:
    """A matrix of ``dyn.preferences``, rounded to six digits, ``(K, K)``."""
    if kind == "cyclic":
        P = preferences.cyclic(K, ADVANTAGE)
    elif kind == "bradley_terry":
        P = preferences.bradley_terry(np.linspace(SCORES, 0.0, K))
    else:
        import jax

        P = getattr(preferences, kind)(K, key=jax.random.key(seed))
    upper = np.triu(np.round(np.asarray(P, np.float64), 6), 1)
    return upper + np.tril(np.round(1 - upper.T, 6), -1) + 0.5 * np.eye(K)


def template() -> Any:
    """The page's HTML."""
    return get_env().from_string("{% extends base %}\n" + Path(__file__).with_name("page.html").read_text("utf-8"))


def serve(matrices: PreferenceSet | None, index: int, port: int, ready: Callable[[str], None]) -> None:
    """As ``explore.serve``, where Bokeh is installed."""
    asyncio.run(_serve(matrices, index, port, ready))


async def _serve(matrices: PreferenceSet | None, index: int, port: int, ready: Callable[[str], None]) -> None:
    try:
        sockets, port = bind_sockets(HOST, port)
    except OSError as error:
        raise ValueError(f"--port {port} cannot be used ({error.strerror}); pass another, or leave it out.") from None
    origins = [f"{HOST}:{port}", f"localhost:{port}"]
    # Said here, so that no variable of the environment lets in another origin or fetches scripts from elsewhere.
    settings.allowed_ws_origin, settings.resources = origins, "server"
    logging.getLogger("bokeh.server.views.ws").setLevel(
        logging.ERROR
    )  # a page that is closed is no cause for a warning
    app = Application(FunctionHandler(lambda doc: Page(doc, matrices, index) and None))
    tornado = BokehTornado({"/": app}, extra_websocket_origins=origins)
    http = HTTPServer(tornado)
    http.add_sockets(sockets)
    server = BaseServer(IOLoop.current(), tornado, http)
    stop, loop = asyncio.Event(), asyncio.get_running_loop()
    before = {
        s: signal.signal(s, lambda *_: loop.call_soon_threadsafe(stop.set)) for s in (signal.SIGINT, signal.SIGTERM)
    }
    server.start()
    ready(f"http://{HOST}:{port}/")
    try:
        await stop.wait()
    finally:
        server.stop()
        http.stop()
        for s, handler in before.items():
            signal.signal(s, handler)
