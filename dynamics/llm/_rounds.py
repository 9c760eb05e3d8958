"""Rounds of iterated alignment on a language model, beside the simulator's prediction of them."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jax.numpy as jnp

from .._checks import check_count
from .._noun import assemble
from ..feedback import Population, Samples
from ..learners import Optimum
from ..policies import Tabular
from ..rounds import Rounds, parts_of
from ._candidates import Candidates, training
from ._inner import TOLERANCE, Inner
from ._models import Language, need
from ._rounds_run import Run
from ._rounds_table import table

if TYPE_CHECKING:
    import xarray as xr


def self_sample(
    language: Language,
    prompt: str | Sequence[str],
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
