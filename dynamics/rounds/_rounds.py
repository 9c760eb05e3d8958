"""Rounds built from parts: a sampler, feedback, a reference, an objective, a learner and a policy class."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Bool, Float, PRNGKeyArray

from .._checks import Numbers, in_short
from .._noun import assemble, is_own
from .._numerics import centre, log_softmax
from .._vectors import block_diagonal, project, ravel
from ..feedback import Feedback, Population
from ..learners import Fit, Learner, Optimum
from ..objectives import Objective
from ..policies import Policy, Tabular
from ..preferences import Names, Pairs, PreferenceSet, Seen, check_prompts, prompt_shares, response_names
from ..references import Reference
from ..samplers import Sampler
from ._base import Process
from ._fitting import PARTS, check_of_parts, check_parts, of_prompt, resized


class RoundsState(eqx.Module):
    """What rounds carry to the next one.

    Attributes:
        logits: centred logits of the policy, ``(K,)``, in nats.
        reference, learner: the memories of these parts, None where they keep none.
    """

    logits: Float[Array, "*contexts K"]
    reference: Any
    learner: Any


class Rounds(Process[RoundsState]):
    """pi_{t+1} = learner(objective, policy class, log ref_t, what feedback shows of pairs from mu_t).

    log ref_t = reference(pi_t, …), mu_t = sampler(pi_t). Parameters are addressed by their parts: "reference.alpha",
    "sampler.lam", "objective.beta", or by the last name alone.

    Args:
        preference: P, ``(K, K)``, P_ij = Pr(i preferred to j); for X prompts ``(X, K, K)`` or a ``PreferenceSet`` of one
            size.
        objective: what a fit minimises, e.g. ``dyn.IPO(0.1)``.
        sampler: mu_t, which generates the pairs: ``dyn.samplers.Fixed``, ``OnPolicy``, ``Mixture`` or your own.
        reference: log ref_t, ``dyn.references.Fixed``, ``Geometric``, ``Ema`` or your own.
        feedback: labels them, ``dyn.feedback.Population``, ``Noisy``, ``Samples``, ``Observed``, ``BestOfN`` or your own.
        learner: ``dyn.learners.Optimum``, ``dyn.Descend`` or your own.
        policy: the policy class, ``dyn.Tabular(K)`` unless given, with which prompts are independent of each other;
            ``dyn.LogLinear(phi)`` with phi ``(X, K, d)`` shares theta among the prompts.
        weights: the prompts' shares in the loss and in averages, ``(X,)``, ≥ 0, normalised; equal unless given.
        names: of the responses, for Datasets, reports and plots, K or ``(X, K)``; those of a ``PreferenceSet`` unless given.

    Raises:
        ValueError: a part of another kind or size, an objective without a finite optimum on what is seen.

    >>> import dynamics as dyn, jax.numpy as jnp
    >>> P = dyn.preferences.cyclic(3, 0.4)
    >>> uniform = -jnp.log(3.0) * jnp.ones(3)
    >>> loop = dyn.Rounds(P, dyn.IPO(0.3), sampler=dyn.samplers.OnPolicy(), reference=dyn.references.Fixed(uniform))
    >>> loop(jnp.array([0.3, 0.0, -0.3])).shape
    (3,)
    """

    preference: Float[Array, "*contexts K K"]
    objective: Objective
    sampler: Sampler
    reference: Reference
    feedback: Feedback
    learner: Learner
    policy: Policy
    weights: Float[Array, " X"] | None
    names: Names | None = eqx.field(static=True, default=None, kw_only=True)

    def __init__(
        self,
        preference: Float[ArrayLike, "*contexts K K"] | PreferenceSet,
        objective: Objective,
        *,
        sampler: Sampler,
        reference: Reference,
        feedback: Feedback | None = None,
        learner: Learner | None = None,
        policy: Policy | None = None,
        weights: Numbers | None = None,
        names: Sequence[Any] | None = None,
    ):
        self.preference = check_prompts(preference)
        *contexts, size, _ = self.preference.shape
        self.weights = prompt_shares(weights, tuple(contexts))
        self.names = response_names(names, preference, (*contexts, size))
        self.objective, self.sampler, self.reference = objective, sampler, reference
        self.feedback = Population() if feedback is None else feedback
        self.learner = Optimum() if learner is None else learner
        self.policy = Tabular(size) if policy is None else policy
        for name, kind, remedy in (
            ("objective", Objective, "dyn.IPO(beta=...) or dyn.DPO(beta=...)"),
            ("sampler", Sampler, "dyn.samplers.OnPolicy(), Mixture(lam, log_offline) or Fixed(log_mu)"),
            ("reference", Reference, "dyn.references.Geometric(alpha, log_ref), Fixed(log_ref) or Ema(rate)"),
            ("feedback", Feedback, "dyn.feedback.Population(), Samples(n), Noisy(rate) or BestOfN(n)"),
            ("learner", Learner, "dyn.learners.Optimum() or dyn.Descend(optimizer, steps)"),
            ("policy", Policy, "dyn.Tabular(K) or dyn.LogLinear(phi)"),
        ):
            value = getattr(self, name)
            if not isinstance(value, kind):
                raise ValueError(f"{name} is {in_short(value)}; pass {remedy}.")
        self.policy = self.policy.in_contexts(self.shape)
        check_parts(self)

    @property
    def shape(self) -> tuple[int, ...]:
        return self.preference.shape[:-1]

    @property
    def prompt_weights(self) -> Float[Array, " X"] | None:
        return self.weights

    @property
    def stochastic(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Whether a round is random: its feedback or its learner draws."""
        return self.feedback.stochastic or self.learner.stochastic

    @property
    def keeps_state(self) -> bool:
        """Whether a round depends on more of the past than the policy; warm starts of solvers do not count."""
        return self.reference.keeps_state or self.learner.keeps_state

    def prompts(self) -> tuple[Rounds, ...] | None:
        """The rounds of each prompt by itself; None where prompts influence each other, or where there is only one.

        Prompts are independent where each has its own logits and every round ends at the optimum. What a part that a user
        wrote does with several prompts is not known, so the answer is then None.
        """
        parts = (self.sampler, self.reference, self.feedback)
        whole = self.policy.is_free and type(self.learner) is Optimum and not any(map(is_own, parts))
        if self.weights is None or not whole:
            return None
        alone = Tabular(self.num_responses)
        fields = {name: getattr(self, name) for name in PARTS} | {"policy": alone, "weights": None}
        return tuple(
            assemble(
                Rounds,
                preference=self.preference[x],
                **fields | {name: of_prompt(fields[name], x) for name in ("sampler", "reference", "feedback")},
            )
            for x in range(self.shape[0])
        )

    def log_start(self) -> Float[Array, "*contexts K"]:
        log_start = self.sampler.log_start(self.shape)
        if log_start is None:
            log_start = jnp.broadcast_to(self.reference.log_baseline(self.num_responses), self.shape)
        basis = self.policy.basis()
        if basis is None:
            return log_softmax(self.policy.logits(self.policy.parameters(log_start)))
        if self.policy.is_free:
            return log_start
        # The member of the class with the nearest logits.
        return log_softmax(project(basis, log_start))

    def log_baseline(self, state: RoundsState) -> Float[Array, "*contexts K"]:
        return jnp.broadcast_to(self.reference.log_baseline(self.num_responses, state.reference), self.shape)

    def basis(self) -> Float[Array, "n m"]:
        basis = self.policy.basis()
        if basis is not None and not self.policy.is_free:
            return basis
        return super().basis()

    def state_basis(self) -> Float[Array, "n m"]:
        basis = self.basis()
        if not self.keeps_state:
            return basis
        at, blocks = self.centred_start(), [basis]
        if at.reference is not None:
            blocks.append(self.reference.memory_basis(at.reference, basis))
        if at.learner is not None:
            blocks.append(self.learner.memory_basis(at.learner, self.policy))
        return block_diagonal(blocks)

    def coordinates(self) -> Float[Array, "n d"] | None:
        features = self.policy.coordinates()
        if features is None or not self.keeps_state:
            return features
        at, blocks = self.centred_start(), [features]
        if at.reference is not None:
            # A memory of policies is given in the policy's coordinates, any other memory in its own.
            blocks.append(self.reference.memory_basis(at.reference, features))
        if at.learner is not None:
            blocks.append(jnp.eye(len(ravel(at.learner))))
        return block_diagonal(blocks)

    def check_start(self, log_policy: Float[Array, "*contexts K"]) -> None:
        self.policy.check_member(centre(log_policy), "initial")

    def check_smooth(self) -> None:
        if self.policy.candidates() is not None:
            raise ValueError(
                f"{type(self.policy).__name__} is a list of policies, along which a round has no derivative; look at the "
                f"verdict of dyn.iterate."
            )
        self.learner.check_smooth()

    def note(self) -> str | None:
        return self.learner.note(self.objective, self.policy)

    def pairs(self, logits: Float[Array, "*contexts K"]) -> Pairs:
        """The law of pairs and labels at a policy given by its logits."""
        return Pairs(self.preference, self.sampler.log_mu_of(logits), self.sampler.sampler(logits))

    def observe(self, pairs: Pairs, key: PRNGKeyArray | None) -> Any:
        """What feedback shows of pairs, for each prompt by itself; what a user's feedback returns is not checked."""
        if self.weights is None:
            return self.feedback.observe(pairs, key)
        return self.feedback.observe_prompts(pairs, None if key is None else jax.random.split(key, self.shape[0]))

    def fit(self, logits: Float[Array, "*contexts K"], memory: Any, key: PRNGKeyArray | None) -> Fit:
        """The fit that a round at this policy solves."""
        return self._fit(logits, memory, self.observe(self.pairs(logits), key))

    def _fit(self, logits: Float[Array, "*contexts K"], memory: Any, seen: Seen) -> Fit:
        log_reference = jnp.broadcast_to(self.reference.log_at(logits, memory), self.shape)
        return Fit(self.objective, self.policy, log_reference, seen, self.weights)

    def __call__(
        self, logits: Float[Array, "*contexts K"], key: PRNGKeyArray | None = None
    ) -> Float[Array, "*contexts K"]:
        """The logits of the next policy after a first round from this one."""
        begun = RoundsState(logits, self.reference.start(logits), None)
        return self.advance(begun, key)[0].logits

    def start(self, log_policy: Float[Array, "*contexts K"]) -> RoundsState:
        logits = centre(log_policy)
        begun = self.reference.start(logits)
        if not self.feedback.stochastic:
            fit = self.fit(logits, begun, None)
        else:
            # To observe takes a key, and there is none here: the learner's memory is set up on the exact pairs.
            fit = self._fit(logits, begun, self.pairs(logits)) if self.learner.keeps_state else None
        return RoundsState(logits, begun, self.learner.start(fit, logits))

    def log_policy(self, state: RoundsState) -> Float[Array, "*contexts K"]:
        return log_softmax(state.logits)

    def logits(self, state: RoundsState) -> Float[Array, "*contexts K"]:
        return state.logits

    def centre(self, state: RoundsState) -> RoundsState:
        """The logits projected on the policy class, and the memories centred by the parts that keep them."""
        logits, basis = centre(state.logits), self.policy.basis()
        if basis is not None and not self.policy.is_free:
            logits = project(basis, logits)
        return RoundsState(
            logits, self.reference.centre(state.reference), self.learner.centre(state.learner, self.policy)
        )

    def centred_start(self, log_policy: Float[Array, "*contexts K"] | None = None) -> RoundsState:
        logits = jnp.zeros(self.shape) if log_policy is None else centre(log_policy)
        learned = self.start(logits).learner if self.learner.keeps_state else None
        return self.centre(RoundsState(logits, self.reference.start(logits), learned))

    def advance(self, state: RoundsState, key: PRNGKeyArray | None) -> tuple[RoundsState, Bool[Array, ""]]:
        if self.stochastic and key is None:
            raise ValueError("rounds that draw comparisons or batches are random; pass key=jax.random.key(seed).")
        before = self.reference.start(state.logits) if state.reference is None else state.reference
        seeing = key
        if key is not None and self.feedback.stochastic and self.learner.takes_key:
            key, seeing = jax.random.split(key)
        fit = self.fit(state.logits, before, seeing)
        out, learned, found = self.learner.learn(fit, state.logits, state.learner, key)
        out = out - jnp.mean(out, axis=-1, keepdims=True)
        good = found & self._in_range() & jnp.all(jnp.isfinite(out))
        return RoundsState(out, self.reference.follow(out, before), learned), good

    def _in_range(self) -> Bool[Array, ""]:
        """Whether traced parameters have values that construction would accept; a run with others ends with a ``result``."""
        P = self.preference
        good = jnp.all((P >= 0) & (P <= 1))
        for name in PARTS:
            good &= getattr(self, name).in_range()
        return good

    def check_parameter(self, path: str, values: np.ndarray) -> None:
        check_of_parts(self, path, path, values)

    def with_preference(self, preference: Float[ArrayLike, "*contexts K K"]) -> Rounds:
        """The same rounds with other preferences; for another number of responses the parts have to fit it.

        Whether an optimum exists is not checked; a run without one says so in its ``result``.
        """
        return resized(self, preference)
