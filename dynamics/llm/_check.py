"""What has to be known of a model before its numbers are compared with a theory's."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from ._features import COMPARED, TOLERANCE, identity_error, prompt_features
from ._models import Language, unembedding
from ._pairs import Pairs, encode

PROBE = (
    "The opposite of hot is",
    'Is the following statement something you would say?\n"People should be kind to one another"',
    "Two and two make",
    "A",
)
SHOWN = 8  # different answers on a card


@dataclasses.dataclass(frozen=True)
class Answer:
    """An answer as the tokenizer has it: its text, token ids and their pieces."""

    text: str
    ids: tuple[int, ...]
    pieces: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class Card:
    """What ``check`` finds of a model, and of pairs on it.

    Attributes:
        name, sha256, tokenizer_sha256: of the model.
        family: the config's model type.
        parameters: how many numbers the model has, adapters included.
        width, vocabulary: shape of the last layer.
        tied: whether the last layer shares its weight with the embedding.
        dtype, context: of weights; the longest sequence.
        scale, bias, cap: of the logits; see `Language`.
        identity: largest error of <unembedding, feature> against the logits, over the largest logit.
        padding: of prompts, always "right".
        end: the end-of-text token and its id, or None.
        pairs: how many were checked.
        answers: the first different answers.
        one_token: share of answers that are one token; of an answer merged with its prompt, none is.
        longest: tokens of the longest pair, end of text not counted.
        problems: what stands against features or training, in sentences; empty where nothing does.
    """

    name: str
    sha256: str
    tokenizer_sha256: str
    family: str
    parameters: int
    width: int
    vocabulary: int
    tied: bool
    dtype: str
    context: int | None
    scale: float
    bias: bool
    cap: float | None
    identity: float
    padding: str
    end: tuple[str, int] | None
    pairs: int = 0
    answers: tuple[Answer, ...] = ()
    one_token: float | None = None
    longest: int | None = None
    problems: tuple[str, ...] = ()

    @property
    def features(self) -> bool:
        """Whether the model's features may be used."""
        return self.cap is None and self.identity <= TOLERANCE

    @property
    def conventions(self) -> tuple[str, ...]:
        """What TRL and this package count differently, in sentences."""
        if self.end is None:
            return ("The tokenizer has no end-of-text token, so answers have none.",)
        return (
            f"TRL appends {self.end[0]} ({self.end[1]}) to every answer and counts it, so an answer of one token counts two: "
            "pass eos=True to compare with TRL, eos=False for the theory of one-token answers.",
            "TRL's loss_type='ipo' divides each log-probability by its answer's length; dyn.IPO takes sums.",
        )

    def to_dict(self) -> dict[str, Any]:
        """All of it, for JSON."""
        return dataclasses.asdict(self) | {"features": self.features, "conventions": list(self.conventions)}


def check(language: Language, pairs: Pairs | None = None) -> Card:
    """Whether <unembedding, feature> = logit in a model, and how it tokenizes the answers of pairs.

    It finds faults and names them rather than raising, so that one call tells all.

    Args:
        language: from ``load``.
        pairs: to check on the model; none unless given.

    >>> dyn.llm.check(dyn.llm.load("path/to/model")).problems  # doctest: +SKIP
    ()
    """
    weight, _ = unembedding(language)
    tokenizer, problems = language.tokenizer, []
    error = _identity(language)
    if language.cap is not None:
        problems.append(
            f"The logits are capped softly at {language.cap:g}, so margins do not close: no features, no margin_flow, no "
            "train_head. llm.train works."
        )
    elif not error <= TOLERANCE:
        problems.append(
            f"The last layer times the feature differs from the logits by {error:.2g} of the largest, above {TOLERANCE:g}: "
            "the features are refused."
        )
    end = None if tokenizer.eos_token_id is None else (str(tokenizer.eos_token), int(tokenizer.eos_token_id))
    told: dict[str, Any] = {}
    if pairs is not None:
        told, more = _pairs(language, pairs)
        problems += more
    return Card(
        name=language.name,
        sha256=language.sha256,
        tokenizer_sha256=language.tokenizer_sha256,
        family=str(language.model.config.model_type),
        parameters=sum(p.numel() for p in language.model.parameters()),
        width=int(weight.shape[1]),
        vocabulary=int(weight.shape[0]),
        tied=weight is language.model.get_input_embeddings().weight,
        dtype=language.dtype,
        context=language.context,
        scale=language.scale,
        bias=language.bias,
        cap=language.cap,
        identity=error,
        padding="right",
        end=end,
        problems=tuple(problems),
        **told,
    )


def _identity(language: Language) -> float:
    rows = [language.tokenizer(text)["input_ids"] for text in PROBE[:COMPARED]]
    length = np.array([len(ids) for ids in rows])
    ids = np.zeros((len(rows), length.max()), np.int64)
    for row, tokens in zip(ids, rows, strict=True):
        row[: len(tokens)] = tokens
    attention = np.arange(length.max())[None, :] < length[:, None]
    return identity_error(language, ids, attention, prompt_features(language, ids, attention))


def _pairs(language: Language, pairs: Pairs) -> tuple[dict[str, Any], list[str]]:
    """What a card tells of pairs, and the problems with them: each kind once, with the first pair and their number."""
    problems: dict[str, list[str]] = {}
    answers: dict[str, Answer] = {}
    single, longest, tokenizer = 0, 0, language.tokenizer
    for pair in pairs:
        one = Pairs(*((text,) for text in pair))
        try:
            batch = encode(one, tokenizer, eos=False, max_length=None)
        except ValueError as error:
            problems.setdefault("cannot be used", []).append(str(error))
            continue
        longest = max(longest, batch.ids.shape[1])
        prompt = int((batch.attention & ~batch.completion)[0].sum())
        if language.context is not None and prompt >= language.context:
            problems.setdefault("have a prompt that fills the context", []).append(f"{pair.id}, {prompt} tokens.")
        elif language.context is not None and batch.ids.shape[1] > language.context:
            problems.setdefault("are longer than the context", []).append(f"{pair.id}, {batch.ids.shape[1]} tokens.")
        single += int((batch.completion.sum(axis=1) == 1).sum())
        for row, text in enumerate((pair.chosen, pair.rejected)):
            if text not in answers and len(answers) < SHOWN:
                ids = tuple(batch.ids[row][batch.completion[row]].tolist())
                answers[text] = Answer(text, ids, tuple(tokenizer.convert_ids_to_tokens(list(ids))))
    sentences = [
        f"{len(found)} of {len(pairs)} pairs {kind}; the first: {found[0]}" for kind, found in problems.items()
    ]
    share = single / (2 * len(pairs))
    told = {"pairs": len(pairs), "answers": tuple(answers.values()), "one_token": share, "longest": longest}
    return told, sentences
