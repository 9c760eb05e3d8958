"""``python -m dynamics.explore.static OUT.html``: the page for three responses in one file, without a server.

A few matrices, both objectives, and a grid of alpha and beta are computed beforehand and written into the file with all the
scripts that it needs.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
from bokeh.embed import file_html
from bokeh.layouts import column
from bokeh.models import CustomJS, CustomJSTickFormatter, Div, InlineStyleSheet, PreText, Select, Slider
from bokeh.resources import INLINE

from . import _figures
from ._map import LEAST, MOST, stability_map
from ._page import STYLE, template
from ._setting import Setting
from ._told import advice_html, script, verdict_html
from ._view import advice, view

MATRICES = {
    "a cycle: each beats the next": np.array([[0.5, 0.7, 0.3], [0.3, 0.5, 0.7], [0.7, 0.3, 0.5]]),
    "a cycle with a favourite": np.array([[0.5, 0.8, 0.45], [0.2, 0.5, 0.7], [0.55, 0.3, 0.5]]),
    "an order: a over b over c": np.array([[0.5, 0.68, 0.82], [0.32, 0.5, 0.68], [0.18, 0.32, 0.5]]),
}
NAMES = ("a", "b", "c")
OBJECTIVES = {"ipo": "IPO", "dpo": "DPO"}
ALPHAS = (0.0, 0.25, 0.5, 0.75, 0.9)
BETAS = (0.03, 0.06, 0.1, 0.15, 0.25, 0.4, 0.7, 1.2)
SCALE = 10**4  # of the probabilities that the file holds
UPDATE = """
const key = [matrix.value, objective.value].join("|")
const s = states[key][alpha.value][beta.value], m = maps[key]
const n = s.policy.length / 2, T = [], p = [[], [], []], x = [], y = []
for (let t = 0; t < n; t++) {
  const a = s.policy[2 * t] / scale, b = s.policy[2 * t + 1] / scale, c = Math.max(0, 1 - a - b)
  T.push(t); p[0].push(a); p[1].push(b); p[2].push(c)
  x.push(b + c / 2); y.push(c * Math.sqrt(3) / 2)
}
const early = (v) => v.slice(0, shown + 1)
sources.orbit.data = {x, y}
sources.ends.data = {...sources.ends.data, x: [x[0], x[n - 1]], y: [y[0], y[n - 1]]}
sources.shares.data = {...sources.shares.data, x: p.map(() => early(T)), y: p.map(early)}
sources.values.data = s.values
spectrum_x.setv({start: -s.reach * wide, end: s.reach * wide}); spectrum_y.setv({start: -s.reach, end: s.reach})
sources.map.data = m.map; sources.formulas.data = m.formulas; legend.text = m.legend
sources.point.data = {x: [alphas[alpha.value]], y: [Math.min(Math.max(1 / betas[beta.value], 1.05 * least), most / 1.05)]}
verdict.text = s.verdict; advice.text = s.advice; code.text = s.code
"""


def state(setting: Setting) -> dict[str, Any]:
    """What the file holds of a setting: policies in whole parts of ``SCALE``, eigenvalues, and text."""
    found = view(setting)
    return {
        "policy": np.rint(found.policy[:, :2] * SCALE).astype(int).ravel().tolist(),
        "values": _figures.spectrum_columns(found)["values"],
        "reach": 1.15 * max(1.0, found.radius or 1.0),
        "verdict": verdict_html(setting, found),
        "advice": advice_html(advice(setting, found.radius)),
        "code": script(setting),
    }


def html(alphas: tuple[float, ...] = ALPHAS, betas: tuple[float, ...] = BETAS) -> str:
    """The file's text.

    Args:
        alphas: the values of alpha, at least two.
        betas: the values of beta, at least two.
    """
    states, maps = {}, {}
    for name, P in MATRICES.items():
        for method in OBJECTIVES:
            make = lambda a, b, P=P, method=method: Setting(P, NAMES, method, alpha=a, beta=b)
            states[f"{name}|{method}"] = [[state(make(a, b)) for b in betas] for a in alphas]
            found = stability_map(make(alphas[0], betas[0]))
            maps[f"{name}|{method}"] = _figures.map_columns(found) | {"legend": _figures.map_legend(found)}
    name, a, b = next(iter(MATRICES)), len(alphas) // 2, len(betas) // 3
    first = Setting(MATRICES[name], NAMES, alpha=alphas[a], beta=betas[b])
    drawn, seen = _figures.draw(), view(first)
    _figures.show(drawn, first, seen, None)
    _figures.show_map(drawn, first, stability_map(first))
    start = states[f"{name}|ipo"][a][b]
    sheet: list[Any] = [InlineStyleSheet(css=STYLE)]
    told = {
        "verdict": Div(text=start["verdict"], name="verdict", disable_math=True, stylesheets=sheet),
        "advice": Div(text=start["advice"], name="advice", disable_math=True, stylesheets=sheet),
        "code": PreText(text=start["code"], name="code", disable_math=True, stylesheets=sheet),
    }
    controls = {
        "matrix": Select(title="preferences", options=list(MATRICES), value=name, width=250),
        "objective": Select(title="objective", options=list(OBJECTIVES.items()), value="ipo", width=250),
        "alpha": _slider("alpha", alphas, a),
        "beta": _slider("beta", betas, b),
    }
    shapes = {"wide": _figures.WIDTH / _figures.HEIGHT, "shown": _figures.SHOWN, "least": LEAST, "most": MOST}
    ranges = {axis: drawn.ranges[axis] for axis in ("spectrum_x", "spectrum_y")}
    given = {"states": states, "maps": maps, "sources": drawn.sources, "legend": drawn.legends["map"], "scale": SCALE}
    numbers = {"alphas": alphas, "betas": betas}
    update = CustomJS(args=controls | told | given | shapes | ranges | numbers, code=UPDATE)
    for control in controls.values():
        control.js_on_change("value", update)
    note = Div(text="lam = 1, uniform reference and sampler; computed beforehand.", width=250)
    roots = [column(*controls.values(), note, name="controls"), *told.values(), *drawn.figures.values()]
    return file_html(roots, INLINE, "dynamics explore", template=template())


def _slider(title: str, values: tuple[float, ...], at: int) -> Slider:
    made = Slider(title=title, start=0, end=len(values) - 1, step=1, value=at, width=250, name=title)
    made.format = CustomJSTickFormatter(args={"values": values}, code="return String(values[Math.round(tick)])")
    return made


def main(args: list[str]) -> int:
    """Writes the file that ``args`` names."""
    if len(args) != 1 or args[0].startswith("-"):
        sys.stderr.write("usage: python -m dynamics.explore.static OUT.html\n")
        return 2
    try:
        Path(args[0]).write_text(html(), "utf-8")
    except OSError as error:
        sys.stderr.write(f"{args[0]} cannot be written ({error.strerror}); pass a file in a folder you may write to.\n")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
