"""The minima of an objective that may have several: descent by Newton's method from several starts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from .._numerics import log_softmax, low_discrepancy_policies
from ..learners import Fit
from ..objectives import minimise

VERTEX_LOG_ODDS = 10.0  # of the response that a start is concentrated on, against each of the others
MAX_VERTICES = 6
SAME_POLICY = 1e-6  # largest difference of probabilities within one minimum
TIE = 1e-13  # relative difference of equal values
MAX_SLOPE = 1e-10  # of a stationary point, per unit of 1 + |value|
ROUNDING = 64  # units of rounding; where these are more than the tolerances above, as in float32, they count instead
RARE = 1e-12  # probability below which a response may be on its way out
AWAY = 40.0  # nats by which it is moved further out to see


class Minima(NamedTuple):
    """The least minimum of each of N problems.

    Attributes:
        logits: its logits, ``(N, *contexts, K)``; those of the reference where there is none.
        number: how many different minima the starts reached, ``(N,)``.
        found: whether there is one, and no start fell below it on the way to infinity, ``(N,)``.
        group: for a problem without one, the responses on which the policy concentrates, ``(N, *contexts, K)``.
    """

    logits: Float[np.ndarray, "problems *contexts K"]
    number: Int[np.ndarray, " problems"]
    found: Bool[np.ndarray, " problems"]
    group: Bool[np.ndarray, "problems *contexts K"]


def least_minima(fit: Fit, starts: int) -> Minima:
    """The least minimum that Newton's method reaches from so many starts: the reference, the uniform policy, policies near the
    vertices, and points spread over the simplex. Prompts are problems of their own where every policy is allowed.
    """
    begun = jnp.asarray(_starts(fit.log_reference.shape[-1], starts))
    fit = fit.prepared()
    ends = _descend_freely(fit, begun) if fit.policy.is_free else _descend_within(fit, begun)
    logits, values, slopes, found = (np.asarray(x) for x in ends)
    rounding = ROUNDING * float(np.finfo(values.dtype).eps)
    found = found & (slopes <= max(MAX_SLOPE, rounding) * (1.0 + np.abs(values)))
    picked = [_pick(*one) for one in zip(logits, values, found, strict=True)]
    best, number, good, group = (np.stack(x) for x in zip(*picked, strict=True))
    return Minima(best, number, good, group)


def _starts(size: int, starts: int) -> Float[np.ndarray, "starts K"]:
    """Log-policies: uniform ones first, then vertices, then others; the reference takes the place of the first."""
    vertices = VERTEX_LOG_ODDS * np.eye(size)[:MAX_VERTICES]
    rest = low_discrepancy_policies(size, starts)
    return np.concatenate([np.zeros((2, size)), vertices, rest])[:starts]


def _pick(
    logits: Float[np.ndarray, "starts *contexts K"], values: np.ndarray, found: np.ndarray
) -> tuple[np.ndarray, int, bool, np.ndarray]:
    policies = np.exp(np.asarray(log_softmax(jnp.asarray(logits))))
    order = [int(s) for s in np.argsort(np.where(found, values, np.inf), kind="stable") if found[s]]
    kept, rounding = [], ROUNDING * float(np.finfo(values.dtype).eps)
    for s in order:
        if all(np.abs(policies[s] - policies[other]).max() > max(SAME_POLICY, 16 * rounding) for other in kept):
            kept.append(s)
    lost = np.where(found | np.isnan(values), np.inf, values)
    lowest = int(np.argmin(lost))
    least = values[kept[0]] if kept else np.inf
    sunk = lost[lowest] < least - max(1e-9, rounding) * (1.0 + abs(least)) if kept else True
    # Of equal values the first start's is taken, the reference's where it is among them.
    equal = [s for s in kept if values[s] <= least + max(TIE, rounding / 64) * (1.0 + abs(least))]
    best = logits[min(equal, default=0)]
    return best, len(kept), not sunk, policies[lowest] > 1e-3


@eqx.filter_jit
def _descend_freely(fit: Fit, begun: Float[Array, "starts K"]) -> tuple[Array, ...]:
    """For every prompt and start: the last logits, their value and slope, and whether they are a minimum."""
    static = eqx.partition(fit.objective, eqx.is_array)

    def value(x: Array, given: Any) -> Array:
        arrays, log_reference, seen = given
        return eqx.combine(arrays, static[1]).value(log_softmax(x), log_reference, seen)

    def of_prompt(log_reference: Array, seen: Any) -> tuple[Array, ...]:
        given = (static[0], log_reference, seen)
        starts = begun.at[0].set(log_reference)
        x, found = jax.vmap(lambda start: minimise(value, start, given, shifts=True))(starts)
        values, slopes = jax.vmap(jax.value_and_grad(lambda x: value(x, given)))(x)
        stays = jax.vmap(lambda x, v: _stays(x, v, lambda z: value(z, given)))(x, values)
        return x, values, jnp.max(jnp.abs(slopes), axis=1), found & stays

    if fit.weights is None:
        return jax.tree.map(lambda x: x[None], of_prompt(fit.log_reference, fit.seen))
    # One after the other: compiling the search for many prompts side by side takes minutes.
    return jax.lax.map(lambda one: of_prompt(*one), (fit.log_reference, fit.seen))


def _stays(x: Float[Array, " K"], least: Array, value: Callable[[Array], Array]) -> Bool[Array, ""]:
    """Whether the value rises where the rarest responses are moved further out; otherwise it has no minimum at finite logits.

    Any number of the rarest responses is moved, each of a probability below ``RARE``. A slope that is zero to rounding does not
    tell: where responses have nearly no mass, so has the slope.
    """
    log_policy = log_softmax(x)
    rank = jnp.argsort(jnp.argsort(log_policy))
    groups = rank[None, :] <= jnp.arange(x.shape[0] - 1)[:, None]
    rare = jnp.sort(log_policy)[:-1] < jnp.log(RARE)
    moved = jax.vmap(lambda group: value(jnp.where(group, x - AWAY, x)))(groups)
    return jnp.all(~rare | (moved > least + ROUNDING * jnp.finfo(x.dtype).eps * (1 + jnp.abs(least))))


@eqx.filter_jit
def _descend_within(fit: Fit, begun: Float[Array, "starts K"]) -> tuple[Array, ...]:
    """The same within a linear class of logits: one problem, for all prompts together."""
    columns = fit.policy.basis()
    assert columns is not None
    shape = fit.log_reference.shape
    arrays, rest = eqx.partition((fit, columns), eqx.is_array)

    def value(x: Array, given: Any) -> Array:
        fit, columns = eqx.combine(given, rest)
        return fit.value(fit.log_reference + (columns @ x).reshape(shape))

    away = begun.reshape(len(begun), *([1] * (len(shape) - 1)), -1) - log_softmax(fit.log_reference)[None]
    starts = (away.reshape(len(begun), -1) @ columns).at[0].set(0.0)
    x, found = jax.vmap(lambda start: minimise(value, start, arrays))(starts)
    values, slopes = jax.vmap(jax.value_and_grad(lambda x: value(x, arrays)))(x)
    logits = jax.vmap(lambda x: fit.log_reference + (columns @ x).reshape(shape))(x)
    # Within the class the one direction out is that from the reference.
    reach = jax.vmap(lambda x: jnp.max(jnp.abs(columns @ x)))(x)
    further = x * (1 + AWAY / jnp.maximum(reach, 1e-12))[:, None]
    rise = jax.vmap(lambda x: value(x, arrays))(further) - values
    rare = jnp.min(log_softmax(logits), axis=tuple(range(1, logits.ndim))) < jnp.log(RARE)
    stays = ~rare | (rise > ROUNDING * jnp.finfo(x.dtype).eps * (1 + jnp.abs(values)))
    return tuple(a[None] for a in (logits, values, jnp.max(jnp.abs(slopes), axis=1), found & stays))
