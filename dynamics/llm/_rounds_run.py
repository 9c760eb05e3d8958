"""Rounds on a language model under way: their rows, the solve of each, and the state on disk from which they go on."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from .._numerics import centre
from .._parameters import describe
from .._progress import progress as bar
from ..rounds import Rounds, RoundsState
from ..solve import iterate
from . import _checkpoint
from ._candidates import Candidates
from ._checkpoint import weights_sha256
from ._inner import Inner, adam, minimise
from ._models import Language
from ._round_loss import round_loss

GAP = 50.0  # nats between candidates from which on comparisons have no weight
UNSOLVED = (
    1e-2  # of the gradient in the log-probabilities; a round of L-BFGS that ends above it is not taken for an optimum
)


@dataclasses.dataclass(frozen=True)
class Row:
    """What a round left: log pi(y_k | x), log pi over the candidates, the prediction from the round before, the solve."""

    log_prob: np.ndarray
    log_policy: np.ndarray
    one_round: np.ndarray
    evaluations: int
    gradient: float


class Run:
    """Rounds under way."""

    def __init__(
        self,
        loop: Rounds,
        language: Language,
        batch: Candidates,
        weights: list[Any],
        trainable: str,
        inner: Inner,
        seed: int,
        out: Path | None,
        rounds: int,
    ):
        self.loop, self.language, self.batch, self.weights, self.inner = loop, language, batch, weights, inner
        self.out, self.rounds, self.trainable, self.seed = out, rounds, trainable, seed
        self.key = jax.random.key(seed) if loop.stochastic else None
        self.optimizer = adam(inner, weights)
        self.rows: list[Row] = []
        self.log_references: list[np.ndarray] = []
        self.config = self._config() if out is not None else {}
        state = None if out is None else _checkpoint.load(out, self.config)
        self.memory = self._begin() if state is None else self._resume(state)

    def _config(self) -> dict[str, Any]:
        """What two runs share of which one goes on with the other, as JSON; the number of rounds is free."""
        return {
            "loop": describe(self.loop),
            "inner": dataclasses.asdict(self.inner),
            "trainable": self.trainable,
            "seed": self.seed,
            "eos": self.batch.eos,
            "candidates": self.batch.sha256(),
            "weights_sha256": weights_sha256(self.language.model),
            "sha256": self.language.sha256,
            "tokenizer_sha256": self.language.tokenizer_sha256,
            "dtype": self.language.dtype,
        }

    def _begin(self) -> Any:
        log_prob = self.batch.measure(self.language.model)
        if not np.isfinite(log_prob).all():
            raise ValueError(f"candidate {int(np.argmin(np.isfinite(log_prob)))} has the log-probability nan or -inf.")
        gap = float(np.ptp(log_prob))
        if gap > GAP:
            raise ValueError(
                f"the candidates' log-probabilities are {gap:.0f} nats apart, where comparisons have no weight and nothing is "
                "trained; call llm.level(language, prompt, candidates, log_policy) first."
            )
        log_policy = _normalised(log_prob)
        self.rows.append(Row(log_prob, log_policy, log_policy, 0, math.nan))
        return self.loop.reference.start(centre(jnp.asarray(log_policy)))

    def _resume(self, state: dict[str, Any]) -> Any:
        fields = zip(
            *(state[name] for name in ("log_prob", "log_policy", "one_round", "evaluations", "gradient")), strict=True
        )
        self.rows = [Row(a.numpy(), b.numpy(), c.numpy(), int(d), float(e)) for a, b, c, d, e in fields]
        if len(self.rows) - 1 > self.rounds:
            raise ValueError(f"{self.out} holds {len(self.rows) - 1} rounds; pass rounds={len(self.rows) - 1} or more.")
        self.log_references = [x.numpy() for x in state["log_reference"]]
        _checkpoint.put_back(state["weights"], self.language.model)
        if self.optimizer is not None:
            self.optimizer.load_state_dict(state["optimizer"])
        first, *later = (centre(jnp.asarray(row.log_policy)) for row in self.rows)
        memory = self.loop.reference.start(first)
        for logits in later:
            memory = self.loop.reference.follow(logits, memory)
        return memory

    def go(self, progress: bool) -> str | None:
        """The rounds to the end; returns what made one fail, if one did."""
        with bar("rounds", self.rounds, enabled=progress) as advance:
            advance(len(self.rows) - 1)
            while len(self.rows) - 1 < self.rounds:
                failure = self._round()
                if failure:
                    return failure
                self._save()
                advance(1)
        return None

    def _round(self) -> str | None:
        number = len(self.rows) - 1
        key = None if self.key is None else jax.random.fold_in(self.key, number)
        logits = centre(jnp.asarray(self.rows[-1].log_policy))
        fit, predicted, solved = plan_round(self.loop, RoundsState(logits, self.memory, None), key)
        if not bool(solved):
            return "the objective has no finite optimum on what the round sees; see dyn.iterate on the same loop"
        if not bool(linked(fit.seen.rates())):
            return "its comparisons do not link all candidates, so the model's log-ratios are not determined; draw more samples"
        log_reference = np.asarray(fit.log_reference, np.float64)
        loss = round_loss(fit.objective, fit.seen, log_reference)
        if self.optimizer is not None and self.inner.moments == "reset":
            self.optimizer = adam(self.inner, self.weights)
        scores: Callable[[], Any] = lambda: self.batch.log_probs(self.language.model)
        try:
            count, gradient = minimise(self.inner, self.weights, scores, loss, self.optimizer)
        except FloatingPointError:
            return "loss or gradient left the finite numbers; use a smaller learning rate, or train fewer weights"
        if self.inner.kind == "lbfgs" and gradient > UNSOLVED:
            return (
                f"L-BFGS ended at a gradient of {gradient:.1g} after {count} evaluations; pass more evaluations=, or train "
                "more weights"
            )
        log_prob = self.batch.measure(self.language.model)
        if not np.isfinite(log_prob).all():
            return "the weights left the finite numbers; use a smaller learning rate, or train fewer weights"
        log_policy = _normalised(log_prob)
        self.log_references.append(_normalised(log_reference))
        self.rows.append(Row(log_prob, log_policy, _normalised(np.asarray(predicted, np.float64)), count, gradient))
        self.memory = self.loop.reference.follow(centre(jnp.asarray(log_policy)), self.memory)
        return None

    def _save(self) -> None:
        if self.out is None:
            return
        import torch

        self.out.mkdir(parents=True, exist_ok=True)
        stack = lambda name: torch.as_tensor(np.stack([getattr(row, name) for row in self.rows]))
        names = ("log_prob", "log_policy", "one_round", "evaluations", "gradient")
        state = {name: stack(name) for name in names} | {
            "config": json.dumps(self.config, sort_keys=True),
            "log_reference": torch.as_tensor(np.stack(self.log_references)),
            "weights": _checkpoint.trainable(self.language.model),
            "optimizer": None if self.optimizer is None else self.optimizer.state_dict(),
        }
        _checkpoint.write(self.out, state)

    def simulated(self) -> Any:
        """The simulator's run from the model's start, with the same draws."""
        start = jnp.asarray(self.rows[0].log_policy)
        return iterate(self.loop, len(self.rows) - 1, initial=start, key=self.key, throw=False)


def _normalised(logits: np.ndarray) -> np.ndarray:
    return logits - np.logaddexp.reduce(logits)


@eqx.filter_jit
def plan_round(loop: Rounds, state: RoundsState, key: Any) -> Any:
    """The fit of a round, the policy that the simulator predicts, and whether that exists."""
    fit = loop.fit(state.logits, state.reference, key)
    after, found = loop.advance(state, key)
    return fit.prepared(), after.logits, found


def linked(rates: Any) -> Any:
    """Whether comparisons link all candidates, in any number of steps."""
    met = np.asarray(rates + rates.T) > 0
    steps = np.linalg.matrix_power(np.eye(len(met)) + met, len(met) - 1)
    return bool((steps > 0).all())
