"""What is looked at once, at construction, of parts that a user wrote: ours are tested."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

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
    log_mu = jnp.broadcast_to(uniform(loop.num_responses), loop.shape)
    pairs = Pairs(loop.preference, log_mu, jnp.exp(log_mu))
    return loop.observe(pairs, jax.random.key(0) if loop.feedback.stochastic else None)


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
        if loop.weights is not None:
            seen = jax.tree.map(lambda x: x[0], seen)
        check_seen(seen, loop.num_responses, name)


def _trials(loop: Rounds) -> list[Array]:
    """Logits to try parts at: uniform, and some that differ from prompt to prompt."""
    return [jnp.zeros(loop.shape), jnp.cos(1.0 + jnp.arange(np.prod(loop.shape), dtype=float)).reshape(loop.shape)]


def _check_sampler(loop: Rounds) -> None:
    name, shape = type(loop.sampler).__name__, loop.shape
    for z in _trials(loop):
        log_mu = np.asarray(loop.sampler.log_sampler(log_softmax(z)))
        if log_mu.shape != shape:
            raise ValueError(f"{name}.log_sampler gave shape {log_mu.shape}; return one log-probability each, {shape}.")
        total = np.exp(log_mu).sum(axis=-1)
        worst = float(np.ravel(total)[np.argmax(np.abs(np.ravel(total) - 1.0))])
        if not abs(worst - 1.0) < MASS:
            raise ValueError(
                f"{name}.log_sampler gave total probability {worst:.6g}, not 1; normalise it, e.g. by jax.nn.log_softmax."
            )
        mu = np.asarray(loop.sampler.sampler(z))
        if not np.abs(mu - np.exp(log_mu)).max() < MASS:
            raise ValueError(f"{name}.sampler is not the exponential of {name}.log_sampler; let them agree.")
    _check_by_prompt(loop, lambda z: loop.sampler.log_sampler(log_softmax(z)), f"{name}.log_sampler")


def _check_reference(loop: Rounds) -> None:
    reference, name = loop.reference, type(loop.reference).__name__
    if type(reference).follow is not Reference.follow and not reference.keeps_state:
        raise ValueError(
            f"{name}.follow changes a memory, but {name} does not say that it keeps one; write keeps_state = True in the class."
        )
    z = centre(jnp.broadcast_to(loop.policy.logits(loop.policy.start()), loop.shape))
    log_ref = jnp.asarray(reference.log_at(z, reference.start(z)))
    if log_ref.shape != z.shape:
        raise ValueError(f"{name}.log_at gave shape {log_ref.shape}; return one log-probability each, {z.shape}.")
    if loop.policy.basis() is not None:
        loop.policy.check_member(centre(log_ref), f"{name}.log_at")
    _check_by_prompt(loop, lambda z: reference.log_at(z, reference.start(z)), f"{name}.log_at")


def _check_by_prompt(loop: Rounds, part: Callable[[Array], Array], name: str) -> None:
    """Of several prompts a part acts along the last axis: each prompt's row is what the part makes of that prompt alone."""
    if loop.weights is None:
        return
    for z in _trials(loop):
        together = np.asarray(centre(part(z)))
        try:
            alone = jnp.stack([part(row) for row in z[:8]])
        except (TypeError, ValueError, IndexError):
            return  # a part with arrays of its own for each prompt
        if alone.shape == together[:8].shape and not np.allclose(together[:8], np.asarray(centre(alone)), atol=1e-6):
            raise ValueError(f"{name} mixes prompts; let it act along the last axis only, each prompt by itself.")
