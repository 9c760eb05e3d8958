"""How far a policy is from a Nash equilibrium, and the average of a run's policies, which may be nearer than the last."""

from __future__ import annotations

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float, Int

from .._checks import Numbers, as_numbers, check_log_distribution, check_number
from .._numerics import concrete, log_softmax
from .._parts import check_fits, distributions, uniform
from ..preferences import check_prompts
from ..schema import VARIABLES, Variable
from ._measure import Measure, Series, Snapshot, replay
from ._summaries import as_round


def duality_gap(
    log_policy: Numbers,
    preference: Numbers,
    tau: ArrayLike = 0.0,
    log_reference: Numbers | None = None,
) -> Array:
    """2 (max_i (P p)_i - ½); at tau > 0: 2 (tau log Σ_i ref_i e^{(P p)_i/tau} + tau KL(p‖ref) - ½). 0 at equilibria only.

    Args:
        log_policy: log p, in nats, ``(K,)``, or ``(T, K)`` for T policies; of X prompts ``(X, K)`` or ``(T, X, K)``.
        preference: P, ``(K, K)``; of X prompts ``(X, K, K)``.
        tau: temperature, ≥ 0.
        log_reference: log ref, ``(K,)`` or ``(X, K)``, finite, in nats; uniform unless given.

    Raises:
        ValueError: a bad argument.

    Source: the gap of a symmetric zero-sum game: what the best reply gains over p, for both players.

    >>> one = jnp.log(jnp.array([0.5, 0.25, 0.25]))
    >>> round(float(dyn.diagnostics.duality_gap(one, dyn.preferences.cyclic(3, 0.4))), 6)
    0.2
    """
    measure = DualityGap(preference, tau, log_reference)
    rows = as_numbers(log_policy, "log_policy")
    *contexts, K = shape = measure.preference.shape[:-1]
    if rows.ndim - len(shape) not in (0, 1) or rows.shape[rows.ndim - len(shape) :] != shape:
        wanted = f"(X, K) or (T, X, K) with X = {contexts[0]} and" if contexts else "(K,) or (T, K) with"
        raise ValueError(f"log_policy has shape {rows.shape}; pass {wanted} K = {K}.")
    for row in np.asarray(rows).reshape(-1, K):
        check_log_distribution(row, "log_policy", K, zero_mass=True)
    return measure.gap(rows)


def log_average_policy(log_policy: Numbers, burn_in: int = 0) -> Float[Array, " K"]:
    """log (1/T) Σ_t pi_t over the rounds from burn_in on, ``(K,)``, in nats.

    The average may be near an equilibrium where the policies themselves circle around it for ever, as SPPO's do.

    Args:
        log_policy: log pi_t, ``(T, K)``, in nats.
        burn_in: the first round that counts, 0 ≤ burn_in < T.

    Raises:
        ValueError: a burn_in that leaves no round.

    Source: the averages for which SPPO, arXiv 2405.00675, is proven to converge.

    >>> log_policy = jnp.log(jnp.array([[0.5, 0.5], [0.75, 0.25]]))
    >>> jnp.exp(dyn.diagnostics.log_average_policy(log_policy)).round(6).tolist()
    [0.625, 0.375]
    """
    return replay(AveragePolicy(burn_in), as_numbers(log_policy, "log_policy"))["log_average_policy"]


