"""``dynamics explore``: a page in the browser on which sliders move the rounds."""

from __future__ import annotations

import dataclasses
import sys
from typing import Annotated

import tyro

from ._files import Reading, read_file


@dataclasses.dataclass(frozen=True, kw_only=True)
class Explore(Reading):
    """A page in the browser, served on this machine only, that draws rounds while you move their parameters."""

    file: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="[FILE]")] = ""
    """Votes, wins, orders, ratings, pairs of texts or matrices (docs/files.md lists the forms); without one, families."""
    index: Annotated[int, tyro.conf.arg(metavar="I")] = 0
    """The matrix of the file that is shown first, counted from 0."""
    port: Annotated[int, tyro.conf.arg(metavar="N")] = 0
    """Port on 127.0.0.1; a free one unless given."""
    no_browser: bool = False
    """Print the address without opening a browser."""

    def run(self) -> None:
        from ..explore import serve

        if not 0 <= self.port <= 65535:
            raise ValueError(f"--port {self.port} is no port; pass 1 to 65535, or leave it out for a free one.")
        matrices = read_file(self) if self.file else None
        if matrices is not None and not 0 <= self.index < len(matrices):
            raise ValueError(f"--index {self.index} is not in {self.file}; pass 0 to {len(matrices) - 1}.")
        serve(matrices, self.index, self.port, self._ready)
        print("dynamics: the page is closed.")

    def _ready(self, address: str) -> None:
        print(f"dynamics: {address} (Ctrl-C ends it)", flush=True)
        if not self.no_browser:
            import webbrowser

            if not webbrowser.open(address):
                print("dynamics: no browser was found; open the address yourself.", file=sys.stderr)
