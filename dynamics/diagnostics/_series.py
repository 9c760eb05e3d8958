"""Quantities with a value at every round: functions of log-policies, and the Series that stream them."""

from __future__ import annotations

from typing import Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float, Int

from .. import _numerics
from ..schema import BEST_MARGIN, VARIABLES, Variable
from ._measure import Series, Snapshot


def entropy(log_policy: Float[ArrayLike, "*batch K"]) -> Float[Array, "*batch"]:
    """H(pi) = -Σ_k pi(k) log pi(k), in nats, in [0, log K]; keeps its relative precision near a vertex.

    Args:
        log_policy: log pi, ``(…, K)``, in nats.

    Source: [paper] Chen26.

    >>> round(float(dyn.diagnostics.entropy(jnp.log(jnp.array([0.5, 0.5])))), 4)
    0.6931
    """
    return _numerics.entropy(jnp.asarray(log_policy))


def effective_responses(log_policy: Float[ArrayLike, "*batch K"]) -> Float[Array, "*batch"]:
    """exp H(pi): the number of equally likely responses with the entropy of pi, in [1, K].

    Args:
        log_policy: log pi, ``(…, K)``, in nats.

    Source: [derived].

    >>> round(float(dyn.diagnostics.effective_responses(jnp.log(jnp.array([0.5, 0.5])))), 4)
    2.0
    """
    return jnp.exp(entropy(log_policy))


def kl_to_reference(
    log_policy: Float[ArrayLike, "*batch K"], log_reference: Float[ArrayLike, " K"]
) -> Float[Array, "*batch"]:
    """KL(pi‖pi_ref) = Σ_k pi(k) (log pi(k) - log pi_ref(k)), in nats, ≥ 0.

    Args:
        log_policy: log pi, ``(…, K)``, in nats.
        log_reference: log pi_ref, ``(K,)``, in nats.

    Source: [paper] Chen26.

    >>> pi, ref = jnp.log(jnp.array([0.75, 0.25])), jnp.log(jnp.array([0.5, 0.5]))
    >>> round(float(dyn.diagnostics.kl_to_reference(pi, ref)), 4)
    0.1308
    """
    log_p = jnp.asarray(log_policy)
    return _numerics.kl_divergence(log_p, jnp.broadcast_to(jnp.asarray(log_reference, log_p.dtype), log_p.shape))


def forward_kl(
    log_target: Float[ArrayLike, "*contexts K"], log_policy: Float[ArrayLike, "*batch K"]
) -> Float[Array, "*batch"]:
    """KL(pi*‖pi) = Σ_k pi*(k) (log pi*(k) - log pi(k)), in nats, ≥ 0: of every context, if there are several.

    Args:
        log_target: log pi*, ``(K,)``, or ``(…, K)`` as ``log_policy`` or a part of its last axes, in nats.
        log_policy: log pi, ``(…, K)``, in nats.

    Source: [paper] Yun25, whose guarantees bound its mean over contexts.

    >>> target, pi = jnp.log(jnp.array([0.75, 0.25])), jnp.log(jnp.array([0.5, 0.5]))
    >>> round(float(dyn.diagnostics.forward_kl(target, pi)), 4)
    0.1308
    """
    log_q = jnp.asarray(log_policy)
    return _numerics.kl_divergence(jnp.broadcast_to(jnp.asarray(log_target, log_q.dtype), log_q.shape), log_q)


def top_response(log_policy: Float[ArrayLike, "*batch K"]) -> Int[Array, "*batch"]:
    """argmax_k pi(k), the smallest index on ties.

    Args:
        log_policy: log pi, ``(…, K)``, in nats.

    Source: [derived].

    >>> dyn.diagnostics.top_response(jnp.log(jnp.array([[0.2, 0.8], [0.6, 0.4]]))).tolist()
    [1, 0]
    """
    return jnp.argmax(jnp.asarray(log_policy), axis=-1).astype(jnp.int32)


def pair_indices(num_responses: int) -> tuple[np.ndarray, np.ndarray]:
    """The pairs i < j, row by row, in the order of `reward_margin`.

    >>> [index.tolist() for index in dyn.diagnostics.pair_indices(3)]
    [[0, 0, 1], [1, 2, 2]]
    """
    return np.triu_indices(num_responses, 1)


