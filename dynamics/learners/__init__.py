"""Learners: from the last policy to the next, by the objective's optimum or by steps of an optimizer."""

from __future__ import annotations

from ._base import Fit, Learner
from ._descend import Descend
from ._optimum import Optimum

__all__ = ["Descend", "Fit", "Learner", "Optimum"]
