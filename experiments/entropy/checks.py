"""The findings on entropy as a remedy: it works with win rates, and not for every matrix with Bradley–Terry rewards."""

from __future__ import annotations

import math

import numpy as np
import xarray as xr

from dynamics.schema import VERDICTS

from .._framework import Finding, decide

REWARDS = ("win-rate", "bradley-terry")
ALPHAS = (0.5, 1.0)
LOGITS = (1.0, 3.0, 7.0)
# SHARE of the largest Q_ij = pi_i pi_j (S - P)_ij that P ≤ 1 allows, in the run of the counter-example.
L_OF_RUN, SHARE = 4.0, 0.99
MARGIN = 0.02  # |radius - 1| from which a run of about a thousand rounds decides
CONVERGED, OSCILLATING = VERDICTS.index("converged"), VERDICTS.index("oscillating")
COLLAPSED = VERDICTS.index("collapsed")


def stated(L: float, share: float) -> float:
    """omega² of statement 7.16, part D."""
    s = math.exp(-L)
    return share**2 * math.exp(L) / (2 / (1 + s**2) ** 2 + s / (1 + s) ** 2)


def check(ds: xr.Dataset) -> list[Finding]:
    """The thresholds by simulation, the proofs, and the counter-example."""
    return [*(_agreement(ds.sel(reward=reward)) for reward in REWARDS), _proven(ds), _last_policy(ds), _unsafe(ds)]


def _agreement(one: xr.Dataset) -> Finding:
    decided = np.abs(one.radius.values - 1) > MARGIN
    stable, verdict = one.radius.values < 1, one.verdict.values
    settled, moving = np.isin(verdict, (CONVERGED, COLLAPSED)), verdict == OSCILLATING
    right = decided & np.where(stable, settled, moving)
    wrong = decided & np.where(stable, moving, settled)
    name = str(one.reward.values)
    return Finding(
        claim=f"{name} rewards: rounds with entropy on the 3-cycle oscillate iff (alpha beta)² + (kappa lam w/K)² > (beta + "
        "gamma)²",
        source=f"[derived] statement 7.16, kappa = {1 if name == REWARDS[0] else 4}",
        measured=f"{right.sum()} of {decided.sum()} cells agree, {wrong.sum()} disagree",
        interval=f"{(~decided).sum()} cells with |radius - 1| ≤ {MARGIN:g} left out; the rest undecided",
        status=decide(not wrong.any(), wrong.any() or right.sum() > 0.9 * decided.sum()),
    )


def _proven(ds: xr.Dataset) -> Finding:
    proven = ds.proven.values
    moving = ds.verdict.values == OSCILLATING
    return Finding(
        claim="win rates: where (beta + gamma)(beta (1 - alpha) + gamma) > (lam D/4)² no orbit keeps moving",
        source="[derived] statement 7.16, through 7.15",
        measured=f"{(proven & moving).sum()} of {proven.sum()} proven cells oscillate",
        interval="exact",
        status=decide(not (proven & moving).any(), proven.any()),
    )


def _last_policy(ds: xr.Dataset) -> Finding:
    one = ds.sel(alpha=1.0)
    low = one.radius.values < 1 - MARGIN
    settled = np.isin(one.verdict.values, (CONVERGED, COLLAPSED))
    return Finding(
        claim="at alpha = 1, where no beta is stable without entropy, an entropy weight makes rounds settle at every beta",
        source="[derived] statement 7.16",
        measured=f"{(low & settled).sum()} of {low.sum()} cells with a radius below 1 settle; each beta has some: "
        f"{bool(low.any(axis=-1).all())}",
        interval="both rewards, on the 3-cycle",
        status=decide(
            low.any(axis=-1).all() and (low & (one.verdict.values == OSCILLATING)).sum() == 0, bool(low.any())
        ),
    )


def _unsafe(ds: xr.Dataset) -> Finding:
    found, run = ds.square.values, float(ds.run_square)
    told = ", ".join(f"L = {L:g}: {value:.4g}" for L, value in zip(ds.L.values, found, strict=True))
    limits = np.array([stated(float(L), 1.0) for L in ds.L.values])
    # alpha' = alpha beta/(beta + gamma) = 1/4, and beta + gamma = 2.
    radius = 1 / 16 + stated(L_OF_RUN, SHARE) / 4
    close = np.abs(found / limits - 1).max() < 1e-6 and abs(run / radius - 1) < 1e-6
    moving = int(ds.run_verdict) == OSCILLATING
    return Finding(
        claim="with Bradley–Terry rewards no gamma is safe for every P and reference: eigenvalues grow like e^(L/2)",
        source="[derived] statement 7.16",
        measured=f"squared moduli {told}; with alpha = .5, beta = gamma = 1, L = {L_OF_RUN:g} the squared radius is {run:.3f}, "
        f"rounds beside the fixed point {VERDICTS[int(ds.run_verdict)]}",
        interval=f"stated: {', '.join(f'{s:.4g}' for s in limits)}, {radius:.4g}; to 1e-6",
        status=decide(close and moving),
    )
