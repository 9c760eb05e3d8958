"""What is looked at once, at construction, of parts that a user wrote: ours are tested."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np

from .._noun import is_own
from .._numerics import centre, log_softmax
from .._parts import uniform
from ..feedback import check_seen
from ..preferences import Pairs
from ..references import Reference

if TYPE_CHECKING:
    from ._rounds import Rounds

MASS = 1e-6  # by which a sampler's total mass may miss 1


def seen_at_start(loop: Rounds) -> Any:
    """What is seen of pairs from the uniform policy."""
    log_mu = uniform(loop.num_responses)
    key = jax.random.key(0) if loop.feedback.stochastic else None
    return loop.feedback.observe(Pairs(loop.preference, log_mu, jnp.exp(log_mu)), key)


def check_own_parts(loop: Rounds) -> None:
    """Raises ``ValueError`` where an own part does not keep to what is asked of it."""
    if is_own(loop.sampler):
        _check_sampler(loop)
    if is_own(loop.reference):
        _check_reference(loop)
    if is_own(loop.feedback):
        name = type(loop.feedback).__name__
        try:
            seen = seen_at_start(loop)
        except TypeError as error:
            if loop.feedback.stochastic:
                raise
            raise ValueError(
                f"{name}.observe failed without a key ({error}); a feedback that draws says stochastic = True in its class."
            ) from error
        check_seen(seen, loop.num_responses, name)


def _check_sampler(loop: Rounds) -> None:
    name, size = type(loop.sampler).__name__, loop.num_responses
    for z in (jnp.zeros(size), jnp.cos(1.0 + jnp.arange(size))):
        log_mu = np.asarray(loop.sampler.log_sampler(log_softmax(z)))
        if log_mu.shape != (size,):
            raise ValueError(
                f"{name}.log_sampler gave shape {log_mu.shape}; return one log-probability each, ({size},)."
            )
        total = float(np.exp(log_mu).sum())
        if not abs(total - 1.0) < MASS:
            raise ValueError(
                f"{name}.log_sampler gave total probability {total:.6g}, not 1; normalise it, e.g. by jax.nn.log_softmax."
            )
        mu = np.asarray(loop.sampler.sampler(z))
        if not np.abs(mu - np.exp(log_mu)).max() < MASS:
            raise ValueError(f"{name}.sampler is not the exponential of {name}.log_sampler; let them agree.")


def _check_reference(loop: Rounds) -> None:
    reference, name = loop.reference, type(loop.reference).__name__
    if type(reference).follow is not Reference.follow and not reference.keeps_state:
        raise ValueError(
            f"{name}.follow changes a memory, but {name} does not say that it keeps one; write keeps_state = True in the class."
        )
    z = loop.policy.logits(loop.policy.start())
    log_ref = jnp.asarray(reference.log_at(centre(z), reference.start(centre(z))))
    if log_ref.shape != z.shape:
        raise ValueError(f"{name}.log_at gave shape {log_ref.shape}; return one log-probability each, {z.shape}.")
    if loop.policy.basis() is not None:
        loop.policy.check_member(centre(log_ref), f"{name}.log_at")
