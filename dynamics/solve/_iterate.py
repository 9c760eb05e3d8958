"""The verb of iterated alignment."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float, PRNGKeyArray

from .. import engine as _engine
from .._checks import check_count
from .._numerics import concrete
from .._progress import progress
from ..diagnostics import Measure, of_prompts
from ..engine import (
    State,
    as_measures,
    as_state,
    check_process,
    check_process_key,
    raise_on_failure,
    stands_still,
    warn_still,
)
from ..rounds import Process
from ._solution import Solution

CHUNK = 8192  # rounds per call of the compiled loop: the grain of the progress bar
ROWS, BYTES = 4096, 1 << 22  # that one such call saves at most


def iterate(
    process: Process[Any],
    rounds: int,
    *,
    initial: Float[ArrayLike, "*contexts K"] | State | None = None,
    every: int = 1,
    measure: str | Measure | Sequence[str | Measure] = (),
    key: PRNGKeyArray | None = None,
    throw: bool = True,
) -> Solution:
    """z_{t+1} = F(z_t) for t = 0 … rounds-1, from z_0 = log initial.

    Args:
        process: F, a ``RoundMap`` or another ``Process`` with K responses.
        rounds: T, int ≥ 0.
        initial: log pi of round 0, ``(K,)``, or ``(X, K)`` of X prompts, finite, in nats, or the ``final`` of an earlier
            Solution, which is gone on from (its round count too); by default the process's own start (``log_offline``).
        every: rounds between saved rows, int ≥ 1; round 0 and the last are always saved.
        measure: names or ``Measure``s; they see every round, whatever ``every`` is.
        key: for random processes.
        throw: raise when a round fails; otherwise ``sol.result`` says so.

    Returns:
        Solution with rows ``log_policy`` and the per-round measures, and the statistics of all measures.

    Raises:
        ValueError: a bad argument.
        RuntimeError: a round failed and ``throw`` is set. Rows up to it are kept when ``throw=False``.
    """
    check_process(process)
    rounds, every = check_count(rounds, "rounds", 0), check_count(every, "every", 1)
    check_process_key(process, key)
    measures = of_prompts(as_measures(measure), process.prompt_weights)
    state = as_state(process, initial)
    key = key if process.stochastic else None
    carried = _engine.measures_for(measures, rounds)
    run = _engine.jit_begin(process, carried, state, jnp.asarray(rounds))
    traced = not concrete(process, carried, key, run)
    go = _go_traced if traced else _go_concrete
    run, values = go(process, carried, run, key, rounds, every)
    marks = np.append(np.arange(0, rounds + 1, every), [rounds] if rounds % every else [])
    coordinate = (run.begun if traced else np.asarray(run.begun)) + marks.astype(run.begun.dtype)
    stats = {"rounds": jnp.asarray(rounds), "failed_round": run.failed_round}
    statistics = _engine.jit_finish(process, carried, run)
    own_start = initial is None and rounds > 0 and not (traced or process.stochastic)
    if own_start and stands_still(*jax.device_put([*values["log_policy"][:2]])):
        warn_still()
    # Put, not converted: a conversion is compiled for every length.
    coordinate, values = jax.device_put((coordinate, values))
    solution = Solution(
        coordinate, values, statistics, _engine.jit_state_of(process, run), run.result, stats, process, measures
    )
    if throw and concrete(run.result):
        raise_on_failure(run.result, run.failed_round)
    return solution


def _go_concrete(
    process: Process[Any],
    measures: tuple[Measure, ...],
    run: _engine.Run,
    key: PRNGKeyArray | None,
    rounds: int,
    every: int,
) -> tuple[_engine.Run, dict[str, np.ndarray]]:
    """The run to its end, and its rows: in calls of one compiled loop, whatever the numbers, each cut on the host."""
    host = lambda rows, count: jax.tree.map(lambda x: np.asarray(x)[:count], rows)
    first = jax.tree.map(lambda x: np.asarray(x)[None], _engine.jit_row(process, measures, run))
    room = _room(sum(x.nbytes for x in first.values()))
    grain = every * max(1, min(room, CHUNK // every))
    parts = [first]
    with progress("rounds", rounds) as advance:
        for done in range(0, rounds, grain):
            go_on = min(grain, rounds - done)
            steps = jnp.asarray(go_on), jnp.asarray(min(every, rounds))
            run, rows = _engine.jit_go_filling(process, measures, run, key, *steps, room)
            parts.append(host(rows, -(-go_on // every)))
            advance(go_on)
    return run, jax.tree.map(lambda *parts: np.concatenate(parts), *parts)


def _room(row: int) -> int:
    """Rows of so many bytes that a call of the loop has room for; of the process alone, so that no number changes it."""
    return 1 << min(ROWS, max(1, BYTES // row)).bit_length() - 1


def _go_traced(
    process: Process[Any],
    measures: tuple[Measure, ...],
    run: _engine.Run,
    key: PRNGKeyArray | None,
    rounds: int,
    every: int,
) -> tuple[_engine.Run, dict[str, Array]]:
    """The same where the caller traces, and may differentiate: loops whose lengths are known."""
    steps, rest = divmod(rounds, every)
    parts = [jax.tree.map(lambda x: jnp.asarray(x)[None], _engine.jit_row(process, measures, run))]
    for saves, each in [(steps, every)] * bool(steps) + [(1, rest)] * bool(rest):
        run, rows = _engine.jit_go_saving(process, measures, run, key, saves, each)
        parts.append(rows)
    return run, jax.tree.map(lambda *parts: jnp.concatenate(parts), *parts)
