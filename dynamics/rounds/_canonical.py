"""What theorems and closed forms about iterated alignment are about, recognised in rounds said in any way."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from .._noun import assemble
from .._numerics import log_mixture, log_softmax
from .._parts import uniform
from ..feedback import BestOfN, Noisy, Population
from ..learners import Optimum
from ..objectives import MarginLoss, kl_coefficient
from ..policies import LogLinear, Policy, Tabular
from ..preferences import Pairs
from ..references import Fixed as FixedReference
from ..references import Geometric
from ..samplers import Fixed as FixedSampler
from ..samplers import Mixture, OnPolicy
from ._rounds import Rounds
from ._self_sampling import SelfSampling


class Canonical(NamedTuple):
    """log ref_t = alpha log pi_t + (1-alpha) log ref, mu_t = lam pi_t + (1-lam) pi_0, and each round's exact optimum.

    Attributes:
        preference: P as it is seen (with flipped labels, that of the flipped P), ``(K, K)``.
        objective: the loss.
        alpha, lam: shares.
        log_reference, log_offline: log ref and log pi_0, ``(K,)``; at lam = 1 pi_0 does not matter and is uniform.
        policy: tabular, or log-linear.
    """

    preference: Float[Array, "K K"]
    objective: MarginLoss
    alpha: Float[Array, ""]
    lam: Float[Array, ""]
    log_reference: Float[Array, " K"]
    log_offline: Float[Array, " K"]
    policy: Policy

    @property
    def beta(self) -> Float[Array, ""]:
        """The KL coefficient."""
        return kl_coefficient(self.objective)

    @property
    def is_free(self) -> bool:
        """Whether every policy can be reached: tabular, or features of rank K-1."""
        return self.basis is None

    @property
    def basis(self) -> Float[Array, "K m"] | None:
        """Columns that span the logits of a smaller class, or None."""
        columns = self.policy.basis()
        assert columns is not None
        return None if columns.shape[1] == columns.shape[0] - 1 else columns

    def log_sampler(self, log_policy: Float[Array, " K"]) -> Float[Array, " K"]:
        """log mu of a policy, which may be a vertex."""
        return log_mixture(self.lam, log_policy, self.log_offline)

    def reward(self, log_mu: Float[Array, " K"]) -> tuple[Float[Array, " K"], Bool[Array, ""]]:
        """f at a sampler, within the class and up to a constant, and whether it was found."""
        pairs = Pairs(self.preference, log_mu, jnp.exp(log_mu))
        return self.objective.solve(pairs, self.log_reference, self.basis)

    def settled(self, logits: Float[Array, " K"]) -> Float[Array, " K"]:
        """log ref + f(mu)/(beta (1-alpha)) at a policy's mu: the fixed point, if that mu is its own (at lam = 0 it is)."""
        f, _ = self.reward(self.log_sampler(log_softmax(logits)))
        return self.log_reference + f / (self.beta * (1 - self.alpha))

    def rounds(self) -> Rounds:
        """The same rounds in the parts of this form; its parameters are "reference.alpha", "sampler.lam", "objective.beta"."""
        return assemble(
            Rounds,
            preference=self.preference,
            objective=self.objective,
            sampler=assemble(Mixture, lam=self.lam, log_offline=self.log_offline),
            reference=assemble(Geometric, alpha=self.alpha, log_reference=self.log_reference),
            feedback=Population(),
            learner=Optimum(),
            policy=self.policy,
        )

    @property
    def is_uniform(self) -> bool:
        """Whether reference and offline sampler are uniform to rounding (concrete values)."""
        return all(np.ptp(np.asarray(p)) < 1e-12 for p in (self.log_reference, self.log_offline))


def parts_of(process: Any) -> Rounds | None:
    """A process said in parts, or None; exact types only: what a user's own class does is not known."""
    if type(process) is SelfSampling:
        return process.parts()
    return process if type(process) is Rounds else None


def canonical(process: Any) -> Canonical | None:
    """The rounds that theory speaks of, where a process is such; None for every other."""
    loop = parts_of(process)
    if loop is None or len(loop.shape) != 1:
        return None
    if type(loop.learner) is not Optimum or not isinstance(loop.objective, MarginLoss):
        return None
    shares = _sampler(loop)
    references = _reference(loop)
    if shares is None or references is None or type(loop.policy) not in (Tabular, LogLinear):
        return None
    exact = type(loop.feedback) in (Population, Noisy)
    if not exact and not (type(loop.feedback) is BestOfN and loop.feedback.enumerated == 2):
        return None
    even = uniform(loop.num_responses)
    seen = loop.feedback.observe(Pairs(loop.preference, even, jnp.exp(even)))
    assert isinstance(seen, Pairs)
    (lam, log_offline), (alpha, log_reference) = shares, references
    return Canonical(seen.preference, loop.objective, alpha, lam, log_reference, log_offline, loop.policy)


def _sampler(loop: Rounds) -> tuple[Array, Array] | None:
    sampler = loop.sampler
    if type(sampler) is Mixture:
        return sampler.lam, sampler.log_offline
    if type(sampler) is OnPolicy:
        return jnp.asarray(1.0), uniform(loop.num_responses)
    return (jnp.asarray(0.0), sampler.log_mu) if type(sampler) is FixedSampler else None


def _reference(loop: Rounds) -> tuple[Array, Array] | None:
    reference = loop.reference
    if type(reference) is Geometric:
        return reference.alpha, reference.log_reference
    return (jnp.asarray(0.0), reference.log_reference) if type(reference) is FixedReference else None
