"""References: the policy that each round's objective measures from, as a function of the policies so far."""

from __future__ import annotations

from ._kinds import Ema, Fixed, Geometric, Reference

__all__ = ["Ema", "Fixed", "Geometric", "Reference"]
