"""The canonical form of iterated alignment, which theorems and closed forms are about, and how a process is put into it."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from .._noun import assemble, is_own
from .._numerics import log_mixture, log_softmax, mass
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
from ._base import Process
from ._rounds import Rounds
from ._self_sampling import SelfSampling


class Canonical(NamedTuple):
    """log ref_t = alpha log pi_t + (1-alpha) log ref, mu_t = lam pi_t + (1-lam) pi_0, and each round's exact optimum.

    Attributes:
        preference: P as feedback shows it, ``(K, K)``: where labels are flipped, the flipped P.
        objective: the loss.
        alpha: share of the policy in the next reference, scalar in [0, 1].
        lam: share of the policy in the next sampler, scalar in [0, 1].
        log_reference: log ref, ``(K,)``, in nats.
        log_offline: log pi_0, ``(K,)``, in nats; at lam = 1 it does not matter and is uniform.
        policy: tabular or log-linear.
        through: ", through statement 7.16" where the process has another objective, whose rounds are exactly these.

    >>> loop = dyn.SelfSampling(dyn.preferences.cyclic(3, 0.4), dyn.IPO(0.3), alpha=0.5, lam=1.0)
    >>> form = dyn.rounds.canonical(loop)
    >>> float(form.alpha), float(form.lam), form.is_free
    (0.5, 1.0, True)
    """

    preference: Float[Array, "K K"]
    objective: MarginLoss
    alpha: Float[Array, ""]
    lam: Float[Array, ""]
    log_reference: Float[Array, " K"]
    log_offline: Float[Array, " K"]
    policy: Policy
    through: str = ""

    @property
    def beta(self) -> Float[Array, ""]:
        """The KL coefficient."""
        return kl_coefficient(self.objective)

    @property
    def is_free(self) -> bool:
        """Whether the class contains every policy: tabular, or features of rank K-1."""
        return self.basis is None

    @property
    def basis(self) -> Float[Array, "K m"] | None:
        """Columns that span the logits of the class, ``(K, m)``; None where it contains every policy."""
        columns = self.policy.basis()
        assert columns is not None
        return None if columns.shape[1] == columns.shape[0] - 1 else columns

    def log_sampler(self, log_policy: Float[Array, " K"]) -> Float[Array, " K"]:
        """log mu_t for a policy, which may be a vertex of the simplex, ``(K,)``."""
        return log_mixture(self.lam, log_policy, self.log_offline)

    def reward(self, log_mu: Float[Array, " K"]) -> tuple[Float[Array, " K"], Bool[Array, ""]]:
        """f for a sampler, within the policy class and up to a constant, and whether the solver found it."""
        pairs = Pairs(self.preference, log_mu, mass(log_mu))
        return self.objective.solve(pairs, self.log_reference, self.basis)

    def settled(self, logits: Float[Array, " K"]) -> Float[Array, " K"]:
        """log ref + f(mu)/(beta (1-alpha)), mu the sampler at this policy; a policy that is mapped to itself is a fixed point.

        At lam = 0, mu does not depend on the policy, so the result is the fixed point.
        """
        f, _ = self.reward(self.log_sampler(log_softmax(logits)))
        return self.log_reference + f / (self.beta * (1 - self.alpha))

    def rounds(self) -> Rounds:
        """This form as ``Rounds``, with the parameters "reference.alpha", "sampler.lam" and "objective.beta"."""
        return assemble(
            Rounds,
            preference=self.preference,
            objective=self.objective,
            sampler=assemble(Mixture, lam=self.lam, log_offline=self.log_offline),
            reference=assemble(Geometric, alpha=self.alpha, log_reference=self.log_reference),
            feedback=Population(),
            learner=Optimum(),
            policy=self.policy,
            weights=None,
        )

    @property
    def is_uniform(self) -> bool:
        """Whether the reference and the offline sampler are uniform to rounding; for concrete values."""
        return all(np.ptp(np.asarray(p)) < 1e-12 for p in (self.log_reference, self.log_offline))


def parts_of(process: Any) -> Rounds | None:
    """The process as ``Rounds``; None where it is not a case of them, since its parts are then not known.

    Args:
        process: rounds of any kind.

    >>> loop = dyn.SelfSampling(dyn.preferences.cyclic(3, 0.4), dyn.IPO(0.3), alpha=0.5, lam=1.0)
    >>> type(dyn.rounds.parts_of(loop)).__name__
    'Rounds'
    """
    if type(process) is SelfSampling:
        return process.parts()
    if isinstance(process, Process) and not is_own(process):
        process = process.as_rounds() or process
    return process if type(process) is Rounds else None


def canonical(process: Any) -> Canonical | None:
    """The canonical form of a process; None where it has several prompts or a part that the form does not contain.

    Args:
        process: rounds of any kind.

    >>> ema = dyn.references.Ema(rate=0.5)
    >>> loop = dyn.Rounds(dyn.preferences.cyclic(3, 0.4), dyn.IPO(0.3), sampler=dyn.samplers.OnPolicy(), reference=ema)
    >>> dyn.rounds.canonical(loop) is None
    True
    """
    loop = parts_of(process)
    if loop is None or len(loop.shape) != 1:
        return None
    shares, references = _sampler(loop), _reference(loop)
    if type(loop.learner) is not Optimum or shares is None or references is None:
        return None
    if type(loop.policy) not in (Tabular, LogLinear):
        return None
    exact = type(loop.feedback) in (Population, Noisy)
    if not exact and not (type(loop.feedback) is BestOfN and loop.feedback.enumerated == 2):
        return None
    even = uniform(loop.num_responses)
    seen = loop.feedback.observe(Pairs(loop.preference, even, jnp.exp(even)))
    assert isinstance(seen, Pairs)
    (lam, log_offline), (alpha, log_reference) = shares, references
    plain = Canonical(seen.preference, loop.objective, alpha, lam, log_reference, log_offline, loop.policy)  # pyright: ignore
    if isinstance(loop.objective, MarginLoss):
        return plain
    equal = loop.objective.as_margin_loss(alpha, log_reference) if plain.is_free else None
    if equal is None:
        return None
    loss, alpha, log_reference = equal
    assert isinstance(loss, MarginLoss)
    return plain._replace(objective=loss, alpha=alpha, log_reference=log_reference, through=", through statement 7.16")


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
