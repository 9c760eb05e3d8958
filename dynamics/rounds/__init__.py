"""Rounds: maps from logits to logits, which ``iterate``, ``sweep`` and ``stability`` run, scan and analyse."""

from __future__ import annotations

from ..learners import Descend
from ._base import RoundMap
from ._canonical import Canonical, canonical, parts_of
from ._rounds import Rounds
from ._self_sampling import SelfSampling

__all__ = ["Canonical", "Descend", "RoundMap", "Rounds", "SelfSampling", "canonical", "parts_of"]
