"""Objectives: functions of a policy, a reference and the feedback, to be minimised; most are losses of a reward margin."""

from ._base import Objective, kl_coefficient
from ._exact import Exact, exact_for, register
from ._margin import SLiC, SquaredMargin
from ._margin_loss import MarginLoss
from ._newton import minimise
from ._slope import check_sign, check_slope, slope_of
from .distillation import PreferenceDistillation
from .dpo import DPO
from .ipo import IPO
from .links import LINKS, Link, kappa
from .pmle import PMLE
from .rebel import REBEL
from .reverse_kl import ReverseKL
from .rlhf import RLHF

__all__ = [
    "DPO",
    "IPO",
    "LINKS",
    "PMLE",
    "REBEL",
    "RLHF",
    "Exact",
    "Link",
    "MarginLoss",
    "Objective",
    "PreferenceDistillation",
    "ReverseKL",
    "SLiC",
    "SquaredMargin",
    "check_sign",
    "check_slope",
    "exact_for",
    "kappa",
    "kl_coefficient",
    "minimise",
    "register",
    "slope_of",
]
