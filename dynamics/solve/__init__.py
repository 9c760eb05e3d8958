"""Solving: iterate a round map, integrate a flow or descend along it, and the Solution that comes back."""

from ._descend import descend
from ._flow import gradient_flow
from ._iterate import iterate
from ._solution import RESULT_NAMES, RESULTS, Solution, State

__all__ = ["RESULTS", "RESULT_NAMES", "Solution", "State", "descend", "gradient_flow", "iterate"]
