"""A recorder for anyone's run of TRL's DPOTrainer: a callback that measures a probe and overrides nothing."""

from __future__ import annotations

import contextlib
import functools
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from ..objectives import DPO, IPO, MarginLoss, SLiC
from ._checkpoint import weights_sha256
from ._pairs import Pairs
from ._probe import Probe, WrongReference, check_weights, sampled, variables_of, versions
from ._record import Record, as_json, open_record
from ._sampling import swapped
from ._weights_on_disk import same_weights, weights_on_disk

try:
    from transformers import TrainerCallback
except ImportError:
    raise ImportError("llm.Recorder needs transformers and trl; pip install '.[llm-trl]'.") from None

ZERO = 1e-3  # reward of the first batch, in which policy and reference are the same model
ROUNDING = 1e-6  # reward where they are the same
SAMPLED = ("entropy", "entropy_error", "kl_to_reference", "kl_error")
KEPT = (
    "learning_rate",
    "per_device_train_batch_size",
    "gradient_accumulation_steps",
    "max_steps",
    "num_train_epochs",
    "seed",
)
LOSSES: dict[str, tuple[type[MarginLoss], bool]] = {"sigmoid": (DPO, False), "ipo": (IPO, True), "hinge": (SLiC, False)}


class Recorder(TrainerCallback):
    """r = beta ((log pi_w - log ref_w) - (log pi_l - log ref_l)) of every probe pair, at chosen steps of a DPOTrainer's run::

        trainer = DPOTrainer(..., callbacks=[llm.Recorder("run.zarr", probe=pairs[:64])])
        trainer.train()
        llm.alarms("run.zarr")

    The log-probabilities of the reference are stored when training begins. Their source is the one that TRL uses: an adapter
    switched off, or the model as it begins. When a run is resumed they are compared with what would now be the reference.

    Args:
        path: of the record, a folder that does not exist unless a run is resumed.
        probe: pairs to measure, none longer than the trainer's ``max_length``.
        held_out: further pairs to measure, which are not trained on.
        every: steps between rows; step 0 and the last have one too.
        entropy_samples: answers to sample for entropy and KL divergence in each row; 0: neither is measured.
        entropy_tokens: tokens of a sampled answer at most; the longest answer of the probe unless given.
        reference: the model passed as ``ref_model``, where it is not the one that training begins with.
        eos: whether the end-of-text token ends each answer and is counted, as TRL does unless a collator takes it away.
        seed: of what is sampled.

    Raises:
        ValueError: (when training begins) a path that exists, a trainer without beta, weights in half precision, an adapter
            that cannot be switched off, or another probe or beta than those of the run that is resumed.
        WrongReference: the reference is not the one that the run began with.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        probe: Pairs,
        *,
        held_out: Pairs | None = None,
        every: int = 1,
        entropy_samples: int = 0,
        entropy_tokens: int | None = None,
        reference: Any = None,
        eos: bool = True,
        seed: int = 0,
    ):
        if isinstance(every, bool) or not isinstance(every, int) or every < 1:
            raise ValueError(f"every = {every!r}; pass a whole number of at least 1.")
        self.path, self.pairs, self.held_out, self.every = Path(path), probe, held_out, every
        self.samples, self.tokens, self.seed, self.eos = entropy_samples, entropy_tokens, seed, eos
        self.reference, self.began, self.starts_there = reference, 0, True
        self.record: Record | None = None

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        model, tokenizer = kwargs["model"], kwargs["processing_class"]
        _check(args, model)
        self.objective, self.normalise, self.exact = _objective(args)
        self.probe = Probe.of(self.pairs, self.held_out, tokenizer, eos=self.eos, max_length=args.max_length)
        self.sampler = self.probe.sampler(tokenizer, self.samples, self.tokens, self.seed)
        config = {
            "beta": args.beta,
            "loss_type": _names(args),
            "max_length": args.max_length,
            "every": self.every,
            "eos": self.eos,
        }
        config |= {name: str(getattr(args, name, None)) for name in KEPT} | {"sampled": [self.samples, self.tokens]}
        self.began = state.global_step
        if self.began == 0:
            self._begin(args, state, model, config)
            self._row(model, 0)
        else:
            self._resume(state, model, config)

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.global_step % self.every == 0:
            self._row(kwargs["model"], state.global_step)

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **kwargs: Any) -> None:
        rewards = {k: float(v) for k, v in (logs or {}).items() if k in ("rewards/chosen", "rewards/rejected")}
        if not rewards or state.global_step != self.began + 1:
            return
        largest, record = max(map(abs, rewards.values())), self._open()
        if self.began == 0 and self.starts_there and largest > ZERO:
            raise WrongReference(
                f"the trainer's first batch has {rewards}, which is 0 where the reference is the model that training begins "
                "with; pass the trainer's ref_model also as llm.Recorder(reference=...)."
            )
        before = [
            row["reward_margin"] for step, row in zip(record.steps, record.rows, strict=True) if step == self.began
        ]
        if self.began > 0 and largest < ROUNDING and before and np.abs(before[0]).max() > ZERO:
            raise WrongReference(
                f"the first batch after resuming has {rewards}: the trainer's reference is the model that it was resumed from, "
                "not the one that the run began with; load that as ref_model."
            )

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        record = self._open()
        if not record.steps or record.steps[-1] < state.global_step:
            self._row(kwargs["model"], state.global_step)
        record.note(result="successful" if np.isfinite(record.rows[-1]["reward_margin"]).all() else "nonfinite")

    def _open(self) -> Record:
        assert self.record is not None, "on_train_begin comes first"
        return self.record

    def _begin(self, args: Any, state: Any, model: Any, config: dict[str, Any]) -> None:
        if self.path.exists():
            raise ValueError(f"{self.path} exists; pass another path, remove it, or resume the run that wrote it.")
        source = self._switch(model)
        if source is None:
            found = weights_on_disk(model)
            if found is not None and not same_weights(model, found):
                raise WrongReference(
                    f"the model's weights are not those of {model.config._name_or_path}, which TRL takes as reference unless "
                    "it is given one; pass the trainer's ref_model also as llm.Recorder(reference=...)."
                )
            if self.sampler is not None:
                source = functools.partial(swapped, model, *zip(*_copies(model), strict=True))
        self.source = source
        with contextlib.nullcontext(model) if source is None else source() as reference:
            self.log_reference = self.probe.log_probs(reference)
        self.starts_there = source is None or _close(self.probe.log_probs(model), self.log_reference)
        attrs = {"config": as_json(config), "probe": as_json(list(self.probe.pairs.id)), "result": "running"}
        attrs |= {
            "beta": float(args.beta),
            "eos": str(self.eos),
            "model": str(model.config._name_or_path),
            "seed": self.seed,
        }
        attrs |= {
            "sha256": weights_sha256(model),
            "dtype": str(model.dtype).removeprefix("torch."),
            "device": str(model.device),
        }
        attrs |= {"attention": str(getattr(model.config, "_attn_implementation", ""))} | versions()
        fixed = self.probe.fixed(self.log_reference)
        names = [*self._values(self.log_reference, {}), *(SAMPLED if self.sampler else ())]
        place = self.path if state.is_world_process_zero else None
        coords, known = self.probe.coords(), variables_of(fixed)
        self.record = Record(place, variables_of(names), fixed=fixed, fixed_variables=known, coords=coords, attrs=attrs)

    def _resume(self, state: Any, model: Any, config: dict[str, Any]) -> None:
        record = open_record(self.path)
        for name, here in (("config", as_json(config)), ("probe", as_json(list(self.probe.pairs.id)))):
            if record.attrs[name] != here:
                raise ValueError(
                    f"{self.path} has another {name}: {record.attrs[name]}, here {here}; resume with the same."
                )
        stored = np.stack([record.fixed[f"log_reference_{side}"] for side in ("chosen", "rejected")])
        self.source, where = self._switch(model), "the adapter switched off" if self.reference is None else "reference="
        if self.source is None:
            where = f"{model.config._name_or_path}, which TRL takes as reference unless it is given one"
            found = weights_on_disk(model)
            if found is None:
                raise ValueError(
                    "what the reference of the resumed run is cannot be seen from a callback; pass the trainer's ref_model "
                    "also as llm.Recorder(reference=...)."
                )
            self.source = functools.partial(swapped, model, *found)
        with self.source() as reference:
            now = self.probe.log_probs(reference)
        if not _close(now, stored):
            raise WrongReference(
                f"the reference is not the one that the run began with: {where}, gives log-probabilities up to "
                f"{np.abs(now - stored).max():.3g} nats away; load the model that the run began with as ref_model, and pass it "
                "also as llm.Recorder(reference=...)."
            )
        self.log_reference = stored
        record.path = record.path if state.is_world_process_zero else None
        record.truncate(sum(step <= state.global_step for step in record.steps))
        self.record = record

    def _switch(self, model: Any) -> Callable[[], Any] | None:
        """Makes a context manager that yields the reference, where it is at hand."""
        if self.reference is not None:
            return lambda: contextlib.nullcontext(self.reference)
        return functools.partial(_without_adapter, model) if hasattr(model, "peft_config") else None

    def _values(self, log_prob: np.ndarray, found: dict[str, float]) -> dict[str, Any]:
        row = self.probe.row(self.objective, log_prob, self.log_reference, normalise=self.normalise, sampled=found)
        return row if self.exact else {k: v for k, v in row.items() if not k.endswith("loss")}

    def _row(self, model: Any, step: int) -> None:
        record = self._open()
        if record.steps and record.steps[-1] >= step:
            return
        log_prob = self.probe.log_probs(model)
        record.append(step, self._values(log_prob, sampled(self.sampler, model, self.source, step)))


@contextlib.contextmanager
def _without_adapter(model: Any) -> Any:
    """The reference as TRL takes it: the adapter's first state where TRL has kept it as "ref", else the bare model."""
    if "ref" not in model.peft_config:
        with model.disable_adapter():
            yield model
        return
    active = model.active_adapter
    model.set_adapter("ref")
    try:
        yield model
    finally:
        model.set_adapter(active)


