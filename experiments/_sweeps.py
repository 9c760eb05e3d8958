"""Sweeps of experiments: kept on disk while the experiment runs, and computed by worker processes on request."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import xarray as xr

import dynamics as dyn
from dynamics.sweeps import DamagedStore, OtherSweep

_kept: list[tuple[Path, Any]] = []  # the folder and the client of the running experiment's sweeps


@contextlib.contextmanager
def keeping(folder: Path, client: Any = None) -> Iterator[None]:
    """Stores the sweeps of the block in ``folder``, so that an interrupted experiment can resume; deletes it at the end."""
    _kept.append((folder, client))
    try:
        yield
    finally:
        _kept.pop()
    shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def workers(count: int | None) -> Iterator[Any]:
    """A client of ``count`` worker processes on this machine, with one core each; None if ``count`` is None."""
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
    """``dyn.sweep``, in memory or stored under ``name`` inside ``keeping``."""
    if not _kept:
        return dyn.sweep(process, over, progress=False, **options)
    folder, client = _kept[-1]
    try:
        return dyn.sweep(process, over, progress=False, store=folder / name, client=client, **options).load()
    except (OtherSweep, DamagedStore):  # the stored sweep is of other code, or has lost a file: start again
        shutil.rmtree(folder / name)
        return dyn.sweep(process, over, progress=False, store=folder / name, client=client, **options).load()
