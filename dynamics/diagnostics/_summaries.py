"""One number per run, streamed in constant memory: cycle strength, final entropy, collapse."""

from __future__ import annotations

from typing import ClassVar

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float, Int

from .._checks import check_scalar
from .._numerics import concrete, entropy, log_entropy
from ..schema import VARIABLES, Variable
from ._measure import Measure, Snapshot, replay


def cycle_strength(log_policy: Float[ArrayLike, "T K"], burn_in: int = 0) -> Float[Array, ""]:
    """(1/K) Σ_k Var_t pi_t(k): the time-averaged variance of the policy's coordinates, in [0, (K-1)/K²].

    The variance is the population's, divided by the number of rounds.

    Args:
        log_policy: log pi_t, ``(T, K)``, in nats.
        burn_in: the first round that counts, 0 ≤ burn_in < T; 0 as published.

    Raises:
        ValueError: a burn_in that leaves no round.

    Source: [paper] Chen26, protocol of the experiments.

    >>> log_policy = jnp.log(jnp.array([[0.5, 0.5], [0.75, 0.25]]))
    >>> round(float(dyn.diagnostics.cycle_strength(log_policy)), 6)
    0.015625
    """
    return replay(CycleStrength(burn_in), log_policy)["cycle_strength"]


def final_entropy(log_policy: Float[ArrayLike, "T K"]) -> Float[Array, ""]:
    """H(pi_{T-1}), in nats: the published measure of collapse.

    Args:
        log_policy: log pi_t, ``(T, K)``, in nats.

    Source: [paper] Chen26, protocol of the experiments.

    >>> log_policy = jnp.log(jnp.array([[0.75, 0.25], [0.5, 0.5]]))
    >>> round(float(dyn.diagnostics.final_entropy(log_policy)), 4)
    0.6931
    """
    return replay(FinalEntropy(), log_policy)["final_entropy"]


def collapse_round(log_policy: Float[ArrayLike, "T K"], threshold: float | Array = 0.01) -> Int[Array, ""]:
    """min {t : H(pi_s) < threshold for all s ≥ t}, a round, or -1 where the last entropy is not below the threshold.

    Args:
        log_policy: log pi_t, ``(T, K)``, in nats.
        threshold: entropy, > 0, in nats.

    Source: [derived].

    >>> log_policy = jax.nn.log_softmax(jnp.array([[0.0, 0.0], [9.0, 0.0], [12.0, 0.0]]))
    >>> int(dyn.diagnostics.collapse_round(log_policy))
    1
    """
    return replay(CollapseRound(threshold), log_policy)["collapse_round"]


def collapse_rate(log_policy: Float[ArrayLike, "T K"], window: int = 1024) -> Float[Array, ""]:
    """-d log H(pi_t)/dt, in nats per round: the slope of the least-squares line over the newer half of the window.

    It is positive while the policy collapses, accurate down to log H = -1e5, where H itself underflows, and 0 for fewer
    than two rounds.

    Args:
        log_policy: log pi_t, ``(T, K)``, in nats.
        window: how many of the last rounds are used, ≥ 2.

    Source: [derived].

    >>> z = jnp.stack([jnp.arange(60.0), jnp.zeros(60)], axis=1)
    >>> round(float(dyn.diagnostics.collapse_rate(jax.nn.log_softmax(z))), 2)
    0.98
    """
    return replay(CollapseRate(window), log_policy)["collapse_rate"]


def as_round(value: int | Array, name: str) -> Int[Array, ""]:
    """A whole number ≥ 0 as an array; raises ``ValueError`` with ``name`` for another."""
    if concrete(value) and (isinstance(value, bool) or int(value) != value or value < 0):
        raise ValueError(f"{name} = {value} is not a round; pass a whole number ≥ 0.")
    return jnp.asarray(value)


