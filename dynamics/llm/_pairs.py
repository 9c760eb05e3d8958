"""Preference pairs as text, and as right-padded token ids."""

from __future__ import annotations

import dataclasses
import hashlib
import operator
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, overload

import numpy as np

ID_LENGTH = 12  # hexadecimal digits, 48 bits: a repeat among 10,000 pairs has probability 2e-7


class Pair(NamedTuple):
    """One preference pair; see `Pairs`."""

    prompt: str
    chosen: str
    rejected: str
    id: str
    behaviour: str


@dataclasses.dataclass(frozen=True)
class Pairs:
    """N preference pairs of text; ``pairs[:64]`` and ``pairs[array]`` are Pairs, ``pairs[3]`` is one pair.

    Args:
        prompt, chosen, rejected: N texts each; an answer is appended to its prompt as it stands, leading space included.
        id: the first 12 hexadecimal digits of the SHA-256 of the three texts unless given, so that it stays with a pair
            whatever the order or the subset.
        behaviour: the group of each pair; "" unless given.

    Raises:
        ValueError: lists of different lengths, an empty answer, equal answers, or one id for different texts.

    >>> pairs = dyn.llm.Pairs(("Is 2 even?", "Is 3 even?"), (" Yes", " No"), (" No", " Yes"))
    >>> len(pairs), pairs[1].chosen, len(pairs[np.array([True, False])])
    (2, ' No', 1)
    """

    prompt: tuple[str, ...]
    chosen: tuple[str, ...]
    rejected: tuple[str, ...]
    id: tuple[str, ...] = ()
    behaviour: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        texts = {name: tuple(getattr(self, name)) for name in ("prompt", "chosen", "rejected")}
        count = len(texts["prompt"])
        triples = list(zip(*texts.values(), strict=False))
        given = {"id": tuple(self.id), "behaviour": tuple(self.behaviour)}
        given["behaviour"] = given["behaviour"] or ("",) * count
        for name, value in (texts | given).items():
            if len(value) != count and not (name == "id" and not value):
                raise ValueError(f"{name} holds {len(value)} texts, prompt {count}; pass one per pair.")
            for i, text in enumerate(value):
                if not isinstance(text, str):
                    raise ValueError(f"{name}[{i}] is {text!r}; pass text.")
        given["id"] = given["id"] or tuple(identify(*triple) for triple in triples)
        for i, triple in enumerate(triples):
            if fault := fault_of(*triple):
                raise ValueError(f"pair {i} ({given['id'][i]}) {fault}; drop the pair.")
        seen: dict[str, tuple[str, ...]] = {}
        for name, triple in zip(given["id"], triples, strict=True):
            if seen.setdefault(name, triple) != triple:
                raise ValueError(f"id {name!r} belongs to two different pairs; give each pair its own id.")
        for name, value in (texts | given).items():
            object.__setattr__(self, name, value)

    def __len__(self) -> int:
        return len(self.prompt)

    def __iter__(self) -> Iterator[Pair]:
        return map(Pair._make, zip(self.prompt, self.chosen, self.rejected, self.id, self.behaviour, strict=True))

    @overload
    def __getitem__(self, index: int) -> Pair: ...
    @overload
    def __getitem__(self, index: Any) -> Pairs: ...
    def __getitem__(self, index: Any) -> Pair | Pairs:
        if isinstance(index, int | np.integer):
            i = operator.index(index)
            return Pair(self.prompt[i], self.chosen[i], self.rejected[i], self.id[i], self.behaviour[i])
        kept = [
            int(i) for i in np.arange(len(self))[index if isinstance(index, slice) else np.asarray(index, _kind(index))]
        ]
        return Pairs(*(tuple(getattr(self, field.name)[i] for i in kept) for field in dataclasses.fields(self)))


def _kind(index: Any) -> Any:
    """An empty list is a choice of no pair, not an array of floats."""
    return np.asarray(index).dtype if np.size(index) else np.intp


def identify(prompt: str, chosen: str, rejected: str) -> str:
    """The id of a pair."""
    return hashlib.sha256("\0".join((prompt, chosen, rejected)).encode("utf-8", "surrogatepass")).hexdigest()[
        :ID_LENGTH
    ]


def fault_of(prompt: str, chosen: str, rejected: str) -> str | None:
    """What makes a pair useless, or None."""
    for name, answer in (("chosen", chosen), ("rejected", rejected)):
        if not answer.strip():
            return f"has an empty {name} answer"
    return "has two equal answers" if chosen == rejected else None


@dataclasses.dataclass(frozen=True)
class Batch:
    """Token ids of N pairs, padded on the right: rows 0..N-1 hold prompt and chosen answer, rows N..2N-1 the rejected.

    Attributes:
        ids: ``(2N, T)`` ints.
        attention: ``(2N, T)``, true where a token stands, false where padding does.
        completion: ``(2N, T)``, true for tokens of the answer, which log-probabilities count.
        truncated: ``(2N,)``, true for rows that ``max_length`` cut.
    """

    ids: np.ndarray
    attention: np.ndarray
    completion: np.ndarray
    truncated: np.ndarray

    def __len__(self) -> int:
        """N, the number of pairs."""
        return len(self.ids) // 2

    def take(self, index: Any) -> Batch:
        """The pairs at ``index``, an int array or a slice of 0..N-1, without columns that hold only padding."""
        pair = np.arange(len(self))[index]
        rows = np.concatenate([pair, pair + len(self)])
        width = int(self.attention[rows].sum(axis=1).max(initial=0))
        cut = lambda x: x[rows, :width]
        return Batch(cut(self.ids), cut(self.attention), cut(self.completion), self.truncated[rows])


