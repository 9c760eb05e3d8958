"""Rounds: maps from logits to logits, which ``iterate``, ``sweep`` and ``stability`` run, scan and analyse."""

from __future__ import annotations

from ._base import RoundMap
from ._inner import Descend
from ._self_sampling import SelfSampling

__all__ = ["Descend", "RoundMap", "SelfSampling"]
