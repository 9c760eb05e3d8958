"""What is measured of a model on fixed pairs: the same computation at every step, so that margins start at exactly 0."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import metadata
from typing import Any

import numpy as np

from .._provenance import provenance
from ..schema import VARIABLES, Variable
from ._loss import log_probs, margin, of_margin
from ._pairs import Batch, Pairs, encode, prompt_ids
from ._sampling import Sampler, on_policy

PACKAGES = ("torch", "transformers", "accelerate", "trl", "peft")
CHUNK = 16  # pairs in a forward pass


class WrongReference(ValueError):
    """The reference is not the model that the run began with."""


def versions() -> dict[str, str]:
    """Versions of the packages that compute a record."""
    found = dict(provenance())
    for package in PACKAGES:
        try:
            found[f"version_{package}"] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


@contextmanager
def evaluating(model: Any) -> Iterator[None]:
    """The model without dropout and without gradients; its mode comes back."""
    import torch

    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        for module, mode in modes:
            module.training = mode


def check_weights(model: Any) -> None:
    """Raises ``ValueError`` where a weight has less than 32 bits."""
    for name, weight in model.named_parameters():
        if weight.is_floating_point() and weight.dtype.itemsize < 4:
            kind = str(weight.dtype).removeprefix("torch.")
            raise ValueError(
                f"weight {name} is {kind}, in which steps of a small learning rate are lost and margins do not start at 0; "
                "load the model in float32 and let mixed precision cast (Accelerator(mixed_precision='bf16'))."
            )


@dataclasses.dataclass(frozen=True)
class Probe:
    """Pairs to measure on, encoded once and cut into chunks that are always computed alike.

    Attributes:
        pairs: all of them.
        batch: the same, encoded.
        held: how many of the last pairs are held out of training.
        chunks: the batches of a forward pass each, with as many pairs each; the last repeats its last pair.
        eos: whether the end-of-text token is counted.
    """

    pairs: Pairs
    batch: Batch
    held: int
    chunks: tuple[Batch, ...]
    eos: bool

    @classmethod
    def of(
        cls,
        pairs: Pairs,
        held_out: Pairs | None,
        tokenizer: Any,
        *,
        eos: bool,
        max_length: int | None,
        may_cut: bool = False,
    ) -> Probe:
        """Encodes the pairs; one that ``max_length`` would cut is refused unless ``may_cut``."""
        both = pairs if held_out is None else _joined(pairs, held_out)
        batch = encode(both, tokenizer, eos=eos, max_length=max_length)
        cut = np.flatnonzero(batch.truncated)
        if len(cut) and not may_cut:
            raise ValueError(
                f"the probe's pair {both.id[cut[0] % len(both)]} is longer than max_length = {max_length} tokens; raise "
                f"max_length, or leave the pair out."
            )
        size = min(CHUNK, len(both))
        which = [np.minimum(np.arange(i, i + size), len(both) - 1) for i in range(0, len(both), size)]
        return cls(both, batch, 0 if held_out is None else len(held_out), tuple(batch.take(w) for w in which), eos)

    def log_probs(self, model: Any, accelerator: Any = None) -> np.ndarray:
        """log pi of chosen and rejected answers, ``(2, N)``, float64; with several processes each does its share of chunks.

        Every process has to call this, and all get the whole result.
        """
        import torch

        world, rank = (1, 0) if accelerator is None else (accelerator.num_processes, accelerator.process_index)
        share = -(-len(self.chunks) // world)
        mine = [self.chunks[min(rank * share + i, len(self.chunks) - 1)] for i in range(share)]
        with evaluating(model):
            rows = torch.stack([torch.stack(log_probs(model, chunk)) for chunk in mine])
        rows = rows if accelerator is None or world == 1 else accelerator.gather(rows.contiguous())
        table = rows[: len(self.chunks)].double().cpu().numpy().transpose(1, 0, 2).reshape(2, -1)
        return table[:, : len(self.pairs)]

    def sampler(self, tokenizer: Any, count: int, tokens: int | None, seed: int) -> Sampler | None:
        """Draws answers to the prompts, as long as the longest answer unless ``tokens`` says otherwise."""
        if count == 0:
            return None
        if count < 2:
            raise ValueError(f"entropy_samples = {count} has no standard error; pass 0, or 2 and more.")
        prompts = dict.fromkeys(tuple(ids) for ids in prompt_ids(self.pairs, tokenizer))
        longest = int(self.batch.completion.sum(axis=1).max())
        return Sampler(tuple(prompts), count, tokens or longest, tokenizer.eos_token_id, seed)

    def row(
        self,
        objective: Any,
        log_prob: np.ndarray,
        log_reference: np.ndarray,
        *,
        normalise: bool = False,
        sampled: dict[str, float] | None = None,
    ) -> dict[str, Any]:
        """The values of a record's row; ``loss`` is left out without a loss in torch."""
        import torch

        (w, l), (ref_w, ref_l) = log_prob, log_reference
        r = margin(objective, w, l, ref_w, ref_l)
        found = {"reward_margin": r, "log_prob_chosen": w, "log_prob_rejected": l} | (sampled or {})
        lengths = self.batch.completion.sum(axis=1).reshape(2, -1)
        pulled = margin(objective, w, l, ref_w, ref_l, tuple(lengths) if normalise else None)
        losses = of_margin(objective, torch.as_tensor(pulled)).numpy()
        train = slice(0, len(r) - self.held)
        right = 0.5 * (1.0 + np.sign(r))  # a margin of 0 counts as half correct, as in MarginFlow
        found |= {"loss": losses[train].mean(), "accuracy": right[train].mean(), "accuracy_raw": (w > l)[train].mean()}
        if self.held:
            out = slice(len(r) - self.held, None)
            found |= {"held_out_loss": losses[out].mean(), "held_out_accuracy": right[out].mean()}
        return found

    def fixed(self, log_reference: np.ndarray) -> dict[str, np.ndarray]:
        """What holds for all rows of a record."""
        lengths = self.batch.completion.sum(axis=1).reshape(2, -1)
        return {
            "log_reference_chosen": log_reference[0],
            "log_reference_rejected": log_reference[1],
            "length_chosen": lengths[0],
            "length_rejected": lengths[1],
        }

    def coords(self) -> dict[str, Any]:
        """Labels of the examples."""
        split = np.where(np.arange(len(self.pairs)) < len(self.pairs) - self.held, "train", "held_out")
        labels = {"behaviour": np.array(self.pairs.behaviour), "split": split}
        return {"example": np.array(self.pairs.id)} | {name: ("example", value) for name, value in labels.items()}


def sampled(sampler: Sampler | None, model: Any, reference: Callable[[], Any] | None, step: int) -> dict[str, float]:
    """Entropy and divergence of what the model samples now; nothing without a sampler."""
    if sampler is None:
        return {}
    with evaluating(model):
        return on_policy(model, sampler, reference, step)


def variables_of(names: Any) -> dict[str, Variable]:
    """The schema's variables of a row or of what is fixed; margins are those of examples."""
    examples = Variable(("example",), "1", "reward margin r = beta (h_w - h_l)")
    return {name: examples if name == "reward_margin" else VARIABLES[name] for name in names}


def _joined(first: Pairs, second: Pairs) -> Pairs:
    both = set(first.id) & set(second.id)
    if both:
        raise ValueError(f"held_out and the probe share the pair {min(both)}; take it out of one of the two.")
    names = ("prompt", "chosen", "rejected", "id", "behaviour")
    return Pairs(*((*getattr(first, name), *getattr(second, name)) for name in names))
