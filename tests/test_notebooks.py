"""Every notebook is stored with its outputs, runs from top to bottom, prints the same again, and finds what its text says."""

from __future__ import annotations

import base64
import importlib.util
import re
from collections.abc import Callable
from pathlib import Path

import nbformat
import pytest

NOTEBOOKS = Path(__file__).resolve().parents[1] / "notebooks"
NAMES = sorted(path.stem for path in NOTEBOOKS.glob("*.ipynb"))
MOST_BYTES, MOST_PIXELS = 400_000, 680  # of a file, and of a figure's width: 7.2 inches at 90 dpi
A_PATH = re.compile(r"(?:^|[\s('\"=])/(?:tmp|home|root|work|usr|opt|var|Users|private)\b|site-packages|[A-Z]:\\\\")
A_NUMBER = re.compile(r"[-+]?\d[\d.,_]*(?:e[-+]?\d+)?")


def store():
    """The module that runs notebooks and stores what they print."""
    spec = importlib.util.spec_from_file_location("store", NOTEBOOKS / "store.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def read(name: str) -> nbformat.NotebookNode:
    return nbformat.read(NOTEBOOKS / f"{name}.ipynb", as_version=4)


def code(notebook: nbformat.NotebookNode) -> list[nbformat.NotebookNode]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def tags(cell: nbformat.NotebookNode) -> list[str]:
    return cell.metadata.get("tags", [])


def texts(cell: nbformat.NotebookNode) -> list[str]:
    """What a cell wrote, on any stream or as its value."""
    of_stream = [out.text for out in cell.outputs if out.output_type == "stream"]
    return of_stream + [out.data["text/plain"] for out in cell.outputs if "text/plain" in out.get("data", {})]


def figures(cell: nbformat.NotebookNode) -> list[str]:
    """Its figures, base64."""
    return [out.data["image/png"] for out in cell.outputs if "image/png" in out.get("data", {})]


def wording(cell: nbformat.NotebookNode) -> list[str]:
    """The lines that a cell wrote, with # for every number and one space for many."""
    lines = "\n".join(texts(cell)).splitlines()
    return [" ".join(A_NUMBER.sub(" # ", line).split()) for line in lines]


def printed(notebook: nbformat.NotebookNode, cell_id: str) -> str:
    """What a cell wrote to stdout."""
    (cell,) = (cell for cell in notebook.cells if cell.id == cell_id)
    return "".join(out.text for out in cell.outputs if out.output_type == "stream" and out.name == "stdout")


def numbers(text: str) -> list[float]:
    """The numbers in a text, in order."""
    return [float(found) for found in re.findall(r"-?\d+(?:\.\d+)?(?:e[-+]?\d+)?", text)]


def first_stability_question(notebook: nbformat.NotebookNode) -> None:
    assert "verdict before: oscillating" in printed(notebook, "before")
    after = printed(notebook, "after")
    # lam and beta each stop the oscillation; alpha alone cannot.
    assert after.count("verdict after: converged") == after.count("verdict after") == 2
    assert "applies here: True" in printed(notebook, "uniqueness")
    assert "critical beta = 0.485744" in printed(notebook, "critical")
    below, between, above = printed(notebook, "ipo").splitlines()[1:]
    assert below.startswith("beta = 0.1: oscillating")
    assert between.startswith("beta = 0.125: converged")
    assert between.endswith("False")
    assert above.startswith("beta = 0.2: converged")
    assert above.endswith("True")
    assert " 0 on the wrong side of the line" in printed(notebook, "map")


def training_as_a_flow(notebook: nbformat.NotebookNode) -> None:
    assert "below 1e-6: True" in printed(notebook, "field")
    assert "applies: True and its band holds: True" in printed(notebook, "noise")
    assert "positive 100%" in printed(notebook, "noise")
    chosen, rejected = numbers(printed(notebook, "displacement"))[:2]
    assert 0 < 10 * chosen < -rejected
    assert "difference ∝ η^1.0" in printed(notebook, "steps")
    flow, rounds = printed(notebook, "policy").splitlines()
    assert max(numbers(flow)) - min(numbers(flow)) < 1e-3
    assert max(numbers(rounds)) > 0.9


def distribution_learning(notebook: nbformat.NotebookNode) -> None:
    _, mean, _, law, certificate = numbers(printed(notebook, "error"))
    assert mean < law < certificate / 40
    *sizes, says = printed(notebook, "coverage").splitlines()
    V = numbers(says)[0]
    for line in sizes:
        _, measured, _, below, held, of = numbers(line)
        assert abs(measured / V - 1) < 0.25
        assert 88 < below <= 100
        assert held == of
    uniform, best = numbers(printed(notebook, "design"))[:2]
    simulated = numbers(printed(notebook, "design"))[-1]
    assert best < 0.75 * uniform
    assert abs(simulated / best - 1) < 0.15
    limit, *rows = printed(notebook, "dilemma").splitlines()
    rlhf, reverse_kl = (column(rows, k) for k in (1, 2))
    floor = numbers(limit)[0]
    assert all(value > floor * 0.99 for value in rlhf)
    assert rlhf[-1] < 1.02 * floor
    assert reverse_kl[-1] < reverse_kl[0] / 100


def column(rows: list[str], k: int) -> list[float]:
    """The k-th number of each row."""
    return [numbers(row)[k] for row in rows]


def choose_a_method(notebook: nbformat.NotebookNode) -> None:
    assert "verdict on 400 rounds: oscillating" in printed(notebook, "plan")
    verdict = {line.split()[0]: line.split()[1] for line in printed(notebook, "compare").splitlines()}
    assert len(verdict) == 13
    magnets = {"inpo", "mmd", "nash-md", "onpo", "egpo", "nash-mp", "comal"}
    assert {name for name, word in verdict.items() if word == "converged"} == magnets
    assert {word for name, word in verdict.items() if name not in magnets} == {"oscillating"}
    gaps = {line.split()[0]: numbers(line)[-2] for line in printed(notebook, "ends").splitlines()[1:]}
    assert gaps["comal"] < 1e-3 < min(gap for name, gap in gaps.items() if name != "comal")
    edges = column(printed(notebook, "steps").splitlines(), -1)
    assert edges == sorted(edges)
    for line in printed(notebook, "growth").splitlines():
        eta, inpo, egpo = numbers(line)
        assert (inpo > 1) == (eta > 1.8)
        assert (egpo > 1) == (eta > 4.9)
    proven, local = column(printed(notebook, "safe").splitlines()[:2], 0)
    assert proven == 0.7071
    assert numbers(printed(notebook, "safe").splitlines()[-1])[0] < local < proven


def a_real_model(notebook: nbformat.NotebookNode) -> None:
    made, skipped = (
        "features give the logits" in printed(notebook, "measure"),
        "skipped" in printed(notebook, "measure"),
    )
    assert made != skipped
    assert "difference ∝ rate^1.0" in printed(notebook, "head")
    assert numbers(printed(notebook, "head").splitlines()[2])[-1] < 0.001
    assert abs(numbers(printed(notebook, "all").splitlines()[1])[-1]) < 0.5
    assert "True" not in printed(notebook, "all")  # no alarm
    critical, below, above = printed(notebook, "rounds").splitlines()
    assert numbers(critical) == [0.267]
    assert below.startswith("beta = 0.2:")
    assert below.endswith("True; the model keeps moving")
    assert above.endswith("True; the model settles")


def extend_the_laboratory(notebook: nbformat.NotebookNode) -> None:
    plain, sharp = column(printed(notebook, "map").splitlines(), 1)
    assert 3 < plain / sharp < 4
    assert printed(notebook, "objective").endswith("1.000000\n")
    alone, tired = numbers(printed(notebook, "feedback"))[-2:]
    assert alone > 1.2 > tired == 1.0
    below, above = numbers(printed(notebook, "measure"))
    assert below < 0.335 < 0.36 < above
    theorem = printed(notebook, "theorem")
    assert "green: 0 violations in 100 instances" in theorem
    assert theorem.count("caught True") == 2
    assert "formula holds at 0 of" in theorem


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
    assert printed(notebook, "safe").startswith("DPO: stable above beta with posterior probability 0.95")
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
    "a_real_model": a_real_model,
    "attack_a_theorem": attack_a_theorem,
    "bring_your_data": bring_your_data,
    "choose_a_method": choose_a_method,
    "distribution_learning": distribution_learning,
    "extend_the_laboratory": extend_the_laboratory,
    "first_stability_question": first_stability_question,
    "training_as_a_flow": training_as_a_flow,
}


