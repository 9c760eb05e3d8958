"""The study of one matrix by the command line: report, critical beta and suggestions."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Callable
from typing import Any

from ..rounds import Process
from ..stability import (
    BranchEnd,
    Crossing,
    NoFixedPoint,
    Report,
    Suggestion,
    VerdictProbability,
    analyze,
    critical,
    suggest,
)
from ._remedy import Remedy
from ._stability_words import word_of

MAX_ROUNDS = 100_000  # after which an orbit stays undecided, unless more rounds are requested
STEPS = 3  # of progress that ``study`` reports


@dataclasses.dataclass(frozen=True)
class Study:
    """The result of ``dynamics stability`` for one matrix; ``error`` says why there is no report.

    ``critical_note`` says how far the search for a critical beta came, where not to the end. ``probability`` holds the
    probability of each verdict, for a single matrix whose counts of comparisons are known;
    ``remedy`` says what to do, for a single matrix.
    """

    index: int
    size: int
    report: Report | None = None
    critical: tuple[Crossing, ...] = ()
    critical_error: str | None = None
    critical_note: str | None = None
    suggestions: tuple[Suggestion, ...] = ()
    error: str | None = None
    probability: VerdictProbability | None = None
    remedy: Remedy | None = None

    @property
    def word(self) -> str:
        """The verdict, or what stands for it where there is no report."""
        return word_of(self.error or "") if self.report is None else self.report.verdict

    def to_dict(self) -> dict[str, Any]:
        report = {} if self.report is None else self.report.to_dict() | {"spectral_radius": self.report.spectral_radius}
        return {
            "error": self.error,
            **report,
            "critical_beta": [dataclasses.asdict(crossing) for crossing in self.critical],
            "critical_beta_error": self.critical_error,
            "critical_beta_note": self.critical_note,
            "probability": None if self.probability is None else self.probability.to_dict(),
            "remedy": None if self.remedy is None else self.remedy.to_dict(),
            "suggestions": [dataclasses.asdict(suggestion) for suggestion in self.suggestions],
        }


def study(
    index: int,
    size: int,
    make: Callable[[], Process],
    *,
    rounds: int,
    advance: Callable[[int], None],
    throw: bool,
    advised: bool = True,
) -> Study:
    """The study of one matrix of a file.

    Args:
        index: of the matrix in its file.
        size: K.
        make: returns the process; it raises ``ValueError`` where the objective has no finite minimiser.
        rounds: rounds before a verdict is tried.
        advance: called with the number of steps done, ``STEPS`` in all.
        advised: whether to look for suggestions.
        throw: whether to raise where the process does not exist or a round fails, instead of setting ``error``.
    """
    try:
        process = make()
        report = analyze(process, rounds=rounds, max_rounds=max(rounds, MAX_ROUNDS))
    except (ValueError, RuntimeError) as error:
        if throw:
            raise
        advance(STEPS)
        return Study(index, size, error=str(error))
    advance(1)
    crossings, critical_error, critical_note = _critical_beta(process)
    advance(1)
    unstable = "unstable" in report.certificate or report.verdict in ("oscillating", "undecided")
    suggestions = suggest(process) if unstable and advised else ()
    advance(1)
    return Study(index, size, report, crossings, critical_error, critical_note, suggestions)


def _critical_beta(process: Process) -> tuple[tuple[Crossing, ...], str | None, str | None]:
    """The crossings, why there are none, and how far the search came, in the words of the command."""
    found, error = (), None
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always", BranchEnd)
        try:
            found = critical(process, "beta")
        except NoFixedPoint as stop:
            error = (
                f"not searched: no interior fixed point that could be followed over beta between {stop.low:g} and "
                f"{stop.high:g} was reached from the start"
            )
        except RuntimeError as stop:
            error = str(stop)
    for warning in told:
        if not isinstance(warning.message, BranchEnd):
            warnings.warn_explicit(warning.message, warning.category, warning.filename, warning.lineno)
    ends = [warning.message.value for warning in told if isinstance(warning.message, BranchEnd)]
    note = f"searched only to beta = {ends[0]:.6g}, where the fixed point could no longer be followed" if ends else None
    return found, error, note
