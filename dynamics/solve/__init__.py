"""Solving: iterate a round map (here), integrate a flow (``_flow``) or descend along it (``_descend``).

The latter two bring diffrax and optax, so they load when ``dyn.gradient_flow`` and ``dyn.descend`` are first used.
"""

from ._iterate import iterate
from ._solution import RESULT_NAMES, RESULTS, Solution, State

__all__ = ["RESULTS", "RESULT_NAMES", "Solution", "State", "iterate"]
