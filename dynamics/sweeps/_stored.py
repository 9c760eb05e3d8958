"""Stored sweeps: blocks computed one after the other or by workers, and written to the store."""

from __future__ import annotations

import contextlib
import os
import time
import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import numpy as np

from .._places import Folder, Place, place_of
from . import _blocks, _store
from ._plan import Plan, compute

if TYPE_CHECKING:
    import distributed
    import xarray as xr

MAX_RETRIES = 3  # of a block, after its worker was lost
PAUSE = 0.2  # seconds, while other processes are at all blocks that are left


def run_stored(
    plan: Plan,
    store: str | os.PathLike[str],
    client: distributed.Client | None,
    coords: dict[str, Any],
    attrs: dict[str, Any],
    cores: int,
    advance: Callable[[int], None],
) -> tuple[xr.Dataset, int]:
    """Computes the missing blocks; returns the lazy Dataset and how many runs began at a fixed point."""
    place = place_of(store)
    group = _store.opened(place, plan, coords, attrs)
    todo = _waiting(place, plan)
    if len(todo) < int(np.prod(plan.grid)):
        _store.warn_of_another_device(place)
    advance(int(np.prod(plan.shape, dtype=object)) - sum(_runs(plan, at) for at in todo))
    if client is None:
        with _store.kept(place, plan):
            _here(plan, place, group, todo, cores, advance)
    else:
        _on_workers(plan, place, client, todo, advance)
    return _store.lazy(place), sum(block.still for block in _blocks.finished(place).values())


def _here(
    plan: Plan, place: Place, group: Any, todo: list[tuple[int, ...]], cores: int, advance: Callable[[int], None]
) -> None:
    """Computes the blocks that no other process is at, until all are finished by some process."""
    while todo:
        left: list[tuple[int, ...]] = []
        for at in todo:
            with _blocks.claimed(place, at) as mine:
                if not mine:
                    left.append(at)
                elif _blocks.is_finished(place, at):  # by another process since
                    advance(_runs(plan, at))
                else:
                    _blocks.write(place, group, plan, at, compute(plan, plan.block(at), cores, advance))
        if len(left) == len(todo):
            time.sleep(PAUSE)
        todo = left


def _waiting(place: Place, plan: Plan) -> list[tuple[int, ...]]:
    """The blocks that are not done, and those that are damaged, about which it warns."""
    done = _blocks.finished(place)
    lost = _blocks.damaged(place, done)
    if lost:
        more = f" and {len(lost) - 1} more" if len(lost) > 1 else ""
        warnings.warn(
            f"store {place} is damaged: {next(iter(lost.values()))}{more} is missing or not as it was written; "
            f"{len(lost)} of {int(np.prod(plan.grid))} blocks are computed again.",
            stacklevel=2,
        )
    return [at for at in plan.places() if at not in done or at in lost]


def _runs(plan: Plan, at: tuple[int, ...]) -> int:
    return int(np.prod([s.stop - s.start for s in plan.block(at)], dtype=object))


class _Parcel(NamedTuple):
    """A plan for another process, with the random key as plain data and the precision as a flag."""

    plan: Plan
    key: np.ndarray | None
    style: str | None
    x64: bool


def _pack(plan: Plan) -> _Parcel:
    key, x64 = plan.work.key, bool(jax.config.read("jax_enable_x64"))
    bare = plan._replace(work=jax.tree.map(_to_host, plan.work._replace(key=None)))
    if key is None:
        return _Parcel(bare, None, None, x64)
    typed = jax.numpy.issubdtype(key.dtype, jax.dtypes.prng_key)
    return _Parcel(bare, np.asarray(jax.random.key_data(key)), str(jax.random.key_impl(key)) if typed else None, x64)


def _to_host(leaf: Any) -> Any:
    return np.asarray(leaf) if isinstance(leaf, jax.Array) else leaf


def _unpack(parcel: _Parcel) -> Plan:
    key: Any = parcel.key
    if key is not None and parcel.style is not None:
        key = jax.random.wrap_key_data(jax.numpy.asarray(key), impl=parcel.style)
    to_device = lambda leaf: jax.numpy.asarray(leaf) if isinstance(leaf, np.ndarray) else leaf
    return parcel.plan._replace(work=jax.tree.map(to_device, parcel.plan.work)._replace(key=key))


def _task(parcel: _Parcel, store: str, at: tuple[int, ...]) -> int:
    """Computes one block on a worker, unless another worker has finished it."""
    with jax.enable_x64(parcel.x64):
        plan, place = _unpack(parcel), place_of(store)
        group = _store.own(place, plan)
        if not _blocks.is_finished(place, at):
            _blocks.write(place, group, plan, at, compute(plan, plan.block(at), 1))
    return _runs(plan, at)


def _sent(client: distributed.Client, parcel: _Parcel) -> Any:
    """The parcel on every worker; tried again where one of them is lost while it is sent."""
    from distributed.comm.core import CommClosedError

    for tries_left in reversed(range(MAX_RETRIES + 1)):
        try:
            return client.scatter(parcel, broadcast=True, hash=False)
        except CommClosedError:
            if not tries_left:
                raise
    raise AssertionError


def _on_workers(
    plan: Plan, place: Place, client: distributed.Client, todo: list[tuple[int, ...]], advance: Callable[[int], None]
) -> None:
    """Submits the blocks to dask, which retries those of lost workers."""
    import distributed

    where = os.path.abspath(place.path) if isinstance(place, Folder) else str(place)
    parcel = _sent(client, _pack(plan))
    tasks = [client.submit(_task, parcel, where, at, pure=False, retries=MAX_RETRIES) for at in todo]
    try:
        for task in distributed.as_completed(tasks):
            advance(task.result())
    finally:
        with contextlib.suppress(Exception):
            client.cancel(tasks)
