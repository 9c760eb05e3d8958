"""The findings on continuous self-sampling: its fixed points, its spectrum, and which of them attract."""

from __future__ import annotations

import numpy as np
import xarray as xr

from .._framework import (
    KAPPA,
    OBJECTIVES,
    Finding,
    binomial_interval,
    config_of,
    decide,
)

ROUNDING = 1e-9  # relative to the size of the terms that cancel


def check(ds: xr.Dataset) -> list[Finding]:
    """Whether fixed points agree, the spectrum of the on-policy flow, and which fixed points attract."""
    tests = (_same_points, _formula, _attracts, _sector, _off_policy, _rounds_leave)
    findings = [test(ds.sel(objective=name), name) for test in tests for name in OBJECTIVES]
    return [*findings, _orbit(ds)]


def _on_policy(one: xr.Dataset) -> xr.Dataset:
    return one.isel(lam=np.flatnonzero(one.lam.values == 1.0))


def _same_points(one: xr.Dataset, name: str) -> Finding:
    moved, force = (float(one[key].max()) for key in ("moved", "force"))
    return Finding(
        claim=f"{name}: the flow whose sampler follows the policy rests where the rounds at alpha = 0 do",
        source="[derived] statements 1.1, 1.2 and 3.8: both ask for Σ_j mu_j (P_ij - s(beta (h_i - h_j))) = 0",
        measured=f"at {one.moved.size} fixed points of rounds (a round moves logits by {moved:.1g} of their size at most) the "
        f"forces of the flow cancel to {force:.1g}",
        interval=f"rounding; {ROUNDING:g} of what cancels allowed; lam = {', '.join(f'{x:g}' for x in one.lam.values)}",
        status=decide(force <= ROUNDING, moved <= ROUNDING),
    )


def _formula(one: xr.Dataset, name: str) -> Finding:
    formula = {"IPO": "-4 (Sigma - Sigma A Sigma/beta)", "DPO": "2 beta (B - beta L)"}[name]
    known = _on_policy(one).formula.values
    return Finding(
        claim=f"{name}, on policy: the flow's Jacobian at a fixed point is {formula}, a skew matrix less a positive one",
        source="[derived] statement 3.8, differentiated; B_ij = p_i p_j (P_ij - sigma(f_i - f_j)), L as in 7.1",
        measured=f"against differences of the library's velocity: off by {known.max(initial=0.0):.1g} of the "
        f"row's diagonal entry at most, {known.size} loops",
        interval="differences of fourth order in 1e-3 nat, 1e-6 allowed",
        status=decide((known <= 1e-6).all(), known.size > 0),
    )


def _attracts(one: xr.Dataset, name: str) -> Finding:
    damping = _on_policy(one).damping.values
    return Finding(
        claim=f"{name}, on policy: every fixed point attracts the flow, whatever beta is",
        source="[derived] statement 3.8: with that Jacobian Re x*Jx < 0 for every x that is not constant",
        measured=f"smallest -Re/|eigenvalue| {damping.min(initial=np.inf):.3g} over {damping.size} loops",
        interval="rounding, 1e-6",
        status=decide((damping > 0).all(), damping.size > 0 and (np.abs(damping) > 1e-6).all()),
    )


def _sector(one: xr.Dataset, name: str) -> Finding:
    some = _on_policy(one)
    room = (some.damping * np.sqrt(1 + some.spectral_radius**2)).values
    return Finding(
        claim=f"{name}, on policy: with rho the spectral radius of a round, |Im| ≤ rho |Re| for every eigenvalue of the flow: "
        "where rounds leave, the flow turns more before it arrives",
        source="[derived] statements 3.8 and 7.1: both spectra are of one skew matrix, in the metric of Sigma or L",
        measured=f"smallest -Re/|eigenvalue| over the bound 1/√(1 + rho²): {room.min(initial=np.inf):.6g} to "
        f"{room.max(initial=-np.inf):.3g} over {room.size} loops",
        interval="rounding, 1e-6",
        status=decide((room >= 1 - 1e-6).all(), room.size > 0),
    )


def _off_policy(one: xr.Dataset, name: str) -> Finding:
    some = one.isel(lam=np.flatnonzero(one.lam.values < 1.0))
    damping = some.damping.values
    _, high = binomial_interval(0, damping.size) if damping.size else (0.0, 1.0)
    return Finding(
        claim=f"{name}, partly off policy: no fixed point tried repels the flow",
        source="[derived] statement 3.8; measured only, the proof being for lam = 1",
        measured=f"lam = {', '.join(f'{x:g}' for x in some.lam.values)}: {(damping <= 0).sum()} of {damping.size} loops "
        f"repel, smallest -Re/|eigenvalue| {damping.min(initial=np.inf):.3g}",
        interval=f"as if loops were independent, 95% Clopper–Pearson: below {high:.2%}",
        status=decide((damping > 0).all(), damping.size > 0 and (np.abs(damping) > 1e-6).all()),
    )


def _rounds_leave(one: xr.Dataset, name: str) -> Finding:
    some = one.isel(lam=0)
    unstable = (some.spectral_radius.values > 1).sum(axis=1)
    count = some.sizes["matrix"]
    ends = [binomial_interval(int(n), count) for n in unstable]
    said = ", ".join(
        f"{KAPPA[name] * beta:g}: {n / count:.0%} ({low:.0%} to {high:.0%})"
        for beta, n, (low, high) in zip(some.beta.values, unstable, ends, strict=True)
    )
    return Finding(
        claim=f"{name}: at small beta rounds leave most of the fixed points that the flow is drawn to",
        source="[derived] statement 2.2, evaluated on random matrices with a majority cycle",
        measured=f"share of matrices with spectral radius above 1, by beta: {said}",
        interval="95% Clopper–Pearson over matrices",
        status=decide(ends[0][0] > 0.5, ends[0][0] > 0.5 or ends[0][1] < 0.5),
    )


def _orbit(ds: xr.Dataset) -> Finding:
    logs = (ds.flow_log_policy.values, ds.rounds_log_policy.values)
    flow, rounds = (np.linalg.norm(x - x.mean(axis=-1, keepdims=True), axis=-1) for x in logs)
    half = len(flow) // 2
    slope = -float(np.polyfit(ds.time.values[half:], np.log(flow[half:]), 1)[0])
    config, kept = config_of(ds), float(rounds[-4:].min())
    leave = config["advantage"] / (np.sqrt(3) * config["drawn_beta"]) > 1.05  # 2.1, at alpha = 0
    return Finding(
        claim="IPO, 3-cycle: on policy the flow spirals into uniform as fast as if there were no preferences, where rounds "
        "stay away",
        source="[derived] statement 3.8: the skew part turns and does not slow; [paper] Chen26 for rounds",
        measured=f"rate {slope:.6f} (spectrum: {float(ds.decay):.6f}) in units of that without preferences; rounds keep at "
        f"least {kept:.2g} nat from uniform in the last 4 of {config['rounds']}",
        interval="one orbit each, relative tolerance 1e-10; rate over the later half, 1e-3 allowed for what is not linear",
        status=decide(abs(slope - 1) < 1e-3 and abs(float(ds.decay) - 1) < 1e-6 and kept > 0.1, leave),
    )
