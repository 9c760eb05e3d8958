"""Output of the command line: a card for one matrix, a table for many, or JSON."""

from __future__ import annotations

import collections
import json
import math
import sys
import textwrap
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from ..preferences import Classification, PreferenceSet
    from ..stability import VerdictProbability
    from ._study import Study

NOTE_WIDTH = 100  # characters of a remark's lines there
PIPE_WIDTH = 200  # characters of a line without a terminal
MAX_COLUMN_WIDTH = 44  # characters
MAX_LISTED = 6  # responses in a cell
IDEAL = "rounds of one prompt, each fitted exactly to infinitely many comparisons"
MAX_ROWS = 200  # matrices in a table
LABELS = 14  # characters of the longest label of a stability report


def print_json(value: Any) -> None:
    """``value`` as JSON on stdout; infinities and NaN are null."""
    json.dump(_plain(value), sys.stdout, indent=2, allow_nan=False)
    sys.stdout.write("\n")


def classification_card(matrices: PreferenceSet, found: Classification) -> None:
    """One matrix, a line for each property."""
    name = namer(matrices.names[0])
    winner = found.condorcet_winner
    limit = "" if found.bt_finite else " (in the limit: a group beats the rest outright)"
    rows = {
        "source": matrices.source,
        "responses": f"{len(found.order)}"
        + ("" if matrices.names[0] is None else f": {', '.join(map(name, range(len(found.order))))}"),
        "voters": None if matrices.voters[0] is None else str(matrices.voters[0]),
        "Condorcet winner": "none" if winner is None else name(winner),
        "Smith set": ", ".join(map(name, found.smith_set)),
        "transitivity": found.transitivity,
        "majority cycle": f"yes, the strongest with margin {found.cycle_margin:.4g}" if found.has_cycle else "no",
        "distance from Bradley–Terry": f"{found.bt_residual:.4g}{limit}",
        "order, best first": found.ranking(name),
    }
    print_card((label, value) for label, value in rows.items() if value is not None)


def classification_table(matrices: PreferenceSet, found: Sequence[Classification]) -> None:
    """Many matrices, a row for each, and how many there are of each kind."""
    columns = ("matrix", "K", "Condorcet winner", "Smith set", "transitivity", "cycle margin", "BT residual", "order")
    table = new_table(columns, numbers={"matrix", "K", "cycle margin", "BT residual"})
    for m, c in enumerate(found[:MAX_ROWS]):
        name = namer(matrices.names[m])
        winner = "none" if c.condorcet_winner is None else name(c.condorcet_winner)
        margin = f"{c.cycle_margin:.4g}" if c.has_cycle else "no cycle"
        residual = f"{c.bt_residual:.4g}{'' if c.bt_finite else '*'}"
        cells = (m, len(c.order), winner, listing(map(name, c.smith_set)), c.transitivity, margin, residual)
        table.add_row(*map(text, (*cells, listing(c.ranking(name).split(" > "), " > "))))
    winners = sum(c.condorcet_winner is not None for c in found)
    cycles, boundary = sum(c.has_cycle for c in found), sum(not c.bt_finite for c in found)
    print_parts(
        table,
        *_more(len(found)),
        text(f"{len(found)} matrices, from {matrices.source}"),
        _totals("transitivity", [c.transitivity for c in found]),
        f"Condorcet winner: {winners} · majority cycle: {cycles}",
        *([f"* {boundary} without a finite Bradley–Terry fit: a group beats the rest outright"] if boundary else []),
    )


def heading_rows(matrices: PreferenceSet, m: int, title: str) -> list[tuple[str, str]]:
    """What is asked of one matrix."""
    rows, names = [("process", f"{title}; {IDEAL}")], matrices.names[m]
    return rows if names is None else [*rows, ("responses", ", ".join(map(_clean, names)))]


def probability_rows(found: VerdictProbability) -> list[tuple[str, str]]:
    """What the counts allow, which comes before the report on the observed rates alone."""
    share = found.verdicts[found.likeliest]
    verdict = ("verdict", f"{found.likeliest} with posterior probability {share}, given the counts")
    return [verdict, *found.lines(), ("all verdicts", found.in_words())]


def report_rows(matrices: PreferenceSet, study: Study, likeliest: str | None) -> list[tuple[str, str]]:
    """The whole report on the rates of the file.

    Args:
        matrices: the file.
        study: of one of its matrices.
        likeliest: the likeliest verdict given the counts; None where they are not known.
    """
    report = study.report
    assert report is not None
    rows = report.lines(namer(matrices.names[study.index]))
    if likeliest is not None:
        rows = [
            ("observed rates", "if P were exactly that of the file:"),
            *((f"  {label}", text) for label, text in rows),
        ]
        if likeliest != report.verdict:
            told = (
                f"the likeliest verdict, {likeliest}, differs from that of the observed rates alone, {report.verdict}"
            )
            rows.insert(0, ("", told))
    rows += [("critical beta", _crossing(c)) for c in study.critical]
    if not study.critical:
        rows.append(("critical beta", study.critical_error or "none: stability does not change in the range searched"))
    if study.critical_note:
        rows.append(("", study.critical_note))
    return rows if likeliest is not None else rows + [("suggestion", str(s)) for s in study.suggestions]


