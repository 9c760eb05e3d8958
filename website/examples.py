"""A Griffe extension: examples and tables in docstrings are shown as they are written."""

from __future__ import annotations

import re
from typing import Any

import griffe

RULE = re.compile(r"=+( +=+)+")


class Examples(griffe.Extension):
    """Fences ``>>>`` examples and tables with rules of ``=``, which Markdown would take for quotes and headings."""

    def on_object(self, *, obj: griffe.Object, **kwargs: Any) -> None:
        if obj.docstring is not None:
            obj.docstring.value = fenced(obj.docstring.value)


def fenced(text: str) -> str:
    out: list[str] = []
    lines = iter(text.splitlines())
    for line in lines:
        indent = line[: len(line) - len(line.lstrip())]
        if line.lstrip().startswith(">>> "):
            out += ["", f"{indent}```pycon", line]
            for line in lines:
                if not line.strip():
                    break
                out.append(line)
            out += [f"{indent}```", ""]
        elif RULE.fullmatch(line.strip()):
            out += ["", f"{indent}```text", line]
            for line in lines:
                out.append(line)
                if RULE.fullmatch(line.strip()):
                    break
            out += [f"{indent}```", ""]
        else:
            out.append(line)
    return "\n".join(out)
