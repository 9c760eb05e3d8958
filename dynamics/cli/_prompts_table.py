"""Many prompts in a file: shares over the prompts, and the worst of them, instead of a row for each."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ..schema import SEVERITY, VERDICTS
from . import _tables

if TYPE_CHECKING:
    from ..preferences import Classification, PreferenceSet
    from ._study import Study

MANY = 20  # prompts, above which there is no row for each
WORST = 10
RANK: dict[str, int] = dict(zip(VERDICTS, SEVERITY, strict=True))


def classification_prompts(matrices: PreferenceSet, found: Sequence[Classification]) -> None:
    """Shares of prompts with a cycle, a winner or neither, and those with the strongest cycles."""
    labels = [
        "majority cycle" if c.has_cycle else "no winner, no cycle" if c.condorcet_winner is None else "Condorcet winner"
        for c in found
    ]
    columns = ("prompt", "K", "cycle margin", "Smith set")
    rows = [
        (m, len(c.order), f"{c.cycle_margin:.4g}", _tables.listing(map(_tables.namer(matrices.names[m]), c.smith_set)))
        for m, c in enumerate(found)
    ]
    title = f"{len(found)} prompts, from {matrices.source}"
    print_prompts(title, labels, [c.cycle_margin for c in found], "strongest cycles", columns, rows)


def stability_prompts(
    matrices: PreferenceSet, studies: Sequence[Study], title: str, words: Sequence[tuple[str, str]]
) -> None:
    """Shares of prompts that oscillate, collapse or settle, the worst ten, and ``words`` on all of them."""
    labels = [s.word for s in studies]
    columns = ("prompt", "K", "verdict", "spectral radius", "responses")
    rows = []
    for study, label in zip(studies, labels, strict=True):
        radius = None if study.report is None else study.report.spectral_radius
        shown = "–" if radius is None else f"{radius:.6g}"
        names = _tables.listing(map(_tables.namer(matrices.names[study.index]), range(study.size)))
        rows.append((study.index, study.size, label, shown, names))
    title = f"{len(studies)} prompts, {title}"
    print_prompts(title, labels, [_badness(s) for s in studies], "worst prompts", columns, rows, words)


def _badness(study: Study) -> float:
    """Above 0 unless rounds converge: by verdict, then by spectral radius (of those without one, the last)."""
    if study.report is None:
        return float(RANK["undecided"])
    severity, radius = RANK[study.report.verdict], study.report.spectral_radius
    extra = 0.0 if radius is None or not math.isfinite(radius) else radius / (1.0 + radius)
    return severity + extra if severity else 0.0


def print_prompts(
    title: str,
    labels: Sequence[str],
    badness: Sequence[float],
    what: str,
    columns: Sequence[str],
    rows: Sequence[Sequence[Any]],
    words: Sequence[tuple[str, str]] = (),
) -> None:
    """A table of shares, and one of the worst prompts, whose cells are in ``rows``; none where all are alike."""
    from ..preferences import survey

    found = survey(labels, badness, worst=WORST)
    shares = _tables.new_table(("over the prompts", "share", "prompts"), numbers={"share", "prompts"})
    for label, share in found.shares.items():
        shares.add_row(*map(_tables.text, (label, f"{share:.1%}", labels.count(label))))
    parts: list[Any] = [_tables.text(title), shares]
    if found.worst and not (words and len(set(badness)) == 1):
        table = _tables.new_table(columns, numbers={"prompt", "K", "cycle margin", "spectral radius"})
        for m in found.worst:
            table.add_row(*map(_tables.text, rows[m]))
        parts += [
            _tables.text(f"{what} ({len(found.worst)} of {sum(b > 0 for b in badness)}); --index I chooses one"),
            table,
        ]
    parts += [_tables.text(f"{label}: {said}") for label, said in words]
    _tables.print_parts(*parts, "--json prints every prompt")
