"""Iterated alignment: the policy becomes the next sampler and the next reference."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import equinox as eqx
import numpy as np
from jaxtyping import Array, ArrayLike, Bool, Float, PRNGKeyArray

from .._checks import Numbers
from .._noun import assemble
from .._parts import uniform
from ..feedback import Population, Samples
from ..learners import Learner, Optimum
from ..objectives import Objective
from ..policies import Policy
from ..preferences import Names, PreferenceSet, check_prompts, response_names
from ..references import Geometric
from ..samplers import Mixture
from ._base import Process
from ._fitting import check_of_parts
from ._rounds import Rounds, RoundsState

PATH_IN_ROUNDS = {
    "alpha": "reference.alpha",
    "log_reference": "reference.log_reference",
    "lam": "sampler.lam",
    "log_offline": "sampler.log_offline",
    "samples": "feedback.n",
    "smoothing": "feedback.smoothing",
    "inner": "learner",
}
"""The path in ``Rounds`` of each parameter of ``SelfSampling``."""


class SelfSampling(Process[RoundsState]):
    """Iterated alignment in which the policy becomes the next sampler and the next reference (MRS).

    ref_t ∝ pi_t^alpha · ref^(1-alpha),  mu_t = lam pi_t + (1-lam) pi_0,  pi_{t+1} ∝ ref_t · exp(f(P, mu_t)/beta);
    for IPO f = P mu_t: log pi_{t+1} = alpha log pi_t + (1-alpha) log ref + P mu_t/beta + const.

    Args:
        preference: P, ``(K, K)``, P_ij = Pr(i preferred to j); for X prompts ``(X, K, K)`` or a ``PreferenceSet`` of one
            size.
        objective: ``IPO(beta)`` or ``DPO(beta)``; beta is the KL coefficient (Chen26 writes 1/beta).
        alpha: alpha, scalar in [0, 1], share of the policy in the next reference.
        lam: lambda, scalar in [0, 1], share of the policy in the next sampler.
        log_reference: log ref, ``(K,)`` or ``(X, K)``, finite; uniform unless given.
        log_offline: log pi_0 inside mu_t, ``(K,)`` or ``(X, K)``, a parameter of the map and not its start; uniform
            unless given; ``-inf`` marks responses that the offline data never shows.
        policy: ``Tabular(K)``, or ``LogLinear(phi)``, phi ``(K, d)`` or ``(X, K, d)``: then f is the minimiser of the
            objective's loss over pairs from mu_t within the span of phi (IPO: least squares, DPO: a convex programme),
            theta_{t+1} = alpha theta_t + (1-alpha) theta_ref + w/beta with f = phi w, and start and reference have to be
            log-linear as well.
        samples: n, int in [1, 1e8]: every round draws n pairs i.i.d. from mu_t and a label for each from P, and minimises the
            empirical loss. Responses that no comparison links keep the reference's log-ratio (f of least norm). Such rounds
            take a ``key``. None: infinitely many.
        smoothing: pseudo-wins, scalar in [0, ∞), default 1/2, that DPO adds both ways to each pair that was compared; at 0 an
            optimum at infinity ends the run with a ``result``. IPO and rounds with ``inner`` use none.
        inner: ``Descend(optimizer, steps, ...)``: steps of an optimizer from the current policy instead of the optimum.
        weights: shares of X prompts in the loss and in averages, ``(X,)``, ≥ 0, normalised; equal unless given.
        names: of the responses, for Datasets, reports and plots, K or ``(X, K)``; those of a ``PreferenceSet`` unless given.

    Raises:
        ValueError: a bad entry, a DPO optimum that does not exist on the sampler's support, or a reference outside the policy
            class.

    Source: [paper] Chen26, iterated alignment with mixed references and samplers, and with finite samples.

    >>> loop = dyn.SelfSampling(dyn.preferences.cyclic(3, 0.4), dyn.IPO(0.3), alpha=0.5, lam=1.0)
    >>> loop(jnp.array([0.3, 0.0, -0.3])).shape
    (3,)
    """

    preference: Float[Array, "*contexts K K"]
    objective: Objective
    alpha: Float[Array, ""]
    lam: Float[Array, ""]
    log_reference: Float[Array, "*references K"]
    log_offline: Float[Array, "*samplers K"]
    policy: Policy
    samples: Float[Array, ""] | None
    smoothing: Float[Array, ""] | None
    inner: Learner | None
    weights: Float[Array, " X"] | None
    names: Names | None = eqx.field(static=True, default=None, kw_only=True)

    def __init__(
        self,
        preference: Float[ArrayLike, "*contexts K K"] | PreferenceSet,
        objective: Objective,
        alpha: ArrayLike,
        lam: ArrayLike,
        log_reference: Float[ArrayLike, "*references K"] | None = None,
        log_offline: Float[ArrayLike, "*samplers K"] | None = None,
        policy: Policy | None = None,
        *,
        samples: ArrayLike | None = None,
        smoothing: ArrayLike | None = None,
        inner: Learner | None = None,
        weights: Numbers | None = None,
        names: Sequence[Any] | None = None,
    ):
        if samples is None and smoothing is not None:
            raise ValueError(f"smoothing = {smoothing} is for sampled comparisons; pass samples= too, or leave it out.")
        P = check_prompts(preference)
        even = uniform(P.shape[-1])
        reference = Geometric(alpha, even if log_reference is None else log_reference)
        sampler = Mixture(lam, even if log_offline is None else log_offline)
        drawn = None if samples is None else Samples(samples, 0.5 if smoothing is None else smoothing)
        parts = {"sampler": sampler, "reference": reference, "feedback": drawn, "policy": policy, "learner": inner}
        loop = Rounds(P, objective, weights=weights, **parts)
        self.preference, self.objective, self.policy = loop.preference, objective, loop.policy
        self.weights = loop.weights
        self.alpha, self.log_reference = reference.alpha, reference.log_reference
        self.lam, self.log_offline = sampler.lam, sampler.log_offline
        self.samples, self.smoothing = (None, None) if drawn is None else (drawn.n, drawn.smoothing)
        self.inner = inner
        self.names = response_names(names, preference, loop.shape)

    def parts(self) -> Rounds:
        """The same rounds as ``Rounds``, built from parts."""
        samples, smoothing = self.samples, self.smoothing
        sampled = samples is not None and smoothing is not None
        return assemble(
            Rounds,
            preference=self.preference,
            objective=self.objective,
            sampler=assemble(Mixture, lam=self.lam, log_offline=self.log_offline),
            reference=assemble(Geometric, alpha=self.alpha, log_reference=self.log_reference),
            feedback=assemble(Samples, n=samples, smoothing=smoothing) if sampled else Population(),
            learner=Optimum() if self.inner is None else self.inner,
            policy=self.policy,
            weights=self.weights,
            names=self.names,
        )

    @property
    def shape(self) -> tuple[int, ...]:
        return self.preference.shape[:-1]

    @property
    def prompt_weights(self) -> Float[Array, " X"] | None:
        return self.weights

    def prompts(self) -> tuple[SelfSampling, ...] | None:
        """The rounds of each prompt by itself; None where prompts influence each other, or where there is only one."""
        alone = self.parts().prompts()
        if alone is None:
            return None
        return tuple(self._with(loop) for loop in alone)

    @property
    def stochastic(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Whether rounds draw comparisons."""
        return self.parts().stochastic

    @property
    def keeps_state(self) -> bool:
        """Whether a round depends on more of the past than the policy; warm starts of solvers do not count."""
        return self.parts().keeps_state

    def basis(self) -> Float[Array, "n m"]:
        return self.parts().basis()

    def state_basis(self) -> Float[Array, "n m"]:
        return self.parts().state_basis()

    def coordinates(self) -> Float[Array, "n d"] | None:
        return self.parts().coordinates()

    def check_start(self, log_policy: Float[Array, "*contexts K"]) -> None:
        self.parts().check_start(log_policy)

    def check_smooth(self) -> None:
        self.parts().check_smooth()

    def note(self) -> str | None:
        return self.parts().note()

    def log_start(self) -> Float[Array, "*contexts K"]:
        return self.parts().log_start()

    def __call__(
        self, logits: Float[Array, "*contexts K"], key: PRNGKeyArray | None = None
    ) -> Float[Array, "*contexts K"]:
        """The logits of the next policy after a first round from this one."""
        return self.parts()(logits, key)

    def start(self, log_policy: Float[Array, "*contexts K"]) -> RoundsState:
        return self.parts().start(log_policy)

    def advance(self, state: RoundsState, key: PRNGKeyArray | None) -> tuple[RoundsState, Bool[Array, ""]]:
        return self.parts().advance(state, key)

    def log_policy(self, state: RoundsState) -> Float[Array, "*contexts K"]:
        return self.parts().log_policy(state)

    def logits(self, state: RoundsState) -> Float[Array, "*contexts K"]:
        return state.logits

    def centre(self, state: RoundsState) -> RoundsState:
        return self.parts().centre(state)

    def centred_start(self, log_policy: Float[Array, "*contexts K"] | None = None) -> RoundsState:
        return self.parts().centred_start(log_policy)

    def check_parameter(self, path: str, values: np.ndarray) -> None:
        first, *rest = path.split(".")
        check_of_parts(self.parts(), ".".join([PATH_IN_ROUNDS.get(first, first), *rest]), path, values)

    def with_preference(self, preference: Float[ArrayLike, "*contexts K K"]) -> SelfSampling:
        """The same rounds with other preferences; another number of responses needs uniform reference and offline sampler.

        Whether DPO's optimum exists is not checked; a run without one says so in its ``result``.
        """
        return self._with(self.parts().with_preference(preference))

    def _with(self, loop: Rounds) -> SelfSampling:
        """The same rounds, with everything that depends on prompts and responses taken from ``loop``."""
        changed = {
            "preference": loop.preference,
            "policy": loop.policy,
            "log_reference": loop.reference.log_reference,  # pyright: ignore[reportAttributeAccessIssue]
            "log_offline": loop.sampler.log_offline,  # pyright: ignore[reportAttributeAccessIssue]
            "weights": loop.weights,
            "names": loop.names,
        }
        fields = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        return assemble(SelfSampling, **fields | changed)
