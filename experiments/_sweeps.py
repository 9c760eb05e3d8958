"""Sweeps of experiments: kept on disk while the experiment runs, and computed by workers where the command line asks."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import xarray as xr

import dynamics as dyn
from dynamics.sweeps import OtherSweep

_kept: list[tuple[Path, Any]] = []  # where the running experiment keeps its sweeps, and who computes them


@contextlib.contextmanager
def keeping(folder: Path, client: Any = None) -> Iterator[None]:
    """Sweeps inside are stored in ``folder``, from which an experiment that was interrupted goes on; it goes at the end."""
    _kept.append((folder, client))
    try:
        yield
    finally:
        _kept.pop()
    shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def workers(count: int | None) -> Iterator[Any]:
    """A client of so many worker processes on this machine, one core each; None where none are asked for."""
    if count is None:
        yield None
        return
    import distributed

    with (
        distributed.LocalCluster(
            n_workers=count, threads_per_worker=1, processes=True, dashboard_address=":0"
        ) as local,
        distributed.Client(local) as client,
    ):
        yield client


def sweep(name: str, process: Any, over: Any, **options: Any) -> xr.Dataset:
    """``dyn.sweep`` in memory, or under ``name`` among the sweeps that are kept."""
    if not _kept:
        return dyn.sweep(process, over, progress=False, **options)
    folder, client = _kept[-1]
    try:
        return dyn.sweep(process, over, progress=False, store=folder / name, client=client, **options).load()
    except OtherSweep:  # begun under other code: as if it had not been begun
        shutil.rmtree(folder / name)
        return dyn.sweep(process, over, progress=False, store=folder / name, client=client, **options).load()
