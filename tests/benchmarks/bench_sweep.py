"""Rounds per second of ``dyn.sweep`` beside C, NumPy and natural JAX, in turn, seven times over.

    python -m pytest tests/benchmarks/bench_sweep.py -c tests/benchmarks/pytest.ini

Compiling is done before anything is timed. The slower ones get fewer rounds, on which their rate does not depend.
"""

from __future__ import annotations

import functools

import contenders
import numpy as np
import pytest

REPETITIONS = range(7)
C = " ".join(("C++ by hand, OpenMP,", *contenders.FLAGS))
IPO, DPO = "MRS-IPO, K = 4, float64", "MRS-DPO, K = 4, float64"
SAMPLES = "MRS-IPO of 100 comparisons a round, K = 4, float64"
# sweep, who, side of the grid, rounds
TIMED = [
    (IPO, "dyn.sweep", 256, 3000),
    (IPO, C, 256, 3000),
    (IPO, "vmap of scan", 256, 1000),
    (IPO, "NumPy", 256, 60),
    (DPO, "dyn.sweep", 256, 500),
    (DPO, C, 256, 500),
    (DPO, "NumPy, warm-started Newton", 128, 20),
    (SAMPLES, "dyn.sweep", 256, 100),
    (SAMPLES, "NumPy", 256, 6),
]


@functools.cache
def library(folder):
    return contenders.compiled_c(folder)


def contender(sweep, who, folder):
    if sweep == SAMPLES:
        return functools.partial(contenders.ours, samples=100) if who == "dyn.sweep" else contenders.in_numpy_samples
    if who == "dyn.sweep":
        return functools.partial(contenders.ours, objective=sweep[4:7].lower())
    if who == C:
        if library(folder) is None:
            pytest.skip("neither g++ nor clang++ is at hand")
        return functools.partial(contenders.in_c, library(folder), objective=sweep[4:7].lower())
    if who == "vmap of scan":
        return contenders.natural_jax
    return contenders.in_numpy if sweep == IPO else contenders.in_numpy_dpo


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    """Where the kernel is built, after all contenders have been compiled and have given the same numbers."""
    made = tmp_path_factory.mktemp("kernel")
    for sweep, who, side, rounds in TIMED:
        if who == C and library(made) is None:
            continue
        function = contender(sweep, who, made)
        function(side, rounds if "NumPy" not in who else 1)
        if sweep == SAMPLES:
            # Other draws: the mean over 4,096 runs agrees to two per cent.
            got, want = function(64, 40)[0].mean(), contenders.ours(64, 40, samples=100)[0].mean()
            np.testing.assert_allclose(got, want, rtol=0.02)
            continue
        want = contenders.ours(16, 40, sweep[4:7].lower())
        np.testing.assert_allclose(function(16, 40), want, rtol=1e-9, atol=1e-12)
    return made


# The contenders take turns: of stacked parameters the upper ones change first.
@pytest.mark.parametrize(("sweep", "who", "side", "rounds"), TIMED)
@pytest.mark.parametrize("repetition", REPETITIONS)
def test_rate(benchmark, repetition, sweep, who, side, rounds, folder):
    function = contender(sweep, who, folder)
    benchmark.extra_info.update(
        table=sweep, who=who, amount=side**2 * rounds / 1e6, unit="million rounds/s", base="dyn.sweep"
    )
    benchmark.pedantic(function, args=(side, rounds), rounds=1)
