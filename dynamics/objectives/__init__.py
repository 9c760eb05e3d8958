"""Objectives: scalars of a policy, a reference and what was seen of the preferences; most are losses of a reward margin."""

from ._base import MarginLoss, Objective, kl_coefficient
from ._exact import exact_for, register, solve
from ._margin import SLiC, SquaredMargin
from .dpo import DPO
from .ipo import IPO

__all__ = [
    "DPO",
    "IPO",
    "MarginLoss",
    "Objective",
    "SLiC",
    "SquaredMargin",
    "exact_for",
    "kl_coefficient",
    "register",
    "solve",
]
