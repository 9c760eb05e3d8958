"""Sweeping: one process over many parameters, on all that a machine has or on many machines, never lost."""

from ._machine import use_machine
from ._store import OtherSweep, summary
from ._sweep import sweep

__all__ = ["OtherSweep", "summary", "sweep", "use_machine"]
