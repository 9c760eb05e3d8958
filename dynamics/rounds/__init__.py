"""Rounds of alignment: maps from one state to the next, which ``iterate``, ``sweep`` and ``stability`` run and analyse."""

from __future__ import annotations

from ..learners import Descend
from ._base import Process, RoundMap
from ._canonical import Canonical, canonical, parts_of
from ._fit import Fitted, fit
from ._rounds import Rounds, RoundsState
from ._self_sampling import SelfSampling
from ._setup import Setup
from ._trainers import from_openrlhf, from_trl, from_verl

__all__ = [
    "Canonical",
    "Descend",
    "Fitted",
    "Process",
    "RoundMap",
    "Rounds",
    "RoundsState",
    "SelfSampling",
    "Setup",
    "canonical",
    "fit",
    "from_openrlhf",
    "from_trl",
    "from_verl",
    "parts_of",
]
