"""Learning dynamics of preference alignment: from a preference matrix to a trajectory, a verdict and a plot.

Names load on first use (PEP 562), so ``import dynamics`` costs little more than ``import jax``.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_ROOMS = (
    "diagnostics",
    "flows",
    "objectives",
    "plot",
    "policies",
    "preferences",
    "samplers",
    "stability",
    "testing",
    "theorems",
)
_NAMES = {
    "IPO": "objectives",
    "DPO": "objectives",
    "SLiC": "objectives",
    "SquaredMargin": "objectives",
    "LogLinear": "policies",
    "Tabular": "policies",
    "MarginFlow": "flows",
    "PreferenceFlow": "flows",
    "RoundMap": "rounds",
    "SelfSampling": "rounds",
    "Solution": "solve",
    "descend": "solve",
    "gradient_flow": "solve",
    "iterate": "solve",
    "sweep": "sweeps",
}

__all__ = [
    "DPO",
    "IPO",
    "RoundMap",
    "SelfSampling",
    "Solution",
    "__version__",
    "diagnostics",
    "iterate",
    "objectives",
    "plot",
    "preferences",
    "stability",
    "sweep",
    "testing",
    "theorems",
]

if TYPE_CHECKING:
    from . import diagnostics, objectives, plot, preferences, stability, testing, theorems
    from .objectives import DPO, IPO
    from .rounds import RoundMap, SelfSampling
    from .solve import Solution, iterate
    from .sweeps import sweep


def __getattr__(name: str) -> Any:
    if name in _NAMES:
        value = getattr(importlib.import_module(f"{__name__}.{_NAMES[name]}"), name)
    elif name in _ROOMS:
        value = importlib.import_module(f"{__name__}.{name}")
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
