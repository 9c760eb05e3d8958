"""Figures for papers: at the width of a column of text, without a caption, and the caption as LaTeX."""

from __future__ import annotations

import json
import re
import warnings
from pathlib import Path

import matplotlib
import numpy as np
import pytest
from matplotlib.text import Text
from toy_experiments import ToyResults, toy_results

from dynamics import plot
from experiments import TITLES, _jobs, experiment, figure
from experiments.__main__ import main
from figures import latex
from figures._page import HIGHEST, LEAST, Page

# Every figure in the narrowest column, where most has to move, and some in a wider one.
COLUMNS = [*((name, 3.25) for name in TITLES), *((name, 5.5) for name in list(TITLES)[::4])]


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> ToyResults:
    """Every experiment at toy size, each run on first use."""
    return toy_results(tmp_path_factory)


def texts(drawn: Page) -> list[Text]:
    """Everything written, as it is after the figure is laid out."""
    drawn.draw_without_rendering()
    found = [text for text in drawn.findobj(Text) if isinstance(text, Text)]
    return [text for text in found if text.get_visible() and text.get_text().strip()]


def inches(drawn: Page) -> list[float]:
    """The heights that the layout gives to panels."""
    panels = [ax for ax in drawn.axes if ax.get_subplotspec() is not None]
    return [ax.get_position(original=True).height * drawn.get_figheight() for ax in panels]


@pytest.mark.thorough
@pytest.mark.parametrize(("name", "width"), COLUMNS)
def test_a_column_is_as_wide_as_asked_and_legible(results: ToyResults, name: str, width: float):
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # a layout that fails says so in a warning
        drawn = figure(name).draw(results[name], width=width, caption=False)
        written = texts(drawn)
    assert drawn.get_figwidth() == width
    assert drawn.get_figheight() <= HIGHEST + 0.05
    assert min(float(text.get_fontsize()) for text in written) >= LEAST
    page, used = drawn.bbox, drawn.get_tightbbox()
    inside = np.array([used.x0, used.y0, page.width / drawn.dpi - used.x1, page.height / drawn.dpi - used.y1])
    assert (inside > -0.05).all(), inside
    for ax in (ax for ax in drawn.axes if ax.get_subplotspec() is not None):
        assert min(ax.bbox.width, ax.bbox.height) / drawn.dpi > 0.5, ax.get_title("left")
    assert drawn.get_supxlabel() == ""


@pytest.mark.thorough
@pytest.mark.parametrize("name", TITLES)
def test_without_the_caption_panels_keep_their_height(results: ToyResults, name: str):
    drawn = figure(name).draw(results[name])
    assert min(float(text.get_fontsize()) for text in texts(drawn)) >= LEAST
    said, high, panels = drawn.caption, drawn.get_figheight(), inches(drawn)
    assert " ".join(drawn.get_supxlabel().split("\n")) == said
    drawn.fit(caption=False)
    assert drawn.get_supxlabel() == ""
    assert drawn.caption == said
    assert drawn.get_figheight() < high
    np.testing.assert_allclose(inches(drawn), panels, atol=0.1)
    source = latex(said)
    assert source.isascii(), [letter for letter in source if not letter.isascii()]
    assert source.count("$") % 2 == 0
    assert source.count("{") == source.count("}")
    words = re.sub(r"\\[a-z]+\{\}", "", re.sub(r"\$[^$]*\$", "", source))
    assert not re.search(r"(?<!\\)[%&#_^{}]", words)


