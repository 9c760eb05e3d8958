"""Sweeps: one process over many parameters, on all cores of a machine or on many machines, with results kept on disk."""

from ._machine import available_cores, use_machine
from ._store import DamagedStore, OtherSweep
from ._summary import summary
from ._sweep import sweep
from ._vectorise import spread, vectorise

__all__ = ["DamagedStore", "OtherSweep", "available_cores", "spread", "summary", "sweep", "use_machine", "vectorise"]
