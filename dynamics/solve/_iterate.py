"""The verb of iterated alignment."""

from __future__ import annotations

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import ArrayLike, Float, PRNGKeyArray

from .. import engine as _engine
from .._checks import check_count
from .._numerics import concrete
from .._progress import progress
from ..diagnostics import Measure
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
from ..rounds import RoundMap
from ._solution import Solution

CHUNK = 8192  # rounds per call of the compiled loop: the grain of the progress bar


def iterate(
    process: RoundMap,
    rounds: int,
    *,
    initial: Float[ArrayLike, " K"] | State | None = None,
    every: int = 1,
    measure: str | Measure | Sequence[str | Measure] = (),
    key: PRNGKeyArray | None = None,
    throw: bool = True,
) -> Solution:
    """z_{t+1} = F(z_t) for t = 0 … rounds-1, from z_0 = log initial.

    Args:
        process: F, a ``RoundMap`` with K responses.
        rounds: T, int ≥ 0.
        initial: log pi of round 0, ``(K,)``, finite, in nats, or the ``final`` of an earlier Solution, which is gone on
            from (its round count too); by default the process's own start (``log_offline``).
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
    measures = as_measures(measure)
    state = as_state(process, initial)
    key = key if process.stochastic else None
    run = _engine.jit_begin(process, measures, state, rounds)
    first = jax.tree.map(lambda x: jnp.asarray(x)[None], _engine.jit_row(process, measures, run))
    rows, begun = [first], state.round
    steps, rest = divmod(rounds, every)
    traced = not concrete(process, state, key)
    grain = steps if traced else max(1, CHUNK // every)
    with progress("rounds", rounds, enabled=not traced) as advance:
        for saves, each in _chunks(steps, grain, every, rest):
            run, saved = _engine.jit_go_saving(process, measures, run, key, saves, each)
            rows.append(saved)
            advance(saves * each)
    marks = np.append(np.arange(0, rounds + 1, every), [rounds] if rest else [])
    values = jax.tree.map(lambda *parts: jnp.concatenate(parts), *rows)
    coordinate = begun + jnp.asarray(marks, dtype=begun.dtype)
    stats = {"rounds": jnp.asarray(rounds), "failed_round": run.failed_round}
    statistics = _engine.jit_finish(process, measures, run)
    own_start = initial is None and rounds > 0 and not (traced or process.stochastic)
    if own_start and stands_still(values["log_policy"][0], values["log_policy"][1]):
        warn_still()
    solution = Solution(coordinate, values, statistics, run.state, run.result, stats, process, measures)
    if throw and concrete(run.result):
        raise_on_failure(run.result, run.failed_round)
    return solution


def _chunks(steps: int, grain: int, every: int, rest: int) -> list[tuple[int, int]]:
    whole, tail = divmod(steps, grain) if steps else (0, 0)
    return [(grain, every)] * whole + [(tail, every)] * bool(tail) + [(1, rest)] * bool(rest)