@pytest.mark.parametrize(
    ("text", "source"),
    [
        ("5 % & more_than #3", r"5 \% \& more\_than \#3"),
        ("x_j, P_ij, a_long_name", r"$x_{j}$, $P_{ij}$, a\_long\_name"),
        ("β²t/τ ≥ 1/2", r"$\beta^{2}$t/$\tau$ $\ge$ 1/2"),
        ("λ‖CAC‖₂/(2√(1−α²))", r"$\lambda\|$CAC$\|_{2}$/(2$\sqrt{1-\alpha^{2}}$)"),
        ("a–d, “kept”, 10⁻⁶ {~}", r"a--d, ``kept'', 10$^{-6}$ \{\textasciitilde{}\}"),
        ("KL(π*‖π̂), ⟨d̄, dᵢ⟩", r"KL($\pi$*$\|\hat{\pi}$), $\langle\bar{d}$, d$_{i}\rangle$"),
        ("$C_Π$ & α", r"$C_{\Pi}$ \& $\alpha$"),
        ("Ødegård", "Ødegård"),
    ],
)
def test_latex(text: str, source: str):
    assert latex(text) == source


def test_the_file_for_a_paper_has_the_width_and_no_smaller_text(results: ToyResults, tmp_path: Path):
    with matplotlib.rc_context({"pdf.compression": 0}):
        _jobs.draw("stability_map", results["stability_map"], tmp_path / "map", 3.25)
    page = (tmp_path / "map.pdf").read_bytes()
    box = re.search(rb"/MediaBox \[ *0 0 ([\d.]+)", page)
    assert box is not None
    assert float(box[1]) == pytest.approx(3.25 * 72)
    sizes = [float(size) for size in re.findall(rb"/F\S+ ([\d.]+) Tf", page)]
    assert sizes
    assert min(sizes) >= LEAST
    assert (tmp_path / "map.png").stat().st_size > 10_000
    said = (tmp_path / "map.txt").read_text()
    assert said == latex(figure("stability_map").draw(results["stability_map"]).caption) + "\n"


def test_wider_than_the_page_changes_nothing(results: ToyResults):
    with plot.style():
        assert figure("evolution").draw(results["evolution"], width=9.0).get_figwidth() == 7.4


def test_figures_of_other_options_have_other_names(tmp_path: Path):
    default = experiment("evolution").Config()
    job = lambda config, width=None: _jobs.Job("evolution", config, tmp_path, True, width).stem
    assert job(default) == "evolution"
    assert job(default, 3.25) == "evolution-3.25in"
    others = [experiment("evolution").Config.full(), experiment("evolution").Config(rounds=60)]
    stems = [job(config) for config in others] + [job(config, 5.5) for config in others]
    assert len({*stems, "evolution"}) == 5
    assert all(re.fullmatch(r"evolution-[0-9a-f]{12}(-5\.5in)?", stem) for stem in stems)


@pytest.mark.thorough
def test_runs_with_other_options_overwrite_no_figure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("experiments._jobs.set_up_jax", lambda out, quick: None)
    pictures = tmp_path / "figures"
    shown = {}
    for rounds, width in (("60", None), ("50", None), ("50", "3.25")):
        argv = ["run", "evolution", "--rounds", rounds, "--out", str(tmp_path)]
        assert main(argv + (["--width", width] if width else [])) == 0
        stored = next(p for p in tmp_path.glob("evolution-*.zarr") if _rounds(p) == int(rounds))
        stem = stored.stem + (f"-{width}in" if width else "")
        assert {f"{stem}.{end}" for end in ("pdf", "png", "txt")} <= {path.name for path in pictures.iterdir()}
        assert f"](figures/{stem}.png)" in (tmp_path / "findings.md").read_text()
        assert all((pictures / name).read_bytes() == content for name, content in shown.items())
        shown |= {path.name: path.read_bytes() for path in pictures.iterdir()}
    assert len(shown) == 9


def _rounds(store: Path) -> int:
    return json.loads(json.loads((store / ".zattrs").read_text())["config"])["rounds"]


@pytest.mark.parametrize("width", ["2", "12", "nan"])
def test_a_width_that_no_page_has_is_refused(width: str, capsys: pytest.CaptureFixture[str]):
    assert main(["run", "evolution", "--width", width]) == 2
    assert "is outside [3.25, 7.4] inches" in capsys.readouterr().err
