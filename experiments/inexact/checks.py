"""The findings on inexact rounds: spectral radius, onset of oscillation, optimizer state, and collapse."""

from __future__ import annotations

import numpy as np
import xarray as xr

from .._framework import OBJECTIVES, Finding, config_of, decide

OPTIMIZERS = ("SGD", "momentum, reset", "momentum, kept", "Adam, reset", "Adam, kept")
OSCILLATES = 1e-3  # an orbit counts as oscillating if a coordinate's variance over late rounds is larger


def largest_stable_share(alpha: float, ratio: float) -> float:
    """The fraction p below which inexact rounds are stable: 2 (1-alpha)/((1-alpha)² + k²)."""
    k2 = (1 - alpha**2) / ratio**2
    return 2 * (1 - alpha) / ((1 - alpha) ** 2 + k2)


def check(ds: xr.Dataset) -> list[Finding]:
    """The spectral radius against its formula, the onset of oscillation, kept against reset state, and the collapse."""
    findings = []
    for name in OBJECTIVES:
        one = ds.sel(objective=name)
        findings += [_formula(one, name), _onset(one, name), _state(one, name)]
    return [*findings, *[_collapse(ds.sel(objective=name), name) for name in OBJECTIVES]]


def _formula(one: xr.Dataset, name: str) -> Finding:
    error = float(np.abs(one.spectral_radius - one.predicted_radius).max())
    return Finding(
        claim=f"{name}: near uniform s SGD steps are an exact round with alpha + q(1-alpha) for alpha and (1-q)/beta for "
        "1/beta, q = (1 - approach)^s",
        source="[derived] statement 9.5; the loss about the uniform policy is isotropic to second order",
        measured=f"largest difference of spectral radius and formula over {one.sizes['steps']} numbers of steps: {error:.1e}",
        interval="rounding, 1e-9",
        status=decide(error < 1e-9),
    )


def _onset(one: xr.Dataset, name: str) -> Finding:
    config = config_of(one)
    share = largest_stable_share(config["alpha"], config["ratio"])
    most = np.log(1 - share) / np.log(1 - config["approach"]) if share < 1 else np.inf
    strength = one.cycle_strength.sel(optimizer="SGD").values
    oscillates = strength > OSCILLATES
    expected = one.predicted_radius.values > 1
    clear = np.abs(one.predicted_radius.values - 1) * config["rounds"] > 20
    begun = one.steps.values[oscillates]
    return Finding(
        claim=f"{name}: few SGD steps a round stabilise what exact rounds do not: stable iff the share of the way is below "
        f"2(1-alpha)/((1-alpha)² + k²) = {share:.3f}, that is up to {most:.1f} steps",
        source="[derived] statement 9.5 with that alpha and beta",
        measured=f"orbits oscillate (variance above {OSCILLATES:g}) from {begun.min() if len(begun) else 'no'} steps on; "
        f"{int((oscillates == expected)[clear].sum())} of {int(clear.sum())} as predicted",
        interval="one deterministic orbit each; radii within 20/rounds of 1 are left out",
        status=decide(
            bool((oscillates == expected)[clear].all()), bool((clear & expected).any() and (clear & ~expected).any())
        ),
    )


def _state(one: xr.Dataset, name: str) -> Finding:
    strength = {o: one.cycle_strength.sel(optimizer=o).values for o in OPTIMIZERS}
    number = {o: int((x > OSCILLATES).sum()) for o, x in strength.items()}
    wider = [
        f"{kind}: oscillating at {number[f'{kind}, kept']} of {one.sizes['steps']} numbers of steps kept, "
        f"{number[f'{kind}, reset']} reset"
        for kind in ("momentum", "Adam")
    ]
    anew = {kind: strength[f"{kind}, reset"] > OSCILLATES for kind in ("momentum", "Adam")}
    kept = all((strength[f"{kind}, kept"] > OSCILLATES)[where].all() for kind, where in anew.items())
    return Finding(
        claim=f"{name}: moments kept from round to round oscillate wherever moments that start anew do, and elsewhere too",
        source="[derived] statement 9.5 has no such term; measured only",
        measured="; ".join(wider),
        interval=f"one deterministic orbit each; variance above {OSCILLATES:g}",
        status=decide(kept and all(number[f"{kind}, kept"] > number[f"{kind}, reset"] for kind in anew)),
    )


def _collapse(one: xr.Dataset, name: str) -> Finding:
    rounds = one.half_entropy_round.sel(optimizer="SGD").values.astype(float)
    reached = rounds >= 0
    steps = one.steps.values[reached]
    order = rounds[reached]
    adam = one.half_entropy_round.sel(optimizer="Adam, reset").values
    return Finding(
        claim=f"{name}, alpha = 1 on transitive preferences: fewer steps a round delay the collapse, they do not prevent it",
        source="[derived] statement 2.4 for exact rounds; for inexact ones measured only",
        measured="rounds until the entropy stays below half of log 3, SGD: "
        + ", ".join(f"{int(r)} at {int(s)}" for r, s in zip(order, steps, strict=True))
        + f" steps; Adam, reset: {int(adam[0])} at {int(one.steps[0])}, {int(adam[-1])} at {int(one.steps[-1])}",
        interval="one deterministic orbit each",
        status=decide(bool((np.diff(order) <= 0).all()) and reached[-1], reached.sum() >= 2),
    )
