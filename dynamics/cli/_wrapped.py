"""Lines of text for a terminal."""

from __future__ import annotations

import textwrap

WIDTH = 100  # columns


def wrapped(line: str, hanging: int) -> list[str]:
    """A line as several of at most ``WIDTH`` columns; those that follow are indented by ``hanging`` more."""
    indent = line[: len(line) - len(line.lstrip())]
    return textwrap.wrap(line, WIDTH, subsequent_indent=indent + hanging * " ", break_long_words=False) or [""]
