"""The loop that every run goes through: pure, traceable, the same for one run and for a block of a sweep."""

from __future__ import annotations

from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Int, PRNGKeyArray

from .._numerics import centre, log_softmax
from ..diagnostics import Measure, Series, Snapshot, statistics_of
from ..rounds import RoundMap
from ._state import RESULTS, State

Count = int | Int[Array, ""]
"""How often: as an int a part of what is compiled, as an array not."""


class Run(NamedTuple):
    """A run under way."""

    state: State
    measured: tuple[Any, ...]
    result: RESULTS
    failed_round: Int[Array, ""]
    begun: Int[Array, ""]


def snapshot_of(process: RoundMap, state: State, begun: Int[Array, ""]) -> Snapshot:
    """What measures see: their rounds count from where this run began, whatever round of the process that was."""
    beta = process.kl_coefficient()
    baseline = process.log_baseline(state.memory) if process.keeps_state else process.log_baseline()
    return Snapshot(state.round - begun, state.logits, log_softmax(state.logits), baseline, beta)


def start(process: RoundMap, logits: Array) -> State:
    """The state at round 0 of a policy given by its logits."""
    logits = centre(logits)
    return State(logits, process.start_memory(logits), jnp.array(0))


def measures_for(measures: tuple[Measure, ...], rounds: int) -> tuple[Measure, ...]:
    """The measures that a run of so many rounds carries; raises ``ValueError`` where one has no use for it."""
    return tuple(measure.for_rounds(rounds) for measure in measures)


def begin(process: RoundMap, measures: tuple[Measure, ...], state: State, rounds: Count) -> Run:
    """A run before its first round; measures that size themselves are those of ``measures_for``."""
    snapshot = snapshot_of(process, state, state.round)
    measured = tuple(None if measure.last_only else measure.init(snapshot, jnp.asarray(rounds)) for measure in measures)
    return Run(state, measured, RESULTS.successful, jnp.array(-1), state.round)


def one_round(process: RoundMap, measures: tuple[Measure, ...], run: Run, key: PRNGKeyArray | None) -> Run:
    """The run one round on, looked at by the measures."""
    return look(process, measures, move(process, run, key))


def move(process: RoundMap, run: Run, key: PRNGKeyArray | None) -> Run:
    """The run one round on; after a failure the state stands still, so nothing that is not finite gets out."""
    old = run.state
    # The key of a round depends on its number alone: a restarted run draws what an uninterrupted one would have.
    round_key = None if key is None else jax.random.fold_in(key, old.round)
    logits, memory, succeeded = process.advance(old.logits, old.memory, round_key)
    alive = run.result == RESULTS.successful
    good = alive & succeeded
    keep = lambda new, stay: jnp.where(good, new, stay)
    state = State(keep(logits, old.logits), jax.tree.map(keep, memory, old.memory), old.round + 1)
    failure = RESULTS.where(jnp.all(jnp.isfinite(logits)), RESULTS.unsolved, RESULTS.nonfinite)
    result = RESULTS.where(alive & ~succeeded, failure, run.result)
    failed_round = jnp.where(alive & ~succeeded, state.round, run.failed_round)
    return Run(state, run.measured, result, failed_round, run.begun)


def look(process: RoundMap, measures: tuple[Measure, ...], run: Run) -> Run:
    """The run with its round seen by the measures that need to see every one."""
    snapshot = snapshot_of(process, run.state, run.begun)
    seen = (s if m.last_only else m.update(s, snapshot) for m, s in zip(measures, run.measured, strict=True))
    return run._replace(measured=tuple(seen))


def go(process: RoundMap, measures: tuple[Measure, ...], run: Run, key: PRNGKeyArray | None, rounds: Count) -> Run:
    """The run ``rounds`` rounds on, nothing saved. Only an int can be differentiated in reverse, only an array is traced."""
    return jax.lax.fori_loop(0, rounds, lambda _, r: one_round(process, measures, r, key), run)


def row(process: RoundMap, measures: tuple[Measure, ...], run: Run) -> dict[str, Array]:
    """What a saved row holds."""
    snapshot = snapshot_of(process, run.state, run.begun)
    seen = {m.name: m.observe(snapshot) for m in measures if isinstance(m, Series)}
    return {"log_policy": snapshot.log_policy, **seen}


def go_saving(
    process: RoundMap, measures: tuple[Measure, ...], run: Run, key: PRNGKeyArray | None, saves: int, every: int
) -> tuple[Run, dict[str, Array]]:
    """``saves`` times ``every`` rounds, with a row after each. May be differentiated; other numbers compile anew."""

    def step(run: Run, _: None) -> tuple[Run, dict[str, Array]]:
        run = go(process, measures, run, key, every)
        return run, row(process, measures, run)

    return jax.lax.scan(step, run, None, length=saves)


def go_filling(
    process: RoundMap,
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


def finish(process: RoundMap, measures: tuple[Measure, ...], run: Run) -> dict[str, Array]:
    """The statistics of a run; of one that failed they would describe a state that stands still, so they are blank."""
    out: dict[str, Array] = {}
    last = snapshot_of(process, run.state, run.begun)
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
