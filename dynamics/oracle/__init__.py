"""Rounds of IPO and DPO in NumPy, without JAX: answers for one preference matrix at once, and an oracle for the rest.

The formulas are closed or solved anew here, and share no code with the compiled simulators.
"""

from ._answer import Answer, answer
from ._curve import FLOOR, Curve, critical_beta, follow
from ._everywhere import Everywhere, everywhere, proven_everywhere, stable_everywhere
from ._fate import START_OFFSET, Fate, beside, fates, run
from ._rounds import Objective, Rounds

__all__ = [
    "FLOOR",
    "START_OFFSET",
    "Answer",
    "Curve",
    "Everywhere",
    "Fate",
    "Objective",
    "Rounds",
    "answer",
    "beside",
    "critical_beta",
    "everywhere",
    "fates",
    "follow",
    "proven_everywhere",
    "run",
    "stable_everywhere",
]
