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

    Arguments: ``log_policy`` log pi, shape (..., K). Source: [paper] Chen26.
    """
    return _numerics.entropy(jnp.asarray(log_policy))


def effective_responses(log_policy: Float[ArrayLike, "*batch K"]) -> Float[Array, "*batch"]:
    """exp H(pi): how many equally likely responses have the entropy of pi, in [1, K].

    Arguments: ``log_policy`` log pi, shape (..., K). Source: [derived].
    """
    return jnp.exp(entropy(log_policy))


def kl_to_reference(
    log_policy: Float[ArrayLike, "*batch K"], log_reference: Float[ArrayLike, " K"]
) -> Float[Array, "*batch"]:
    """KL(pi‖pi_ref) = Σ_k pi(k) (log pi(k) - log pi_ref(k)), in nats, ≥ 0.

    Arguments: ``log_policy`` log pi, shape (..., K); ``log_reference`` log pi_ref, shape (K,). Source: [paper] Chen26.
    """
    log_p = jnp.asarray(log_policy)
    return _numerics.kl_divergence(log_p, jnp.broadcast_to(jnp.asarray(log_reference, log_p.dtype), log_p.shape))


def top_response(log_policy: Float[ArrayLike, "*batch K"]) -> Int[Array, "*batch"]:
    """argmax_k pi(k), the smallest index on ties.

    Arguments: ``log_policy`` log pi, shape (..., K). Source: [derived].
    """
    return jnp.argmax(jnp.asarray(log_policy), axis=-1).astype(jnp.int32)


def pair_indices(num_responses: int) -> tuple[np.ndarray, np.ndarray]:
    """The pairs i < j, row by row, in the order in which `reward_margin` lists them."""
    return np.triu_indices(num_responses, 1)


def reward_margin(
    log_policy: Float[ArrayLike, "*batch K"],
    log_reference: Float[ArrayLike, " K"],
    beta: float | Float[Array, ""],
    pairs: Literal["all", "best"] = "all",
) -> Float[Array, "*values"]:
    """beta (h_i - h_j) with h = log pi - log pi_ref: by how much the implicit reward prefers i to j, in nats.

    Arguments: ``log_policy`` log pi, shape (..., K); ``log_reference`` log pi_ref, shape (K,); ``beta`` the KL
    coefficient, > 0; ``pairs`` "all" for every i < j (shape (..., K(K-1)/2), ordered as `pair_indices`) or "best" for
    the largest h minus the second largest (shape (...)). Raises ValueError on other ``pairs``. Source: [paper] ImLi25.
    """
    _check_pairs(pairs)
    log_p = jnp.asarray(log_policy)
    h = log_p - jnp.asarray(log_reference, log_p.dtype)
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
    """Streams `reward_margin`, against the base reference: every pair (dim "pair") or best against second.

    Raises ValueError where the process states no beta, and on ``pairs`` other than "all" and "best".
    """

    pairs: Literal["all", "best"] = eqx.field(static=True, default="all")
    name: str = eqx.field(static=True, kw_only=True, default="reward_margin")

    def __check_init__(self) -> None:
        _check_pairs(self.pairs)

    def variables(self, num_responses: int) -> dict[str, Variable]:
        return {self.name: BEST_MARGIN if self.pairs == "best" else VARIABLES["reward_margin"]}

    def observe(self, snapshot: Snapshot) -> Array:
        if snapshot.beta is None:
            raise ValueError("reward_margin needs beta and this process states none; give it beta or drop the measure.")
        return reward_margin(snapshot.log_policy, snapshot.log_reference, snapshot.beta, self.pairs)
