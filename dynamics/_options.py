"""Common to command lines; needs neither the rest of the package nor JAX."""

from __future__ import annotations

import re
from collections.abc import Sequence
from importlib import metadata

EMITTERS = "xla_cpu_use_fusion_emitters"
WITHOUT_EMITTERS = (0, 11, 1)  # the first jaxlib that ends the process at a flag of this name


def repeated(args: Sequence[str]) -> str | None:
    """What is wrong with an option that is given twice, of which only the last would count; None where all are given once."""
    names = [arg.partition("=")[0] for arg in args if re.match(r"--[A-Za-z]", arg)]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is None:
        return None
    return f"{twice} is given twice; pass it once, with several values after it if it takes several."


def quick_flags(flags: str, jaxlib: str | None = None) -> str:
    """``XLA_FLAGS`` with which XLA compiles sooner, where the installed version knows how: the older code generator for CPUs.

    Args:
        flags: those set already; a choice of the user's is kept.
        jaxlib: a version; the one installed unless given.
    """
    numbers = re.findall(r"\d+", metadata.version("jaxlib") if jaxlib is None else jaxlib)[:3]
    if EMITTERS in flags or tuple(map(int, numbers)) >= WITHOUT_EMITTERS:
        return flags
    return f"{flags} --{EMITTERS}=false".strip()