class CycleStrength(Measure[tuple[Array, Array]]):
    """Streams `cycle_strength` by Welford's update."""

    burn_in: Int[Array, ""] = eqx.field(converter=lambda value: as_round(value, "burn_in"), default=0)
    name: str = eqx.field(static=True, kw_only=True, default="cycle_strength")

    def variables(self, num_responses: int) -> dict[str, Variable]:
        return {self.name: VARIABLES["cycle_strength"]}

    def for_rounds(self, rounds: int) -> Measure:
        if concrete(self.burn_in) and int(self.burn_in) > rounds:
            raise ValueError(f"burn_in = {self.burn_in} leaves none of the {rounds} rounds; pass a smaller one.")
        return self

    def init(self, snapshot: Snapshot, rounds: Int[Array, ""]) -> tuple[Array, Array]:
        policy = snapshot.policy
        return policy, jnp.zeros_like(policy)

    def update(self, state: tuple[Array, Array], snapshot: Snapshot) -> tuple[Array, Array]:
        mean, variance = state
        policy = snapshot.policy
        # Up to burn_in the gain is 1, which restarts the recursion at this policy.
        gain = 1.0 / jnp.maximum(snapshot.round - self.burn_in + 1, 1).astype(policy.dtype)
        step = gain * (policy - mean)
        return mean + step, (1.0 - gain) * (variance + (policy - mean) * step)

    def finalize(self, state: tuple[Array, Array]) -> Array:
        return jnp.mean(state[1])


class FinalEntropy(Measure[Array]):
    """Streams `final_entropy`: keeps the last policy and computes its entropy once."""

    last_only: ClassVar[bool] = True

    name: str = eqx.field(static=True, kw_only=True, default="final_entropy")

    def variables(self, num_responses: int) -> dict[str, Variable]:
        return {self.name: VARIABLES["final_entropy"]}

    def init(self, snapshot: Snapshot, rounds: Int[Array, ""]) -> Array:
        return snapshot.log_policy

    def update(self, state: Array, snapshot: Snapshot) -> Array:
        return snapshot.log_policy

    def finalize(self, state: Array) -> Array:
        return entropy(state)


class CollapseRound(Measure[Array]):
    """Streams `collapse_round`."""

    threshold: Float[Array, ""] = eqx.field(
        converter=lambda value: check_scalar(value, "threshold", 0.0, np.inf, open_low=True), default=0.01
    )
    name: str = eqx.field(static=True, kw_only=True, default="collapse_round")

    def variables(self, num_responses: int) -> dict[str, Variable]:
        return {self.name: VARIABLES["collapse_round"]}

    def init(self, snapshot: Snapshot, rounds: Int[Array, ""]) -> Array:
        return self.update(jnp.full((), -1, jnp.int32), snapshot)

    def update(self, state: Array, snapshot: Snapshot) -> Array:
        below = entropy(snapshot.log_policy) < self.threshold.astype(snapshot.log_policy.dtype)
        first = jnp.where(state < 0, jnp.asarray(snapshot.round, jnp.int32), state)
        return jnp.where(below, first, -1)

    def finalize(self, state: Array) -> Array:
        return state


class _Line(eqx.Module):
    """The sums of a least-squares slope over the ``count`` rounds from ``start`` on."""

    start: Int[Array, ""]
    count: Int[Array, ""]
    origin: Array
    moment: Array


class CollapseRate(Measure[_Line]):
    """Streams `collapse_rate` without a window, since the rounds that the line covers are known from the start."""

    window: int = eqx.field(static=True, default=1024)
    name: str = eqx.field(static=True, kw_only=True, default="collapse_rate")

    def __check_init__(self) -> None:
        if self.window < 2:
            raise ValueError(f"window = {self.window} is too short for a line; pass at least 2 rounds.")

    def variables(self, num_responses: int) -> dict[str, Variable]:
        return {self.name: VARIABLES["collapse_rate"]}

    def init(self, snapshot: Snapshot, rounds: Int[Array, ""]) -> _Line:
        count = jnp.minimum(jnp.maximum(jnp.minimum(self.window, rounds + 1) // 2, 2), rounds + 1)
        value = log_entropy(snapshot.log_policy)
        return self.update(_Line(rounds + 1 - count, count, value, jnp.zeros_like(value)), snapshot)

    def update(self, state: _Line, snapshot: Snapshot) -> _Line:
        value = log_entropy(snapshot.log_policy)
        # The abscissae are centred, so the mean of the ordinates drops out; subtracting the origin only saves digits.
        origin = jnp.where(snapshot.round <= state.start, value, state.origin)
        middle = (state.count - 1).astype(value.dtype) / 2
        abscissa = (snapshot.round - state.start).astype(value.dtype) - middle
        moment = jnp.where(snapshot.round > state.start, state.moment + abscissa * (value - origin), 0.0)
        return _Line(state.start, state.count, origin, moment.astype(value.dtype))

    def finalize(self, state: _Line) -> Array:
        count = state.count.astype(state.moment.dtype)
        spread = count * (count**2 - 1.0) / 12.0
        return jnp.where(spread > 0, -state.moment / jnp.where(spread > 0, spread, 1.0), 0.0)
