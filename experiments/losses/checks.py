"""The findings on losses: kappa alone decides where rounds become unstable, and what label noise does to it."""

from __future__ import annotations

import numpy as np
import xarray as xr

from .._framework import Finding, decide

TREATMENTS = ("none", "smoothing", "robust")
CLOSE = 1e-3  # relative, between predicted and measured critical betas; measured ones differ by less than 1e-4


def check(ds: xr.Dataset) -> list[Finding]:
    """One number for stability, and noise, smoothing and the robust loss."""
    return [_one_number(ds), _either_side(ds), *(_noise(ds, treatment) for treatment in TREATMENTS)]


def _one_number(ds: xr.Dataset) -> Finding:
    off = np.abs(ds.measured.values / ds.predicted.values - 1)
    return Finding(
        claim="whatever the loss, rounds around the uniform policy lose stability at beta = kappa lam w/(K √(1-alpha²)), "
        "kappa = 2|f'(0)|/f''(0)",
        source="[derived] statement 7.17",
        measured=f"{off.size} critical betas of {ds.sizes['loss']} losses, kappa {float(ds.kappa.min()):.3g} to "
        f"{float(ds.kappa.max()):.3g}: largest relative difference {off.max():.1e}",
        interval="measured between 3% below and 3% above",
        status=decide(bool((off < CLOSE).all()), bool(np.isfinite(off).all())),
    )


def _either_side(ds: xr.Dataset) -> Finding:
    below, above = ds.growth.sel(near=0.97).values, ds.growth.sel(near=1.03).values
    grows, shrinks = int((below > 0).sum()), int((above < 0).sum())
    return Finding(
        claim="3% below the critical beta a perturbation of the uniform policy grows, 3% above it shrinks",
        source="[derived] statement 7.17",
        measured=f"{grows} of {below.size} grow below, {shrinks} of {above.size} shrink above",
        interval="exact",
        status=decide(grows == below.size and shrinks == above.size),
    )


def _noise(ds: xr.Dataset, treatment: str) -> Finding:
    one = ds.sel(treatment=treatment)
    off = np.abs(one.noisy.values / one.expected.values - 1)
    claim = {
        "none": "labels flipped at rate rho multiply DPO's critical beta by 1 - 2 rho",
        "smoothing": "label smoothing at that rate multiplies it by 1 - 2 rho once more: rounds are stable at a smaller beta",
        "robust": "the robust loss at that rate divides it by 1 - 2 rho: it takes the noise away, and its stability with it",
    }[treatment]
    return Finding(
        claim=claim,
        source="[derived] statement 7.17",
        measured=f"at rho = {float(ds.rate[-1]):g}: {float(one.noisy[-1]):.4f} of the critical beta without noise; largest "
        f"relative difference {off.max():.1e}",
        interval=f"{off.size} rates",
        status=decide(bool((off < CLOSE).all()), bool(np.isfinite(off).all())),
    )
