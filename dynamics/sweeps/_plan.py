"""The plan of a sweep: its work, its axes, and the blocks of the grid that are computed and stored one by one."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from .._numerics import as_array
from ..diagnostics import variables_of
from ..engine import measures_for
from ..preferences import Names
from ..schema import VARIABLES, Variable
from ._axes import Axis
from ._grid import Part, Work, power_of_two, run_chosen, run_part

ROUNDS_PER_BLOCK = 1 << 29
"""Rounds, summed over runs, in a block of a store: a few seconds of work, which is all that a crash can lose."""
MIN_RUNS_PER_BLOCK, MAX_RUNS_PER_BLOCK = 1 << 12, 1 << 21
"""The smallest and largest number of runs in a block of a store."""

Block = tuple[slice, ...]


class Plan(NamedTuple):
    """Everything that a worker needs to compute any block of a sweep."""

    work: Work
    axes: tuple[Axis, ...]
    lanes: int
    chunk: tuple[int, ...]
    names: Names | None = None
    """Of the responses; the process has none, so that what is compiled serves whatever they are called."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Lengths of the axes."""
        return tuple(axis.length for axis in self.axes)

    @property
    def grid(self) -> tuple[int, ...]:
        """Blocks along each axis."""
        return tuple(-(-n // c) for n, c in zip(self.shape, self.chunk, strict=True))

    def block(self, place: tuple[int, ...]) -> Block:
        """The part of the grid at a place among the blocks."""
        sides = zip(place, self.chunk, self.shape, strict=True)
        return tuple(slice(i * c, min((i + 1) * c, n)) for i, c, n in sides)

    def places(self) -> Iterator[tuple[int, ...]]:
        """All blocks, in C order."""
        return itertools.product(*map(range, self.grid))


def chunk_of(shape: tuple[int, ...], rounds: int) -> tuple[int, ...]:
    """The sides of a block of a store: the last axes in full, as far as the number of runs in a block allows."""
    left = int(np.clip(ROUNDS_PER_BLOCK // power_of_two(rounds), MIN_RUNS_PER_BLOCK, MAX_RUNS_PER_BLOCK))
    sides: list[int] = []
    for n in reversed(shape):
        sides.append(min(n, max(left, 1)))
        left //= sides[-1]
    return tuple(reversed(sides))


def compute(
    plan: Plan, block: Block, cores: int, advance: Callable[[int], None] = lambda _: None
) -> dict[str, np.ndarray]:
    """Statistics of every run of a block, as arrays of its shape; ``still`` marks runs that began at a fixed point."""
    spans = [np.arange(s.start, s.stop) for s in block]
    out: dict[str, np.ndarray] = {}
    shape = tuple(len(span) for span in spans)
    which = next((d for d, axis in enumerate(plan.axes) if "preference" in axis.paths), 0)
    for positions in sizes(plan, block).values():
        index = list(spans)
        if positions is not None:
            index[which] = positions
        part = run_part(*_part(plan, index), plan.lanes, cores, advance)
        where = np.ix_(*(i - s.start for i, s in zip(index, block, strict=True)))
        for name, values in part.items():
            whole = out.setdefault(name, np.empty(shape + values.shape[len(shape) :], values.dtype))
            whole[where] = values
    return out


def sizes(plan: Plan, block: Block) -> dict[int, np.ndarray | None]:
    """By number of responses, the positions of the matrices with that number along their axis; None without such an axis."""
    for axis, span in zip(plan.axes, block, strict=True):
        if "preference" in axis.paths:
            counts = np.array([np.shape(P)[-1] for P in axis.column("preference")[span]])
            return {int(k): span.start + np.flatnonzero(counts == k) for k in dict.fromkeys(counts)}
    return {plan.work.process.num_responses: None}


def _part(plan: Plan, index: list[np.ndarray]) -> tuple[Work, Part]:
    """The runs at some positions, all with the same number of responses, and the work with a process of that number."""
    work, shape = plan.work, tuple(len(i) for i in index)
    # Tables repeat their last rows up to the next power of two, so that few shapes are compiled.
    full = [
        np.concatenate([i, np.full(power_of_two(c) - len(i), i[-1])]) for i, c in zip(index, plan.chunk, strict=True)
    ]
    number = lambda x: jnp.asarray(x) if np.issubdtype(x.dtype, np.integer) else as_array(x)
    tables = [jax.tree.map(number, axis.take(i)) for axis, i in zip(plan.axes, full, strict=True)]
    matrices = next((table["preference"] for table in tables if "preference" in table), None)
    if matrices is not None:
        work = work._replace(process=work.process.with_preference(np.asarray(matrices[0])))
    return work, Part(tables, full, shape, plan.shape)


def layout(plan: Plan) -> dict[str, tuple[Variable, tuple[int, ...], np.dtype]]:
    """By name of a result: its variable, trailing shape and dtype, without running anything."""
    alone = plan._replace(chunk=(1,) * len(plan.axes))
    work, part = _part(alone, [np.zeros(1, int) for _ in plan.axes])
    work = work._replace(measures=measures_for(work.measures, int(work.rounds)))
    shapes = eqx.filter_eval_shape(_first_run, work, part.tables)
    known = variables_of(work.measures, work.process.num_responses) | {"result": VARIABLES["result"]}
    return {name: (known[name], x.shape[1:], np.dtype(x.dtype)) for name, x in shapes.items() if name in known}


def _first_run(work: Work, tables: list[dict[str, Array]]) -> dict[str, Array]:
    chosen = {path: jnp.moveaxis(column, 0, -1) for table in tables for path, column in table.items()}
    return run_chosen(work, chosen, jnp.zeros(1, int))
