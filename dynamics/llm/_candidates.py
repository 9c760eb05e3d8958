"""K given answers to one prompt, their log-probabilities under a model, and which weights may move them."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from ._checkpoint import texts_sha256
from ._loss import token_log_probs
from ._models import Language, unembedding
from ._pairs import check_end, check_split, padded, tokens_of
from ._probe import check_weights, evaluating

if TYPE_CHECKING:
    import torch

TRAINABLE = ("lora", "head", "all")
LORA = "lora_"  # in the names of an adapter's weights


@dataclasses.dataclass(frozen=True)
class Candidates:
    """One prompt with K answers, encoded as one batch that is always computed alike.

    Attributes:
        prompt: the prompt.
        texts: the K answers.
        ids, attention, completion: ``(K, T)``, as in ``llm.Batch``.
        eos: whether the end-of-text token ends each answer and is counted.
    """

    prompt: str
    texts: tuple[str, ...]
    ids: np.ndarray
    attention: np.ndarray
    completion: np.ndarray
    eos: bool

    @classmethod
    def of(cls, language: Language, prompt: Any, texts: Any, eos: bool) -> Candidates:
        """Encodes a prompt with its answers; raises ``ValueError`` where they cannot be told apart or do not fit the model."""
        texts = _checked(prompt, texts)
        tokenizer, limit = language.tokenizer, language.context
        if eos and tokenizer.eos_token_id is None:
            raise ValueError("the tokenizer has no end-of-text token; pass eos=False.")
        (begin,) = tokens_of(tokenizer, [prompt])
        if not begin:
            raise ValueError("prompt has no tokens; begin it with text.")
        check_end(tokenizer, prompt, begin)
        rows = tokens_of(tokenizer, [prompt + text for text in texts])
        for k, ids in enumerate(rows):
            check_split(tokenizer, f"candidate {k}", texts[k], begin, ids)
            if eos and ids[-1] != tokenizer.eos_token_id:
                ids.append(tokenizer.eos_token_id)
            if limit is not None and len(ids) > limit:
                raise ValueError(
                    f"candidate {k} has {len(ids)} tokens with its prompt, and the model takes {limit}; shorten it."
                )
            if ids in rows[:k]:
                raise ValueError(f"candidates {rows.index(ids)} and {k} have the same tokens; drop one.")
        batch = padded(rows, [len(begin)] * len(rows), np.zeros(len(rows), bool), tokenizer)
        return cls(prompt, texts, batch.ids, batch.attention, batch.completion, eos)

    def __len__(self) -> int:
        """K."""
        return len(self.texts)

    def log_probs(self, model: Any) -> torch.Tensor:
        """log pi(y_k | x) of the answers, ``(K,)``, summed over tokens in float64, in nats; gradients flow."""
        return token_log_probs(model, self.ids, self.attention, self.completion).double().sum(-1)

    def measure(self, model: Any) -> np.ndarray:
        """The same on the host, without gradients and without dropout."""
        with evaluating(model):
            return self.log_probs(model).cpu().numpy()

    def sha256(self) -> str:
        """Of the texts."""
        return texts_sha256([self.prompt], self.texts)


def _checked(prompt: Any, texts: Any) -> tuple[str, ...]:
    if not isinstance(prompt, str):
        if isinstance(prompt, Sequence):
            raise ValueError("prompt holds several prompts; rounds on a model take one: pass its text.")
        raise ValueError(f"prompt is {prompt!r}; pass text.")
    if isinstance(texts, str) or not isinstance(texts, Sequence):
        raise ValueError(f"candidates is {texts!r}; pass a list of K ≥ 2 answers.")
    for k, text in enumerate(texts):
        if not isinstance(text, str):
            raise ValueError(f"candidates[{k}] is {text!r}; pass text.")
        if not text.strip():
            raise ValueError(f"candidates[{k}] is empty; drop it.")
    if len(texts) < 2:
        raise ValueError(f"candidates holds {len(texts)} answer; pass K ≥ 2.")
    return tuple(texts)


@contextmanager
def training(language: Language, trainable: str) -> Iterator[list[Any]]:
    """Yields the weights that ``trainable`` names, the only ones with ``requires_grad``; the others get theirs back.

    Matrix products on a GPU are in full float32 meanwhile: TF32's 10 bits would drown the last digits of log-probabilities.
    """
    import torch

    check_weights(language.model)
    chosen = {id(p) for p in _chosen(language, trainable)}
    before = [(p, p.requires_grad) for p in language.model.parameters()]
    precision, cudnn = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    language.model.eval()
    try:
        torch.set_float32_matmul_precision("highest")
        torch.backends.cudnn.allow_tf32 = False
        for p, _ in before:
            p.requires_grad_(id(p) in chosen)
        yield [p for p, _ in before if id(p) in chosen]
    finally:
        torch.set_float32_matmul_precision(precision)
        torch.backends.cudnn.allow_tf32 = cudnn
        for p, wanted in before:
            p.requires_grad_(wanted)
            p.grad = None


def _chosen(language: Language, trainable: str) -> list[Any]:
    model = language.model
    adapted = hasattr(model, "peft_config")
    if trainable not in TRAINABLE:
        raise ValueError(f"trainable = {trainable!r}; pass one of {', '.join(TRAINABLE)}.")
    if trainable == "lora":
        weights = [p for name, p in model.named_parameters() if LORA in name]
        if not weights:
            raise ValueError("trainable = 'lora', but the model has no LoRA adapter; pass llm.adapt(language, rank=8).")
        return weights
    if adapted:
        raise ValueError(
            f"trainable = {trainable!r} would change the weights that the adapted model shares with its base; pass the "
            "language before llm.adapt, or trainable='lora'."
        )
    if trainable == "all":
        return list(model.parameters())
    weight, bias = unembedding(language)
    if weight is model.get_input_embeddings().weight:
        raise ValueError(
            "trainable = 'head', but the last layer shares its weight with the embedding; load the model with untie=True."
        )
    return [weight] if bias is None else [weight, bias]