def test_every_notebook_is_held_to_its_findings():
    assert sorted(FINDS) == NAMES


def test_wording_forgets_numbers_and_nothing_else():
    cell = lambda text: nbformat.v4.new_code_cell(outputs=[nbformat.v4.new_output("stream", text=text)])
    assert wording(cell("beta = -0.1: stable\n[ 1.  2e-3]")) == wording(cell("beta = 12: stable\n[-3. 4]"))
    assert wording(cell("beta = 0.1: stable")) != wording(cell("beta = 0.1: unstable"))
    assert wording(cell("one\ntwo")) != wording(cell("one"))


@pytest.mark.parametrize("name", NAMES)
def test_a_notebook_is_stored_with_its_outputs(name: str):
    notebook = read(name)
    nbformat.validate(notebook)
    assert notebook.metadata.kernelspec.name == "python3"
    assert (NOTEBOOKS / f"{name}.ipynb").stat().st_size < MOST_BYTES
    assert [cell.execution_count for cell in code(notebook)] == list(range(1, len(code(notebook)) + 1))
    outputs = [out for cell in code(notebook) for out in cell.outputs]
    assert {out.output_type for out in outputs} <= {"stream", "display_data", "execute_result"}
    assert all(out.name == "stdout" for out in outputs if out.output_type == "stream")
    assert not [text for cell in code(notebook) for text in texts(cell) if A_PATH.search(text)]
    drawn = [base64.b64decode(figure) for cell in code(notebook) for figure in figures(cell)]
    assert drawn
    assert max(int.from_bytes(png[16:20]) for png in drawn) <= MOST_PIXELS  # the width in a PNG's header


