"""Every notebook runs from top to bottom, and finds what its text says."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

NOTEBOOKS = Path(__file__).resolve().parents[1] / "notebooks"
NAMES = sorted(path.stem for path in NOTEBOOKS.glob("*.ipynb"))


def printed(notebook: nbformat.NotebookNode, cell_id: str) -> str:
    """What a cell wrote to stdout."""
    (cell,) = (cell for cell in notebook.cells if cell.id == cell_id)
    return "".join(out.text for out in cell.outputs if out.output_type == "stream" and out.name == "stdout")


def first_stability_question(notebook: nbformat.NotebookNode) -> None:
    assert "verdict before: oscillating" in printed(notebook, "before")
    after = printed(notebook, "after")
    # lam and beta each stop the oscillation; alpha alone cannot.
    assert after.count("verdict after: converged") == after.count("verdict after") == 2
    assert "applies here: True" in printed(notebook, "uniqueness")
    assert "beta = 0.485744: Neimark–Sacker, supercritical" in printed(notebook, "critical")
    assert "beta = 0.1: oscillating; proven unstable" in printed(notebook, "ipo")
    assert "beta = 0.2: converged; proven stable" in printed(notebook, "ipo")
    assert " 0 on the wrong side of the line" in printed(notebook, "map")
    figures = [out for cell in notebook.cells for out in cell.get("outputs", []) if "image/png" in out.get("data", {})]
    assert len(figures) == 3


def attack_a_theorem(notebook: nbformat.NotebookNode) -> None:
    assert "1.0000 of it" in printed(notebook, "one")
    assert "no counterexample" in printed(notebook, "inside")
    # The simplest refutation of the stronger statement is two examples, one of each answer.
    assert "answer = [1.0, -1.0]" in printed(notebook, "mutant")
    outside = printed(notebook, "outside")
    assert "answers [1.0, -1.0, -1.0]" in outside
    assert "applies: False" in outside
    assert "times the bound; 50/50: 1.0000" in printed(notebook, "share")
    repaired = printed(notebook, "repair")
    assert "head_change holds there: True" in repaired
    assert repaired.count("green; 0 violations") == 2


def bring_your_data(notebook: nbformat.NotebookNode) -> None:
    assert "Smith set                    {0, 1, 2}" in printed(notebook, "rankings")
    assert "P at its word: oscillating" in printed(notebook, "plan")
    oscillating = float(printed(notebook, "plan").split("oscillating ")[-1].split()[0])
    assert 0.35 < oscillating < 0.55
    safe = printed(notebook, "safe")
    assert safe.index("DPO: stable above beta with posterior probability 0.95") < safe.index("IPO: stable above beta")
    below, above = (
        [float(part.split()[0]) for part in line.split(": ")[1].split(", ")]
        for line in printed(notebook, "samples").splitlines()[1:]
    )
    steps = [float(line.split()[-1]) for line in printed(notebook, "inexact").splitlines()]
    optimum, new_adam, kept_adam, sgd = steps
    assert above[0] > 2 * above[1] > 8 * above[2]
    assert below[0] > below[2] > optimum
    assert optimum > kept_adam > 3 * new_adam > 3 * sgd
    assert sgd < 1e-6


# What a notebook's prose relies on, by its name. One test runs it and looks: workers share no results.
FINDS: dict[str, Callable[[nbformat.NotebookNode], None]] = {
    "attack_a_theorem": attack_a_theorem,
    "bring_your_data": bring_your_data,
    "first_stability_question": first_stability_question,
}


def test_every_notebook_is_held_to_its_findings():
    assert sorted(FINDS) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_a_notebook_is_stored_without_outputs(name: str):
    notebook = nbformat.read(NOTEBOOKS / f"{name}.ipynb", as_version=4)
    nbformat.validate(notebook)
    assert notebook.metadata.kernelspec.name == "python3"
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert code
    assert all(not cell.outputs and cell.execution_count is None for cell in code)


@pytest.mark.parametrize("name", NAMES)
def test_a_notebook_runs_and_finds_what_it_says(name: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("MPLBACKEND", raising=False)  # figures come back as outputs of cells
    notebook = nbformat.read(NOTEBOOKS / f"{name}.ipynb", as_version=4)
    where = {"metadata": {"path": str(NOTEBOOKS)}}
    # The limit is per cell; a cell that raises is a CellExecutionError here.
    NotebookClient(notebook, timeout=180, kernel_name="python3", resources=where).execute()
    outputs = [out for cell in notebook.cells if cell.cell_type == "code" for out in cell.outputs]
    warned = [out.text for out in outputs if out.output_type == "stream" and out.name == "stderr"]
    assert not warned
    FINDS[name](notebook)
