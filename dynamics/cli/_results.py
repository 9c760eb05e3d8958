"""The command ``dynamics results``: the content, progress and parameters of a sweep's store."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import tyro


@dataclasses.dataclass(frozen=True)
class Results:
    """The content, progress and parameters of a sweep's store."""

    path: tyro.conf.Positional[Path]
    """A store that `dyn.sweep(..., store=PATH)` made."""
    json: bool = False
    """Print JSON instead of a card."""

    def run(self) -> None:
        from ..sweeps import summary
        from . import _tables

        found = summary(self.path)
        if self.json:
            _tables.print_json(found)
        else:
            _tables.print_card(_rows(found))


def _rows(found: dict) -> list[tuple[str, str]]:
    done, blocks = found["blocks_done"], found["blocks"]
    grid = " × ".join(f"{name} {n}" for name, n in found["over"].items())
    process = found["process"]
    numbers = (f"{k} = {v:g}" for k, v in process.items() if isinstance(v, int | float) and not isinstance(v, bool))
    return [
        ("store", found["path"]),
        ("progress", f"{done} of {blocks} blocks ({done / blocks:.0%})" + (", complete" if done == blocks else "")),
        ("grid", f"{grid}: {found['runs']} runs of {found['rounds']} rounds"),
        ("variables", ", ".join(f"{name} ({kind})" for name, kind in found["variables"].items())),
        ("process", ", ".join([process["process"], *filter(None, [process.get("objective")]), *numbers])),
        ("on disk", f"{found['bytes'] / 1e6:.3g} MB"),
        ("computed by", ", ".join(f"{k.removeprefix('version_')} {v}" for k, v in found["versions"].items())),
    ]
