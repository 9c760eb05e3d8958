"""Solving: iterate a process, and the Solution that comes back."""

from ._iterate import iterate
from ._solution import RESULT_NAMES, RESULTS, Solution, State

__all__ = ["RESULTS", "RESULT_NAMES", "Solution", "State", "iterate"]
