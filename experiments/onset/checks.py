"""The findings on the onset: critical values, exponents, amplitudes, hysteresis and basins against theory."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr

from dynamics.diagnostics import VERDICTS

from .._framework import OBJECTIVES, Finding, binomial_interval, config_of, decide

JUMP = 0.1  # a difference of the two swings, in probability, that counts as hysteresis


def check(ds: xr.Dataset) -> list[Finding]:
    """Critical values, exponents, amplitudes, hysteresis and basins against the statements."""
    findings = []
    for name in OBJECTIVES:
        one = ds.sel(objective=name)
        findings += [_critical(one), _exponent(one), _amplitude(one)]
    findings += [_jump(ds.sel(hysteresis_advantage=a), config_of(ds)) for a in ds.hysteresis_advantage.values]
    return [*findings, _two_basins(ds)]


def _critical(one: xr.Dataset) -> Finding:
    name, formula, found = str(one.objective.values), float(one.critical_beta), float(one.critical_found)
    error = abs(found / formula - 1)
    source = "[paper] Chen26, the 3-cycle under IPO" if name == "IPO" else "[derived] statement 2.1, kappa = 4"
    return Finding(
        claim=f"{name}: uniform loses stability at beta = kappa lam a √3/(3 √(1 - alpha²)) = {formula:.6g}",
        source=source,
        measured=f"followed branch crosses at {found:.12g}, off by {error:.1g} of it",
        interval="asked for: 1e-8",
        status=decide(error < 1e-8, np.isfinite(error)),
    )


def _exponent(one: xr.Dataset) -> Finding:
    name = str(one.objective.values)
    ratio, exponent = one.beta_ratio.values, one.lyapunov_exponent.values
    swing = np.ptp(one.orbit.transpose("beta_ratio", "sample").values, axis=1)
    # Within 2% of the onset transients decay too slowly for a run of this length.
    below, above = ratio < 0.98, ratio > 1.02
    largest = float(exponent[above].max()), float(np.abs(exponent[below]).max())
    chaotic = exponent[below] > 0.01
    return Finding(
        claim=f"{name}: above the critical beta orbits settle (exponent < 0), below it they keep moving, not "
        f"chaotically",
        source="[derived] statements 2.1, 7.5; the Lyapunov exponent is measured",
        measured=f"largest exponent {largest[0]:.3g} above; below, exponents from {exponent[below].min():.3g} to "
        f"{exponent[below].max():.3g} per round, least swing {swing[below].min():.3g}",
        interval="2% on both sides of the onset left out; finite runs",
        status=decide((exponent[above] < 0).all() and (swing[below] > 0.01).all() and not chaotic.any()),
    )


def _amplitude(one: xr.Dataset) -> Finding:
    name = str(one.objective.values)
    small = one.sortby("excess").isel(excess=slice(0, 3))
    subcritical = bool((one.amplitude_predicted < 0).any())
    ratio = np.sqrt(np.abs(small.amplitude_squared / small.amplitude_predicted)).values
    excess = small.excess.values
    # 7.5 is the limit at excess 0. It is extrapolated by a parabola through the smallest three; the uncertainty is the
    # difference from a line.
    limit = np.polyfit(excess, ratio, len(excess) - 1)[-1]
    spread = abs(limit - np.polyfit(excess[:2], ratio[:2], 1)[-1]) if len(excess) > 1 else np.inf
    listed = ", ".join(f"{r:.5f} at {e:g}" for r, e in zip(ratio, excess, strict=True))
    return Finding(
        claim=f"{name}: the orbit born at the onset has the amplitude of 7.5 in the limit of small excess rho² - 1",
        source="[derived] statement 7.5",
        measured="subcritical here: no small orbit"
        if subcritical
        else f"measured over predicted: {listed}; limit {limit:.6f}",
        interval=f"± {max(spread, 1e-5):.1g} from the extrapolation",
        status=decide(abs(limit - 1) < max(2 * spread, 1e-4), not subcritical and excess[-1] <= 0.02),
    )


def _jump(one: xr.Dataset, config: dict[str, Any]) -> Finding:
    a = float(one.hysteresis_advantage)
    predicted = a > np.sqrt(3) / 4
    # Near rest a distance shrinks by 1 - (1 - alpha²)(beta/critical - 1) per round; too close to 1 it outlasts a step.
    nearest = 1 + np.log(100) / ((1 - config["alpha"] ** 2) * config["hysteresis_rounds"])
    ratio = one.hysteresis_ratio.values
    gap = (one.swing.sel(direction="beta rising") - one.swing.sel(direction="beta falling")).values
    coexist = ratio[(gap > JUMP) & (ratio > nearest)]
    seen = (
        f"oscillation and rest coexist up to beta/critical = {coexist.max():.3f}" if len(coexist) else "no coexistence"
    )
    return Finding(
        claim=f"DPO, a lam = {a:g} {'>' if predicted else '<'} √3/4: the onset is "
        f"{'subcritical, with hysteresis' if predicted else 'supercritical, without hysteresis'}",
        source="[derived] statement 7.5",
        measured=seen,
        interval=f"steps of {ratio[1] - ratio[0]:.4f}; looked at from {nearest:.3f} on, swings {JUMP:g} apart count",
        status=decide(bool(len(coexist)) == predicted, abs(a - np.sqrt(3) / 4) > 0.02),
    )


def _two_basins(ds: xr.Dataset) -> Finding:
    moving = int((ds.verdict == VERDICTS.index("oscillating")).sum())
    settled = int((ds.verdict == VERDICTS.index("converged")).sum())
    total = ds.sizes["start"]
    low, high = binomial_interval(moving, total)
    radius = float(ds.basin_radius)
    scale = config_of(ds)["start_scale"]
    return Finding(
        claim="IPO from K = 4 on: local stability of the only fixed point does not make every start converge",
        source="[derived] statement 7.2, example at K = 4",
        measured=f"rho² = {radius**2:.4f} at the fixed point; of {total} starts {moving} oscillate "
        f"({moving / total:.1%}), "
        f"{settled} converge",
        interval=f"95% Clopper–Pearson {low:.1%} to {high:.1%}, logits ~ N(0, {scale:g}²)",
        status=decide(radius < 1 and low > 0 and settled > 0),
    )
