"""A block of runs, called lanes, advanced together along the last axis of every array, which vector units process."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, PRNGKeyArray

from .. import engine as _engine
from .._parameters import replace
from ..diagnostics import Measure
from ..engine import result_code, stands_still
from ..rounds import Process
from ._machine import NEEDED, compiled_whole
from ._vectorise import passed_on, spread, vectorise


def run_lanes(
    process: Process[Any],
    chosen: dict[str, Array],
    initial: Array | None,
    number: Array,
    measures: tuple[Measure, ...],
    rounds: int | Array,
    key: PRNGKeyArray | None,
    whole: bool,
) -> dict[str, Array]:
    """Statistics of all lanes, along the first axis.

    Args:
        process: the process whose parameters are replaced.
        chosen: values of parameters by full path, lanes along the last axis.
        initial: logits at round 0, lanes along the last axis, or None for each process's own start.
        number: each run's place in the whole grid, ``(lanes,)``, from which its key is derived.
        measures: those of ``engine.measures_for``.
        rounds: T, an array, so that another T does not recompile; or the int 0 for no rounds.
        whole: whether the loop of rounds is compiled as one function where XLA can do so.
    """
    none = isinstance(rounds, int) and rounds == 0
    keys = None if key is None else jax.vmap(lambda n: jax.random.fold_in(key, n))(number)
    lanes = number.shape[0]

    def begin(chosen: dict[str, Array], first: Array | None) -> _engine.Run:
        point = replace(process, chosen)
        state = _engine.start(point, point.log_start() if first is None else first)
        return _engine.begin(point, measures, state, rounds)

    # Measure before stepping, in one loop body, so that XLA computes their common softmax once.
    def step(chosen: dict[str, Array], key: PRNGKeyArray | None, run: _engine.Run) -> _engine.Run:
        point = replace(process, chosen)
        return _engine.move(point, _engine.look(point, measures, run), key)

    def finish(chosen: dict[str, Array], run: _engine.Run) -> dict[str, Array]:
        point = replace(process, chosen)
        if not none:
            run = _engine.look(point, measures, run)
        return _engine.finish(point, measures, run) | {"result": result_code(run.result).astype(jnp.int8)}

    given = (chosen, initial)
    run, marks = vectorise(begin, _all(given), lanes)(*given)
    # Round counts, and values that measures set at the start and pass on unchanged, are common to all lanes.
    single = jax.tree.map(_one, (chosen, keys, run), (_all(chosen), _all(keys), marks))
    same = passed_on(lambda run, chosen, keys: step(chosen, keys, run), single[2], *single[:2])
    held = jax.tree.map(lambda has, same: has or not same, marks, same)._replace(begun=False, round=False)
    fill = lambda values, marks: jax.tree.map(
        lambda x, has, wants: spread(x, has or not wants, lanes), values, marks, held
    )
    body = vectorise(step, (_all(chosen), _all(keys), held), lanes)
    run, still = fill(run, marks), jnp.zeros(lanes, bool)
    loop = lambda low, high, chosen, keys, run: jax.lax.fori_loop(
        low, high, lambda _, run: fill(*body(chosen, keys, run)), run
    )
    unmoved = lambda old, new: stands_still(process.logits(old), process.logits(new))

    def part(i: Array, state: tuple[_engine.Run, Array, Array]) -> tuple[_engine.Run, Array, Array]:
        """The first round, whose measures are set up anew, and then all others, so that a round is compiled only once."""
        (run, still, needed), first = state, i == 0
        asked = (i, jnp.where(first, 1, rounds), chosen, keys, run)
        after, count = compiled_whole(loop, *asked) if whole else (loop(*asked), 0)
        measured = jax.tree.map(lambda old, new: jnp.where(first, old, new), run.measured, after.measured)
        # Tested on the first round only, because later rounds amplify rounding at an unstable fixed point. A random round
        # that happens not to move is not a fixed point.
        if initial is None and not process.stochastic:
            found, flag = vectorise(unmoved, (held.carried, held.carried), lanes)(run.carried, after.carried)
            still |= first & spread(found, flag, lanes)
        return after._replace(measured=measured), still, needed + count

    needed = jnp.zeros((), int)
    if not none:
        run, still, needed = jax.lax.fori_loop(0, 2, part, (run, still, needed))
    out, marks = vectorise(finish, (_all(chosen), held), lanes)(chosen, run)
    out, marks = out | {"still": still, NEEDED: needed}, marks | {"still": True, NEEDED: False}
    return {name: jnp.moveaxis(spread(value, marks[name], lanes), -1, 0) for name, value in out.items()}


def _one(values: Array, batched: bool) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(values.shape[:-1] if batched else values.shape, values.dtype)


def _all(tree: Any) -> Any:
    return jax.tree.map(lambda _: True, tree)
