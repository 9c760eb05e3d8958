"""Learning dynamics of preference alignment: from a preference matrix to a trajectory, a verdict and a plot.

Names load on first use (PEP 562), so ``import dynamics`` costs little more than ``import jax``.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.2.0"

_ROOMS = (
    "atlas",
    "data",
    "diagnostics",
    "engine",
    "feedback",
    "flows",
    "games",
    "learners",
    "ledger",
    "llm",
    "margins",
    "methods",
    "objectives",
    "oracle",
    "plot",
    "policies",
    "preferences",
    "references",
    "rewards",
    "rounds",
    "samplers",
    "schema",
    "stability",
    "sweeps",
    "testing",
    "theorems",
)
_NAMES = {
    "IPO": "objectives",
    "DPO": "objectives",
    "SLiC": "objectives",
    "SquaredMargin": "objectives",
    "Comparisons": "preferences",
    "PreferenceModel": "preferences",
    "certify": "rewards",
    "PMLE": "objectives",
    "PreferenceDistillation": "objectives",
    "REBEL": "objectives",
    "RLHF": "objectives",
    "ReverseKL": "objectives",
    "LogLinear": "policies",
    "Tabular": "policies",
    "MarginFlow": "flows",
    "PreferenceFlow": "flows",
    "Descend": "rounds",
    "Process": "rounds",
    "RoundMap": "rounds",
    "Rounds": "rounds",
    "SelfSampling": "rounds",
    "fit": "rounds",
    "Solution": "solve",
    "descend": "solve",
    "gradient_flow": "solve",
    "iterate": "solve",
    "sweep": "sweeps",
}

__all__ = [
    "DPO",
    "IPO",
    "PMLE",
    "REBEL",
    "RLHF",
    "Comparisons",
    "Descend",
    "LogLinear",
    "MarginFlow",
    "PreferenceDistillation",
    "PreferenceFlow",
    "PreferenceModel",
    "Process",
    "ReverseKL",
    "RoundMap",
    "Rounds",
    "SLiC",
    "SelfSampling",
    "Solution",
    "SquaredMargin",
    "Tabular",
    "__version__",
    "atlas",
    "certify",
    "data",
    "descend",
    "diagnostics",
    "engine",
    "feedback",
    "fit",
    "flows",
    "games",
    "gradient_flow",
    "iterate",
    "learners",
    "ledger",
    "llm",
    "margins",
    "objectives",
    "oracle",
    "plot",
    "policies",
    "preferences",
    "references",
    "rewards",
    "samplers",
    "schema",
    "stability",
    "sweep",
    "sweeps",
    "testing",
    "theorems",
]

if TYPE_CHECKING:
    from . import (
        atlas,
        data,
        diagnostics,
        engine,
        feedback,
        flows,
        games,
        learners,
        ledger,
        llm,
        margins,
        objectives,
        oracle,
        plot,
        policies,
        preferences,
        references,
        rewards,
        samplers,
        schema,
        stability,
        sweeps,
        testing,
        theorems,
    )
    from .flows import MarginFlow, PreferenceFlow
    from .objectives import DPO, IPO, PMLE, REBEL, RLHF, PreferenceDistillation, ReverseKL, SLiC, SquaredMargin
    from .policies import LogLinear, Tabular
    from .preferences import Comparisons, PreferenceModel
    from .rewards import certify
    from .rounds import Descend, Process, RoundMap, Rounds, SelfSampling, fit
    from .solve import Solution, descend, gradient_flow, iterate
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
