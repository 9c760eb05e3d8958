"""Figures: drawn from a Dataset alone, without JAX, legible and light."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from toy_experiments import ToyResults, toy_results

from experiments import ON_MODELS, TITLES, _store, figure

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> ToyResults:
    """Every experiment at toy size, each run on first use."""
    return toy_results(tmp_path_factory)


@pytest.mark.thorough
@pytest.mark.parametrize("name", TITLES)
def test_a_figure_has_labelled_axes_and_a_caption(results: ToyResults, name: str):
    before = results[name].copy(deep=True)
    drawn = figure(name).draw(results[name])
    assert isinstance(drawn, Figure)
    xr.testing.assert_identical(results[name], before)
    text = drawn.get_supxlabel()
    assert "measured" in text.lower() or "simulation" in text
    assert "proven" in text.lower() or "theory" in text
    axes = [ax for ax in drawn.axes if ax.axison]
    assert any(ax.get_xlabel() for ax in axes)
    assert any(ax.get_ylabel() for ax in axes)


@pytest.mark.thorough
def test_nothing_is_drawn_outside_the_page(results: ToyResults):
    for name in TITLES:
        drawn = figure(name).draw(results[name])
        FigureCanvasAgg(drawn).draw()  # the layout is computed when a canvas draws
        page, used = drawn.bbox, drawn.get_tightbbox()
        inches = np.array([used.x0, used.y0, page.width / drawn.dpi - used.x1, page.height / drawn.dpi - used.y1])
        assert (inches > -0.05).all(), (name, inches)


@pytest.mark.thorough
def test_figures_draw_a_stored_result_without_jax(results: ToyResults, tmp_path: Path):
    for name in TITLES:
        _store.save(results[name], tmp_path / f"{name}.zarr")
    script = (
        "import sys, importlib, xarray as xr\n"
        "for name in sys.argv[2:]:\n"
        "    ds = xr.open_dataset(f'{sys.argv[1]}/{name}.zarr', engine='zarr', chunks=None).load()\n"
        "    importlib.import_module(f'figures.{name}').draw(ds)\n"
        "assert not [m for m in sys.modules if m.split('.')[0] in ('jax', 'jaxlib', 'equinox', 'experiments')]\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path), *TITLES], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_the_gallery_is_complete_and_light():
    gallery = ROOT / "figures" / "gallery"
    assert {path.stem for path in gallery.glob("*.png")} == {
        *TITLES,
        *ON_MODELS,
        "scaling",  # how fast sweeps are, by a benchmark
        "gpu",  # drawn by experiments.gpu.collect
    }
    assert all(path.stat().st_size < 300_000 for path in gallery.glob("*.png"))
