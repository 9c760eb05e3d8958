"""Samplers, which generate the pairs that a policy is trained on: fixed, following the policy, or fitted to P."""

from __future__ import annotations

from ._design import Design, design
from ._fit import FittedSampler, fitted
from ._kinds import Fixed, Mixture, OnPolicy, Sampler
from ._skew import skew

__all__ = ["Design", "FittedSampler", "Fixed", "Mixture", "OnPolicy", "Sampler", "design", "fitted", "skew"]
