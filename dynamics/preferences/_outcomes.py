"""What one row says about two responses: which won, how often, and how a word or a number is to be understood."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import NamedTuple

from ._csv import Cell
from ._options import normal
from ._record import BadRow, Record
from ._wins import short


class Pair(NamedTuple):
    """The columns of two responses; ``texts`` where they hold what was written rather than a name."""

    first: str
    second: str
    texts: bool = False


NAMED = ("model_a,model_b", "model_1,model_2", "left,right", "player_a,player_b", "player_1,player_2", "item_a,item_b")
NAMED += ("item_1,item_2", "option_a,option_b", "option_1,option_2", "system_a,system_b", "a,b", "first,second")
TEXTS = (
    "response_a,response_b",
    "response_1,response_2",
    "response_0,response_1",
    "output_1,output_2",
    "answer_a,answer_b",
)
_COLUMNS = [(*p.split(","), p in TEXTS) for p in (*NAMED, *TEXTS)]
PAIRS = tuple(Pair(str(first), str(second), bool(texts)) for first, second, texts in _COLUMNS)

Share = tuple[float, float]  # of the first response, and how often
WINNERS = ("winner", "verdict", "choice", "preferred")
TIES = frozenset(
    (
        *("tie", "draw", "tied", "equal", "same", "both", "neither", "tie (bothbad)", "tie (both bad)", "tie(bothbad)"),
        *("bothbad", "both_bad", "both bad", "both good", "a=b", "[[c]]"),
    )
)
SIDES = (("a", "b"), ("left", "right"), ("first", "second"), ("[[a]]", "[[b]]"), ("a>b", "b>a"), ("a>>b", "b>>a"))
COUNTS = ("count", "counts", "n", "votes", "number", "frequency", "weight")
TIE_COUNTS = ("ties", "tie", "draws", "draw", "winner_tie", "n_ties")
LIKERT = ("preference_strength", "likert", "overall_preference")


class Outcome(NamedTuple):
    """A way to state who won; ``shares`` may yield nothing, as where a row counts no vote."""

    matches: Callable[[Record, Pair], bool]
    shares: Callable[[Record, Pair], Iterator[Share]]


def pair_of(record: Record) -> Pair | None:
    return next((pair for pair in PAIRS if record.has(pair.first, pair.second)), None)


def count_of(record: Record) -> float:
    """How often a row counts: 1, or what its column of counts says."""
    column = record.first(COUNTS)
    return 1.0 if column is None else whole(record, column)


def whole(record: Record, column: str) -> float:
    value = record.need(column)
    if isinstance(value, bool):
        return float(value)
    if isinstance(value, Cell) and value.lower() in ("true", "false"):
        return float(value.lower() == "true")
    try:
        count = record.number(column)
    except BadRow:
        count = -1.0
    if count < 0 or 2 * count != math.floor(2 * count):
        shown = short(str(value))
        raise BadRow(f"has {column} = {shown}, which is not a count; write a whole number ≥ 0 (or halves, for ties)")
    return count


def _winner(record: Record, pair: Pair) -> Iterator[Share]:
    column = record.first(WINNERS)
    assert column is not None
    value = record.need(column)
    yield side(value, column, record, pair), count_of(record)


def side(value: object, column: str, record: Record, pair: Pair) -> float:
    """The share of the first response that a word states: 1, 0, or 1/2 for a tie."""
    said = str(value).strip() if isinstance(value, str | int) and not isinstance(value, bool) else ""
    names = ("", "") if pair.texts else (record.name(pair.first), record.name(pair.second))
    found = {float(said == names[0])} if said and said in names else set()
    word = " ".join(said.lower().split())
    for first, second in ((pair.first, pair.second), *SIDES):
        if normal(word) in (normal(first), normal(second)) or word in (first, second):
            found.add(float(normal(word) == normal(first) or word == first))
    if word in TIES:
        found.add(0.5)
    if len(found) == 1:
        return found.pop()
    if found:
        raise BadRow(
            f"has {column} = {short(said)}, which is the name of one response and the word for another; rename one"
        )
    raise BadRow(
        f"has {column} = {short(said)}, which is not {pair.first}, {pair.second} or tie"
        + ("" if pair.texts else ", nor the name of one of the two")
    )


def _count_columns(record: Record, pair: Pair) -> tuple[str, str] | None:
    x, y = pair.first, pair.second
    ends = (x, y), (x.rpartition("_")[2], y.rpartition("_")[2])
    forms = [
        (form.format(a), form.format(b)) for a, b in ends for form in ("{}_wins", "wins_{}", "win_{}", "winner_{}")
    ]
    forms += [("wins", "losses"), ("win", "loss"), ("wins", "loses")]
    return next((columns for columns in forms if record.has(*columns)), None)


def _counted(record: Record, pair: Pair) -> Iterator[Share]:
    columns = _count_columns(record, pair)
    assert columns is not None
    ties = record.first(TIE_COUNTS)
    yield 1.0, whole(record, columns[0])
    yield 0.0, whole(record, columns[1])
    if ties is not None:
        yield 0.5, whole(record, ties)


def _likert(record: Record, pair: Pair) -> Iterator[Share]:
    """Below 0 the first response is better, above 0 the second; a vote is a vote, whatever its strength."""
    column = record.first(LIKERT)
    assert column is not None
    value = record.number(column)
    if abs(value) > 3:
        raise BadRow(
            f"has {column} = {value:g}, which is outside -3 to 3; write below 0 where {pair.first} is better, 0 for a tie and "
            f"above 0 where {pair.second} is"
        )
    yield (0.5 if value == 0 else float(value < 0)), count_of(record)


def _one_or_two(record: Record, pair: Pair) -> Iterator[Share]:
    """AlpacaEval: 1 for the first, 2 for the second, 1.5 for a tie; between them 2 minus it is the first one's share."""
    value = record.need("preference")
    try:
        number = record.number("preference")
    except BadRow:
        yield side(value, "preference", record, pair), count_of(record)
        return
    if not 1 <= number <= 2:
        raise BadRow(
            f"has preference = {number:g}, which is outside 1 ({pair.first}) to 2 ({pair.second}); write a number between"
        )
    yield 2.0 - number, count_of(record)


def _by_id(record: Record, column: str) -> float:
    value = record.need(column)
    number = str(value).strip() if isinstance(value, str | int) and not isinstance(value, bool) else ""
    if number not in ("0", "1"):
        raise BadRow(f"has {column} = {short(str(value))}, which is not 0 or 1; write the number of the response")
    return float(number == "0")


def by_ids(record: Record, columns: tuple[str, ...]) -> Iterator[Share]:
    """PKU-SafeRLHF: the number of the better, or of the safer response."""
    for column in columns:
        yield _by_id(record, column), 1.0


def _both_orders(record: Record, pair: Pair) -> Iterator[Share]:
    """MT-bench: two games with the answers in either order; where they disagree it is a tie."""
    games = [side(record.need(column), column, record, pair) for column in ("g1_winner", "g2_winner")]
    yield (games[0] if games[0] == games[1] else 0.5), 1.0


OUTCOMES = (
    Outcome(lambda record, _: record.has("g1_winner", "g2_winner"), _both_orders),
    Outcome(lambda record, _: record.first(WINNERS) is not None, _winner),
    Outcome(lambda record, pair: _count_columns(record, pair) is not None, _counted),
    Outcome(lambda record, _: record.first(LIKERT) is not None, _likert),
    Outcome(lambda record, pair: "preference" in record and pair.second.endswith("2"), _one_or_two),
)
