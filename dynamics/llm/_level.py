"""Levelling: a model fitted to a given policy over K candidates, from which rounds can begin."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .._checks import check_log_distribution
from . import _checkpoint
from ._candidates import Candidates, training
from ._checkpoint import weights_sha256
from ._inner import Inner, minimise
from ._models import Language, need

if TYPE_CHECKING:
    import torch

TOLERANCE = {"float32": 1e-5, "float64": 1e-8}  # of the gradient in the log-probabilities


@dataclasses.dataclass(frozen=True)
class Levelled:
    """What ``llm.level`` reached.

    Attributes:
        log_policy: log pi over the K candidates, ``(K,)``, normalised over them, in nats: where rounds begin.
        kl: KL(wanted||reached), in nats.
        evaluations: of loss and gradient.
        log_prob_before, log_prob: log pi(y_k | x) of the model before and after, ``(K,)``, summed over tokens, in nats.
    """

    log_policy: np.ndarray
    kl: float
    evaluations: int
    log_prob_before: np.ndarray
    log_prob: np.ndarray


def level(
    language: Language,
    prompt: str | Sequence[str],
    candidates: Sequence[str],
    log_policy: Any,
    *,
    trainable: str = "lora",
    eos: bool = True,
    tolerance: float | None = None,
    evaluations: int = 400,
    history: int = 10,
    kl: float = 1e-4,
    out: str | Path | None = None,
) -> Levelled:
    """theta such that pi = p, where pi(k) ∝ Π_t pi_theta(y_kt | x, y_k,<t) over K given answers: least squares in log pi/p.

    Answers of different lengths begin tens or hundreds of nats apart. There every comparison of a round has weight 0, so
    rounds have to begin from a model that is levelled. The model is trained in place.

    Args:
        language: from ``llm.load`` or ``llm.adapt``; float32 or float64 weights.
        prompt: x.
        candidates: K ≥ 2 answers, each appended to the prompt as it stands, leading space included.
        log_policy: log p, ``(K,)``, finite, in nats.
        trainable: which weights move: "lora" (of ``llm.adapt``), "head" (the last layer), or "all".
        eos: whether the end-of-text token ends each answer and is counted.
        tolerance: largest w_k |log pi(k)/p(k) - mean|, w = (p + 1/K)/2, at which L-BFGS stops; 1e-5 in float32 and 1e-8 in
            float64 unless given.
        evaluations: of loss and gradient at most.
        history: pairs of vectors that L-BFGS keeps; it needs 2 · history copies of the trained weights.
        kl: largest KL(p||pi) that counts as levelled, in nats.
        out: a folder for the weights, from which a repeated call restores them; nothing is written unless given.

    Raises:
        ValueError: candidates that the model cannot tell apart, a bad log-policy, or an ``out`` that holds another run.
        RuntimeError: the weights do not reach the policy, or leave the finite numbers.

    Source: [derived].

    >>> report = dyn.llm.level(language, "Is 2 even?", [" Yes.", " No, it is odd."], np.log([0.5, 0.5]))  # doctest: +SKIP
    >>> report.kl < 1e-6  # doctest: +SKIP
    True
    """
    need("torch")
    batch = Candidates.of(language, prompt, candidates, eos)
    wanted = np.asarray(check_log_distribution(log_policy, "log_policy", len(batch)), np.float64)
    limit = TOLERANCE[language.dtype] if tolerance is None else tolerance
    inner = Inner("lbfgs", limit, evaluations, history)
    with training(language, trainable) as weights:
        config = _config(language, batch, wanted, trainable, inner) if out is not None else {}
        state = None if out is None else _checkpoint.load(Path(out), config)
        if state is not None:
            _checkpoint.put_back(state["weights"], language.model)
            before, count = state["log_prob_before"].numpy(), state["evaluations"]
        else:
            before = batch.measure(language.model)
            try:
                count, _ = minimise(inner, weights, lambda: batch.log_probs(language.model), _variance_from(wanted))
            except FloatingPointError:
                raise RuntimeError(
                    "levelling left the finite numbers; the model's answers may be too unlikely."
                ) from None
        after = batch.measure(language.model)
        reached = after - np.logaddexp.reduce(after)
        apart = float(np.exp(wanted) @ (wanted - reached))
        if not apart <= kl:
            raise RuntimeError(
                f"levelling ended {apart:.2g} nats (KL) from log_policy after {count} evaluations; pass more evaluations=, "
                "train more weights (a larger rank, trainable='all'), or ask for a policy nearer to the model's."
            )
        if out is not None and state is None:
            _save(Path(out), config, language, before, count)
    return Levelled(reached, max(apart, 0.0), count, before, after)


def _variance_from(wanted: np.ndarray) -> Callable[[torch.Tensor], torch.Tensor]:
    """½ Var_w(log pi - log p), w = (p + uniform)/2.

    KL(p||pi) itself is linear in log-probabilities that are many nats apart, where L-BFGS finds no curvature; this is quadratic
    in them, with the same minimiser.
    """
    import torch

    weights = 0.5 * (np.exp(wanted) + 1.0 / len(wanted))

    def loss(log_probs: torch.Tensor) -> torch.Tensor:
        w = torch.tensor(weights, device=log_probs.device)
        gaps = log_probs - torch.tensor(wanted, device=log_probs.device)
        return 0.5 * (w * (gaps - w @ gaps) ** 2).sum()

    return loss


def _config(language: Language, batch: Candidates, wanted: np.ndarray, trainable: str, inner: Inner) -> dict[str, Any]:
    return {
        "weights_sha256": weights_sha256(language.model),
        "candidates": batch.sha256(),
        "eos": batch.eos,
        "log_policy": wanted.tolist(),
        "trainable": trainable,
        "inner": dataclasses.asdict(inner),
    }


def _save(out: Path, config: dict[str, Any], language: Language, before: np.ndarray, count: int) -> None:
    import torch

    out.mkdir(parents=True, exist_ok=True)
    weights = _checkpoint.trainable(language.model)
    state = {"config": json.dumps(config, sort_keys=True), "weights": weights, "evaluations": count}
    _checkpoint.write(out, state | {"log_prob_before": torch.as_tensor(before)})
