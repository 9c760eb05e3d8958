"""The fate of an orbit: run until a verdict holds, and how fast neighbours part from it."""

from __future__ import annotations

from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from .. import engine as _engine
from .._numerics import low_discrepancy_policies
from ..diagnostics import Measure, Verdict
from ..engine import State, result_code
from ..rounds import Process
from ..schema import RESULT_MESSAGES, RESULT_NAMES
from ._space import Space, space_of, step


@eqx.filter_jit
def _run(
    process: Process[Any], states: State, judge: Measure, rounds: Int[Array, ""]
) -> tuple[_engine.Run, State, dict[str, Array]]:
    """A batch of runs, the states they end in, and what the verdict measure says of each."""

    def one(state: State) -> tuple[_engine.Run, State, dict[str, Array]]:
        run = _engine.go(process, (judge,), _engine.begin(process, (judge,), state, rounds), None, rounds)
        return run, _engine.state_of(process, run), _engine.finish(process, (judge,), run)

    return jax.vmap(one)(states)


class Judged(NamedTuple):
    """The verdict on an orbit, its numbers, the rounds it ran and the last stretch of them that was looked at."""

    numbers: dict[str, float]
    label: str
    ran: int
    stretch: int
    basins: dict[str, float]


def judge_orbit(
    process: Process[Any],
    state: State,
    judge: Verdict,
    rounds: int,
    max_rounds: int,
    others: int,
    slowest: float | None,
) -> Judged:
    """The orbit's verdict, and the shares of verdicts of ``others`` spread starts, all run in one batch.

    The orbit goes on alone while nothing is decided. Beside an attracting fixed point with spectral radius ``slowest`` an
    oscillation also has to keep its amplitude over a stretch in which a decay at that rate would show.
    """
    names = judge.variables(process.num_responses)[judge.name].flags
    spread = jnp.asarray(low_discrepancy_policies(process.num_responses, others))
    states = jax.tree.map(
        lambda first, rest: jnp.concatenate([jnp.asarray(first)[None], rest]), state, _start_all(process, spread)
    )
    ran, stretch, amplitude = 0, rounds, None
    basins: dict[str, float] = {}
    while True:
        run, ends, statistics = _run(process, states, judge.for_rounds(stretch), jnp.asarray(stretch))
        ran += stretch
        results, failed_rounds = np.asarray(result_code(run.result)), np.asarray(run.failed_round)
        if results[0]:
            raise RuntimeError(
                f"stopped at round {int(failed_rounds[0])}: {RESULT_MESSAGES[RESULT_NAMES[int(results[0])]]}."
            )
        numbers = {name: float(value[0]) for name, value in statistics.items()}
        label = names[int(numbers[judge.name])]
        if not basins:
            codes = np.asarray(statistics[judge.name])[1:]
            basins = {name: float(np.mean(codes == i)) for i, name in enumerate(names) if (codes == i).any()}
        if label == "oscillating" and slowest is not None:
            decayed = slowest**stretch
            kept = amplitude is not None and numbers["amplitude"] > 0.5 * (1 + decayed) * amplitude
            amplitude = numbers["amplitude"]
            label = label if kept and decayed < 0.98 else "undecided"
        if label != "undecided" or ran >= max_rounds:
            return Judged(numbers, label, ran, stretch, basins)
        states = jax.tree.map(lambda x: x[:1], ends)
        stretch = min(3 * ran, max_rounds - ran)


@eqx.filter_jit
def _start_all(process: Process[Any], policies: Float[Array, "starts K"]) -> State:
    basis = process.basis()  # spread policies off a log-linear class start from the nearest in it
    return jax.vmap(lambda log_policy: _engine.start(process, basis @ (basis.T @ log_policy)))(policies)


@eqx.filter_jit
def _growth(process: Process[Any], space: Space, state: State, rounds: Int[Array, ""]) -> Array:
    move = lambda y: step(process, space, y)

    def one(t: Array, carry: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        y, v, total = carry
        y, dy = jax.jvp(move, (y,), (v,))
        size = jnp.linalg.norm(dy)
        # A round that forgets its start altogether (alpha = lam = 0) has no direction left to follow.
        v = jnp.where(size > 0, dy / jnp.where(size > 0, size, 1.0), v)
        growth = jnp.log(jnp.maximum(size, jnp.finfo(y.dtype).tiny))
        return y, v, total + jnp.where(t >= skipped, growth, 0.0)

    direction = space.basis.T @ jnp.cos(1.0 + jnp.arange(space.basis.shape[0]))
    skipped, unit = rounds // 3, direction / jnp.linalg.norm(direction)
    start = space.point(process.centre(state.carried))
    *_, total = jax.lax.fori_loop(0, rounds, one, (start, unit, jnp.zeros((), unit.dtype)))
    return total / (rounds - skipped).astype(total.dtype)


def lyapunov_exponent(process: Process[Any], state: State, rounds: int) -> float:
    """lim (1/T) Σ log ‖J(s_t) v_t‖, v renormalised each round, over the last two thirds of ``rounds`` from a state."""
    return float(_growth(process, space_of(process), state, jnp.asarray(rounds)))
