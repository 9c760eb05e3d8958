"""Checks of the parts that a user wrote, made once at construction."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from .._noun import is_own
from .._numerics import centre, log_softmax, mass
from .._parts import uniform
from ..feedback import check_seen
from ..preferences import Pairs
from ..references import Reference

if TYPE_CHECKING:
    from ._rounds import Rounds

MAX_MASS_ERROR = 1e-6  # distance of a sampler's total probability from 1


def seen_at_start(loop: Rounds) -> Any:
    """What feedback shows of pairs drawn from the uniform policy."""
    log_mu = jnp.broadcast_to(uniform(loop.num_responses), loop.shape)
    pairs = Pairs(loop.preference, log_mu, mass(log_mu))
    return loop.observe(pairs, jax.random.key(0) if loop.feedback.stochastic else None)


def check_own_parts(loop: Rounds) -> None:
    """Raises ``ValueError`` where a part that a user wrote does not do what its base class asks for."""
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
                f"{name}.observe failed without a key ({error}); if it draws, write stochastic = True in the class."
            ) from error
        if loop.weights is not None:
            seen = jax.tree.map(lambda x: x[0], seen)
        check_seen(seen, loop.num_responses, name)


def _trials(loop: Rounds) -> list[Array]:
    """Logits at which parts are tried: the uniform policy's, and some that differ from prompt to prompt."""
    return [jnp.zeros(loop.shape), jnp.cos(1.0 + jnp.arange(np.prod(loop.shape), dtype=float)).reshape(loop.shape)]


def _check_sampler(loop: Rounds) -> None:
    name, shape = type(loop.sampler).__name__, loop.shape
    for z in _trials(loop):
        log_mu = np.asarray(loop.sampler.log_sampler(log_softmax(z)))
        if log_mu.shape != shape:
            raise ValueError(f"{name}.log_sampler gave shape {log_mu.shape}; return one log-probability each, {shape}.")
        total = np.exp(log_mu).sum(axis=-1)
        worst = float(np.ravel(total)[np.argmax(np.abs(np.ravel(total) - 1.0))])
        if not abs(worst - 1.0) < MAX_MASS_ERROR:
            raise ValueError(
                f"{name}.log_sampler gave total probability {worst:.6g}, not 1; normalise it, e.g. by jax.nn.log_softmax."
            )
        mu = np.asarray(loop.sampler.sampler(z))
        if not np.abs(mu - np.exp(log_mu)).max() < MAX_MASS_ERROR:
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
    """With several prompts, a part has to give each prompt the row that it gives to that prompt alone."""
    if loop.weights is None:
        return
    for z in _trials(loop):
        together = np.asarray(centre(part(z)))
        try:
            alone = jnp.stack([part(row) for row in z[:8]])
        except (TypeError, ValueError, IndexError):
            return  # the part holds an array for each prompt, so it cannot be tried on one alone
        if alone.shape == together[:8].shape and not np.allclose(together[:8], np.asarray(centre(alone)), atol=1e-6):
            raise ValueError(f"{name} mixes prompts; let it act along the last axis only, each prompt by itself.")