def _close(one: np.ndarray, two: np.ndarray) -> bool:
    """Whether log-probabilities are those of the same model, perhaps on another machine."""
    return bool(np.allclose(one, two, rtol=1e-5, atol=1e-4))


def _copies(model: Any) -> list[tuple[Any, Any]]:
    return [(p, p.detach().clone()) for p in model.parameters() if p.requires_grad]


def _names(args: Any) -> list[str]:
    return [args.loss_type] if isinstance(args.loss_type, str) else list(args.loss_type)


def _objective(args: Any) -> tuple[MarginLoss, bool, bool]:
    """The objective, whether TRL divides by lengths, and whether it is exactly TRL's loss."""
    plain = not getattr(args, "label_smoothing", 0) and getattr(args, "ld_alpha", None) is None
    plain &= (
        not getattr(args, "use_weighting", False) and getattr(args, "f_divergence_type", "reverse_kl") == "reverse_kl"
    )
    kind, normalise = LOSSES.get(_names(args)[0], (DPO, False))
    return kind(args.beta), normalise, plain and len(_names(args)) == 1 and _names(args)[0] in LOSSES


def _check(args: Any, model: Any) -> None:
    if not hasattr(args, "beta") or not hasattr(args, "loss_type"):
        raise ValueError("llm.Recorder needs a trainer with beta and loss_type; pass it to a DPOTrainer.")
    check_weights(model)
    for name, config in getattr(model, "peft_config", {}).items():
        if getattr(config, "is_prompt_learning", False) or getattr(config, "modules_to_save", None):
            raise ValueError(
                f"adapter {name!r} is a learned prompt, or trains whole modules (modules_to_save), so its base cannot be "
                "switched off as reference; use LoRA of linear layers."
            )
