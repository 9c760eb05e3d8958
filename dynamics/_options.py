"""Common to command lines."""

from __future__ import annotations

import re
from collections.abc import Sequence


def repeated(args: Sequence[str]) -> str | None:
    """What is wrong with an option that is given twice, of which only the last would count; None where all are given once."""
    names = [arg.partition("=")[0] for arg in args if re.match(r"--[A-Za-z]", arg)]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is None:
        return None
    return f"{twice} is given twice; pass it once, with several values after it if it takes several."
