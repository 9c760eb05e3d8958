"""``iterate``: runs of a round map."""

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

ROUNDS_PER_CALL = 8192  # of the compiled loop; the progress bar advances by as many
MAX_ROWS_PER_CALL, MAX_BYTES_PER_CALL = 4096, 1 << 22  # saved by one call


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
        initial: log pi at round 0, finite, in nats, ``(K,)``, or ``(X, K)`` for X prompts; or the ``final`` of an earlier
            Solution, from which the run goes on with its count of rounds. By default the process's own start
            (``log_offline``).
        every: rounds between saved rows, int ≥ 1; round 0 and the last are always saved.
        measure: names or ``Measure``s, which see every round whatever ``every`` is.
        key: a key of ``jax.random``, for random processes.
        throw: raise where a round fails; otherwise ``sol.result`` says so.

    Returns:
        Solution with rows ``log_policy`` and the per-round measures, and the statistics of all measures.

    Raises:
        ValueError: a bad argument.
        RuntimeError: a round failed; with ``throw=False`` the rows before it are kept instead.

    >>> loop = dyn.SelfSampling(dyn.preferences.cyclic(3, 0.4), dyn.IPO(0.3), alpha=0.5, lam=1.0)
    >>> dyn.iterate(loop, 10, initial=jnp.log(jnp.array([0.5, 0.3, 0.2]))).log_policy.shape
    (11, 3)
    """
    check_process(process)
    rounds, every = check_count(rounds, "rounds", 0), check_count(every, "every", 1)
    check_process_key(process, key)
    measures = of_prompts(as_measures(measure), process.prompt_weights)
    named, process = process, process.unnamed()
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
    own_start = initial is None and rounds > 0 and not (traced or process.stochastic) and int(run.failed_round) < 0
    if own_start and stands_still(*jax.device_put([*values["log_policy"][:2]])):
        warn_still()
    # ``device_put`` and not ``jnp.asarray``, which would be compiled for every length.
    coordinate, values = jax.device_put((coordinate, values))
    solution = Solution(
        coordinate, values, statistics, _engine.jit_state_of(process, run), run.result, stats, named, measures
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
    """The run to its end, and its rows. One compiled loop, called repeatedly, serves all numbers of rounds and rows."""
    host = lambda rows, count: jax.tree.map(lambda x: np.asarray(x)[:count], rows)
    first = jax.tree.map(lambda x: np.asarray(x)[None], _engine.jit_row(process, measures, run))
    room = _room(sum(x.nbytes for x in first.values()))
    grain = every * max(1, min(room, ROUNDS_PER_CALL // every))
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
    """How many rows of ``row`` bytes a call saves at most; it depends on the process alone, so nothing is compiled anew."""
    return 1 << min(MAX_ROWS_PER_CALL, max(1, MAX_BYTES_PER_CALL // row)).bit_length() - 1


def _go_traced(
    process: Process[Any],
    measures: tuple[Measure, ...],
    run: _engine.Run,
    key: PRNGKeyArray | None,
    rounds: int,
    every: int,
) -> tuple[_engine.Run, dict[str, Array]]:
    """The same for traced calls, which may be differentiated: the lengths of the loops are compiled in."""
    steps, rest = divmod(rounds, every)
    parts = [jax.tree.map(lambda x: jnp.asarray(x)[None], _engine.jit_row(process, measures, run))]
    for saves, each in [(steps, every)] * bool(steps) + [(1, rest)] * bool(rest):
        run, rows = _engine.jit_go_saving(process, measures, run, key, saves, each)
        parts.append(rows)
    return run, jax.tree.map(lambda *parts: jnp.concatenate(parts), *parts)
