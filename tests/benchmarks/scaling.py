"""Rounds per second of ``dyn.sweep`` against K, the number of runs, threads and workers, as a Dataset and a figure.

    python tests/benchmarks/scaling.py [--out scaling]

alpha × lam, cycle strength and final entropy, float64. Medians of five after compiling. Workers are those of a
``distributed.LocalCluster`` with one thread each that write to a store.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import jax
import numpy as np
import xarray as xr

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parents[1])]

import contenders

SIZES = (2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64)
DPO_SIZES = (2, 3, 4, 5, 8)
SIDES = (4, 8, 16, 32, 64, 128, 256)
EXPONENTIAL = 14  # multiply-adds that an exponential takes: range reduction, a polynomial of degree 11, scaling
OTHERS = 11  # multiply-adds for each response: mixing, centring, normalising, Welford's update


def median_rate(function: Callable[[], object], amount: float) -> float:
    """Amount per second; the first call compiles."""
    function()
    times = []
    for _ in range(5):
        began = time.perf_counter()
        function()
        times.append(time.perf_counter() - began)
    return amount / statistics.median(times)


def by_size(objective: str, sizes: Sequence[int]) -> list[float]:
    """Enough runs and rounds to keep every core busy for some tenths of a second."""
    found = []
    for K in sizes:
        side, rounds = 96, max(20, (6000 if objective == "ipo" else 1500) // K)
        run = lambda K=K, side=side, n=rounds: contenders.ours(side, n, objective, K)
        found.append(median_rate(run, side**2 * rounds))
    return found


def by_runs() -> list[float]:
    found = []
    for side in SIDES:
        rounds = 1000 if side >= 128 else 20_000
        found.append(median_rate(lambda side=side, n=rounds: contenders.ours(side, n), side**2 * rounds))
    return found


def c_rate(objective: str) -> float:
    with tempfile.TemporaryDirectory() as folder:
        library = contenders.compiled_c(Path(folder))
        if library is None:
            return np.nan
        return median_rate(lambda: contenders.in_c(library, 256, 1000, objective), 65_536_000)


def peak() -> float:
    """Multiply-adds per second that this machine reaches in a product of matrices."""
    a = np.random.default_rng(0).normal(size=(2048, 2048))
    return median_rate(lambda: a @ a, 2048.0**3)


def on_workers(count: int) -> float:
    import distributed

    import dynamics as dyn

    loop = dyn.SelfSampling(contenders.matrix(), dyn.IPO(contenders.BETA), 0.5, 1.0)
    axis, rounds = np.linspace(0, 1, 512), 8192
    start = jax.nn.log_softmax(contenders.START)
    times = []
    with (
        distributed.LocalCluster(
            n_workers=count, threads_per_worker=1, processes=True, dashboard_address=None
        ) as cluster,
        distributed.Client(cluster) as client,
        tempfile.TemporaryDirectory() as folder,
    ):
        for n in range(3):
            began = time.perf_counter()
            dyn.sweep(
                loop,
                {"alpha": axis, "lam": axis},
                rounds=rounds,
                measure=["cycle_strength", "final_entropy"],
                initial=start,
                store=Path(folder) / str(n),
                client=client,
            )
            times.append(time.perf_counter() - began)
    return len(axis) ** 2 * rounds / statistics.median(times[1:])


def measure() -> xr.Dataset:
    cores = len(os.sched_getaffinity(0))
    counts = sorted({1, cores})
    by_hand = {name: c_rate(name) for name in ("ipo", "dpo")}  # before a cluster, which leaves OpenMP one thread
    threads = [median_rate(lambda n=n: contenders.ours(256, 3000, cores=n), 256**2 * 3000) for n in counts]
    workers = [on_workers(n) for n in counts]
    ds = xr.Dataset(
        {
            "by_size": ("K", by_size("ipo", SIZES)),
            "dpo_by_size": ("K_dpo", by_size("dpo", DPO_SIZES)),
            "limit": ("K", peak() / (np.square(SIZES) + (EXPONENTIAL + OTHERS) * np.array(SIZES))),
            "by_runs": ("runs", by_runs()),
            "by_threads": ("count", threads),
            "by_workers": ("count", workers),
            "c": by_hand["ipo"],
            "c_dpo": by_hand["dpo"],
        },
        {"K": list(SIZES), "K_dpo": list(DPO_SIZES), "runs": [side**2 for side in SIDES], "count": counts},
        {"machine": f"{cores} cores, {platform.machine()}", "jax": jax.__version__},
    )
    for variable in ds.data_vars.values():
        variable.attrs["units"] = "rounds/s"
    return ds


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("scaling"))
    options = parser.parse_args()
    jax.config.update("jax_enable_x64", True)
    from dynamics import plot
    from figures.scaling import draw

    ds = measure()
    options.out.mkdir(parents=True, exist_ok=True)
    ds.to_netcdf(options.out / "scaling.nc", engine="scipy")
    with plot.style():
        draw(ds).savefig(options.out / "scaling.png", dpi=200)
    sys.stdout.write(json.dumps({str(k): v.values.tolist() for k, v in ds.data_vars.items()}, indent=1) + "\n")


if __name__ == "__main__":
    main()
