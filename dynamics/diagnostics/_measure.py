"""What a measure is: something pure that watches a run round by round and says one thing about it at the end."""

from __future__ import annotations

from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float, Int

from .._numerics import centre, softmax
from ..schema import Variable


class Snapshot(eqx.Module):
    """One round of a run, as a measure sees it."""

    round: Int[Array, ""]
    logits: Float[Array, " K"]
    log_policy: Float[Array, " K"]
    log_reference: Float[Array, " K"]
    beta: Float[Array, ""] | None = None

    @property
    def policy(self) -> Float[Array, " K"]:
        """pi. Where a round computes the same from the same logits, the compiler does it once."""
        return softmax(self.logits)


class Measure(eqx.Module):
    """Streams over the rounds of a run: ``init`` on round 0, ``update`` on every later round, ``finalize`` at the end.

    All three are pure and traceable. ``rounds`` of ``init``, the number of rounds to come, is a traced integer, so that a
    run of another length compiles nothing anew: use it in arithmetic and ``jnp.where``. What needs the number itself, to
    refuse it or for the size of an array, is the business of ``for_rounds``. ``finalize`` returns an array, stored under
    ``name``, or a dict of arrays named as in ``variables``. ``name`` is given by keyword, so that positions belong to
    hyper-parameters.
    """

    last_only: ClassVar[bool] = False
    """Whether the last round says it all: ``init`` on its snapshot is the final state, so that runs skip ``update``."""

    name: str = eqx.field(static=True, kw_only=True, default="")

    def variables(self, num_responses: int) -> dict[str, Variable]:
        """The variables that ``finalize`` yields for K responses."""
        return {self.name: Variable()}

    def for_rounds(self, rounds: int) -> Measure:
        """The measure to carry through a run of this many rounds, a Python int; called before anything is compiled.

        May raise ``ValueError``, and may return a copy with other static fields, such as ``dataclasses.replace(self,
        size=…)`` with a size of its own. Everything is compiled once for each such copy: round sizes up to powers of two.
        """
        return self

    def init(self, snapshot: Snapshot, rounds: Int[Array, ""]) -> Any:
        raise NotImplementedError

    def update(self, state: Any, snapshot: Snapshot) -> Any:
        raise NotImplementedError

    def finalize(self, state: Any) -> Array | dict[str, Array]:
        raise NotImplementedError


class Series(Measure):
    """A measure with a value at every round, ``observe``; saved rows hold the values, the statistic is the last one."""

    last_only: ClassVar[bool] = True

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        cls.last_only = cls.update is Series.update

    def observe(self, snapshot: Snapshot) -> Array:
        raise NotImplementedError

    def init(self, snapshot: Snapshot, rounds: Int[Array, ""]) -> Array:
        return self.observe(snapshot)

    def update(self, state: Array, snapshot: Snapshot) -> Array:
        return self.observe(snapshot)

    def finalize(self, state: Array) -> Array:
        return state


def statistics_of(measure: Measure, state: Any) -> dict[str, jax.Array]:
    """The finalized values by variable name."""
    value = measure.finalize(state)
    return value if isinstance(value, dict) else {measure.name: value}


def variables_of(measures: tuple[Measure, ...], num_responses: int) -> dict[str, Variable]:
    """All variables of some measures by name."""
    return {name: v for measure in measures for name, v in measure.variables(num_responses).items()}


def as_trajectory(log_policy: ArrayLike) -> Float[Array, "T K"]:
    """``log_policy`` as rows of log-probabilities, or a ``ValueError`` that names what is wrong with its shape."""
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
    """The statistics of ``measure`` on a saved trajectory, the same as if it had streamed through the run.

    Arguments: ``log_policy`` log pi_t, rounds 0..T-1; ``log_reference`` log pi_ref, the first row where None; ``beta``
    the KL coefficient, needed only by measures that use it. Traceable. Source: [derived].
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
