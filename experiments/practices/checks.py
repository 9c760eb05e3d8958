"""The findings on what engineers do: what lowers the spectral radius of a round, and what raises it."""

from __future__ import annotations

import json

import numpy as np
import xarray as xr

from .._framework import Finding, decide

BASES = ("half the last checkpoint", "the last checkpoint")
AVERAGES = {"moving average, rate .6": 0.6, "moving average, rate .1": 0.1}
STEPS = ("1 step", "4 steps", "16 steps")
KEPT = ("1 step, momentum kept", "4 steps, momentum kept", "16 steps, momentum kept")
RESET = ("4 steps, momentum reset", "16 steps, momentum reset")
PRACTICES = ("best of n", *AVERAGES, *STEPS, *KEPT, *RESET)
ROUNDING = 1e-7
LOOP = "[derived] statement 2.1 for the plain loop; the rest is measured"


def check(ds: xr.Dataset) -> list[Finding]:
    """One finding for each kind of practice."""
    return [_best(ds), _price(ds), _average(ds), _steps(ds), _kept(ds), _samples(ds)]


def _over(ds: xr.Dataset, names: tuple[str, ...]) -> np.ndarray:
    """Radii over those of the plain loops, ``(objective, base, practice, matrix)``."""
    return (ds.radius.sel(practice=list(names)) / ds.plain).transpose("objective", "base", "practice", "matrix").values


def _span(values: np.ndarray) -> str:
    return (
        f"{np.median(values):.3f} times in the median ({values.min():.3f} to {values.max():.3f}, {values.size} values)"
    )


def _best(ds: xr.Dataset) -> Finding:
    over = _over(ds, ("best of n",))
    return Finding(
        claim="at the edge of stability and beyond it best-of-n pairs, the best against the worst, raise the spectral radius",
        source=LOOP,
        measured=f"n = {json.loads(ds.attrs['config'])['best_of']}: {_span(over)}",
        interval="over all matrices, both losses and both references",
        status=decide(bool((over > 1 + ROUNDING).all()), bool(np.isfinite(over).all())),
    )


def _price(ds: xr.Dataset) -> Finding:
    ratio = ds.critical_ratio.values
    return Finding(
        claim="so they ask for a larger beta",
        source=LOOP,
        measured=f"critical beta {_span(ratio)}",
        interval="at half the last checkpoint (alpha = 1/2); roots to 1e-7",
        status=decide(bool((ratio > 1).all()), bool(np.isfinite(ratio).all())),
    )


def _average(ds: xr.Dataset) -> Finding:
    found = ds.radius.sel(base=BASES[1], practice=list(AVERAGES)).transpose("objective", "matrix", "practice").values
    plain = ds.plain.sel(base=BASES[1]).values
    off = np.abs(found - ds.expected.transpose("matrix", "average").values[None])
    return Finding(
        claim="a moving average of the checkpoints as reference makes the equilibrium attract where the last checkpoint as "
        "reference makes it repel; the radius is that of x² - (1 + ie) x + ie (1 - rate)",
        source="[derived] statement of theorem ema_spectrum",
        measured=f"radius {found.min():.4f} to {found.max():.4f}, plain {plain.min():.4f} to {plain.max():.4f}; largest "
        f"difference from the theory {off.max():.1e}",
        interval="exact but for rounding",
        status=decide(bool((found < 1).all() and (plain > 1).all() and (off < ROUNDING).all()), np.isfinite(off).all()),
    )


def _steps(ds: xr.Dataset) -> Finding:
    over = _over(ds, STEPS)
    few = ", ".join(f"{name} {np.median(over[:, :, p]):.3f}" for p, name in enumerate(STEPS))
    return Finding(
        claim="there, few steps of gradient descent instead of the optimum never raise it",
        source=LOOP,
        measured=f"medians: {few}; at most {over.max():.6f}",
        interval="step size one over the largest curvature of all; over all matrices, both losses and both references",
        status=decide(bool((over <= 1 + ROUNDING).all()), bool(np.isfinite(over).all())),
    )


def _kept(ds: xr.Dataset) -> Finding:
    more = _over(ds, KEPT[:2]) / _over(ds, STEPS[:2])
    long, reset = _over(ds, KEPT[2:]), _over(ds, RESET)
    raised = int((more > 1 + ROUNDING).sum())
    return Finding(
        claim="there, momentum .9 that is kept from round to round mostly raises it above that of the same steps without it",
        source=LOOP,
        measured=f"in {raised} of {more.size} cases, {_span(more)}; against the plain loop 16 steps {long.min():.3f} to "
        f"{long.max():.3f}, momentum reset in each round {reset.min():.3f} to {reset.max():.3f}",
        interval="1 and 4 steps; over all matrices, both losses and both references",
        status=decide(raised > more.size / 2, bool(np.isfinite(more).all())),
    )


def _samples(ds: xr.Dataset) -> Finding:
    off = np.abs(ds.sampled - 1).transpose("comparisons", "objective", "sampled_matrix").values
    error = ds.sampled_error.transpose("comparisons", "objective", "sampled_matrix").values
    few, many = off[0].mean(), off[-1].mean()
    unsure = np.sqrt((error[0] ** 2).sum() + (error[-1] ** 2).sum()) / error[0].size
    least, most = int(ds.comparisons[0]), int(ds.comparisons[-1])
    told = lambda n: ", ".join(
        f"{value:.3f} ± {spread:.3f}"
        for value, spread in zip(
            ds.sampled.sel(comparisons=n).values.ravel(),
            ds.sampled_error.sel(comparisons=n).values.ravel(),
            strict=True,
        )
    )
    return Finding(
        claim="drawing n comparisons a round changes the radius of the mean round, the less the larger n",
        source=LOOP,
        measured=f"plain 1; n = {least}: {told(least)}; n = {most}: {told(most)}",
        interval="± one standard error, jackknife over 8 batches",
        status=decide(bool(many < few), bool(abs(few - many) > 3 * unsure)),
    )
