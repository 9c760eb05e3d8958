"""The findings on shared parameters: oscillation without a cycle, and what a cyclic prompt does to the others."""

from __future__ import annotations

import numpy as np
import xarray as xr

from .._framework import Finding, config_of, decide

MOVES = 1e-3  # amplitude from which a prompt counts as shaken
ROUNDING = 1e-9
RETURNS = 1e-6
POSITIVE = 0.01  # of a Lyapunov exponent, above what a finite run leaves
EVERY = 8  # parameters with which four prompts with three answers may have any policies
SOURCE = "[derived] statement of theorem shared_parameter"


def check(ds: xr.Dataset) -> list[Finding]:
    """Two prompts without a cycle, and one with a cycle among four."""
    return [_together(ds), _slope(ds), _onset(ds), _chaos(ds), _pulls(ds), _independent(ds), _shaken(ds)]


def _amplitude(ds: xr.Dataset) -> np.ndarray:
    """Of the pair, ``(objective, beta)``."""
    return np.ptp(ds.orbit.transpose("objective", "beta", "last", "prompt").values, axis=2).max(axis=-1) / 2


def _together(ds: xr.Dataset) -> Finding:
    moving = (_amplitude(ds) > MOVES).sum(axis=1)
    off = np.abs(ds.rate_alone - config_of(ds)["alpha"]).values
    told = ", ".join(
        f"{name} at {count} of {ds.sizes['beta']} betas"
        for name, count in zip(ds.objective.values, moving, strict=True)
    )
    return Finding(
        claim="two prompts with two answers each, among which there is no cycle, keep moving where they share one parameter, "
        "though each by itself converges at rate alpha",
        source=SOURCE,
        measured=f"amplitude above {MOVES:g}: {told}; at most {_amplitude(ds).max():.2f}; alone at rate "
        f"alpha to {off.max():.1e}",
        interval="exact rounds; the last 64",
        status=decide(bool((moving > 0).all() and (off < ROUNDING).all())),
    )


def _slope(ds: xr.Dataset) -> Finding:
    off = np.abs(np.abs(ds.slope) - ds.radius).values
    return Finding(
        claim="with IPO a round's spectral radius is |alpha + w'(theta*)/beta|",
        source=SOURCE,
        measured=f"{off.size} betas: largest difference {off.max():.1e}",
        interval="exact but for rounding",
        status=decide(bool((off < ROUNDING * (1 + ds.radius.values)).all()), bool(np.isfinite(off).all())),
    )


def _onset(ds: xr.Dataset) -> Finding:
    below, above = (float(ds.beside.sel(side=side)) for side in (0.97, 1.03))
    return Finding(
        claim="the pair begins to alternate between two policies at the largest beta at which that slope is -1",
        source=SOURCE,
        measured=f"beta {float(ds.critical):.4f}: amplitude 3% below {below:.3f}, 3% above {above:.1e}",
        interval="runs 3% on either side",
        status=decide(below > MOVES and above < ROUNDING, bool(np.isfinite(ds.critical))),
    )


def _chaos(ds: xr.Dataset) -> Finding:
    orbit = ds.orbit.sel(objective="IPO").transpose("beta", "last", "prompt").values
    moving, beta = _amplitude(ds)[list(ds.objective.values).index("IPO")] > MOVES, ds.beta.values
    returns = [np.abs(orbit[:, n:] - orbit[:, :-n]).max(axis=(1, 2)) < RETURNS for n in (2, 4)]
    two, four = moving & returns[0], moving & ~returns[0] & returns[1]
    chaotic = ds.exponent.values > POSITIVE
    largest = [beta[which].max(initial=0.0) for which in (two, four, chaotic)]
    return Finding(
        claim="below that beta the pair alternates between two policies, then among four, and below that runs are chaotic",
        source=SOURCE,
        measured=f"of {int(moving.sum())} betas at which it moves, simulated: two policies at {int(two.sum())} up to "
        f"{largest[0]:.4f}, four at {int(four.sum())} up to {largest[1]:.4f}; Lyapunov exponent of the theory's map above 0 at "
        f"{int(chaotic.sum())} up to {largest[2]:.4f}, at most {ds.exponent.values.max():.3f} a round",
        interval=f"policies return to {RETURNS:g}; an exponent above {POSITIVE:g} counts",
        status=decide(
            largest[0] > largest[1] > largest[2] and not (chaotic & ~moving).any(), bool(four.any() and chaotic.any())
        ),
    )


def _pulls(ds: xr.Dataset) -> Finding:
    moves = ds.plane.transpose("first", "second").values > MOVES
    opposed = np.multiply.outer(ds["first"].values - 0.5, ds.second.values - 0.5) < 0
    return Finding(
        claim="only prompts that pull the parameter to opposite sides do so",
        source=SOURCE,
        measured=f"of {moves.size} pairs of win rates {int(moves.sum())} keep moving, {int((moves & ~opposed).sum())} of them "
        "without opposite pulls",
        interval="one slope and one beta, measured",
        status=decide(not (moves & ~opposed).any(), bool(moves.any())),
    )


def _independent(ds: xr.Dataset) -> Finding:
    told = ds.sel(parameters=[d for d in ds.parameters.values if d >= EVERY])
    others = told.amplitude.sel(which="largest of the others").values
    spread = np.ptp(told.joint_radius.values) if others.size else np.nan
    return Finding(
        claim="where the features of all prompts are linearly independent, each prompt moves as it would by itself, whatever "
        "the overlap: a cyclic prompt does not shake the others",
        source="[derived] statement 9.3: an optimum depends on the span of the features alone",
        measured=f"{EVERY} parameters, {others.size} draws: amplitude of the others at most "
        f"{others.max(initial=0):.1e}, joint radii within {spread:.1e}",
        interval="exact but for rounding",
        status=decide(bool((others < ROUNDING).all() and spread < 1e-7), others.size > 0),
    )


def _shaken(ds: xr.Dataset) -> Finding:
    told = ds.sel(parameters=[d for d in ds.parameters.values if d < EVERY])
    one, others = (told.amplitude.sel(which=which).values for which in ds.which.values)
    moving = one > MOVES
    by_overlap = ", ".join(
        f"{float(c):g}: {np.mean(told.amplitude.sel(which=ds.which.values[1], overlap=c).values):.3f}"
        for c in told.overlap.values
    )
    return Finding(
        claim="with fewer parameters a cyclic prompt that keeps moving shakes its neighbours",
        source="[derived] statement 9.3 is only that more parameters prevent it; this is measured",
        measured=f"{int((others[moving] > MOVES).sum())} of {int(moving.sum())} runs in which it moves, of {moving.size}; mean "
        f"amplitude of the most shaken one by overlap of the features {by_overlap}",
        interval="over draws of features and of neighbours",
        status=decide(bool((others[moving] > MOVES).mean() > 0.5) if moving.any() else False, bool(moving.any())),
    )
