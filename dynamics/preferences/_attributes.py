"""Formats with ratings or ranks of single responses, and which numbers are ratings."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from itertools import combinations
from typing import Any

from ._csv import Cell
from ._options import Options, normal
from ._record import BadRow, Record, as_number
from ._votes import Rated, Vote
from ._wins import short

# Words that make the name of a column of numbers that of a rating, and words that make it something else.
_RATINGS = (
    "rating ratings score scores reward rewards helpfulness helpful correctness coherence complexity verbosity honesty honest "
    "truthfulness truthful harmlessness harmless safety quality accuracy relevance fluency factuality following overall "
    "usefulness clarity conciseness creativity"
)
_OTHERS = (
    "id ids index idx turn rank position order count counts num number n std var variance min max time timestamp seed version "
    "length tokens level"
)
RATINGS, OTHERS = frozenset(_RATINGS.split()), frozenset(_OTHERS.split())


def is_rating(name: str) -> bool:
    """Whether numbers under this name are unmistakably ratings.

    >>> [is_rating(name) for name in ("helpfulness", "overall_score", "id", "score_id", "length")]
    [True, True, False, False, False]
    """
    words = re.split(r"[^a-z0-9]+", name)
    return bool(RATINGS.intersection(words)) and not OTHERS.intersection(words)


def rated(label: str, record: Record, options: Options) -> Iterator[Rated]:
    """A response to a prompt, with a column for each attribute."""
    prompt, _ = record.text("prompt"), record.text("response")
    names = options.attributes or [name for name in record if is_rating(name)]
    yield Rated(prompt, label, [(name, as_number(name, record[name])) for name in names if _given(record, name)])


def _given(record: Record, name: str) -> bool:
    return name in record and record[name] is not None


def single_scores(label: str, record: Record, options: Options) -> Iterator[Rated]:
    """MT-bench: the score of a model's answer to a question, by itself."""
    names = options.attributes or ("score",)
    prompt = f"question {record.need('question_id')}" + (f", turn {record['turn']}" if "turn" in record else "")
    ratings = [(name, as_number(name, record[name])) for name in names if _given(record, name)]
    if ("score", -1.0) in ratings:
        raise BadRow("has score = -1, which marks a judgment that failed")
    yield Rated(prompt, record.name("model"), ratings)


def ultrafeedback(label: str, record: Record, options: Options) -> Iterator[Rated]:
    """UltraFeedback: completions with annotations, each of which has a Rating."""
    column = record.first(("prompt", "instruction"))
    if column is None:
        raise BadRow("has completions but no instruction; write one")
    prompt, completions = record.text(column), record.need("completions")
    if not isinstance(completions, list) or not all(isinstance(c, Mapping) for c in completions):
        raise BadRow("has completions that are not a list of objects; write what UltraFeedback holds")
    for k, completion in enumerate(completions):
        annotations = completion.get("annotations")
        if not isinstance(annotations, Mapping):
            raise BadRow(f"has a completion {k + 1} without annotations; write what UltraFeedback holds")
        model = completion.get("model")
        name = f"{label} completion {k + 1}" + (f" ({model})" if isinstance(model, str) else "")
        yield Rated(prompt, name, list(_annotated(annotations, options)))


def _annotated(annotations: Mapping[str, Any], options: Options) -> Iterator[tuple[str, float]]:
    for name, found in annotations.items():
        plain = normal(name)
        if found is None or (options.attributes is not None and plain not in options.attributes):
            continue
        rating = found.get("Rating", found.get("rating")) if isinstance(found, Mapping) else found
        if isinstance(rating, str) and rating.strip().lower() not in ("n/a", "na", ""):
            rating = Cell(rating.strip())
        if not isinstance(rating, str) or isinstance(rating, Cell):
            yield plain, as_number(f"annotations.{plain}.Rating", rating)


def nectar(label: str, record: Record, options: Options) -> Iterator[Vote]:
    """Nectar: answers with ranks, 1 the best; of each pair the better rank wins once, and equal ranks are a tie."""
    prompt, answers = record.text("prompt"), record.need("answers")
    if not isinstance(answers, list) or not all(isinstance(a, Mapping) for a in answers):
        raise BadRow("has answers that are not a list of objects; write what Nectar holds")
    ranked = []
    for k, answer in enumerate(answers):
        text = answer.get("answer")
        if not isinstance(text, str) or "rank" not in answer:
            raise BadRow(f"has an answer {k + 1} without a text or a rank; write what Nectar holds")
        model = answer.get("model")
        name = f"{label} answer {k + 1}" + (f" ({model})" if isinstance(model, str) else "")
        ranked.append((text, as_number(f"answers[{k}].rank", answer["rank"]), name))
    for (one, rank, name), (other, its_rank, its_name) in combinations(ranked, 2):
        if one != other:
            share = 0.5 if rank == its_rank else float(rank < its_rank)
            yield Vote(prompt, one, other, share, 1.0, (name, its_name))


def unknown(attribute: str, numbers: list[str]) -> str:
    """Why an attribute that was asked for is refused."""
    which = ", ".join(map(short, numbers)) or "none"
    return f"attributes name {attribute!r}, but no row has a number of that name; columns with numbers: {which}."
