"""Every experiment at toy size, computed on first use and once for all workers of a test run."""

from __future__ import annotations

import contextlib
import functools
import os
import pickle
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
import xarray as xr

from experiments import (
    advice,
    bound_worth,
    buying,
    calibration,
    continuous,
    critical_beta,
    destinations,
    dilemma,
    distinguishability,
    entropy,
    every_matrix,
    evolution,
    experiment,
    features,
    finite_samples,
    inexact,
    integrators,
    losses,
    margins,
    misalignment,
    misspecified,
    neighbours,
    onset,
    phases,
    practices,
    prior_smoothing,
    priority,
    rankings,
    restricted,
    roster,
    skewed,
    stability_map,
    toy_distribution,
)

TINY = {
    "toy_distribution": toy_distribution.Config(instances=8, sets=6, pmle_sets=2),
    "dilemma": dilemma.Config(instances=6, sets=8),
    "bound_worth": bound_worth.Config(bounds=(0.5, 2.0), exponents=(10, 20), sets=600, certified=8),
    "prior_smoothing": prior_smoothing.Config(decays=(0.0, 1.5), instances=12, sets=4),
    "calibration": calibration.Config(laws=("BT 1, 12", "3-cycle .6/.4, 1000 votes"), sets=4, draws=40),
    "advice": advice.Config(comparisons=(10, 100, 1000), thinnings=4, draws=40),
    "evolution": evolution.Config(rounds=60),
    "stability_map": stability_map.Config(cells=5, rounds=300),
    "onset": onset.Config(
        cuts=7,
        samples=20,
        rounds=300,
        excesses=(1e-2, 3e-3, 1e-3),
        hysteresis_steps=9,
        hysteresis_rounds=200,
        starts=16,
    ),
    "finite_samples": finite_samples.Config(
        samples=(30, 300, 1000), runs=16, rounds=60, ratios=(0.8, 0.9, 1.1, 1.5), cut_runs=6, cut_rounds=100
    ),
    "inexact": inexact.Config(steps=(1, 4, 16, 64), rounds=400),
    "priority": priority.Config(seeds=6, samples=8),
    "misalignment": misalignment.Config(
        distinguishability=(0.75, 2.0), samples=20, seeds=6, span=60.0, aligned_margins=(0.5, 2.0)
    ),
    "integrators": integrators.Config(samples=10, halvings=2, draws=3, adam_rates=(0.1, 0.05), seeds=6),
    "margins": margins.Config(pairs=(1, 2, 4), per_cluster=10, d=12, times=8, tests=50, data_sets=3),
    "distinguishability": distinguishability.Config(
        deltas=(0.5, 1.0, 2.0), d=4, n=100, times=8, tests=200, data_sets=4
    ),
    "critical_beta": critical_beta.Config(matrices=4, sizes=(3,)),
    "phases": phases.Config(cyclic=16, transitive=6, cells=3, betas=3, lams=(0.0, 1.0), rounds=120),
    "features": features.Config(size=4, matrices=8, drawn=0, alphas=5),
    "rankings": rankings.Config(matrices=8, sizes=(3,), constructed=3),
    "entropy": entropy.Config(cells=3, rounds=400),
    "losses": losses.Config(rounds=60, losses=2, rates=2),
    "destinations": destinations.Config(matrices=1, responses=3, rounds=400),
    "neighbours": neighbours.Config(betas=160, grid=7, rounds=400, parameters=(4, 8), overlaps=(0.0, 0.5), draws=2),
    "practices": practices.Config(size=3, matrices=2, best_of=3, sampled=1, draws=2048),
    "every_matrix": every_matrix.Config(
        tournaments=(3, 51), sizes=(3, 4), searches=2, moves=40, alphas=(0.0, 0.5), matrices=3, starts=1, rounds=400
    ),
    "roster": roster.Config(temperatures=(0.05, 0.3), steps=3, rounds=600, matrices=3, sizes=(3,)),
    "skewed": skewed.Config(matrices=40, sizes=(3,), amounts=(0.3, 1.0)),
    "buying": buying.Config(targets=3, gammas=(0.05, 0.3, 3.0), measured=(1,), measured_targets=2, data_sets=200),
    "misspecified": misspecified.Config(matrices=6, samplers=4, path=5),
    "restricted": restricted.Config(
        responses=6, features=2, instances=6, tilts=(-1.0, 0.0, 1.0), data_sets=50, sizes=(16, 64, 512), draws=300
    ),
    "continuous": continuous.Config(sizes=(3,), matrices=6, betas=(0.03, 0.1, 0.3)),
}


class ToyResults(Mapping[str, xr.Dataset]):
    """Datasets by the name of their experiment; callers copy before they tamper.

    Args:
        folder: where the workers of one test run share what one of them has computed.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        self._read: dict[str, xr.Dataset] = {}
        folder.mkdir(exist_ok=True)

    def __getitem__(self, name: str) -> xr.Dataset:
        if name not in self._read:
            with _locked(self.folder / f"{name}.lock"):
                self._read[name] = self._compute(name)
        return self._read[name]

    def __iter__(self) -> Iterator[str]:
        return iter(TINY)

    def __len__(self) -> int:
        return len(TINY)

    def _compute(self, name: str) -> xr.Dataset:
        path = self.folder / f"{name}.pickle"  # exact, where a store would be one of the things under test
        if path.exists():
            return pickle.loads(path.read_bytes())
        ds = experiment(name).run(TINY[name]).load()
        scratch = path.with_suffix(".part")
        scratch.write_bytes(pickle.dumps(ds))
        scratch.replace(path)
        return ds


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Other workers wait here; the system releases the lock of a worker that dies."""
    try:
        import fcntl
    except ImportError:  # not on this system: workers may compute the same result twice
        yield
        return
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


@functools.cache
def _results_in(folder: Path) -> ToyResults:
    return ToyResults(folder)


def toy_results(factory: pytest.TempPathFactory) -> ToyResults:
    """The results of this test run, the same for every file of tests and every worker."""
    base = factory.getbasetemp()
    # A worker of pytest-xdist has a folder of its own inside that of the run.
    return _results_in((base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "toy_experiments")
