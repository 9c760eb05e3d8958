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
from ._machine import loops_are_whole

MAX_LANES = {"cpu": 512, "cpu, whole loops": 128}
"""Greatest number of runs advanced together, by platform: few enough to fit in the nearest caches, and enough to fill the
vector units and outweigh the cost of a call, which vanishes where loops are compiled whole."""
MAX_OTHER_LANES = 1 << 16
ROUNDS_PER_CALL = 1 << 26
"""Rounds, summed over runs, in one call of the compiled loop on a device: about half a second, after which Ctrl-C acts."""

# XLA uses half the vector width by default; the loop of a round is long enough for the full width to pay off.
_OPTIONS = {"cpu": {"xla_cpu_prefer_vector_width": 512}}


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
    """How many runs advance together: a multiple of 8, so that a run's arithmetic does not depend on its place."""
    platform = jax.default_backend()
    most = MAX_LANES.get(f"{platform}, whole loops" if loops_are_whole() else platform, MAX_OTHER_LANES)
    return min(most, -(-total // 8) * 8)


def power_of_two(count: int) -> int:
    """The least power of two ≥ ``count``."""
    return 1 << max(count - 1, 0).bit_length()


def run_part(work: Work, part: Part, lanes: int, advance: Callable[[int], None]) -> dict[str, np.ndarray]:
    """Statistics of every run of a part, as arrays of the part's shape."""
    total = math.prod(part.shape)
    mesh = Mesh(np.array(jax.local_devices()), ("device",))
    blocks = -(-total // lanes)
    rounds = int(work.rounds)
    # The number of rounds is not compiled in; sizes that depend on it change only with the next power of two.
    most = max(1, ROUNDS_PER_CALL // (lanes * power_of_two(rounds)))
    measures = measures_for(work.measures, rounds)
    work = work._replace(measures=measures, rounds=jnp.asarray(rounds) if rounds else 0)
    calls = -(-blocks // (mesh.size * most))
    each = -(-blocks // (mesh.size * calls))
    # Shapes are not compiled in either, so that parts at the edge of the grid need no compilation of their own.
    shapes = jnp.asarray(part.shape), jnp.asarray(part.whole), jnp.asarray(each)
    places = [jnp.asarray(p) for p in part.places]
    run = _compiled(jax.default_backend())
    found: dict[str, np.ndarray] = {}
    for call in range(calls):
        begin = call * mesh.size * each * lanes
        # The last run is repeated beyond the end, so that only one shape is compiled.
        firsts = np.minimum(begin + lanes * np.arange(mesh.size * each), total - 1).reshape(mesh.size, each)
        # Add a block that is never computed, because XLA would compile, and round, a single block differently.
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
    """One block of runs, with parameter values ``chosen`` along the last axis and places ``number`` in the grid."""
    first = chosen.pop(START_AXIS, None)
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
