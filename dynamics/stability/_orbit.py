"""The fate of an orbit: it is run until a verdict is reached, and its Lyapunov exponent is computed."""

from __future__ import annotations

from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from .. import engine as _engine
from ..diagnostics import Measure, Verdict, of_prompts
from ..engine import State, result_code
from ..rounds import Process
from ..schema import RESULT_MESSAGES, RESULT_NAMES, SEVERITY
from ._space import Space, each, nearest, space_of, spread_policies, step


@eqx.filter_jit
def _run(
    process: Process[Any], states: State, judge: Measure, rounds: Int[Array, ""]
) -> tuple[_engine.Run, State, dict[str, Array]]:
    """A batch of runs, their final states, and the statistics of the verdict measure for each."""

    def one(state: State) -> tuple[_engine.Run, State, dict[str, Array]]:
        run = _engine.go(process, (judge,), _engine.begin(process, (judge,), state, rounds), None, rounds)
        return run, _engine.state_of(process, run), _engine.finish(process, (judge,), run)

    return each(process, one)(states)


class Judged(NamedTuple):
    """The verdict on an orbit, the numbers behind it, how many rounds it ran, and how many of these the verdict is about."""

    numbers: dict[str, float]
    label: str
    ran: int
    stretch: int
    basins: dict[str, float]
    prompts: tuple[str, ...] | None


def judge_orbit(
    process: Process[Any],
    state: State,
    judge: Verdict,
    rounds: int,
    max_rounds: int,
    others: int,
    slowest: float | None,
) -> Judged:
    """The verdict on the orbit, and the shares of verdicts over ``others`` spread starts, all run in one batch.

    While the verdict is undecided, the orbit alone runs on. If there is an attracting fixed point, of spectral radius
    ``slowest``, an oscillation also has to keep its amplitude over a stretch long enough for a decay at that rate to show.
    """
    names = judge.variables(process.num_responses)[judge.name].flags
    spread = jnp.asarray(spread_policies(process, others))
    states = jax.tree.map(
        lambda first, rest: jnp.concatenate([jnp.asarray(first)[None], rest]), state, _start_all(process, spread)
    )
    ran, stretch, amplitude = 0, rounds, None
    basins: dict[str, float] = {}
    while True:
        (measure,) = of_prompts((judge.for_rounds(stretch),), process.prompt_weights)
        run, ends, statistics = _run(process, states, measure, jnp.asarray(stretch))
        statistics, verdicts = _of_the_worst(statistics, judge.name)
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
            of_each = tuple(names[int(code)] for code in verdicts[0]) if verdicts.ndim > 1 else None
            return Judged(numbers, label, ran, stretch, basins, of_each)
        states = jax.tree.map(lambda x: x[:1], ends)
        stretch = min(3 * ran, max_rounds - ran)


def _of_the_worst(statistics: dict[str, Array], name: str) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """For each run, the statistics of the prompt with the worst verdict, and the verdicts of all prompts."""
    found = {key: np.asarray(value) for key, value in statistics.items()}
    verdicts = found[name]
    if verdicts.ndim == 1:
        return found, verdicts
    worst = np.argmax(np.asarray(SEVERITY)[verdicts], axis=1)
    rows = np.arange(len(worst))
    return {key: value[rows, worst] for key, value in found.items() if value.ndim > 1}, verdicts


@eqx.filter_jit
def _start_all(process: Process[Any], policies: Float[Array, "starts *contexts K"]) -> State:
    # A spread policy outside a log-linear class is replaced by the nearest member.
    return each(process, lambda log_policy: _engine.start(process, nearest(process, log_policy)))(policies)


@eqx.filter_jit
def _growth(process: Process[Any], space: Space, state: State, rounds: Int[Array, ""]) -> Array:
    move = lambda y: step(process, space, y)

    def one(t: Array, carry: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        y, v, total = carry
        y, dy = jax.jvp(move, (y,), (v,))
        size = jnp.linalg.norm(dy)
        # Where the next policy does not depend on this one (alpha = lam = 0), the direction is kept.
        v = jnp.where(size > 0, dy / jnp.where(size > 0, size, 1.0), v)
        growth = jnp.log(jnp.maximum(size, jnp.finfo(y.dtype).tiny))
        return y, v, total + jnp.where(t >= skipped, growth, 0.0)

    direction = space.basis.T @ jnp.cos(1.0 + jnp.arange(space.basis.shape[0], dtype=space.basis.dtype))
    skipped, unit = rounds // 3, direction / jnp.linalg.norm(direction)
    start = space.point(process.centre(state.carried))
    *_, total = jax.lax.fori_loop(0, rounds, one, (start, unit, jnp.zeros((), unit.dtype)))
    return total / (rounds - skipped).astype(total.dtype)


def lyapunov_exponent(process: Process[Any], state: State, rounds: int) -> float:
    """(1/T) Σ log ‖J(s_t) v_t‖, v renormalised in every round, over the last two thirds of ``rounds`` rounds from a state."""
    return float(_growth(process, space_of(process), state, jnp.asarray(rounds)))