def encode(pairs: Pairs, tokenizer: Any, *, eos: bool, max_length: int | None = None) -> Batch:
    """The token ids of each prompt with each of its answers.

    Args:
        pairs: N pairs.
        tokenizer: of the model; it is asked for ids only, and never truncates.
        eos: whether the end-of-text token ends each answer and is counted, as TRL has it, so that a one-token answer counts
            two. The theory of one-token answers needs False.
        max_length: longest sequence in tokens; longer ones lose their end, as in TRL. Unlimited unless given.

    Raises:
        ValueError: a prompt without tokens, or that fills ``max_length``; an answer that the tokenizer merges with its
            prompt; answers that are equal as tokens, or equal after truncation; no end-of-text token.
    """
    if len(pairs) == 0:
        raise ValueError("pairs is empty; pass at least one pair.")
    if eos and tokenizer.eos_token_id is None:
        raise ValueError("the tokenizer has no end-of-text token; pass eos=False.")
    if max_length is not None and max_length < 2:
        raise ValueError(f"max_length = {max_length}; pass at least 2 tokens, or None.")
    prompts = prompt_ids(pairs, tokenizer, max_length)
    whole: list[list[int]] = []
    for answers in (pairs.chosen, pairs.rejected):
        texts = [prompt + answer for prompt, answer in zip(pairs.prompt, answers, strict=True)]
        for i, ids in enumerate(tokens_of(tokenizer, texts)):
            check_split(tokenizer, f"pair {pairs.id[i]}", answers[i], prompts[i], ids)
            whole.append([*ids, tokenizer.eos_token_id] if eos and ids[-1] != tokenizer.eos_token_id else ids)
    kept = [ids[:max_length] for ids in whole]
    for i, (chosen, rejected) in enumerate(zip(kept[: len(pairs)], kept[len(pairs) :], strict=True)):
        if chosen == rejected:
            same = whole[i] == whole[len(pairs) + i]
            why = "has answers with the same tokens; drop it" if same else (
                f"has answers that are equal after truncation to {max_length} tokens; raise max_length or drop it"
            )  # fmt: skip
            raise ValueError(f"pair {pairs.id[i]} {why}.")
    starts = [len(ids) for ids in prompts] * 2
    return padded(kept, starts, np.array([len(a) < len(b) for a, b in zip(kept, whole, strict=True)]), tokenizer)


def prompt_ids(pairs: Pairs, tokenizer: Any, max_length: int | None = None) -> list[list[int]]:
    """Token ids of each prompt, special tokens at the start included."""
    found = tokens_of(tokenizer, pairs.prompt)
    for i, ids in enumerate(found):
        if not ids:
            raise ValueError(f"pair {pairs.id[i]} has a prompt without tokens; begin it with text.")
        if max_length is not None and len(ids) >= max_length:
            raise ValueError(
                f"pair {pairs.id[i]} has a prompt of {len(ids)} tokens, which leaves no room for an answer within "
                f"{max_length}; raise max_length, or drop the pair."
            )
        check_end(tokenizer, pairs.prompt[i], ids)
    return found


def check_end(tokenizer: Any, prompt: str, ids: list[int]) -> None:
    """Raises ``ValueError`` where the tokenizer ended a prompt by itself."""
    end = tokenizer.eos_token_id
    if end is not None and len(ids) > 1 and ids[-1] == end and not prompt.endswith(tokenizer.eos_token):
        raise ValueError("the tokenizer ends every text with its end-of-text token; load it with add_eos_token=False.")


def tokens_of(tokenizer: Any, texts: Sequence[str]) -> list[list[int]]:
    """Token ids of each text."""
    return tokenizer(list(texts), truncation=False, padding=False, return_attention_mask=False)["input_ids"]


def check_split(tokenizer: Any, name: str, answer: str, prompt: list[int], ids: list[int]) -> None:
    """Raises ``ValueError`` with ``name`` unless prompt and answer together have the prompt's tokens and more."""
    if ids[: len(prompt)] != prompt:
        last, there = (tokenizer.convert_ids_to_tokens(x[len(prompt) - 1 :][:3]) for x in (prompt, ids))
        raise ValueError(
            f"{name}: the tokenizer merges the prompt's end {last} with the answer {answer[:40]!r} into {there}; "
            "begin the answer with a space, or end the prompt with a line break."
        )
    if len(ids) == len(prompt):
        raise ValueError(f"{name}: the answer {answer[:40]!r} has no tokens; drop it.")


def padded(kept: list[list[int]], starts: list[int], truncated: np.ndarray, tokenizer: Any) -> Batch:
    """Rows padded on the right, whose answers begin at ``starts``."""
    pad = next((x for x in (tokenizer.pad_token_id, tokenizer.eos_token_id) if x is not None), 0)
    length, start = np.array([len(ids) for ids in kept])[:, None], np.array(starts)[:, None]
    position = np.arange(length.max())[None, :]
    ids = np.full((len(kept), int(length.max())), pad, np.int64)
    for row, tokens in zip(ids, kept, strict=True):
        row[: len(tokens)] = tokens
    return Batch(ids, position < length, (position >= start) & (position < length), truncated)
