"""Reward models: Bradley–Terry by maximum likelihood, and what comparisons alone certify about its policy."""

from __future__ import annotations

from ._certify import Certificate, certify
from ._fit import Outcome, RewardFit, bradley_terry

__all__ = ["Certificate", "Outcome", "RewardFit", "bradley_terry", "certify"]
