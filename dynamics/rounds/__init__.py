"""Rounds: maps from states to states, which ``iterate``, ``sweep`` and ``stability`` run, scan and analyse."""

from __future__ import annotations

from ..learners import Descend
from ._base import Process, RoundMap
from ._canonical import Canonical, canonical, parts_of
from ._rounds import Rounds, RoundsState
from ._self_sampling import SelfSampling

__all__ = [
    "Canonical",
    "Descend",
    "Process",
    "RoundMap",
    "Rounds",
    "RoundsState",
    "SelfSampling",
    "canonical",
    "parts_of",
]
