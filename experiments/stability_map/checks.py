"""The findings on the stability map: simulation against theory cell by cell, and the reach of each statement."""

from __future__ import annotations

import numpy as np
import xarray as xr

from dynamics.diagnostics import VERDICTS

from .._framework import OBJECTIVES, Finding, config_of, decide

STATEMENTS = ("2.3 published", "7.3 span", "7.3 two-norm", "7.2 global", "7.15 global", "2.1 onset")
CONVERGED, OSCILLATING = VERDICTS.index("converged"), VERDICTS.index("oscillating")


def check(ds: xr.Dataset) -> list[Finding]:
    """Simulation against theory, cell by cell, and the reach of each statement."""
    return [
        *(_agreement(ds.sel(objective=name), config_of(ds)["band"]) for name in OBJECTIVES),
        _proven_converge(ds.sel(objective="IPO")),
        _strip(ds.sel(objective="IPO")),
        _reach(ds.sel(objective="IPO")),
        _factor(ds.sel(objective="IPO")),
    ]


def _fate(one: xr.Dataset) -> tuple[np.ndarray, np.ndarray]:
    """Cells that converged from every start, and cells that oscillated (or collapsed) from some start."""
    verdict = one.verdict.transpose("start", "alpha", "column").values
    moving = np.isin(verdict, (OSCILLATING, VERDICTS.index("collapsed")))
    return np.all(verdict == CONVERGED, axis=0), np.asarray(moving.any(axis=0))


def _listed(one: xr.Dataset, where: np.ndarray, most: int = 5) -> str:
    at = np.argwhere(where)
    cells = [f"({float(one.alpha[i]):.3f}, {float(one.lam_over_beta[j]):.3f})" for i, j in at[:most]]
    return ", ".join(cells) + (f" and {len(at) - most} more" if len(at) > most else "")


def _agreement(one: xr.Dataset, band: float) -> Finding:
    name = str(one.objective.values)
    rho = one.spectral_radius.transpose("alpha", "column").values
    converged, moving = _fate(one)
    outside = np.abs(rho - 1) > band
    wrong = outside & np.where(rho < 1, moving, converged)
    open_ = outside & ~converged & ~moving
    right = outside & ~wrong & ~open_
    listing = f"; disagreeing (alpha, lam/beta): {_listed(one, wrong)}" if wrong.any() else ""
    listing += f"; undecided: {_listed(one, open_)}" if open_.any() else ""
    source = "[paper] Chen26, the 3-cycle under IPO" if name == "IPO" else "[derived] statement 2.1, kappa = 4"
    return Finding(
        claim=f"{name}: rounds settle iff alpha² + (kappa lam w/(K beta))² < 1",
        source=source,
        measured=f"{right.sum()} of {outside.sum()} cells agree{listing}",
        interval=f"{(~outside).sum()} cells with |rho - 1| ≤ {band:g} left out: transients outlast the run",
        status="fails" if wrong.any() else decide(True, right.sum() > 0.95 * outside.sum()),
    )


def _proven_converge(one: xr.Dataset) -> Finding:
    proven = one.proven.sel(statement=list(STATEMENTS[:-1])).any("statement").transpose("alpha", "column").values
    converged, moving = _fate(one)
    return Finding(
        claim="IPO: where 2.3, 7.2, 7.3 or 7.15 proves global convergence, no orbit keeps moving",
        source="[paper] Chen26, contraction; [derived] statements 7.2, 7.3, 7.15",
        measured=f"{(proven & converged).sum()} of {proven.sum()} proven cells converged, {(proven & moving).sum()} "
        f"keep moving",
        interval=f"{(proven & ~converged & ~moving).sum()} undecided at the end of the run",
        status=decide(not (proven & moving).any(), proven.any()),
    )


def _strip(one: xr.Dataset) -> Finding:
    proven = one.proven.sel(statement=list(STATEMENTS[:-1])).any("statement").transpose("alpha", "column").values
    rho = one.spectral_radius.transpose("alpha", "column").values
    strip = ~proven & (rho < 1)
    converged, moving = _fate(one)
    listing = f": {_listed(one, strip & moving)}" if (strip & moving).any() else ""
    return Finding(
        claim="IPO: in the strip between 7.2, 7.15 and 2.1, locally stable and unproven, no orbit tried keeps moving",
        source="[derived] statement 7.2, open at K = 3",
        measured=f"{(strip & converged).sum()} of {strip.sum()} cells converged, {(strip & moving).sum()} "
        f"oscillate{listing}",
        interval=f"{(strip & ~converged & ~moving).sum()} undecided next to the onset; {one.sizes['start']} "
        f"start(s) per cell",
        status=decide(not (strip & moving).any(), strip.any()),
    )


def _reach(one: xr.Dataset) -> Finding:
    boundary = one.boundary.sel(objective="IPO") if "objective" in one.boundary.dims else one.boundary
    alpha = boundary.curve_alpha.values
    finite = alpha < 1 - 1e-9
    curves = {name: boundary.sel(statement=name).values[finite] for name in STATEMENTS[:-1]}
    norms = np.maximum(curves["7.3 span"], curves["7.3 two-norm"])
    areas = (norms, curves["7.2 global"], np.maximum(curves["7.2 global"], curves["7.15 global"]))
    both, entropy, union = (float(np.trapezoid(c, alpha[finite])) for c in areas)
    published = float(np.trapezoid(curves["2.3 published"], alpha[finite]))
    return Finding(
        claim="IPO: 7.3, 7.2 and 7.15 prove convergence on a larger part of the (alpha, lam/beta) plane than published",
        source="[derived] statements 7.2, 7.3, 7.15 against [paper] Chen26, contraction",
        measured=f"area over the published one: 7.3 {both / published:.3f}, 7.2 {entropy / published:.3f}, "
        f"with 7.15 {union / published:.3f}",
        interval="exact up to the quadrature, 1e-3",
        status=decide(published < both < entropy < union),
    )


def _factor(one: xr.Dataset) -> Finding:
    onset, proven = (one.boundary.sel(statement=name).values for name in ("2.1 onset", "7.2 global"))
    inside = one.curve_alpha.values < 1 - 1e-9
    ratio = onset[inside] / proven[inside]
    return Finding(
        claim="IPO, 3-cycle: the onset lies a factor 1.5 in lam/beta beyond the end of 7.2 at every alpha",
        source="[derived] statement 7.2",
        measured=f"onset over the end of 7.2: {ratio.min():.12g} to {ratio.max():.12g}",
        interval="rounding, 1e-9",
        status=decide(np.abs(ratio - 1.5).max() < 1e-9),
    )
