"""Objectives: losses of a reward margin; for IPO and DPO also the optimum's implicit reward and the tilt by it."""

from ._base import Objective
from ._margin import MarginLoss, SLiC, SquaredMargin
from .dpo import DPO
from .ipo import IPO

__all__ = ["DPO", "IPO", "MarginLoss", "Objective", "SLiC", "SquaredMargin"]