def reward_margin(
    log_policy: Float[ArrayLike, "*batch K"],
    log_reference: Float[ArrayLike, " K"],
    beta: float | Float[Array, ""],
    pairs: Literal["all", "best"] = "all",
) -> Float[Array, "*values"]:
    """beta (h_i - h_j) with h = log pi - log pi_ref: the difference of implicit rewards of i and j, in nats.

    Args:
        log_policy: log pi, ``(…, K)``, in nats.
        log_reference: log pi_ref, ``(K,)``, in nats.
        beta: KL coefficient, > 0.
        pairs: "all" for every i < j, ordered as `pair_indices`; "best" for the largest h minus the second largest.

    Returns:
        ``(…, K(K-1)/2)`` for "all", ``(…)`` for "best".

    Raises:
        ValueError: other ``pairs``.

    Source: [paper] ImLi25.

    >>> pi, ref = jnp.log(jnp.array([0.75, 0.25])), jnp.log(jnp.array([0.5, 0.5]))
    >>> np.asarray(dyn.diagnostics.reward_margin(pi, ref, 0.1)).round(4).tolist()
    [0.1099]
    """
    _check_pairs(pairs)
    log_p = jnp.asarray(log_policy)
    h = log_p - jnp.broadcast_to(jnp.asarray(log_reference, log_p.dtype), log_p.shape)
    beta = jnp.asarray(beta, log_p.dtype)
    if pairs == "best":
        best, _ = jax.lax.top_k(h, 2)
        return beta * (best[..., 0] - best[..., 1])
    i, j = pair_indices(h.shape[-1])
    return beta * (h[..., i] - h[..., j])


def _check_pairs(pairs: str) -> None:
    if pairs not in ("all", "best"):
        raise ValueError(f"pairs = {pairs!r} is neither 'all' nor 'best'; pass one of the two.")


class Entropy(Series):
    """Streams `entropy`."""

    name: str = eqx.field(static=True, kw_only=True, default="entropy")

    def variables(self, num_responses: int) -> dict[str, Variable]:
        return {self.name: VARIABLES["entropy"]}

    def observe(self, snapshot: Snapshot) -> Array:
        return entropy(snapshot.log_policy)


class EffectiveResponses(Series):
    """Streams `effective_responses`."""

    name: str = eqx.field(static=True, kw_only=True, default="effective_responses")

    def variables(self, num_responses: int) -> dict[str, Variable]:
        return {self.name: VARIABLES["effective_responses"]}

    def observe(self, snapshot: Snapshot) -> Array:
        return effective_responses(snapshot.log_policy)


class KLToReference(Series):
    """Streams `kl_to_reference`, against the base reference."""

    name: str = eqx.field(static=True, kw_only=True, default="kl_to_reference")

    def variables(self, num_responses: int) -> dict[str, Variable]:
        return {self.name: VARIABLES["kl_to_reference"]}

    def observe(self, snapshot: Snapshot) -> Array:
        return kl_to_reference(snapshot.log_policy, snapshot.log_reference)


class TopResponse(Series):
    """Streams `top_response`."""

    name: str = eqx.field(static=True, kw_only=True, default="top_response")

    def variables(self, num_responses: int) -> dict[str, Variable]:
        return {self.name: VARIABLES["top_response"]}

    def observe(self, snapshot: Snapshot) -> Array:
        return top_response(snapshot.log_policy)


class RewardMargin(Series):
    """Streams `reward_margin`, against the base reference.

    Args:
        pairs: "all" for every pair (dim "pair"), or "best" for the best response against the second.

    Raises:
        ValueError: other ``pairs``, or a process without beta.
    """

    pairs: Literal["all", "best"] = eqx.field(static=True, default="all")
    name: str = eqx.field(static=True, kw_only=True, default="reward_margin")

    def __check_init__(self) -> None:
        _check_pairs(self.pairs)

    def variables(self, num_responses: int) -> dict[str, Variable]:
        return {self.name: BEST_MARGIN if self.pairs == "best" else VARIABLES["reward_margin"]}

    def observe(self, snapshot: Snapshot) -> Array:
        if snapshot.beta is None:
            raise ValueError(
                "reward_margin needs beta, and this process states none; give it a beta or drop the measure."
            )
        return reward_margin(snapshot.log_policy, snapshot.log_reference, snapshot.beta, self.pairs)
