"""The base classes of measures, which follow a run round by round and give their values at the end."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, ClassVar, Generic, TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float, Int

from .._numerics import centre, softmax
from ..schema import Variable

State = TypeVar("State")


class Snapshot(eqx.Module):
    """One round of a run, as given to a measure."""

    round: Int[Array, ""]
    logits: Float[Array, "*contexts K"]
    log_policy: Float[Array, "*contexts K"]
    log_reference: Float[Array, "*contexts K"]
    beta: Float[Array, ""] | None = None

    @property
    def policy(self) -> Float[Array, "*contexts K"]:
        """pi; the compiler shares this softmax with a round that computes it from the same logits."""
        return softmax(self.logits)


class Measure(eqx.Module, Generic[State]):
    """Streams over the rounds of a run: ``init`` on round 0, ``update`` on every later round, ``finalize`` at the end.

    A subclass writes all three, pure and traceable. ``State`` is a pytree of arrays. ``name`` is a keyword argument, so that
    positional arguments are hyper-parameters.
    """

    last_only: ClassVar[bool] = False
    """Whether only the last round counts: its ``init`` is then the final state, and runs skip ``update``."""

    name: str = eqx.field(static=True, kw_only=True, default="")

    def variables(self, num_responses: int) -> dict[str, Variable]:
        """The variables that ``finalize`` yields for K responses."""
        return {self.name: Variable()}

    def for_rounds(self, rounds: int) -> Measure:
        """The measure to use in a run of this many rounds, a Python int; called before anything is compiled.

        May raise ``ValueError``, or return a copy with other static fields, such as ``dataclasses.replace(self, size=…)``.
        Each distinct copy is compiled once, so round sizes up to powers of two.
        """
        return self

    def prompt_axes(self, prompts: int) -> Any:
        """Which arrays of the measure hold a row for each of X prompts: a pytree of 0 for these and None for others, as
        ``in_axes`` of ``jax.vmap``; None where every prompt is measured alike. May raise ``ValueError``.
        """
        return None

    @abstractmethod
    def init(self, snapshot: Snapshot, rounds: Int[Array, ""]) -> State:
        """The state at round 0; ``rounds``, the number to come, is traced: a Python int is given to ``for_rounds``."""

    @abstractmethod
    def update(self, state: State, snapshot: Snapshot) -> State:
        """The state after one more round."""

    @abstractmethod
    def finalize(self, state: State) -> Array | dict[str, Array]:
        """An array, stored under ``name``, or a dict of arrays named as in ``variables``."""


class Series(Measure[Array]):
    """A measure with a value at every round, ``observe``; its statistic is the value of the last round."""

    last_only: ClassVar[bool] = True

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        cls.last_only = cls.update is Series.update

    @abstractmethod
    def observe(self, snapshot: Snapshot) -> Array:
        """The value at one round."""

    def init(self, snapshot: Snapshot, rounds: Int[Array, ""]) -> Array:
        return self.observe(snapshot)

    def update(self, state: Array, snapshot: Snapshot) -> Array:
        return self.observe(snapshot)

    def finalize(self, state: Array) -> Array:
        return state


def statistics_of(measure: Measure, state: Any) -> dict[str, jax.Array]:
    """The final values by variable name."""
    value = measure.finalize(state)
    return value if isinstance(value, dict) else {measure.name: value}


def variables_of(measures: tuple[Measure, ...], num_responses: int) -> dict[str, Variable]:
    """The variables of all measures by name."""
    return {name: v for measure in measures for name, v in measure.variables(num_responses).items()}


def as_trajectory(log_policy: ArrayLike) -> Float[Array, "T K"]:
    """``log_policy`` as rows of log-probabilities; raises ``ValueError`` on another shape."""
    array = jnp.asarray(log_policy)
    if array.ndim != 2 or array.shape[0] < 1 or array.shape[1] < 2:
        raise ValueError(
            f"log_policy has shape {array.shape}; pass one row of log-probabilities per round, (T, K) with K >= 2."
        )
    return array if jnp.issubdtype(array.dtype, jnp.floating) else array.astype(float)


def replay(
    measure: Measure,
    log_policy: Float[ArrayLike, "T K"],
    log_reference: Float[ArrayLike, " K"] | None = None,
    beta: float | Array | None = None,
) -> dict[str, jax.Array]:
    """The statistics of ``measure`` on a saved trajectory, the same as if it had streamed through the run; traceable.

    Args:
        measure: a Measure.
        log_policy: log pi_t of rounds 0 … T-1, ``(T, K)``, in nats.
        log_reference: log pi_ref, ``(K,)``, in nats; the first row unless given.
        beta: KL coefficient, > 0, for measures that use it.

    Returns:
        the final values by variable name.

    Raises:
        ValueError: another shape of ``log_policy``, or a measure that refuses this many rounds.

    Source: [derived].

    >>> log_policy = jnp.log(jnp.array([[0.5, 0.5], [0.75, 0.25]]))
    >>> dyn.diagnostics.replay(dyn.diagnostics.resolve("top_response"), log_policy)["top_response"].item()
    0
    """
    rows = as_trajectory(log_policy)
    reference = rows[0] if log_reference is None else jnp.asarray(log_reference, rows.dtype)
    measure = measure.for_rounds(rows.shape[0] - 1)
    return _replay(measure, rows, reference, None if beta is None else jnp.asarray(beta, rows.dtype))


@eqx.filter_jit
def _replay(measure: Measure, rows: Array, reference: Array, beta: Array | None) -> dict[str, jax.Array]:
    def snapshot(t: Array, row: Array) -> Snapshot:
        return Snapshot(t, centre(row), row, reference, beta)

    def step(state: Any, at: tuple[Array, Array]) -> tuple[Any, None]:
        return measure.update(state, snapshot(*at)), None

    state = measure.init(snapshot(jnp.asarray(0), rows[0]), jnp.asarray(rows.shape[0] - 1))
    state, _ = jax.lax.scan(step, state, (jnp.arange(1, rows.shape[0]), rows[1:]))
    return statistics_of(measure, state)
