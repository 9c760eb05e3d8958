"""The ledger: every theorem tested against the simulators, with mutants of it that the same test has to catch.

``verify()`` tests all of them; ``examine(theorem, trial)`` tests a statement of your own; ``check(theorem, **inputs)`` holds
one against the simulators at inputs of your own.
"""

from ._check import Checked, check
from ._examine import Row, examine
from ._mutants import Mutation
from ._report import COLUMNS, Ledger, notes
from ._trial import Misread, Searched, Tighter, Trial
from ._verify import TRIALS, verify

__all__ = [
    "COLUMNS",
    "TRIALS",
    "Checked",
    "Ledger",
    "Misread",
    "Mutation",
    "Row",
    "Searched",
    "Tighter",
    "Trial",
    "check",
    "examine",
    "notes",
    "verify",
]
