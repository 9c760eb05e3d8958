"""Runs notebooks from top to bottom and stores what they print and draw: ``python notebooks/store.py [NAME …]``."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import nbformat
from nbclient import NotebookClient

HERE = Path(__file__).resolve().parent
LIMIT = 180  # seconds a cell


def run(notebook: nbformat.NotebookNode) -> None:
    """Fills in the outputs and execution counts of ``notebook``, without times and versions; a cell that raises is an error."""
    where = {"metadata": {"path": str(HERE)}}
    NotebookClient(notebook, timeout=LIMIT, kernel_name="python3", record_timing=False, resources=where).execute()
    notebook.metadata["language_info"] = {"name": "python"}
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs = _joined(cell.outputs)


def _joined(outputs: list[nbformat.NotebookNode]) -> list[nbformat.NotebookNode]:
    """The outputs, with text that came in several pieces put together."""
    joined: list[nbformat.NotebookNode] = []
    for out in outputs:
        last = joined[-1] if joined else None
        if last is not None and out.output_type == last.output_type == "stream" and out.name == last.name:
            last.text += out.text
        else:
            joined.append(out)
    return joined


def main(names: list[str]) -> None:
    for path in [HERE / f"{name}.ipynb" for name in names] or sorted(HERE.glob("*.ipynb")):
        notebook = nbformat.read(path, as_version=4)
        began = time.monotonic()
        run(notebook)
        nbformat.write(notebook, path)
        sys.stdout.write(f"{path.name}: {time.monotonic() - began:.0f} s, {path.stat().st_size / 1000:.0f} kB\n")


if __name__ == "__main__":
    main(sys.argv[1:])