@pytest.mark.parametrize("name", NAMES)
def test_a_notebook_ends_with_three_exercises_and_a_table(name: str):
    cells = read(name).cells
    solved = [k for k, cell in enumerate(cells) if "solution" in tags(cell)]
    assert len(solved) == 3
    for n, k in enumerate(solved, start=1):
        statement, solution = cells[k - 1], cells[k]
        assert statement.cell_type == "markdown"
        assert statement.source.startswith(f"## Exercise {n}\n")
        assert statement.source.splitlines()[-1] == "**Solution**"
        assert solution.cell_type == "code"
        assert re.search(r"^\s*assert ", solution.source, re.MULTILINE)
    assert solved[-1] == len(cells) - 2
    assert "| proven | computed | measured |" in cells[-1].source.splitlines()


@pytest.mark.thorough
@pytest.mark.parametrize("name", NAMES)
def test_a_notebook_runs_and_finds_what_it_says(name: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("MPLBACKEND", raising=False)  # figures come back as outputs of cells
    stored, notebook = read(name), read(name)
    store().run(notebook)  # a cell that raises is a CellExecutionError here, solutions of exercises included
    outputs = [out for cell in code(notebook) for out in cell.outputs]
    warned = [out.text for out in outputs if out.output_type == "stream" and out.name == "stderr"]
    assert not warned
    for was, now in zip(code(stored), code(notebook), strict=True):
        assert bool(was.outputs) == bool(now.outputs), was.id
        assert len(figures(was)) == len(figures(now)), was.id
        if "varies" not in tags(was):
            assert wording(was) == wording(now), was.id
    FINDS[name](stored)
    FINDS[name](notebook)