class DualityGap(Series):
    """`duality_gap` at every round; pass the P of the rounds, which a measure does not see.

    Args:
        preference: P, ``(K, K)``; of X prompts ``(X, K, K)``.
        tau: temperature, ≥ 0.
        log_reference: log ref, ``(K,)`` or ``(X, K)``, finite, in nats; uniform unless given.
    """

    preference: Float[Array, "*contexts K K"]
    tau: Float[Array, ""]
    log_reference: Float[Array, "*references K"]
    name: str = eqx.field(static=True, kw_only=True, default="duality_gap")

    def __init__(
        self,
        preference: Numbers,
        tau: ArrayLike = 0.0,
        log_reference: Numbers | None = None,
        *,
        name: str = "duality_gap",
    ):
        self.preference = check_prompts(preference)
        self.tau = check_number(tau, "tau", 0.0, np.inf)
        shape = self.preference.shape[:-1]
        given = uniform(shape[-1]) if log_reference is None else distributions(log_reference, "log_reference")
        check_fits(given, shape, "log_reference")
        self.log_reference = log_softmax(given)
        self.name = name

    def variables(self, num_responses: int) -> dict[str, Variable]:
        return {self.name: VARIABLES["duality_gap"]}

    def prompt_axes(self, prompts: int) -> Any:
        shape = self.preference.shape
        if len(shape) != 3 or shape[0] != prompts:
            raise ValueError(
                f"preference of {self.name} has shape {shape}, the run {prompts} prompts; pass one P for each prompt, "
                f"({prompts}, K, K)."
            )
        return jax.tree.map(lambda leaf: 0 if leaf.ndim > 1 else None, self)

    def observe(self, snapshot: Snapshot) -> Array:
        if self.preference.ndim != snapshot.log_policy.ndim + 1:
            raise ValueError(
                f"preference of {self.name} has shape {self.preference.shape}, the run one prompt; pass its P, (K, K)."
            )
        K, size = self.preference.shape[-1], snapshot.log_policy.shape[-1]
        if size != K:
            raise ValueError(f"preference of {self.name} has {K} responses, the run {size}; pass the P of the run.")
        return self.gap(snapshot.log_policy)

    def gap(self, log_policy: Float[Array, "*rows K"]) -> Float[Array, "*rows"]:
        """The gap of each row."""
        p = jnp.exp(log_policy)
        rates = (
            p @ self.preference.T if self.preference.ndim == 2 else jnp.einsum("xij,...xj->...xi", self.preference, p)
        )
        plain = 2 * (jnp.max(rates, axis=-1) - 0.5)
        if concrete(self.tau) and float(self.tau) == 0:
            return plain
        tau = jnp.where(self.tau > 0, self.tau, 1.0)
        log_ref = jnp.broadcast_to(self.log_reference, rates.shape)
        # Replies are measured from p·(P p) = 1/2, so that a large tau does not cancel.
        reply = (rates - 0.5) / tau
        surprise = jnp.where(p > 0, log_policy - log_ref, 0.0)
        centre = jnp.sum(p * (reply - surprise), axis=-1, keepdims=True)
        inside = jnp.where(p > 0, reply - surprise - centre, 0.0)
        outside = jnp.where(p > 0, -jnp.inf, log_ref + reply - centre)
        near = jnp.max(jnp.abs(inside), axis=-1) < 1
        small = jnp.sum(p * jnp.expm1(jnp.clip(inside, -1, 1)), axis=-1) + jnp.sum(jnp.exp(outside), axis=-1)
        large = jax.nn.logsumexp(jnp.where(p > 0, log_policy + inside, outside), axis=-1)
        gap = jnp.where(near, jnp.log1p(small), large) - jnp.sum(p * inside, axis=-1)
        return jnp.where(self.tau > 0, 2 * tau * jnp.maximum(gap, 0.0), plain)


class AveragePolicy(Measure[tuple[Array, Array]]):
    """Streams `log_average_policy`."""

    burn_in: Int[Array, ""] = eqx.field(converter=lambda value: as_round(value, "burn_in"), default=0)
    name: str = eqx.field(static=True, kw_only=True, default="log_average_policy")

    def variables(self, num_responses: int) -> dict[str, Variable]:
        return {self.name: VARIABLES["log_average_policy"]}

    def for_rounds(self, rounds: int) -> Measure:
        if concrete(self.burn_in) and int(self.burn_in) > rounds:
            raise ValueError(f"burn_in = {self.burn_in} leaves none of the {rounds} rounds; pass a smaller one.")
        return self

    def init(self, snapshot: Snapshot, rounds: Int[Array, ""]) -> tuple[Array, Array]:
        return snapshot.log_policy, jnp.ones((), snapshot.log_policy.dtype)

    def update(self, state: tuple[Array, Array], snapshot: Snapshot) -> Any:
        log_sum, count = state
        # Up to burn_in the sum begins anew.
        begins = snapshot.round <= self.burn_in
        added = jnp.where(begins, snapshot.log_policy, jnp.logaddexp(log_sum, snapshot.log_policy))
        return added, jnp.where(begins, 1.0, count + 1.0).astype(count.dtype)

    def finalize(self, state: tuple[Array, Array]) -> Array:
        return state[0] - jnp.log(state[1])
