"""Objectives: functions of a policy, a reference and the feedback, to be minimised; most are losses of a reward margin."""

from ._base import MarginLoss, Objective, kl_coefficient
from ._exact import Exact, exact_for, register
from ._margin import SLiC, SquaredMargin
from ._newton import minimise
from ._slope import check_slope, slope_of
from .dpo import DPO
from .ipo import IPO
from .links import LINKS, Link, kappa

__all__ = [
    "DPO",
    "IPO",
    "LINKS",
    "Exact",
    "Link",
    "MarginLoss",
    "Objective",
    "SLiC",
    "SquaredMargin",
    "check_slope",
    "exact_for",
    "kappa",
    "kl_coefficient",
    "minimise",
    "register",
    "slope_of",
]
