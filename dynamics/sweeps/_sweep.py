"""The verb of phase diagrams: one process over an outer product of parameters, streamed block by block."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import ArrayLike, Float, PRNGKeyArray

from .._numerics import as_array, check_log_distribution
from .._parameters import describe, replace
from .._progress import progress as progress_bar
from .._provenance import provenance
from ..diagnostics import Measure, Variable
from ..rounds import RoundMap, SelfSampling
from ..solve import RESULT_NAMES
from ..solve._iterate import as_measures, check_count, check_key, check_process, warn_still
from ..solve._solution import attrs_of, pair_labels, variables_of
from ._axes import START, Axis, axes_of
from ._grid import Part, Work, lanes_of, run_part

if TYPE_CHECKING:
    import xarray as xr

RESULT = Variable((), "1", "how the run ended; where it failed, floats are NaN and integers -1", RESULT_NAMES)


def sweep(
    process: RoundMap,
    over: Mapping[str | tuple[str, ...], Any],
    *,
    measure: str | Measure | Sequence[str | Measure],
    rounds: int | None = None,
    t1: float | None = None,
    store: str | None = None,
    key: PRNGKeyArray | None = None,
    progress: bool = True,
    initial: Float[ArrayLike, " K"] | None = None,
) -> xr.Dataset:
    """The statistics of ``iterate(process(θ), rounds)`` for every θ in the outer product of ``over``.

    Args:
        process: a ``RoundMap`` whose parameters are replaced.
        over: values by parameter name or dotted path (``"objective.beta"``); each entry is one dimension. A tuple of
            names zips its sequences along one dimension. ``"preference"`` takes a stack ``(M, K, K)``, a list of matrices
            or a ``PreferenceSet`` (sizes may differ); ``"initial"`` log-policies ``(M, K)`` to start from.
        measure: names or ``Measure``s; only their statistics are kept, so memory does not grow with ``rounds``.
        rounds: T, int ≥ 0.
        t1: for flows in continuous time, which this version does not sweep.
        store: for sweeps kept on disk while they run, which this version does not have.
        key: for random processes; run i draws from ``fold_in(key, i)``, i counted over the whole grid.
        progress: show a bar at a terminal when the sweep takes longer than two seconds.
        initial: log pi of round 0 of every run, ``(K,)``; by default each process's own start.

    Returns:
        ``xarray.Dataset`` with a dimension per entry of ``over``, a variable per statistic, and ``result``.

    Raises:
        ValueError: a bad argument or any value out of range, before anything is compiled.
    """
    check_process(process)
    if t1 is not None or rounds is None:
        raise ValueError("sweep runs round maps; pass rounds= (t1= belongs to flows).")
    if store is not None:
        raise ValueError("store= is not available in this version; write the result with ds.to_zarr(path).")
    rounds = check_count(rounds, "rounds", 0)
    check_key(process, key)
    measures = as_measures(measure)
    if not measures:
        raise ValueError("measure is empty; name what to record, e.g. measure=['cycle_strength', 'final_entropy'].")
    if initial is not None:
        initial = check_log_distribution(initial, "initial", process.num_responses)
    axes = axes_of(process, over)
    if initial is None and not any(START in axis.paths for axis in axes):
        _check_starts(process, axes)
    shape = tuple(axis.length for axis in axes)
    varying = next((i for i, axis in enumerate(axes) if "preference" in axis.paths), None)
    groups = {process.num_responses: None} if varying is None else axes[varying].positions_by_size()
    _refuse_ragged(measures, list(groups))
    out: dict[str, np.ndarray] = {}
    work, lanes = Work(process, measures, rounds, key, initial), lanes_of(math.prod(shape))
    with progress_bar("runs", math.prod(shape), enabled=progress) as advance:
        for positions in groups.values():
            index = [np.arange(n) for n in shape]
            if varying is not None and positions is not None:
                index[varying] = positions
            for name, values in run_part(*_part(work, axes, index), lanes, advance).items():
                whole = out.setdefault(name, np.empty(shape + values.shape[len(shape) :], values.dtype))
                whole[np.ix_(*index)] = values
    still = int(out.pop("still").sum())
    if still and initial is None:
        warn_still(f" for {still} of {math.prod(shape)} runs")
    ds = _dataset(process, axes, measures, out, next(iter(groups)), rounds)
    return ds if key is None else ds.assign_attrs(seed=str(np.asarray(jax.random.key_data(key)).tolist()))


def _check_starts(process: RoundMap, axes: tuple[Axis, ...]) -> None:
    """Every run's own start must have full support; under the trace of a block nobody could look."""
    offline = [axis.take(np.arange(axis.length))["log_offline"] for axis in axes if "log_offline" in axis.paths]
    for log_offline in offline[0] if offline else [None]:
        (process if log_offline is None else replace(process, {"log_offline": jnp.asarray(log_offline)})).log_start()


def _refuse_ragged(measures: tuple[Measure, ...], sizes: list[int]) -> None:
    for name, variable in variables_of(measures, sizes[0]).items():
        if len(sizes) > 1 and variable.dims:
            raise ValueError(
                f"measure {name!r} has the dimension {variable.dims[0]!r}, whose length depends on the number of responses, "
                f"and over holds sizes {sizes}; sweep one size at a time."
            )


def _part(work: Work, axes: tuple[Axis, ...], index: list[np.ndarray]) -> tuple[Work, Part]:
    """The runs at some positions, all of one number of responses, and the work with a process that fits the matrices."""
    tables = [jax.tree.map(as_array, axis.take(positions)) for axis, positions in zip(axes, index, strict=True)]
    matrices = next((table["preference"] for table in tables if "preference" in table), None)
    if matrices is not None and isinstance(work.process, SelfSampling):
        work = work._replace(process=work.process.with_preference(np.asarray(matrices[0])))
    shape = tuple(len(positions) for positions in index)
    return work, Part(tables, index, shape, tuple(axis.length for axis in axes))


def _dataset(
    process: RoundMap,
    axes: tuple[Axis, ...],
    measures: tuple[Measure, ...],
    out: dict[str, np.ndarray],
    num_responses: int,
    rounds: int,
) -> xr.Dataset:
    import xarray as xr

    dims = tuple(axis.dim for axis in axes)
    known = variables_of(measures, num_responses) | {"result": RESULT}
    data = {name: (dims + known[name].dims, value, attrs_of(known[name])) for name, value in out.items()}
    coords: dict[str, Any] = {}
    for axis in axes:
        for name, values in zip(axis.names, axis.values, strict=True):
            column = np.asarray(values) if isinstance(values, np.ndarray) else np.arange(axis.length)
            if column.ndim == 1:
                coords[name] = (axis.dim, column)
    coords |= pair_labels(data.values(), num_responses)
    config = describe(process) | {"rounds": rounds, "over": [list(axis.names) for axis in axes]}
    return xr.Dataset(data, coords, {"config": json.dumps(config), **provenance()})
