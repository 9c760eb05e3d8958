"""Policies: what parameters there are, and the logits that they give."""

from __future__ import annotations

from ._base import Policy
from ._finite import Finite
from ._log_linear import LogLinear
from ._tabular import Tabular

__all__ = ["Finite", "LogLinear", "Policy", "Tabular"]
