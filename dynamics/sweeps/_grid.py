"""Runs over a part of a grid, on every device of this process: the compiled part of a sweep."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, PartitionSpec
from jaxtyping import Array, PRNGKeyArray

from ..diagnostics import Measure
from ..engine import measures_for
from ..rounds import Process
from ._axes import START
from ._lanes import run_lanes
from ._machine import loops_are_whole

LANES = {"cpu": 512, "cpu, whole loops": 128}
"""Runs advanced together, by platform: few enough for the nearest caches, enough to fill vector units and to hide the cost
of a call, which vanishes where loops are compiled whole."""
OTHER_LANES = 1 << 16
ROUNDS_PER_CALL = 1 << 26
"""Rounds of single runs in one call of the compiled loop per device: about half a second, after which Ctrl-C acts."""

# XLA halves vectors by default; the loop of a round is long enough for whole ones to pay.
_OPTIONS = {"cpu": {"xla_cpu_prefer_vector_width": 512}}


class Work(NamedTuple):
    """What all runs of a sweep share; ``rounds`` is an int outside of traced code."""

    process: Process[Any]
    measures: tuple[Measure, ...]
    rounds: int | Array
    key: PRNGKeyArray | None
    initial: Array | None


class Part(NamedTuple):
    """A part of the grid: along each axis the values and their places in the whole; entries beyond ``shape`` are padding."""

    tables: list[dict[str, Array]]
    places: list[np.ndarray]
    shape: tuple[int, ...]
    whole: tuple[int, ...]


def lanes_of(total: int) -> int:
    """How many runs advance together: whole vectors, so that a run's arithmetic does not depend on its place."""
    platform = jax.default_backend()
    most = LANES.get(f"{platform}, whole loops" if loops_are_whole() else platform, OTHER_LANES)
    return min(most, -(-total // 8) * 8)


def power_of_two(count: int) -> int:
    """The least power of two ≥ ``count``."""
    return 1 << max(count - 1, 0).bit_length()


def run_part(work: Work, part: Part, lanes: int, advance: Callable[[int], None]) -> dict[str, np.ndarray]:
    """Statistics of every run of a part, over the part's shape."""
    total = math.prod(part.shape)
    mesh = Mesh(np.array(jax.local_devices()), ("device",))
    blocks = -(-total // lanes)
    rounds = int(work.rounds)
    # Rounds are data too; the sizes that depend on them change only with their power of two.
    most = max(1, ROUNDS_PER_CALL // (lanes * power_of_two(rounds)))
    measures = measures_for(work.measures, rounds)
    work = work._replace(measures=measures, rounds=jnp.asarray(rounds) if rounds else 0)
    calls = -(-blocks // (mesh.size * most))
    each = -(-blocks // (mesh.size * calls))
    # Shapes are data, so that parts at the edge of the grid need no compilation of their own.
    shapes = jnp.asarray(part.shape), jnp.asarray(part.whole), jnp.asarray(each)
    places = [jnp.asarray(p) for p in part.places]
    run = _compiled(jax.default_backend())
    found: dict[str, np.ndarray] = {}
    for call in range(calls):
        begin = call * mesh.size * each * lanes
        # Beyond the end the last run is repeated, so that one shape is compiled.
        firsts = np.minimum(begin + lanes * np.arange(mesh.size * each), total - 1).reshape(mesh.size, each)
        # One more block, never computed: a single block would be compiled, and rounded, differently from one of many.
        firsts = jnp.asarray(np.pad(firsts, ((0, 0), (0, 1)), mode="edge").ravel())
        done = run(work, part.tables, places, shapes, firsts, lanes, mesh)
        keep = min(total - begin, mesh.size * each * lanes)
        for name, values in done.items():
            if name not in found:
                found[name] = np.empty((total, *values.shape[2:]), values.dtype)
            rows = np.asarray(values).reshape(mesh.size, each + 1, *values.shape[1:])[:, :each]
            found[name][begin : begin + keep] = rows.reshape(-1, *values.shape[2:])[:keep]
        advance(keep)
    return {name: values.reshape(part.shape + values.shape[1:]) for name, values in found.items()}


def run_chosen(work: Work, chosen: dict[str, Array], number: Array) -> dict[str, Array]:
    """One block: runs with the parameter values ``chosen``, along the last axis, and their places ``number`` in the grid."""
    first = chosen.pop(START, None)
    if first is None and work.initial is not None:
        first = jnp.broadcast_to(work.initial[..., None], (*work.initial.shape, number.shape[0]))
    return run_lanes(work.process, chosen, first, number, work.measures, work.rounds, work.key)


@functools.cache
def _compiled(platform: str) -> Any:
    return eqx.filter_jit(_run, compiler_options=_OPTIONS.get(platform))  # pyright: ignore[reportCallIssue]


def _run(
    work: Work,
    tables: list[dict[str, Array]],
    places: list[Array],
    shapes: tuple[Array, Array, Array],
    firsts: Array,
    lanes: int,
    mesh: Mesh,
) -> dict[str, Array]:
    """Blocks of ``lanes`` runs, each starting at an entry of ``firsts``, which is split among the devices."""
    arrays, rest = eqx.partition((work, tables, places, shapes), eqx.is_array)

    def on_device(firsts: Array, arrays: Any) -> dict[str, Array]:
        work, tables, places, (shape, whole, count) = eqx.combine(arrays, rest)

        def block(first: Array) -> dict[str, Array]:
            rest = jnp.minimum(first + jnp.arange(lanes), jnp.prod(shape) - 1)
            number, stride = jnp.zeros_like(rest), jnp.ones_like(whole[0])
            chosen: dict[str, Array] = {}
            for d in reversed(range(len(tables))):
                rest, row = rest // shape[d], rest % shape[d]
                number, stride = number + stride * places[d][row], stride * whole[d]
                chosen |= {path: jnp.moveaxis(column[row], 0, -1) for path, column in tables[d].items()}
            return run_chosen(work, chosen, number)

        blank = jax.tree.map(lambda x: jnp.zeros((len(firsts), *x.shape), x.dtype), jax.eval_shape(block, firsts[0]))
        put = lambda i, rows: jax.tree.map(lambda row, new: row.at[i].set(new), rows, block(firsts[i]))
        return jax.lax.fori_loop(0, count, put, blank)

    split = PartitionSpec("device")
    mapped = jax.shard_map(on_device, mesh=mesh, in_specs=(split, PartitionSpec()), out_specs=split, check_vma=False)
    return mapped(firsts, arrays)
