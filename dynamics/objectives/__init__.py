"""Objectives: IPO and DPO, as the implicit reward of their minimiser and the tilt of a reference by it."""

from ._base import Objective
from .dpo import DPO
from .ipo import IPO

__all__ = ["DPO", "IPO", "Objective"]
