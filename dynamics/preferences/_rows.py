"""Rows of any kind of file, in one of the formats: what they say, what is left out, and what is not made use of."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from ._attributes import unknown
from ._csv import Cell, Row
from ._formats import IDS, WANTED, Format, format_of
from ._options import Notes, Options, listed, normal
from ._record import BadRow, Record, UnknownForm
from ._responses import Ratings
from ._sets import PreferenceSet
from ._tables import tables_to_set
from ._votes import Ballots, Rated
from ._wins import short

_MAX_ROWS = 2_000_000

_SKIP = "pass skip_bad=True (--skip-bad) to leave such rows out"
_HEADERS = frozenset(("winner", "loser", "chosen", "rejected", "model_a", "model_b", "count"))


def read_records(
    rows: Iterable[tuple[str, Any]], parse: Callable[[Any], Any], options: Options, source: str, notes: Notes
) -> PreferenceSet:
    """The matrices of labelled rows; ``parse`` turns a row into an object."""
    reading = _Reading(options)
    bad, first_bad, good = 0, "", 0
    for label, row in rows:
        if good + bad >= _MAX_ROWS:
            raise ValueError(f"{label} exceeds the limit of {_MAX_ROWS} rows; pass fewer.")
        try:
            reading.add(label, parse(row))
            good += 1
        except UnknownForm as error:
            # The columns of cells are those of the header, not of the row.
            at = "its header" if isinstance(row, dict) and any(isinstance(v, Cell) for v in row.values()) else label
            if not options.skip_bad:
                raise ValueError(f"{at} {error}.") from None
            bad, first_bad = bad + 1, first_bad or f"{label} {error}"
        except BadRow as error:
            if not options.skip_bad:
                raise ValueError(
                    f"{label} {error}{', or ' if ';' in str(error) else '; correct it, or '}{_SKIP}."
                ) from None
            bad, first_bad = bad + 1, first_bad or f"{label} {error}"
    if not good:
        raise ValueError(
            f"none of its {bad} rows can be used: {first_bad}." if bad else f"it is empty; write {WANTED}."
        )
    if bad:
        notes.warn(f"{bad} bad {'row was' if bad == 1 else 'rows were'} left out (the first: {first_bad})")
    return reading.finish(source, notes)


class _Reading:
    """The rows so far, in the format of the first that has one."""

    def __init__(self, options: Options):
        self._options = options
        self._format: Format | None = None
        self._into: Ballots | Ratings | None = None
        self._columns: dict[str, bool] = {}  # in order of appearance, and whether it held a number
        self._used: set[str] = set()

    def add(self, label: str, row: Any) -> None:
        record = Record(row, self._used)
        known = self._format or format_of(record)
        if self._format is None:
            self._begin(known)
        # All of a row is read before any of it counts.
        found = list(known.read(label, record, self._options))
        for name in record:
            if name not in self._columns or not self._columns[name]:
                self._columns[name] = record.is_number(name)
        for said in found:
            if isinstance(said, Rated):
                assert isinstance(self._into, Ratings)
                self._into.add(label, said)
            else:
                assert isinstance(self._into, Ballots)
                self._into.add(label, said)

    def _begin(self, known: Format) -> None:
        options = self._options
        if known.kind == "ratings":
            for name, given in (("smoothing", options.smoothing > 0), ("ties='drop'", options.ties == "drop")):
                if given:
                    raise ValueError(
                        f"it holds ratings, which are not counts; leave out {name} (--{name.split('=')[0]})."
                    )
        elif options.attributes is not None and known.name != "better_response_id":
            raise ValueError("attributes choose among ratings, and it holds none; leave out attributes (--attributes).")
        self._format = known
        self._into = Ratings() if known.kind == "ratings" else Ballots(options, known.kind == "pooled")

    def finish(self, source: str, notes: Notes) -> PreferenceSet:
        assert self._format is not None
        if isinstance(self._into, Ratings):
            numbers = [name for name, number in self._columns.items() if number]
            for name in self._options.attributes or ():
                if name not in self._into.attributes:
                    raise ValueError(unknown(name, [*numbers, *(n for n in self._into.attributes if n not in numbers)]))
            self._check_ratings(numbers)
            found = self._into.matrices(self._options, source, notes)
        else:
            assert self._into is not None
            tables = self._into.tables()
            if not any(table.wins.any() for table in tables):
                raise ValueError("it has rows but no vote; add a row per comparison.")
            if self._into.unprompted:
                notes.say("it has no column of prompts, so rows that share a response were taken for one prompt")
            if self._into.parted:
                parts = self._into.parted
                notes.say(
                    f"responses to {parts} prompts were not all linked by comparisons; each linked group is a matrix"
                )
            _note_alike([name for table in tables for name in table.names or ()] if len(tables) == 1 else [], notes)
            found = tables_to_set(tables, self._options, source, notes)
        self._note_columns(notes)
        return found

    def _check_ratings(self, numbers: list[str]) -> None:
        assert isinstance(self._into, Ratings)
        if self._into.attributes:
            return
        others = [name for name in numbers if name not in ("prompt", "response")]
        if others:
            raise ValueError(
                f"its numbers are under {', '.join(map(short, others[:8]))}, which may or may not be ratings; name those that "
                f"are with attributes=[{others[0]!r}] (--attributes {others[0]})."
            )
        raise ValueError(
            "it has prompts and responses but no attribute with a number; pass ratings, such as helpfulness."
        )

    def _note_columns(self, notes: Notes) -> None:
        assert self._format is not None
        if isinstance(self._into, Ratings):
            notes.say(f"ratings used: {listed(list(self._into.attributes), 12)}")
        if self._format.name == "better_response_id":
            notes.say(f"votes counted: {listed([name for name in IDS if name in self._used])}")
        if any(name in self._used for name in ("preference_strength", "likert", "overall_preference")):
            notes.say("each preference counts as one vote, whatever its strength")
        unused = [name for name in self._columns if name not in self._used]
        if unused:
            notes.say(f"columns not used: {listed(unused, 12)}")


def _note_alike(names: list[str], notes: Notes) -> None:
    """Names that differ only in case or blanks are taken as they are, and said."""
    seen: dict[str, str] = {}
    for name in names:
        other = seen.setdefault(" ".join(name.casefold().split()), name)
        if other != name:
            notes.warn(f"{short(other)} and {short(name)} differ only in case or blanks and count as two responses")
            return


def cell_records(header: Row, rows: Iterator[Row], notes: Notes) -> Iterator[tuple[str, dict[str, Cell]]]:
    """Rows of cells as objects; a header that comes again, as in files joined together, is left out and said."""
    names = [normal(cell) for cell in header[1]]
    twice = next((name for name in names if name and names.count(name) > 1), None)
    if twice is not None:
        raise ValueError(f"its header has two columns named {short(twice)}; keep one.")
    columns = [name or f"column {k + 1}" for k, name in enumerate(names)]
    again, none = [], True
    for line, cells in rows:
        none = False
        if len(cells) != len(columns):
            want = ",".join(header[1])
            want = want if len(want) < 100 else "one for each column"
            raise ValueError(f"line {line} has {len(cells)} cells under a header of {len(columns)}; write {want}.")
        plain = [normal(cell) for cell in cells]
        if plain == names:
            again.append(line)
            continue
        if sorted(plain) == sorted(names) or (len(plain) > 1 and _HEADERS.issuperset(plain)):
            raise ValueError(
                f"line {line} is {','.join(cells)!r}, which looks like a header of other columns; join files only where their "
                f"headers agree."
            )
        yield f"line {line}", dict(zip(columns, map(Cell, cells), strict=True))
    if none:
        raise ValueError("it has a header but no comparisons; add a row for each.")
    if again:
        more = f" and {len(again) - 1} more" if len(again) > 1 else ""
        notes.warn(f"line {again[0]}{more} repeats the header and was left out")
