"""What a model samples: on-policy entropy and KL divergence from the reference, with their standard errors."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from ._loss import answer_logits, takes

ROWS = 8  # sequences whose whole distributions are held at a time


@dataclasses.dataclass(frozen=True)
class Sampler:
    """Draws answers to prompts, always in the same way for the same seed and step.

    Args:
        prompts: token ids of each prompt.
        count: answers in all; prompts take turns.
        tokens: longest answer, in tokens; a longer one is cut, and its first tokens count.
        end: the id that ends an answer, or None.
        seed: of the draws.
    """

    prompts: tuple[tuple[int, ...], ...]
    count: int
    tokens: int
    end: int | None
    seed: int

    def draw(self, model: Any, step: int) -> list[tuple[tuple[int, ...], list[int]]]:
        """(prompt, answer) of every draw: ancestral sampling at temperature 1 from the whole distribution."""
        turns = [self.prompts[i % len(self.prompts)] for i in range(self.count)]
        drawn: dict[int, list[int]] = {}
        for width in sorted({len(prompt) for prompt in turns}):  # prompts of one length need no padding
            which = [i for i, prompt in enumerate(turns) if len(prompt) == width]
            for begin in range(0, len(which), ROWS):
                rows = which[begin : begin + ROWS]
                drawn |= zip(
                    rows, self._answers(model, [turns[i] for i in rows], (self.seed, step, rows[0])), strict=True
                )
        return [(prompt, drawn[i]) for i, prompt in enumerate(turns)]

    def _answers(self, model: Any, prompts: list[tuple[int, ...]], seed: tuple[int, ...]) -> list[list[int]]:
        import torch

        place = next(iter(model.parameters())).device
        rng, ids, past = np.random.default_rng(seed), torch.tensor(prompts, device=place), None
        name = "cache" if takes(model, "cache") else "past_key_values"  # renamed in transformers 5.2x
        answers: list[list[int]] = [[] for _ in prompts]
        open_rows = [True] * len(prompts)
        for _ in range(self.tokens):
            out = model(input_ids=ids, use_cache=True, **({} if past is None else {name: past}))
            past = getattr(out, name)
            mass = torch.softmax(out.logits[:, -1].double(), -1).cumsum(-1)
            # By the inverse of the distribution function, with numbers from NumPy: torch's own generator is left alone.
            u = torch.as_tensor(rng.random((len(prompts), 1)), device=place) * mass[:, -1:]
            token = torch.searchsorted(mass, u, right=True).clamp(max=mass.shape[-1] - 1)
            for i, value in enumerate(token[:, 0].tolist()):
                if open_rows[i]:
                    answers[i].append(value)
                    open_rows[i] = value != self.end
            if not any(open_rows):
                break
            ids = token
        return answers


@contextmanager
def swapped(model: Any, parameters: Sequence[Any], values: Sequence[Any]) -> Iterator[Any]:
    """The model with other values of some parameters, without a second model."""
    own = [p.data for p in parameters]
    for p, value in zip(parameters, values, strict=True):
        p.data = value
    try:
        yield model
    finally:
        for p, value in zip(parameters, own, strict=True):
            p.data = value


def on_policy(model: Any, sampler: Sampler, reference: Any, step: int) -> dict[str, float]:
    """H = E Σ_t H(pi(.|y_<t)) and KL = E Σ_t KL(pi(.|y_<t) ‖ ref(.|y_<t)) over y ~ pi, and their standard errors, in nats.

    Each step's entropy and divergence are exact given what was drawn before it, which varies less than -log pi(y).

    Args:
        model: the policy, in evaluation mode.
        sampler: of the answers.
        reference: makes a context manager that yields the reference as a model; None leaves the divergence out.
        step: of the training, which seeds the draws.
    """
    import torch

    with torch.no_grad():
        drawn = sampler.draw(model, step)
        rows = [_rows(drawn[i : i + ROWS]) for i in range(0, len(drawn), ROWS)]
        entropies, divergences = [], []
        for ids, attention, completion in rows:
            logits, counted = answer_logits(model, ids, attention, completion)
            log_p, mask = torch.log_softmax(logits, -1), counted.mask
            total = lambda x, mask=mask: torch.where(mask, x, torch.zeros((), dtype=x.dtype, device=x.device)).sum(-1)
            p = log_p.exp()
            entropies += total(torch.special.entr(p).sum(-1)).tolist()
            if reference is not None:
                with reference() as other:
                    log_q = torch.log_softmax(answer_logits(other, ids, attention, completion)[0], -1)
                apart = torch.where(p > 0, p * (log_p - log_q), torch.zeros((), dtype=p.dtype, device=p.device))
                divergences += total(apart.sum(-1)).tolist()
    mean, error = _mean(entropies)
    found = {"entropy": mean, "entropy_error": error}
    if reference is not None:
        mean, error = _mean(divergences)
        found |= {"kl_to_reference": mean, "kl_error": error}
    return found


def _mean(values: list[float]) -> tuple[float, float]:
    x = np.asarray(values)
    return float(x.mean()), float(x.std(ddof=1) / np.sqrt(len(x)))


def _rows(drawn: list[tuple[tuple[int, ...], list[int]]]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """ids, attention and completion of prompts with answers, padded on the right."""
    width = max(len(prompt) + len(answer) for prompt, answer in drawn)
    ids, position = np.zeros((len(drawn), width), np.int64), np.arange(width)
    begin, end = np.zeros((len(drawn), 1), int), np.zeros((len(drawn), 1), int)
    for i, (prompt, answer) in enumerate(drawn):
        begin[i], end[i] = len(prompt), len(prompt) + len(answer)
        ids[i, : end[i, 0]] = [*prompt, *answer]
    return ids, position < end, (position >= begin) & (position < end)
