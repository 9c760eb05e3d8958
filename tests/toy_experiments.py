"""Every experiment at toy size, computed once for all tests."""

from __future__ import annotations

import functools

import xarray as xr

from experiments import critical_beta, evolution, experiment, onset, stability_map

TINY = {
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
    "critical_beta": critical_beta.Config(matrices=4, sizes=(3,)),
}


@functools.cache
def tiny_results() -> dict[str, xr.Dataset]:
    """Datasets by name; callers copy before they tamper."""
    return {name: experiment(name).run(config) for name, config in TINY.items()}
