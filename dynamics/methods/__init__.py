"""The methods that people train with, on one map: which settle, where, how fast, and what would make the others settle."""

from __future__ import annotations

from ._compare import compare
from ._result import FAILED, Comparison, Row
from ._roster import BY_NAME, METHODS, Method

__all__ = ["BY_NAME", "FAILED", "METHODS", "Comparison", "Method", "Row", "compare"]
