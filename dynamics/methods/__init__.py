"""The methods that people train with, on one map: which settle, where, how fast, and what would make the others settle."""

from __future__ import annotations

from ._compare import Comparison, Row, compare
from ._roster import METHODS, Method

__all__ = ["METHODS", "Comparison", "Method", "Row", "compare"]