def print_rows(rows: Iterable[tuple[str, str]]) -> None:
    """A part of a card, on the screen at once."""
    print_card(rows, LABELS)
    sys.stdout.flush()


def stability_table(studies: Sequence[Study], title: str, words: Sequence[tuple[str, str]]) -> None:
    """Many matrices, a row for each, how many there are of each verdict and certificate, and ``words`` on all of them."""
    columns = ("matrix", "K", "verdict", "certificate", "spectral radius", "critical beta", "smallest remedy")
    table = new_table(columns, numbers={"matrix", "K", "spectral radius"})
    for study in studies[:MAX_ROWS]:
        report = study.report
        if report is None:
            table.add_row(*map(text, (study.index, study.size, study.word, study.error, "", "", "")))
            continue
        radius = "–" if report.spectral_radius is None else f"{report.spectral_radius:.6g}"
        values = ", ".join(f"{c.value:.6g}" for c in study.critical) or "–"
        remedy = next((f"{s.parameter} {s.value:.4g} → {s.suggested:.4g}" for s in study.suggestions), "")
        cells = (study.index, study.size, report.verdict, report.certificate, radius, values, remedy)
        table.add_row(*map(text, cells))
    print_parts(
        table,
        *_more(len(studies)),
        text(f"{len(studies)} matrices, {title}; {IDEAL}"),
        _totals("verdict", [s.word for s in studies]),
        _totals("certificate", [s.report.certificate for s in studies if s.report is not None]),
        *(text(f"{label}: {said}") for label, said in words),
    )


def _more(rows: int) -> list[str]:
    return [f"… and {rows - MAX_ROWS} more matrices, counted below; --json prints all"] if rows > MAX_ROWS else []


def _crossing(crossing: Any) -> str:
    words = {"Neimark–Sacker": "a cycle begins", "flip": "two policies take turns", "fold": "the fixed point vanishes"}
    parts = [crossing.kind, f"{crossing.direction} as beta grows"]
    if crossing.kind in words:
        parts[0] = f"{words[crossing.kind]}: {crossing.kind}"
    if crossing.criticality is not None:
        parts.insert(1, crossing.criticality)
    return f"{crossing.value:.8g} ({', '.join(parts)})"


def _totals(what: str, labels: Sequence[str]) -> Text:
    counts = collections.Counter(labels).most_common()
    return text(f"{what}: " + (" · ".join(f"{label} {count}" for label, count in counts) or "none"))


def print_parts(*parts: Any) -> None:
    """Rich renderables on stdout, without trailing blanks."""
    console = Console(highlight=False, width=None if sys.stdout.isatty() else PIPE_WIDTH)
    with console.capture() as capture:
        for part in parts:
            console.print(part)
    sys.stdout.write("\n".join(line.rstrip() for line in capture.get().split("\n")))


def note(words: str) -> Text:
    """A remark below a table: without a terminal it is wrapped, since the lines of tables are as long as they need to be."""
    lines = [words] if sys.stdout.isatty() else textwrap.wrap(words, NOTE_WIDTH)
    return Text("\n").join(map(text, lines))


def print_card(rows: Iterable[tuple[str, str]], width: int | None = None) -> None:
    grid = Table.grid(padding=(0, 2))
    grid.add_column(no_wrap=True, style="bold", min_width=width)
    grid.add_column(overflow="fold")
    for label, value in rows:
        grid.add_row(label, text(value))
    print_parts(grid)


def new_table(columns: Sequence[str], numbers: set[str]) -> Table:
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for column in columns:
        justify = "right" if column in numbers else "left"
        table.add_column(column, justify=justify, overflow="fold", max_width=MAX_COLUMN_WIDTH)
    return table


def namer(names: Sequence[str] | None) -> Callable[[int], str]:
    return str if names is None else lambda k: _clean(names[k])


def listing(labels: Iterable[str], between: str = ", ") -> str:
    listed = list(labels)
    more = len(listed) - MAX_LISTED
    return between.join(listed[:MAX_LISTED]) + (f", … {more} more" if more > 0 else "")


def text(value: Any) -> Text:
    # Text, not str, so that brackets in a name are not markup.
    return Text(_clean(str(value)))


def _clean(name: str) -> str:
    """A name from a file, without characters that could control a terminal."""
    return "".join(c if c.isprintable() else "�" for c in name)


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, np.ndarray | np.generic):
        return _plain(value.tolist())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
