"""The loop that every run goes through: pure, traceable, the same for one run and for a block of a sweep."""

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
"""How often: as an int a part of what is compiled, as an array not."""


class Run(NamedTuple):
    """A run under way: what the process carries, the round it is at and the one it began at, and what was measured."""

    carried: Any
    round: Int[Array, ""]
    begun: Int[Array, ""]
    measured: tuple[Any, ...]
    result: RESULTS
    failed_round: Int[Array, ""]


def snapshot_of(process: Process[Any], carried: Any, round: Int[Array, ""]) -> Snapshot:
    """What measures see, ``round`` rounds after the run began."""
    logits = process.logits(carried)
    return Snapshot(round, logits, log_softmax(logits), process.log_baseline(carried), process.kl_coefficient())


def start(process: Process[Any], log_policy: Array) -> State:
    """The state at round 0 of a policy, given by its logits."""
    carried = process.start(log_policy)
    return State(process.logits(carried), carried, jnp.array(0))


def state_of(process: Process[Any], run: Run) -> State:
    """Where a run stands, to go on from."""
    return State(process.logits(run.carried), run.carried, run.round)


def measures_for(measures: tuple[Measure, ...], rounds: int) -> tuple[Measure, ...]:
    """The measures that a run of so many rounds carries; raises ``ValueError`` where one has no use for it."""
    return tuple(measure.for_rounds(rounds) for measure in measures)


def begin(process: Process[Any], measures: tuple[Measure, ...], state: State, rounds: Count) -> Run:
    """A run before its first round; measures that size themselves are those of ``measures_for``."""
    snapshot = snapshot_of(process, state.carried, jnp.array(0))
    measured = tuple(None if measure.last_only else measure.init(snapshot, jnp.asarray(rounds)) for measure in measures)
    return Run(state.carried, state.round, state.round, measured, RESULTS.successful, jnp.array(-1))


def one_round(process: Process[Any], measures: tuple[Measure, ...], run: Run, key: PRNGKeyArray | None) -> Run:
    """The run one round on, looked at by the measures."""
    return look(process, measures, move(process, run, key))


def move(process: Process[Any], run: Run, key: PRNGKeyArray | None) -> Run:
    """The run one round on; after a failure the state stays as it is, so nothing that is not finite gets out."""
    # The key of a round depends on its number alone: a restarted run draws what an uninterrupted one would have.
    round_key = None if key is None else jax.random.fold_in(key, run.round)
    carried, succeeded = process.advance(run.carried, round_key)
    alive = run.result == RESULTS.successful
    # Looked at here, so that no process, whatever it says of a round, lets a policy out that is not finite.
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
    """The run with its round seen by the measures that need to see every one."""
    snapshot = _seen(process, run)
    seen = (s if m.last_only else m.update(s, snapshot) for m, s in zip(measures, run.measured, strict=True))
    return run._replace(measured=tuple(seen))


def go(process: Process[Any], measures: tuple[Measure, ...], run: Run, key: PRNGKeyArray | None, rounds: Count) -> Run:
    """The run ``rounds`` rounds on, nothing saved. Only an int can be differentiated in reverse, only an array is traced."""
    return jax.lax.fori_loop(0, rounds, lambda _, r: one_round(process, measures, r, key), run)


def _seen(process: Process[Any], run: Run) -> Snapshot:
    return snapshot_of(process, run.carried, run.round - run.begun)


def row(process: Process[Any], measures: tuple[Measure, ...], run: Run) -> dict[str, Array]:
    """What a saved row holds."""
    snapshot = _seen(process, run)
    seen = {m.name: m.observe(snapshot) for m in measures if isinstance(m, Series)}
    return {"log_policy": snapshot.log_policy, **seen}


def go_saving(
    process: Process[Any], measures: tuple[Measure, ...], run: Run, key: PRNGKeyArray | None, saves: int, every: int
) -> tuple[Run, dict[str, Array]]:
    """``saves`` times ``every`` rounds, with a row after each. May be differentiated; other numbers compile anew."""

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
    """The run ``rounds`` rounds on, with a row after each ``every`` of them and after the last.

    There is ``room`` for so many rows, which suffices; what is beyond the last is blank.
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
    """The statistics of a run; blank (NaN, or -1 for integers) where it failed and the state no longer moves."""
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
