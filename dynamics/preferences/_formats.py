"""The formats of rows: how a format is known by its columns, and what a row of it says."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Literal, NamedTuple, TypeAlias

from . import _outcomes
from ._attributes import nectar, rated, single_scores, ultrafeedback
from ._options import Options
from ._outcomes import OUTCOMES, Pair, Share, count_of, pair_of, whole
from ._record import BadRow, Record, UnknownForm
from ._votes import Rated, Vote
from ._wins import short

PROMPTS = ("prompt", "instruction", "question", "context")
TIE_FLAGS = ("tie", "is_tie", "draw")
SHORT = 40  # characters of a text that is its own name
IDS = ("better_response_id", "safer_response_id")

# pooled: one matrix of the names; prompts: a matrix for each prompt; ratings: the same, from scores.
Kind: TypeAlias = Literal["pooled", "prompts", "ratings"]


class Format(NamedTuple):
    """A format: ``matches`` looks at the columns, ``read`` yields what a row says (label, record, options)."""

    name: str
    kind: Kind
    matches: Callable[[Record], bool]
    read: Callable[[str, Record, Options], Iterator[Vote | Rated]]
    note: str = ""


def _prompt(record: Record) -> str | None:
    column = record.first(PROMPTS)
    return None if column is None else record.text(column)


def _votes(label: str, record: Record, pair: Pair, shares: Iterator[Share]) -> Iterator[Vote]:
    """The votes of a row on a pair of columns, named by the columns of texts, or by what the columns hold."""
    held = [record.text(c) if pair.texts else record.name(c) for c in (pair.first, pair.second)]
    if held[0] == held[1]:
        what = (
            f"twice the same text, {pair.first} and {pair.second}" if pair.texts else f"{short(held[0])} on both sides"
        )
        raise BadRow(f"has {what}; name two different responses")
    prompt = _prompt(record) if pair.texts else ""
    shown = [_shown(f"{label} {c}", record[c]) for c in (pair.first, pair.second)] if pair.texts else held
    for share, weight in shares:
        yield Vote(prompt, held[0], held[1], share, weight, (shown[0], shown[1]))


def _shown(place: str, text: object) -> str:
    """The name of a response that is a text: the text where it is a short line, else its place."""
    plain = isinstance(text, str) and 0 < len(text) <= SHORT and text == text.strip() and text.isprintable()
    return str(text) if plain else place


def _outcome(record: Record) -> tuple[Pair, Callable[[Record, Pair], Iterator[Share]]] | None:
    pair = pair_of(record)
    if pair is None:
        return None
    outcome = next((o for o in OUTCOMES if o.matches(record, pair)), None)
    return None if outcome is None else (pair, outcome.shares)


def _is_compared(texts: bool) -> Callable[[Record], bool]:
    def matches(record: Record) -> bool:
        found = _outcome(record)
        return found is not None and found[0].texts == texts

    return matches


def _compared(label: str, record: Record, options: Options) -> Iterator[Vote]:
    found = _outcome(record)
    if found is None:
        raise BadRow("lacks the columns of the first row; write the same columns in each row")
    pair, shares = found
    yield from _votes(label, record, pair, shares(record, pair))


def _pku(label: str, record: Record, options: Options) -> Iterator[Vote]:
    columns = options.attributes or (next(name for name in IDS if name in record),)
    other = next((name for name in columns if name not in IDS), None)
    if other is not None:
        raise ValueError(
            f"attributes name {other!r}, but these rows have {' and '.join(IDS)}; pass one or both of them."
        )
    yield from _votes(label, record, Pair("response_0", "response_1", True), _outcomes.by_ids(record, columns))


def _won(pair: Pair) -> Callable[[str, Record, Options], Iterator[Vote]]:
    def read(label: str, record: Record, options: Options) -> Iterator[Vote]:
        for column in (pair.first, pair.second):
            if column not in record:
                raise BadRow(f"has no {column}; write the same columns in each row")
        flag = record.first(TIE_FLAGS)
        tied = flag is not None and record[flag] is not None and whole(record, flag) > 0
        yield from _votes(label, record, pair, iter([(0.5 if tied else 1.0, count_of(record))]))

    return read


CHOSEN, WON = Pair("chosen", "rejected", True), Pair("winner", "loser")

FORMATS = (
    Format(
        "better_response_id", "prompts", lambda r: r.has("response_0", "response_1") and any(c in r for c in IDS), _pku
    ),
    Format("answers", "prompts", lambda r: r.has("prompt", "answers"), nectar),
    Format("completions", "ratings", lambda r: "completions" in r, ultrafeedback),
    Format("chosen", "prompts", lambda r: r.has("chosen", "rejected") and "response" not in r, _won(CHOSEN)),
    Format("winner,loser", "pooled", lambda r: r.has("winner", "loser"), _won(WON)),
    Format("two texts", "prompts", _is_compared(True), _compared),
    Format("two names", "pooled", _is_compared(False), _compared),
    Format("model,score", "ratings", lambda r: r.has("question_id", "model", "score"), single_scores),
    Format("prompt,response", "ratings", lambda r: r.has("prompt", "response"), rated),
)
WANTED = (
    "winner,loser[,count], two responses and a winner (model_a,model_b,winner), chosen and rejected, prompt, response and "
    "ratings, or another form that docs/files.md lists"
)


def format_of(record: Record) -> Format:
    """The format of a row; raises `BadRow` where no format has its columns."""
    found = next((known for known in FORMATS if known.matches(record)), None)
    if found is not None:
        return found
    columns = ", ".join(repr(name) if len(name) < 41 else repr(f"{name[:39]}…") for name in list(record)[:12])
    raise UnknownForm(f"has the columns {columns or 'of no name'}, which are those of no known form; write {WANTED}")
