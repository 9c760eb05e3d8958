"""The study of one matrix by the command line: report, critical beta and suggestions."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

from ..rounds import Process
from ..stability import Crossing, Report, Suggestion, VerdictProbability, analyze, critical, suggest
from ._remedy import Remedy

MAX_ROUNDS = 100_000  # after which an orbit stays undecided, unless more rounds are requested
STEPS = 3  # of progress that ``study`` reports


@dataclasses.dataclass(frozen=True)
class Study:
    """The result of ``dynamics stability`` for one matrix; ``error`` says why there is no report.

    ``probability`` holds the probability of each verdict, for a single matrix whose counts of comparisons are known;
    ``remedy`` says what to do, for a single matrix.
    """

    index: int
    size: int
    report: Report | None = None
    critical: tuple[Crossing, ...] = ()
    critical_error: str | None = None
    suggestions: tuple[Suggestion, ...] = ()
    error: str | None = None
    probability: VerdictProbability | None = None
    remedy: Remedy | None = None

    def to_dict(self) -> dict[str, Any]:
        report = {} if self.report is None else self.report.to_dict() | {"spectral_radius": self.report.spectral_radius}
        return {
            "error": self.error,
            **report,
            "critical_beta": [dataclasses.asdict(crossing) for crossing in self.critical],
            "critical_beta_error": self.critical_error,
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
    crossings, critical_error = _critical_beta(process)
    advance(1)
    unstable = "unstable" in report.certificate or report.verdict in ("oscillating", "undecided")
    suggestions = suggest(process) if unstable and advised else ()
    advance(1)
    return Study(index, size, report, crossings, critical_error, suggestions)


def _critical_beta(process: Process) -> tuple[tuple[Crossing, ...], str | None]:
    try:
        return critical(process, "beta"), None
    except RuntimeError as error:
        return (), str(error)
