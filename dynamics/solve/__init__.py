"""Solving: ``iterate`` a round map, integrate a flow with ``gradient_flow``, or take an optimizer's steps with ``descend``.

The latter two import diffrax and optax, so they load on first use.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..engine import RESULTS, State
from ..schema import RESULT_NAMES
from ._iterate import iterate
from ._solution import Solution

if TYPE_CHECKING:
    from ._descend import descend
    from ._flow import gradient_flow

__all__ = ["RESULTS", "RESULT_NAMES", "Solution", "State", "descend", "gradient_flow", "iterate"]


def __getattr__(name: str) -> Any:
    if name == "descend":
        from ._descend import descend as verb
    elif name == "gradient_flow":
        from ._flow import gradient_flow as verb
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = verb
    return verb
