"""Rounds of iterated alignment on a language model, beside the simulator's prediction of them."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from .._checks import check_count
from .._noun import assemble
from .._numerics import centre
from .._progress import progress as bar
from ..feedback import Population, Samples
from ..learners import Optimum
from ..policies import Tabular
from ..rounds import Rounds, RoundsState, parts_of
from ..solve import iterate
from . import _checkpoint
from ._candidates import Candidates, training
from ._checkpoint import weights_sha256
from ._inner import TOLERANCE, Inner, adam, minimise
from ._models import Language, need
from ._round_loss import round_loss
from ._rounds_table import table

if TYPE_CHECKING:
    import xarray as xr

GAP = 50.0  # nats between candidates from which on comparisons have no weight
UNSOLVED = (
    1e-2  # of the gradient in the log-probabilities; a round of L-BFGS that ends above it is not taken for an optimum
)


def self_sample(
    language: Language,
    prompt: str,
    candidates: Sequence[str],
    loop: Any,
    rounds: int,
    *,
    inner: str = "lbfgs",
    trainable: str = "lora",
    samples: int | None = None,
    out: str | Path | None = None,
    eos: bool = True,
    tolerance: float = TOLERANCE,
    evaluations: int = 120,
    history: int = 10,
    steps: int = 200,
    lr: float = 1e-3,
    schedule: str = "cosine",
    moments: str = "reset",
    seed: int = 0,
    progress: bool = True,
    throw: bool = True,
) -> xr.Dataset:
    """pi_{t+1} = argmin over theta of the objective at pi(k) ∝ pi_theta(y_k | x); ref_t, mu_t and labels are those of ``loop``.

    The model is trained in place, round after round. log ref_t and mu_t are computed from its own log-probabilities over the
    K candidates, normalised over them. Beside them the Dataset holds the simulator's run from the model's start, and its
    prediction of each round from the model's last policy.

    Args:
        language: from ``llm.load`` or ``llm.adapt``; float32 or float64 weights.
        prompt: x.
        candidates: K answers, in the order of the preference matrix.
        loop: ``dyn.SelfSampling`` or ``dyn.Rounds`` of one prompt over K responses, tabular and with exact optima. Any
            reference, sampler, feedback and smooth objective of the library will do, or your own. Take ``log_reference`` from
            ``llm.level(...).log_policy`` where the reference is the model as it starts.
        rounds: T, int ≥ 0.
        inner: "lbfgs", which solves every round, or "adam", which takes ``steps``.
        trainable: which weights move: "lora" (of ``llm.adapt``), "head" (the last layer), or "all".
        samples: comparisons drawn in every round, as ``dyn.feedback.Samples(samples)``; None: as ``loop`` says.
        out: a folder for the state after every round. A run that was killed goes on from there, bit for bit, when the call is
            repeated; more ``rounds`` continue it. Nothing is written unless given.
        eos: whether the end-of-text token ends each answer and is counted.
        tolerance: largest entry of the gradient in the K log-probabilities, of the loss times beta for IPO and times 2/beta
            for DPO, at which L-BFGS stops.
        evaluations: of loss and gradient in a round at most, for L-BFGS.
        history: pairs of vectors that L-BFGS keeps; it needs 2 · history copies of the trained weights.
        steps, lr: of Adam in a round, and its learning rate.
        schedule: of the learning rate within a round, "cosine" or "constant".
        moments: whether Adam's moments are "reset" at the start of each round or "kept".
        seed: of the comparisons that are drawn: the simulator draws the same.
        progress: whether a bar may appear, at a terminal.
        throw: raise where a round fails; otherwise the rounds before it are returned, and ``result`` says why.

    Returns:
        Dataset along ``round`` 0 … T and ``response``: ``log_policy``, ``log_policy_predicted``, ``log_policy_one_round``,
        ``log_reference`` of the round that follows, ``log_prob`` summed over tokens, ``total_variation``,
        ``total_variation_one_round``, ``evaluations``, ``gradient``, ``entropy``, ``kl_to_reference``, ``reward_margin``.

    Raises:
        ValueError: a bad argument, candidates more than 50 nats apart (``llm.level`` first), or an ``out`` of another run.
        RuntimeError: a round left the finite numbers, has no optimum, or was not solved; the rounds before it are kept.

    Source: [paper] Chen26; one prompt's candidates as the response space [derived].

    >>> loop = dyn.SelfSampling(dyn.preferences.cyclic(3, 0.4), dyn.IPO(0.2), alpha=0.5, lam=1.0)
    >>> report = dyn.llm.level(language, prompt, candidates, np.log([0.5, 0.3, 0.2]))  # doctest: +SKIP
    >>> ds = dyn.llm.self_sample(language, prompt, candidates, loop, rounds=12)  # doctest: +SKIP
    >>> float(ds.total_variation.max()) < 1e-3  # doctest: +SKIP
    True
    """
    need("torch")
    plan = _parts(loop, samples)
    rounds = check_count(rounds, "rounds", 0)
    solver = Inner(inner, tolerance, evaluations, history, steps, lr, schedule, moments)
    batch = Candidates.of(language, prompt, candidates, eos)
    if len(batch) != plan.num_responses:
        raise ValueError(
            f"candidates holds {len(batch)} answers and loop is of {plan.num_responses} responses; pass one answer for each."
        )
    if language.dtype == "float64" and jnp.zeros(()).dtype != jnp.float64:
        raise ValueError(
            "the model is float64 and JAX predicts in float32; call jax.config.update('jax_enable_x64', True) first."
        )
    with training(language, trainable) as weights:
        run = Run(plan, language, batch, weights, trainable, solver, seed, None if out is None else Path(out), rounds)
        failure = run.go(progress)
    if failure and throw:
        kept = f"the rounds before it are in {out}" if out is not None else "throw=False returns the rounds before it"
        raise RuntimeError(f"round {len(run.rows)}: {failure} ({kept}).")
    return table(run, failure)


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
        from .._parameters import describe

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


def _parts(loop: Any, samples: int | None) -> Rounds:
    """The loop as ``Rounds`` that a model can take the place of the learner and of the policy class in."""
    parts = parts_of(loop)
    if parts is None:
        raise ValueError(
            f"loop is {type(loop).__name__}, whose parts are not known; pass dyn.SelfSampling or dyn.Rounds."
        )
    if len(parts.shape) != 1:
        raise ValueError(f"loop has {parts.shape[0]} prompts; rounds on a model take one: pass loop.prompts()[x].")
    if type(parts.policy) is not Tabular:
        raise ValueError(
            f"loop has the policy class {type(parts.policy).__name__}; the model is the policy: leave it out."
        )
    if type(parts.learner) is not Optimum:
        raise ValueError(
            f"loop has the learner {type(parts.learner).__name__}; the model is what learns: pass inner= here."
        )
    if not parts.sampler.support(parts.shape).all():
        raise ValueError(
            "loop never samples some responses, so no comparison trains them; give each some mass in log_offline, or lam > 0."
        )
    if samples is None:
        return parts
    if type(parts.feedback) is not Population:
        raise ValueError(
            f"samples = {samples}, and loop has the feedback {type(parts.feedback).__name__}; pass one of the two."
        )
    fields = {field.name: getattr(parts, field.name) for field in dataclasses.fields(parts)}
    return assemble(Rounds, **fields | {"feedback": Samples(samples)})


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
