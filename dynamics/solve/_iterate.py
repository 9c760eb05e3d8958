"""The verb of iterated alignment."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float, PRNGKeyArray

from .._numerics import check_log_distribution, concrete
from .._progress import progress
from ..diagnostics import Measure, resolve
from ..rounds import RoundMap
from . import _engine
from ._solution import RESULT_MESSAGES, RESULTS, Solution, State, result_code

CHUNK = 8192  # rounds per call of the compiled loop: the grain of the progress bar
ROWS, BYTES = 4096, 1 << 22  # that one such call saves at most


def as_measures(measure: str | Measure | Sequence[str | Measure]) -> tuple[Measure, ...]:
    """A tuple of measures from names, measures or one of either; two of the same name are refused."""
    if not isinstance(measure, str | Measure | Sequence):
        raise ValueError(f"measure is {measure!r}; pass names or Measures, e.g. measure=['entropy'].")
    listed = [measure] if isinstance(measure, str | Measure) else list(measure)
    measures = tuple(resolve(m) for m in listed)
    names = [m.name for m in measures]
    repeated = {name for name in names if names.count(name) > 1}
    if repeated:
        raise ValueError(f"measure lists {sorted(repeated)[0]!r} twice; give one of them another name.")
    _refuse_two_windows(measures)
    return measures


def _refuse_two_windows(measures: tuple[Measure, ...]) -> None:
    """Measures may share a variable (``period_kind``) as long as they read it off the same window."""
    windows: dict[str, tuple[str, Any]] = {}
    for measure in measures:
        for name in measure.variables(2):
            other, window = windows.setdefault(name, (measure.name, getattr(measure, "window", None)))
            if window != getattr(measure, "window", None):
                raise ValueError(
                    f"measures {other!r} and {measure.name!r} both give {name!r} but over different windows."
                )


def check_process(process: RoundMap) -> None:
    """Refuses what is not a round map, with the remedy."""
    if not isinstance(process, RoundMap):
        raise ValueError(f"process is a {type(process).__name__}; pass dyn.SelfSampling(...) or your own dyn.RoundMap.")
    if process.num_responses < 2:
        raise ValueError(f"process has {process.num_responses} response; preferences need at least 2.")
    if type(process).advance is RoundMap.advance:
        size = process.num_responses
        key = jax.random.key(0) if process.stochastic else None
        shape = jax.eval_shape(lambda z: process(z, key) if process.stochastic else process(z), jnp.zeros(size)).shape
        if shape != (size,):
            raise ValueError(f"{type(process).__name__} maps ({size},) logits to shape {shape}; return one logit each.")


def check_key(process: RoundMap, key: PRNGKeyArray | None) -> None:
    """A stochastic process needs a key; a deterministic one would ignore it."""
    if process.stochastic and key is None:
        raise ValueError(f"{type(process).__name__} is random; pass key=jax.random.key(seed).")
    if key is not None and not isinstance(key, jax.Array):
        raise ValueError(f"key = {key!r}; pass jax.random.key(seed).")


def check_count(value: int, name: str, least: int) -> int:
    """``value`` as an int of at least ``least``."""
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < least:
        raise ValueError(f"{name} = {value!r}; pass a whole number of at least {least}.")
    return int(value)


def as_state(process: RoundMap, initial: Float[ArrayLike, " K"] | State | None) -> State:
    """The state to start from: a log-policy, the ``final`` of an earlier run, or the process's own start."""
    size = process.num_responses
    if isinstance(initial, State):
        if initial.logits.shape != (size,):
            raise ValueError(
                f"initial has {initial.logits.shape[-1]} responses, the process {size}; pass a matching state."
            )
        expected = jax.eval_shape(process.start_memory, initial.logits)  # the structure is asked for, not a solve
        if jax.tree.structure(initial.memory) == jax.tree.structure(expected):
            return initial
        return State(initial.logits, process.start_memory(initial.logits), initial.round)  # of another kind of process
    log_policy = process.log_start() if initial is None else check_log_distribution(initial, "initial", size)
    if initial is not None and concrete(log_policy):
        process.check_start(log_policy)
    return _engine.jit_start(process, log_policy)


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
    check_key(process, key)
    measures = as_measures(measure)
    state = as_state(process, initial)
    key = key if process.stochastic else None
    carried = _engine.measures_for(measures, rounds)
    run = _engine.jit_begin(process, carried, state, jnp.asarray(rounds))
    traced = not concrete(process, carried, key, run)
    go = _go_traced if traced else _go_concrete
    run, values = go(process, carried, run, key, rounds, every)
    marks = np.append(np.arange(0, rounds + 1, every), [rounds] if rounds % every else [])
    begun = run.begun if traced else np.asarray(run.begun)
    coordinate = jnp.asarray(begun + marks.astype(begun.dtype))
    stats = {"rounds": jnp.asarray(rounds), "failed_round": run.failed_round}
    statistics = _engine.jit_finish(process, carried, run)
    own_start = initial is None and rounds > 0 and not (traced or process.stochastic)
    if own_start and stands_still(values["log_policy"][0], values["log_policy"][1]):
        warn_still()
    values = jax.tree.map(jnp.asarray, values)
    solution = Solution(coordinate, values, statistics, run.state, run.result, stats, process, measures)
    if throw and concrete(run.result):
        raise_on_failure(run.result, run.failed_round)
    return solution


def stands_still(before: Array, after: Array) -> Array:
    """Whether two log-policies or logits are the same to rounding."""
    scale = 1 + jnp.max(jnp.abs(before), axis=-1)
    return jnp.max(jnp.abs(after - before), axis=-1) <= 64 * jnp.finfo(before.dtype).eps * scale


def warn_still(share: str = "") -> None:
    """Says that a run began at a fixed point, where even an unstable one shows nothing but rounding."""
    warnings.warn(
        f"the default start is a fixed point of these rounds{share}, so nothing moves but rounding, stable or not; pass "
        f"initial=, a log-policy off it, to see the dynamics.",
        stacklevel=3,
    )


def _go_concrete(
    process: RoundMap,
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
            steps = jnp.asarray(go_on), jnp.asarray(every)
            run, rows = _engine.jit_go_filling(process, measures, run, key, *steps, room)
            parts.append(host(rows, -(-go_on // every)))
            advance(go_on)
    return run, jax.tree.map(lambda *parts: np.concatenate(parts), *parts)


def _room(row: int) -> int:
    """Rows of so many bytes that a call of the loop has room for; of the process alone, so that no number changes it."""
    return 1 << min(ROWS, max(1, BYTES // row)).bit_length() - 1


def _go_traced(
    process: RoundMap,
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


def raise_on_failure(result: RESULTS, failed_round: Array) -> None:
    """``RuntimeError`` with the round, the reason and the remedy, unless the result is success."""
    if int(result_code(result)):
        reason = RESULT_MESSAGES[int(result_code(result))]
        raise RuntimeError(
            f"stopped at round {int(failed_round)}: {reason}. Pass throw=False to keep the rounds before it."
        )
