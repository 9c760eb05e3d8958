"""``sweep``: one process over an outer product of parameters, block by block."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import ArrayLike, Float, PRNGKeyArray

from .._checks import check_count
from .._parameters import describe, replace
from .._places import place_of
from .._progress import progress as progress_bar
from .._provenance import provenance
from ..diagnostics import Measure, of_prompts, variables_of
from ..engine import as_measures, check_initial, check_process, check_process_key, warn_still
from ..rounds import Process
from ..schema import VARIABLES, dataset, prompt_labels, response_labels
from ._axes import START_AXIS, Axis, axes_of
from ._grid import Work, lanes_of
from ._machine import available_cores
from ._plan import Plan, chunk_of, compute, sizes

if TYPE_CHECKING:
    import distributed
    import xarray as xr


START_PARAMETERS = ("log_offline", "log_mu")  # names of parameters that may be a process's own start


def sweep(
    process: Process[Any],
    over: Mapping[str | tuple[str, ...], Any],
    *,
    measure: str | Measure | Sequence[str | Measure],
    rounds: int | None = None,
    t1: float | None = None,
    store: str | os.PathLike[str] | None = None,
    client: distributed.Client | None = None,
    key: PRNGKeyArray | None = None,
    progress: bool = True,
    initial: Float[ArrayLike, "*contexts K"] | None = None,
    cores: int | None = None,
) -> xr.Dataset:
    """The statistics of ``iterate(process(θ), rounds)`` for every θ in the outer product of ``over``.

    Uses every local device of JAX and, where that is one CPU device, all cores of the machine.

    Args:
        process: a ``RoundMap`` or another ``Process`` whose parameters are replaced.
        over: values by parameter name or dotted path (``"objective.beta"``); each entry is one dimension. A tuple of
            names zips its sequences along one dimension. ``"preference"`` takes a stack ``(M, K, K)``, a list of matrices
            or a ``PreferenceSet`` (sizes may differ); ``"initial"`` takes log-policies at round 0, ``(M, K)``.
        measure: names or ``Measure``s; only their statistics are kept, so memory does not grow with ``rounds``.
        rounds: T, int ≥ 0.
        t1: for flows in continuous time, which this version does not sweep.
        store: path of a zarr store that keeps every finished block, or an address such as ``"s3://bucket/name"`` that fsspec
            reaches. Repeating the call continues after a crash, a full disk or Ctrl-C, and computes damaged blocks again,
            with a warning; a store of another sweep is refused. The Dataset is then lazy.
        client: a ``distributed.Client`` whose workers compute the blocks; they need access to ``store``.
        key: for random processes; run i draws from ``fold_in(key, i)``, i counted over the whole grid.
        progress: show a bar at a terminal when the sweep takes longer than two seconds.
        initial: log pi at round 0 of every run, ``(K,)``; by default each process's own start.
        cores: how many threads compute, int ≥ 1, on the CPU device of this process; all cores that it may run on unless
            given. Tasks of ``client`` have one thread each.

    Returns:
        ``xarray.Dataset`` with a dimension for each entry of ``over``, a variable for each statistic, and ``result``. It does
        not depend on the number of blocks, threads, devices or workers.

    Raises:
        ValueError: a bad argument or any value out of range, before anything is compiled.
        OSError: the store cannot be written to; finished blocks are kept.

    >>> loop = dyn.SelfSampling(dyn.preferences.cyclic(3, advantage=0.2), dyn.IPO(beta=0.5), alpha=0.5, lam=1.0)
    >>> over = {"alpha": [0.0, 0.5], "lam": [0.5, 1.0]}
    >>> dict(dyn.sweep(loop, over, measure="final_entropy", rounds=10, initial=jnp.log(jnp.array([0.5, 0.3, 0.2]))).sizes)
    {'alpha': 2, 'lam': 2}
    """
    check_process(process)
    if t1 is not None or rounds is None:
        raise ValueError("sweep runs round maps; pass rounds= and not t1=, which belongs to flows.")
    if client is not None and store is None:
        raise ValueError("client= needs a store; pass store=, a path that all workers can access.")
    if store is not None:
        place_of(store)  # refuses an address that cannot be reached, before anything is made
    rounds = check_count(rounds, "rounds", 0)
    cores = available_cores() if cores is None else check_count(cores, "cores", 1)
    check_process_key(process, key)
    measures = of_prompts(as_measures(measure), process.prompt_weights)
    if not measures:
        raise ValueError("measure is empty; name what to record, e.g. measure=['cycle_strength', 'final_entropy'].")
    if initial is not None:
        initial = check_initial(process, initial)
    axes = axes_of(process, over)
    if initial is None and not any(START_AXIS in axis.paths for axis in axes):
        _check_starts(process, axes)
    shape = tuple(axis.length for axis in axes)
    total = int(np.prod(shape, dtype=object))
    # An axis of preferences has responses of its own.
    names = None if any("preference" in axis.paths for axis in axes) else process.response_names()
    process = process.unnamed()
    work = Work(process, measures, rounds, key if process.stochastic else None, initial)
    chunk = shape if store is None else chunk_of(shape, rounds)
    plan = Plan(work, axes, lanes_of(total), chunk, names)
    found = list(sizes(plan, tuple(slice(0, n) for n in shape)))
    _refuse_ragged(measures, found)
    coords, attrs = _coords(plan, found[0]), _attrs(process, axes, rounds, key)
    title = "runs" if store is None else f"runs, in {int(np.prod(plan.grid))} blocks"
    with progress_bar(title, total, enabled=progress, rounds=max(rounds, 1)) as advance:
        if store is None:
            out = compute(plan, plan.block((0,) * len(shape)), cores, advance)
            still = int(out.pop("still").sum())
            known = variables_of(measures, found[0]) | {"result": VARIABLES["result"]}
            dims = tuple(axis.dim for axis in axes)
            ds = dataset(out, {name: known[name].over(*dims) for name in out}, coords=coords, attrs=attrs)
        else:
            from ._stored import run_stored

            ds, still = run_stored(plan, store, client, coords, attrs, cores, advance)
    if still and initial is None:
        warn_still(f" for {still} of {total} runs")
    return ds


def _check_starts(process: Process[Any], axes: tuple[Axis, ...]) -> None:
    """Checks that every run's own start has full support, which is impossible inside a traced block."""
    swept = [
        (path, axis.column(path)) for axis in axes for path in axis.paths if path.rsplit(".", 1)[-1] in START_PARAMETERS
    ]
    if not swept:
        process.log_start()
    for path, column in swept:
        for log_offline in column:
            replace(process, {path: jnp.asarray(log_offline)}).log_start()


