"""A training run under way: its plan, its steps, its rows and its checkpoints."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import math
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from .._progress import progress as bar
from ..objectives import MarginLoss
from . import _checkpoint
from ._loss import log_probs, loss
from ._models import Language
from ._probe import Probe, sampled, variables_of, versions
from ._record import Record, as_json, open_record
from ._sampling import Sampler, swapped

RECORD = "record.zarr"
SAMPLED = ("entropy", "entropy_error", "kl_to_reference", "kl_error")
OPTIMIZERS = ("adamw", "adam", "sgd")


@dataclasses.dataclass(frozen=True)
class Plan:
    """What a run does, without the model."""

    objective: MarginLoss
    steps: int
    batch: int
    lr: float
    optimizer: str | Callable[..., Any]
    weight_decay: float
    schedule: str
    warmup: int
    clip: float
    normalise: bool
    shuffle: bool
    seed: int
    at: tuple[int, ...]
    every: int
    microbatch: int

    def factor(self, step: int) -> float:
        """What multiplies the learning rate in the step after ``step``."""
        if step < self.warmup:
            return (step + 1) / self.warmup
        rest = (step - self.warmup) / max(self.steps - self.warmup, 1)
        return {"constant": 1.0, "linear": 1.0 - rest, "cosine": 0.5 * (1.0 + math.cos(math.pi * rest))}[self.schedule]

    def pairs_at(self, step: int, count: int) -> np.ndarray:
        """The pairs of a step: the next ``batch`` of all pairs in one order after another, each a permutation of its own."""
        place = np.arange(step * self.batch, (step + 1) * self.batch)
        order = _order if self.shuffle else lambda seed, epoch, count: np.arange(count)
        return np.array(
            [order(self.seed, int(epoch), count)[i] for epoch, i in zip(*divmod(place, count), strict=True)]
        )


@functools.lru_cache(maxsize=2)
def _order(seed: int, epoch: int, count: int) -> np.ndarray:
    return np.random.default_rng([seed, epoch]).permutation(count)


class Run:
    """A run under way."""

    def __init__(
        self,
        plan: Plan,
        language: Language,
        data: Probe,
        probe: Probe,
        sampler: Sampler | None,
        config: dict[str, Any],
        out: Path | None,
        accelerator: Any,
    ):
        self.plan, self.data, self.probe, self.sampler, self.config, self.out = plan, data, probe, sampler, config, out
        self.accelerator = _accelerator(accelerator, plan.batch)
        self.plain = language.model.eval()
        trained = [p for p in self.plain.parameters() if p.requires_grad]
        self.optimizer = _optimizer(plan, trained)
        self.rates = [group["lr"] for group in self.optimizer.param_groups]
        self.start = [p.detach().clone().to(self.accelerator.device) for p in trained] if sampler else []
        self.trained = trained
        self.model, self.prepared = self.accelerator.prepare(self.plain, self.optimizer)
        self.step, self.since = 0, [0.0, 0.0]
        self.main = self.accelerator.is_main_process
        state = None if out is None else _checkpoint.load(out, config)
        self.log_reference = self._references() if state is None else _arrays(state["log_reference"])
        self.record = self._begin(language) if state is None else self._resume(state)

    def _references(self) -> dict[str, np.ndarray]:
        return {
            "data": self.data.log_probs(self.model, self.accelerator),
            "probe": self.probe.log_probs(self.model, self.accelerator),
        }

    def _begin(self, language: Language) -> Record:
        place = None if self.out is None or not self.main else self.out / RECORD
        if place is not None and place.exists():
            if open_record(place).attrs.get("config") != as_json(self.config):
                raise ValueError(f"{place} is the record of another run; pass another out=.")
            shutil.rmtree(place)  # this run was killed before its first checkpoint
        fixed = self.probe.fixed(self.log_reference["probe"])
        attrs = {"config": as_json(self.config), "result": "running", "model": language.name, "seed": self.plan.seed}
        attrs |= {"beta": float(self.plan.objective.beta), "eos": str(self.probe.eos), "dtype": language.dtype}
        attrs |= {"device": str(self.accelerator.device), "processes": self.accelerator.num_processes} | versions()
        attrs |= {"precision": self.accelerator.mixed_precision, "sha256": language.sha256}
        attrs |= {"attention": str(getattr(self.plain.config, "_attn_implementation", ""))}
        names = [*self._row(self.log_reference["probe"], {}), *(SAMPLED if self.sampler else ())]
        coords, known = self.probe.coords(), variables_of(fixed)
        return Record(place, variables_of(names), fixed=fixed, fixed_variables=known, coords=coords, attrs=attrs)

    def _resume(self, state: dict[str, Any]) -> Record:
        assert self.out is not None
        record = open_record(self.out / RECORD)
        record.path = record.path if self.main else None
        record.truncate(state["rows"])
        _checkpoint.restore(state, self.plain, self.optimizer)
        self.step, self.since = state["step"], list(state["since"])
        return record

    def go(self, progress: bool) -> int | None:
        """Trains to the end; returns the step that left the finite numbers, if one did."""
        with bar("steps", self.plan.steps, enabled=progress and self.main) as advance:
            advance(self.step)
            while True:
                if self.step in self.plan.at and (not self.record.steps or self.record.steps[-1] < self.step):
                    self._record_row()
                if self.out is not None and (self.step % self.plan.every == 0 or self.step == self.plan.steps):
                    self._save(self.out)
                if self.step == self.plan.steps or not self._update():
                    break
                self.step += 1
                advance(1)
        failed = None if self.step == self.plan.steps else self.step
        self.record.note(result="successful" if failed is None else "nonfinite")
        self.accelerator.wait_for_everyone()
        self.accelerator.unwrap_model(self.model, keep_fp32_wrapper=False)
        return failed

    def _row(self, log_prob: np.ndarray, found: dict[str, float]) -> dict[str, Any]:
        total, count = self.since
        row = self.probe.row(
            self.plan.objective, log_prob, self.log_reference["probe"], normalise=self.plan.normalise, sampled=found
        )
        return row | {"batch_loss": total / count if count else math.nan}

    def _record_row(self) -> None:
        log_prob = self.probe.log_probs(self.model, self.accelerator)
        reference = functools.partial(swapped, self.plain, self.trained, self.start)
        self.record.append(self.step, self._row(log_prob, sampled(self.sampler, self.plain, reference, self.step)))
        self.since = [0.0, 0.0]

    def _save(self, out: Path) -> None:
        if self.main:
            _checkpoint.save(
                out, step=self.step, config=self.config, model=self.plain, optimizer=self.optimizer,
                log_reference=self.log_reference, rows=len(self.record), since=self.since,
            )  # fmt: skip
        self.accelerator.wait_for_everyone()

    def _update(self) -> bool:
        """One step of the optimizer; False where loss or gradient is not finite, and nothing is changed then."""
        import torch

        plan, accelerator = self.plan, self.accelerator
        for group, rate in zip(self.optimizer.param_groups, self.rates, strict=True):
            group["lr"] = rate * plan.factor(self.step)
        share = plan.batch // accelerator.num_processes
        mine = plan.pairs_at(self.step, len(self.data.pairs))[accelerator.process_index * share :][:share]
        parts = [mine[i : i + plan.microbatch] for i in range(0, share, plan.microbatch)]
        total = torch.zeros((), device=accelerator.device)
        self.optimizer.zero_grad()
        for i, part in enumerate(parts):
            last = i + 1 == len(parts)
            with contextlib.nullcontext() if last else accelerator.no_sync(self.model), self._memory(len(part)):
                mean = self._losses(part).sum() / share
                accelerator.backward(mean)
            total += mean.detach().float()
        norm = accelerator.clip_grad_norm_(self.trained, plan.clip)
        total = accelerator.reduce(total, "mean")
        if not (math.isfinite(float(total)) and math.isfinite(float(norm))):
            return False
        self.prepared.step()
        self.since = [self.since[0] + float(total), self.since[1] + 1]
        return True

    @contextlib.contextmanager
    def _memory(self, pairs: int) -> Iterator[None]:
        """Says what to lower where the device runs out of memory."""
        import torch

        try:
            yield
        except torch.OutOfMemoryError as error:
            raise RuntimeError(
                f"step {self.step} needs more memory than the device has for {pairs} pairs at a time; pass a smaller "
                "microbatch=, or train an adapter (llm.adapt)."
            ) from error

    def _losses(self, part: np.ndarray) -> Any:
        import torch

        w, l = log_probs(self.model, self.data.batch.take(part))
        to = lambda x: torch.as_tensor(x, dtype=w.dtype, device=w.device)
        ref_w, ref_l = to(self.log_reference["data"][:, part])
        lengths = to(self.data.batch.completion.sum(axis=1).reshape(2, -1)[:, part])
        pair = (lengths[0], lengths[1]) if self.plan.normalise else None
        return loss(self.plan.objective, w, l, ref_w, ref_l, normalise=self.plan.normalise, lengths=pair)


def _arrays(tensors: dict[str, Any]) -> dict[str, np.ndarray]:
    return {name: value.numpy() for name, value in tensors.items()}


def _accelerator(given: Any, batch: int) -> Any:
    from accelerate import Accelerator

    accelerator = Accelerator() if given is None else given
    kind = str(accelerator.distributed_type).rsplit(".", 1)[-1]
    if kind not in ("NO", "MULTI_CPU", "MULTI_GPU"):
        raise ValueError(
            f"the accelerator splits the model ({kind}), which is not supported; use copies of it, or TRL."
        )
    if batch % accelerator.num_processes:
        raise ValueError(
            f"batch = {batch} does not divide among {accelerator.num_processes} processes; pass a multiple."
        )
    return accelerator


def _optimizer(plan: Plan, parameters: list[Any]) -> Any:
    import torch

    if callable(plan.optimizer):
        return plan.optimizer(parameters, lr=plan.lr)
    kinds = {"adamw": torch.optim.AdamW, "adam": torch.optim.Adam, "sgd": torch.optim.SGD}
    return kinds[plan.optimizer](parameters, lr=plan.lr, weight_decay=plan.weight_decay)
