"""Every notebook runs from top to bottom, and the first one finds what its text says."""

from __future__ import annotations

import os
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

NOTEBOOKS = Path(__file__).resolve().parents[1] / "notebooks"
NAMES = sorted(path.stem for path in NOTEBOOKS.glob("*.ipynb"))


@pytest.fixture(scope="module")
def executed() -> dict[str, nbformat.NotebookNode]:
    """Notebooks run so far, by name: each runs once."""
    return {}


def run(name: str, executed: dict[str, nbformat.NotebookNode], monkeypatch: pytest.MonkeyPatch):
    if name not in executed:
        # Almost all of a notebook's time is compilation, and small problems gain nothing from optimised code.
        flags = f"{os.environ.get('XLA_FLAGS', '')} --xla_backend_optimization_level=0"
        monkeypatch.setenv("XLA_FLAGS", flags.strip())
        monkeypatch.delenv("MPLBACKEND", raising=False)
        notebook = nbformat.read(NOTEBOOKS / f"{name}.ipynb", as_version=4)
        where = {"metadata": {"path": str(NOTEBOOKS)}}
        # Seconds for each cell; a cell that raises is a CellExecutionError here.
        NotebookClient(notebook, timeout=60, kernel_name="python3", resources=where).execute()
        executed[name] = notebook
    return executed[name]


def printed(notebook: nbformat.NotebookNode, cell_id: str) -> str:
    """What a cell wrote to stdout."""
    (cell,) = (cell for cell in notebook.cells if cell.id == cell_id)
    return "".join(out.text for out in cell.outputs if out.output_type == "stream" and out.name == "stdout")


def test_there_are_notebooks():
    assert "first_stability_question" in NAMES


@pytest.mark.parametrize("name", NAMES)
def test_notebook_is_stored_without_outputs(name: str):
    notebook = nbformat.read(NOTEBOOKS / f"{name}.ipynb", as_version=4)
    assert notebook.metadata.kernelspec.name == "python3"
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert all(not cell.outputs and cell.execution_count is None for cell in code)


@pytest.mark.parametrize("name", NAMES)
def test_notebook_runs_without_errors_or_warnings(
    name: str, executed: dict[str, nbformat.NotebookNode], monkeypatch: pytest.MonkeyPatch
):
    notebook = run(name, executed, monkeypatch)
    outputs = [out for cell in notebook.cells if cell.cell_type == "code" for out in cell.outputs]
    assert all(out.output_type != "error" for out in outputs)
    assert not [out.text for out in outputs if out.output_type == "stream" and out.name == "stderr"]


def test_the_first_question_is_answered(executed: dict[str, nbformat.NotebookNode], monkeypatch: pytest.MonkeyPatch):
    notebook = run("first_stability_question", executed, monkeypatch)
    assert "verdict before: oscillating" in printed(notebook, "before")
    after = printed(notebook, "after")
    # lam and beta each stop the oscillation; alpha alone cannot.
    assert after.count("verdict after: converged") == 2
    assert "verdict after: oscillating" not in after
    assert "applies here: True" in printed(notebook, "uniqueness")
    assert "beta = 0.485744: Neimark–Sacker, supercritical" in printed(notebook, "critical")
    ipo = printed(notebook, "ipo")
    assert "beta = 0.1: oscillating; proven unstable" in ipo
    assert "beta = 0.2: converged; proven stable" in ipo
    assert " 0 on the wrong side of the line" in printed(notebook, "map")
    figures = [out for cell in notebook.cells for out in cell.get("outputs", []) if "image/png" in out.get("data", {})]
    assert len(figures) == 3