def _refuse_ragged(measures: tuple[Measure, ...], found: list[int]) -> None:
    for name, variable in variables_of(measures, found[0]).items():
        if len(found) > 1 and variable.dims:
            raise ValueError(
                f"measure {name!r} has the dimension {variable.dims[0]!r}, whose length depends on the number of responses, "
                f"and over holds sizes {sorted(found)}; sweep one size at a time."
            )


def _coords(plan: Plan, num_responses: int) -> dict[str, Any]:
    coords: dict[str, Any] = {}
    for axis in plan.axes:
        for name, values in zip(axis.names, axis.values, strict=True):
            column = values if isinstance(values, np.ndarray) else np.arange(axis.length)
            if column.ndim == 1:
                coords[name] = (axis.dim, column)
    labels = response_labels(variables_of(plan.work.measures, num_responses).values(), num_responses, plan.names)
    return coords | labels | prompt_labels(plan.work.process.prompt_weights)


def _attrs(process: Process[Any], axes: tuple[Axis, ...], rounds: int, key: PRNGKeyArray | None) -> dict[str, str]:
    config = describe(process) | {"rounds": rounds, "over": [list(axis.names) for axis in axes]}
    seed = {} if key is None else {"seed": str(np.asarray(jax.random.key_data(key)).tolist())}
    note = process.note()
    told = {} if note is None else {"note": note}
    return {"config": json.dumps(config), **provenance(), **seed, **told}
