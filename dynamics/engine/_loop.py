"""The loop of rounds, pure and traceable; one run and a block of a sweep use the same."""

from __future__ import annotations

from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Int, PRNGKeyArray

from .._numerics import log_softmax
from ..diagnostics import Measure, Series, Snapshot, statistics_of
from ..rounds import Process
from ._state import RESULTS, State

Count = int | Int[Array, ""]
"""A number of rounds: an int is compiled in, an array may change without another compilation."""


class Run(NamedTuple):
    """A run in progress: the state of the process, the current round and the one it began at, and what was measured."""

    carried: Any
    round: Int[Array, ""]
    begun: Int[Array, ""]
    measured: tuple[Any, ...]
    result: RESULTS
    failed_round: Int[Array, ""]


def snapshot_of(process: Process[Any], carried: Any, round: Int[Array, ""]) -> Snapshot:
    """What measures are shown ``round`` rounds after the run began."""
    logits = process.logits(carried)
    return Snapshot(round, logits, log_softmax(logits), process.log_baseline(carried), process.kl_coefficient())


def start(process: Process[Any], log_policy: Array) -> State:
    """The state at round 0 whose policy has these logits."""
    carried = process.start(log_policy)
    return State(process.logits(carried), carried, jnp.array(0))


def state_of(process: Process[Any], run: Run) -> State:
    """The state of a run, from which another run can go on."""
    return State(process.logits(run.carried), run.carried, run.round)


def measures_for(measures: tuple[Measure, ...], rounds: int) -> tuple[Measure, ...]:
    """The measures set up for a run of this many rounds; raises ``ValueError`` where one cannot measure such a run."""
    return tuple(measure.for_rounds(rounds) for measure in measures)


def begin(process: Process[Any], measures: tuple[Measure, ...], state: State, rounds: Count) -> Run:
    """A run before its first round; measures that depend on the number of rounds have to come from ``measures_for``."""
    snapshot = snapshot_of(process, state.carried, jnp.array(0))
    measured = tuple(None if measure.last_only else measure.init(snapshot, jnp.asarray(rounds)) for measure in measures)
    return Run(state.carried, state.round, state.round, measured, RESULTS.successful, jnp.array(-1))


def one_round(process: Process[Any], measures: tuple[Measure, ...], run: Run, key: PRNGKeyArray | None) -> Run:
    """The run one round later, and seen by the measures."""
    return look(process, measures, move(process, run, key))


def move(process: Process[Any], run: Run, key: PRNGKeyArray | None) -> Run:
    """The run one round later. After a failure the state no longer changes, so it is always finite."""
    # A round's key depends only on its number, so that a restarted run draws what an uninterrupted one would have drawn.
    round_key = None if key is None else jax.random.fold_in(key, run.round)
    carried, succeeded = process.advance(run.carried, round_key)
    alive = run.result == RESULTS.successful
    # Checked here, because a process may report success although its policy is not finite.
    finite = jnp.all(jnp.isfinite(process.logits(carried)))
    succeeded = finite & succeeded
    good = alive & succeeded
    keep = lambda new, stay: jnp.where(good, new, stay)
    result = RESULTS.where(alive & ~succeeded, RESULTS.where(finite, RESULTS.unsolved, RESULTS.nonfinite), run.result)
    failed_round = jnp.where(alive & ~succeeded, run.round + 1, run.failed_round)
    return run._replace(
        carried=jax.tree.map(keep, carried, run.carried), round=run.round + 1, result=result, failed_round=failed_round
    )


def look(process: Process[Any], measures: tuple[Measure, ...], run: Run) -> Run:
    """The run with its current round shown to the measures that need every round."""
    snapshot = _seen(process, run)
    seen = (s if m.last_only else m.update(s, snapshot) for m, s in zip(measures, run.measured, strict=True))
    return run._replace(measured=tuple(seen))


def go(process: Process[Any], measures: tuple[Measure, ...], run: Run, key: PRNGKeyArray | None, rounds: Count) -> Run:
    """The run ``rounds`` rounds later, with nothing saved. Reverse-mode derivatives require ``rounds`` to be an int."""
    return jax.lax.fori_loop(0, rounds, lambda _, r: one_round(process, measures, r, key), run)


def _seen(process: Process[Any], run: Run) -> Snapshot:
    return snapshot_of(process, run.carried, run.round - run.begun)


def row(process: Process[Any], measures: tuple[Measure, ...], run: Run) -> dict[str, Array]:
    """The variables of one saved row, by name."""
    snapshot = _seen(process, run)
    seen = {m.name: m.observe(snapshot) for m in measures if isinstance(m, Series)}
    return {"log_policy": snapshot.log_policy, **seen}


def go_saving(
    process: Process[Any], measures: tuple[Measure, ...], run: Run, key: PRNGKeyArray | None, saves: int, every: int
) -> tuple[Run, dict[str, Array]]:
    """``saves`` times ``every`` rounds, with a row after each. Differentiable; other numbers are compiled anew."""

    def step(run: Run, _: None) -> tuple[Run, dict[str, Array]]:
        run = go(process, measures, run, key, every)
        return run, row(process, measures, run)

    return jax.lax.scan(step, run, None, length=saves)


def go_filling(
    process: Process[Any],
    measures: tuple[Measure, ...],
    run: Run,
    key: PRNGKeyArray | None,
    rounds: Int[Array, ""],
    every: Int[Array, ""],
    room: int,
) -> tuple[Run, dict[str, Array]]:
    """The run ``rounds`` rounds later, with a row after every ``every`` rounds and after the last.

    The arrays have ``room`` rows, which the caller chooses large enough; rows beyond the last are zero.
    """
    shapes = eqx.filter_eval_shape(row, process, measures, run)
    blank = jax.tree.map(lambda x: jnp.zeros((room, *x.shape), x.dtype), shapes)

    def step(i: Array, carry: tuple[Run, dict[str, Array]]) -> tuple[Run, dict[str, Array]]:
        run, rows = carry
        run = go(process, measures, run, key, jnp.minimum(every, rounds - i * every))
        put = lambda rows, new: jax.lax.dynamic_update_index_in_dim(rows, new, i, 0)
        return run, jax.tree.map(put, rows, row(process, measures, run))

    return jax.lax.fori_loop(0, (rounds + every - 1) // every, step, (run, blank))


def finish(process: Process[Any], measures: tuple[Measure, ...], run: Run) -> dict[str, Array]:
    """The statistics of a run; NaN (or -1 for integers) where it failed, because the state stood still from then on."""
    out: dict[str, Array] = {}
    last = _seen(process, run)
    for measure, state in zip(measures, run.measured, strict=True):
        out |= statistics_of(measure, measure.init(last, jnp.asarray(0)) if measure.last_only else state)
    failed = run.failed_round >= 0
    return {name: jnp.where(failed, _blank(jnp.asarray(value)), value) for name, value in out.items()}


def _blank(value: Array) -> Array:
    return jnp.full_like(value, jnp.nan if jnp.issubdtype(value.dtype, jnp.inexact) else -1)


jit_begin = eqx.filter_jit(begin)
jit_go_saving = eqx.filter_jit(go_saving)
jit_go_filling = eqx.filter_jit(go_filling)
jit_finish = eqx.filter_jit(finish)
jit_row = eqx.filter_jit(row)
jit_start = eqx.filter_jit(start)
jit_state_of = eqx.filter_jit(state_of)
