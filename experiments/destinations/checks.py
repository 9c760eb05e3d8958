"""The findings on destinations: which methods rest at an equilibrium, and which keep the order by average win rate."""

from __future__ import annotations

import numpy as np
import xarray as xr

from .._framework import Finding, decide

OFFLINE = ("one fit, IPO", "one fit, DPO")
MAGNETS = ("online-ipo", "reverse-kl", "inpo", "mmd", "nash-md", "onpo", "egpo", "nash-mp")
MIXTURE, PROXIMAL = "nash-md", "comal"
STILL = 1e-7  # in total variation, below which the last tenth of a run counts as at rest
CLOSE = 1e-6  # in total variation from an equilibrium, and of duality gaps


def check(ds: xr.Dataset) -> list[Finding]:
    """Equilibria with and without temperature, and the order by average win rate."""
    return [_magnets(ds), _mixture(ds), _proximal(ds), _one_fit(ds), _reversed(ds)]


def _magnets(ds: xr.Dataset) -> Finding:
    names = [name for name in MAGNETS if name != MIXTURE]
    one = ds.sel(approach=names)
    rests = one.rests
    far = one.to_nash.where(rests)
    moving = one.to_nash.where(~rests)
    told = (
        f"; {int((~rests).sum())} that keep moving: averages up to {float(moving.max()):.3f} away"
        if (~rests).any()
        else ""
    )
    return Finding(
        claim="mirror descent in all its forms, online IPO and reverse KL on win rates: runs that come to rest end at the one "
        "equilibrium that is regularised at their temperature",
        source="[derived] statement 7.1 with 7.16, 8.1 and section 8",
        measured=f"{int(rests.sum())} runs at rest, largest total variation {float(far.max()):.1e}{told}",
        interval="exact but for rounding",
        status=decide(bool(float(far.max()) < CLOSE), bool(rests.any(dim="matrix").all())),
    )


def _mixture(ds: xr.Dataset) -> Finding:
    one = ds.sel(approach=MIXTURE)
    rests = one.rests
    policy, mixture = one.to_nash.where(rests), ds.mixture_to_nash.where(rests)
    return Finding(
        claim="Nash-MD's policy does not: its mixture with the magnet does, at the temperature tau/(1 - eta tau)",
        source="[derived] statement 8.2",
        measured=f"policy {float(policy.median()):.3f} away in the median, at most {float(policy.max()):.3f}; mixture at most "
        f"{float(mixture.max()):.1e}",
        interval="exact but for rounding",
        status=decide(bool(mixture.max() < CLOSE) and bool(policy.max() > CLOSE), bool(rests.any())),
    )


def _proximal(ds: xr.Dataset) -> Finding:
    one, others = ds.sel(approach=PROXIMAL), ds.gap.sel(approach=[n for n in MAGNETS if n != MIXTURE])
    rests = one.rests
    gap, slow = one.gap.where(rests), one.gap.where(~rests)
    told = f"; {int((~rests).sum())} still on the way, at most {float(slow.max()):.1e}" if (~rests).any() else ""
    return Finding(
        claim="runs of the proximal point that come to rest end at an equilibrium without temperature",
        source="[paper] COMAL, last iterate to an exact Nash equilibrium",
        measured=f"{int(rests.sum())} runs at rest, duality gap at most {float(gap.max()):.1e}{told}; with a fixed magnet "
        f"{float(others.median()):.3f} in the median",
        interval="of the last policies",
        status=decide(bool(gap.max() < CLOSE), bool(rests.any())),
    )


def _one_fit(ds: xr.Dataset) -> Finding:
    share = ds.against_borda.sel(approach=list(OFFLINE))
    return Finding(
        claim="one fit to pairs from a uniform sampler orders the responses by their average win rates (Borda's order)",
        source="[paper] Chen26, one-shot optima; for a uniform sampler that is Borda's order",
        measured=f"share of pairs the other way round: at most {float(share.max()):.3g}",
        interval="exact",
        status=decide(bool((share.fillna(0) == 0).all()), bool(np.isfinite(share).any())),
    )


def _reversed(ds: xr.Dataset) -> Finding:
    others = ds.against_borda.sel(approach=[n for n in ds.approach.values if n not in OFFLINE]).mean("matrix")
    worst = ds.against_borda.sel(approach=others.approach).max("matrix")
    return Finding(
        claim="every method that samples from its own policy reverses pairs of that order on some matrix",
        source="[derived] statement 7.1 for where they rest; the shares are measured",
        measured=f"shares of pairs from {float(others.min()):.3f} ({others.approach.values[others.values.argmin()]}) to "
        f"{float(others.max()):.3f} ({others.approach.values[others.values.argmax()]}) in the mean over matrices",
        interval="of the last policy, or the average policy of a run that keeps moving",
        status=decide(bool((worst > 0).all()), bool(np.isfinite(others).all())),
    )
