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
from ._axes import START_AXIS
from ._lanes import run_lanes
from ._machine import NEEDED, on_threads

MAX_LANES = {"cpu": 64}
"""Greatest number of runs advanced together, by platform: few enough to fit in the nearest caches, and enough to fill the
vector units."""
MAX_OTHER_LANES = 1 << 16
LEAST_ROOM = 16  # blocks for which a call has room, so that few programs are compiled
ROUNDS_PER_CALL = 1 << 26
"""Rounds, summed over runs, in one call of the compiled loop on a device: half a second to some seconds, after which Ctrl-C
acts."""

# XLA uses half the vector width by default; the loop of a round is long enough for the full width to pay off.
_OPTIONS = {"cpu": {"xla_cpu_prefer_vector_width": 512}}
_not_whole: set[Any] = set()  # programs that XLA turned out not to compile whole


class Work(NamedTuple):
    """What all runs of a sweep have in common; ``rounds`` is an int outside of traced code."""

    process: Process[Any]
    measures: tuple[Measure, ...]
    rounds: int | Array
    key: PRNGKeyArray | None
    initial: Array | None


class Part(NamedTuple):
    """A part of the grid: the values along each axis and their places in the whole grid; entries beyond ``shape`` pad it."""

    tables: list[dict[str, Array]]
    places: list[np.ndarray]
    shape: tuple[int, ...]
    whole: tuple[int, ...]


def lanes_of(total: int) -> int:
    """How many runs advance together: a multiple of 8, so that a run's arithmetic does not depend on its place, and a power
    of two, so that few programs are compiled.
    """
    return min(MAX_LANES.get(jax.default_backend(), MAX_OTHER_LANES), max(8, power_of_two(total)))


def power_of_two(count: int) -> int:
    """The least power of two ≥ ``count``."""
    return 1 << max(count - 1, 0).bit_length()


def run_part(work: Work, part: Part, lanes: int, cores: int, advance: Callable[[int], None]) -> dict[str, np.ndarray]:
    """Statistics of every run of a part, as arrays of the part's shape, on every device, or on some threads of the only one."""
    total = math.prod(part.shape)
    mesh = Mesh(np.array(jax.local_devices()), ("device",))
    blocks = -(-total // lanes)
    rounds = int(work.rounds)
    # The number of rounds is not compiled in; sizes that depend on it change only with the next power of two.
    most = max(1, ROUNDS_PER_CALL // (lanes * power_of_two(rounds)))
    measures = measures_for(work.measures, rounds)
    work = work._replace(measures=measures, rounds=jnp.asarray(rounds) if rounds else 0)
    threads = cores if mesh.size == 1 and jax.default_backend() == "cpu" else 1
    calls = threads * -(-blocks // (mesh.size * most * threads))
    each = -(-blocks // (mesh.size * calls))
    calls = -(-blocks // (mesh.size * each))
    # A block more, which is never computed, because XLA would compile, and round, a single block differently.
    room = max(power_of_two(each), LEAST_ROOM) + 1
    # Shapes are not compiled in either, so that parts of other shapes need no compilation of their own.
    shapes = lambda count: (jnp.asarray(part.shape), jnp.asarray(part.whole), jnp.asarray(count))
    places = [jnp.asarray(p) for p in part.places]
    run, kind = _compiled(jax.default_backend()), jax.tree.structure((work, part.tables))
    found: dict[str, np.ndarray] = {}

    def compute(call: int, count: int = each) -> dict[str, np.ndarray]:
        begin = (call * mesh.size * each + each * np.arange(mesh.size)[:, None]) * lanes
        # The last run is repeated beyond the end, so that only one shape is compiled.
        firsts = np.minimum(begin + lanes * np.minimum(np.arange(room), each - 1), total - 1)
        given = work, part.tables, places, shapes(count), jnp.asarray(firsts.ravel())
        done = run(*given, lanes, mesh, kind not in _not_whole)
        rows = lambda x: np.asarray(x).reshape(mesh.size, room, *x.shape[1:])[:, :each].reshape(-1, *x.shape[2:])
        return {name: rows(values) for name, values in done.items() if name != NEEDED}

    try:
        compute(0, 0)  # compiled once, and not by several threads at a time
    except jax.errors.JaxRuntimeError:
        if kind in _not_whole:
            raise
        _not_whole.add(kind)
        compute(0, 0)
    for call, done in enumerate(on_threads(compute, calls, threads)):
        begin = call * mesh.size * each * lanes
        keep = min(total - begin, mesh.size * each * lanes)
        for name, values in done.items():
            if name not in found:
                found[name] = np.empty((total, *values.shape[1:]), values.dtype)
            found[name][begin : begin + keep] = values[:keep]
        advance(keep)
    return {name: values.reshape(part.shape + values.shape[1:]) for name, values in found.items()}


def run_chosen(work: Work, chosen: dict[str, Array], number: Array, whole: bool = False) -> dict[str, Array]:
    """One block of runs, with parameter values ``chosen`` along the last axis and places ``number`` in the grid."""
    first = chosen.pop(START_AXIS, None)
    if first is None and work.initial is not None:
        first = jnp.broadcast_to(work.initial[..., None], (*work.initial.shape, number.shape[0]))
    return run_lanes(work.process, chosen, first, number, work.measures, work.rounds, work.key, whole)


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
    whole_loops: bool,
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
            return run_chosen(work, chosen, number, whole_loops)

        blank = jax.tree.map(lambda x: jnp.zeros((len(firsts), *x.shape), x.dtype), jax.eval_shape(block, firsts[0]))
        put = lambda i, rows: jax.tree.map(lambda row, new: row.at[i].set(new), rows, block(firsts[i]))
        return jax.lax.fori_loop(0, count, put, blank)

    split = PartitionSpec("device")
    mapped = jax.shard_map(on_device, mesh=mesh, in_specs=(split, PartitionSpec()), out_specs=split, check_vma=False)
    return mapped(firsts, arrays)
