"""What theorems and closed forms about iterated alignment are about, recognised in rounds said in any way."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float

from ..feedback import BestOfN, Noisy, Population
from ..learners import Optimum
from ..objectives import MarginLoss
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
        preference: P as it is seen (with flipped labels, those of the flipped P), ``(K, K)``.
        objective: the loss.
        alpha, lam: shares.
        log_reference, log_offline: log ref and log pi_0, ``(K,)``; at lam = 1 pi_0 does not matter and is uniform.
        basis: orthonormal columns that span the logits of a log-linear class; None: every policy can be reached.
    """

    preference: Float[Array, "K K"]
    objective: MarginLoss
    alpha: Float[Array, ""]
    lam: Float[Array, ""]
    log_reference: Float[Array, " K"]
    log_offline: Float[Array, " K"]
    basis: Float[Array, "K m"] | None


def parts_of(process: Any) -> Rounds | None:
    """A process said in parts, or None; exact types only: what a user's own class does is not known."""
    if type(process) is SelfSampling:
        return process.parts()
    return process if type(process) is Rounds else None


def canonical(process: Any) -> Canonical | None:
    """The rounds that theory speaks of, where a process is such; None for every other."""
    loop = parts_of(process)
    if loop is None or type(loop.learner) is not Optimum or not isinstance(loop.objective, MarginLoss):
        return None
    basis = loop.policy.basis() if type(loop.policy).__module__.startswith("dynamics.") else None
    if basis is None:
        return None
    size, zero, one = loop.num_responses, jnp.asarray(0.0), jnp.asarray(1.0)
    uniform = jnp.full(size, -jnp.log(jnp.asarray(float(size))))
    sampler, reference = loop.sampler, loop.reference
    if type(sampler) is Mixture:
        lam, log_offline = sampler.lam, sampler.log_offline
    elif type(sampler) is OnPolicy:
        lam, log_offline = one, uniform
    elif type(sampler) is FixedSampler:
        lam, log_offline = zero, sampler.log_mu
    else:
        return None
    if type(reference) is Geometric:
        alpha, log_reference = reference.alpha, reference.log_reference
    elif type(reference) is FixedReference:
        alpha, log_reference = zero, reference.log_reference
    else:
        return None
    if type(loop.feedback) not in (Population, Noisy, BestOfN) or not loop.feedback.constant:
        return None
    seen = loop.feedback.observe(Pairs(loop.preference, uniform, jnp.exp(uniform)))
    assert isinstance(seen, Pairs)
    free = basis.shape[1] == size - 1
    return Canonical(seen.preference, loop.objective, alpha, lam, log_reference, log_offline, None if free else basis)
