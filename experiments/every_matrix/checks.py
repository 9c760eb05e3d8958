"""The findings on what is safe for every matrix: bounds against searches, and runs around the thresholds."""

from __future__ import annotations

import numpy as np
import xarray as xr

from dynamics.schema import VERDICTS

from .._framework import Finding, decide

GAPS = ("just above 7.14", "between", "just above 7.15")
SIDES = (0.98, 1.02)  # shares of the local threshold at which the largest tournament is run
CONVERGED, OSCILLATING = VERDICTS.index("converged"), VERDICTS.index("oscillating")
COLLAPSED = VERDICTS.index("collapsed")


def check(ds: xr.Dataset) -> list[Finding]:
    """Tournaments, searches, and runs."""
    return [_tournaments(ds), _searches(ds), _edge(ds), _proven(ds), _open(ds), _reach(ds)]


def _tournaments(ds: xr.Dataset) -> Finding:
    found, bound = ds.tournament.values, 1 / np.pi
    return Finding(
        claim="the frequency of regular tournaments grows with K towards 1/pi and stays below it",
        source="[derived] statement 7.14",
        measured=", ".join(f"K = {K}: {w * np.pi:.5f}/pi" for K, w in zip(ds["size"].values, found, strict=True)),
        interval="rounding",
        status=decide((np.diff(found) > 0).all() and (found < bound).all()),
    )


def _searches(ds: xr.Dataset) -> Finding:
    best = ds.searched.max("search").values
    listed = ", ".join(f"K = {K}: {w * np.pi:.3f}/pi" for K, w in zip(ds.K.values, best, strict=True))
    return Finding(
        claim="no matrix of certain wins and no policy that a search finds has a frequency above 1/pi",
        source="[derived] statement 7.14",
        measured=f"largest of {ds.sizes['search']} searches a size: {listed}",
        interval="a search proves nothing; 7.14 does",
        status=decide((best <= 1 / np.pi).all()),
    )


def _edge(ds: xr.Dataset) -> Finding:
    below, above = (ds.edge_verdict.sel(side=side).values for side in SIDES)
    K = int(ds["size"].values[-1])
    return Finding(
        claim=f"2 % below the local threshold the tournament of {K} responses oscillates, 2 % above it settles",
        source="[derived] statements 2.1, 7.14: no smaller beta is safe for all",
        measured=f"{(below == OSCILLATING).sum()} of {below.size} oscillate below, {(above == CONVERGED).sum()} converge above",
        interval=f"alpha = {', '.join(f'{a:g}' for a in ds.alpha.values)}",
        status=decide((below == OSCILLATING).all() and (above == CONVERGED).all(), K >= 51),
    )


def _counts(ds: xr.Dataset, gap: str) -> tuple[int, int, int]:
    verdict = ds.verdict.sel(gap=gap).values
    settled = np.isin(verdict, (CONVERGED, COLLAPSED))
    return int(settled.sum()), int((verdict == OSCILLATING).sum()), verdict.size


def _proven(ds: xr.Dataset) -> Finding:
    settled, moving, total = _counts(ds, GAPS[2])
    return Finding(
        claim="just above lam/(2 √(1 - alpha)) runs settle from every start, whatever the matrix and the reference",
        source="[derived] statement 7.15",
        measured=f"{settled} of {total} runs settle, {moving} oscillate",
        interval=f"{total - settled - moving} undecided at the end of the run",
        status=decide(moving == 0, moving > 0 or settled > 0.95 * total),
    )


def _open(ds: xr.Dataset) -> Finding:
    rows = {gap: _counts(ds, gap) for gap in GAPS[:2]}
    told = "; ".join(f"{gap}: {s} of {n} settle, {m} oscillate" for gap, (s, m, n) in rows.items())
    moving = sum(m for _, m, _ in rows.values())
    return Finding(
        claim="between the two thresholds, where fixed points attract and convergence from afar is not proven, no run tried "
        "keeps moving",
        source="[derived] statements 7.14, 7.15; open between them",
        measured=told,
        interval="matrices of certain wins, references and starts drawn at random",
        status=decide(moving == 0, moving > 0 or sum(s for s, _, _ in rows.values()) > 0),
    )


def _reach(ds: xr.Dataset) -> Finding:
    ratio = (ds.proven_threshold / ds.local_threshold).values
    older = (ds.span_threshold / ds.local_threshold).values
    return Finding(
        claim="what is proven from every start is within a factor of pi/√2 of what any proof could reach, at every alpha",
        source="[derived] statements 7.14, 7.15",
        measured=f"7.15 over 7.14: {ratio.min():.3f} to {ratio.max():.3f}; 7.3 over 7.14: up to {older.max():.1f}",
        interval="exact",
        status=decide(
            (ratio >= 1).all() and (ratio <= np.pi / np.sqrt(2) + 1e-9).all() and (older >= ratio - 1e-9).all()
        ),
    )
