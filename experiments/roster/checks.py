"""The findings on the roster: critical steps by formula and by simulation, and which methods take the largest steps."""

from __future__ import annotations

import numpy as np
import xarray as xr

from dynamics.schema import VERDICTS

from .._framework import Finding, config_of, decide

SIDES = (0.97, 1.03)  # shares of the critical step at which growth is measured
# Critical steps of section 8.3 on the 3-cycle with a = .4: tau -> method -> step, to the digits that are stated.
STATED = {
    0.01: {"inpo": ".374", "mmd": ".376", "nash-md": ".377", "onpo": "2.50", "egpo": "4.50", "nash-mp": "4.71"},
    0.05: {"inpo": "1.79", "mmd": "1.97", "nash-md": "2.25", "onpo": "2.46", "egpo": "4.89", "nash-mp": "6.48"},
    0.1: {"inpo": "3.16", "mmd": "4.62", "nash-md": "13.1", "onpo": "2.38", "egpo": "4.97", "nash-mp": "9.89"},
    0.2: {"inpo": "4.29", "mmd": "30", "nash-md": "7.5", "onpo": "2.21", "egpo": "4.52", "nash-mp": "47"},
    0.3: {"inpo": "4.19", "mmd": "inf", "nash-md": "5.4", "onpo": "2.06", "egpo": "3.91", "nash-mp": "inf"},
}
RATE = 1e-2  # relative error of a measured growth
MARGIN = 0.02  # |radius - 1| from which a run of a few thousand rounds decides
PLAIN, AHEAD, PROXIMAL = ("inpo", "mmd", "nash-md"), ("onpo", "egpo", "nash-mp"), ("mmd", "nash-mp")


def check(ds: xr.Dataset) -> list[Finding]:
    """Critical steps by formula, by simulation, and what they say of the methods."""
    return [_stated(ds), _growth(ds), _runs(ds), _ahead(ds), _usual(ds)]


def _stated(ds: xr.Dataset) -> Finding:
    found, wrong = 0, []
    if config_of(ds)["advantage"] == 0.4:
        for tau, name, told in ((tau, *cell) for tau, row in STATED.items() for cell in row.items()):
            if tau in ds.temperature.values:
                value, found = float(ds.critical.sel(game=name, temperature=tau)), found + 1
                digits = len(told.split(".")[1]) if "." in told else 0
                off = value != np.inf if told == "inf" else abs(value - float(told)) > 0.5001 * 10.0**-digits
                wrong += [f"{name} at {tau:g}: {value:.4g}, stated {told}"] if off else []
    listed = f"; off: {'; '.join(wrong)}" if wrong else ""
    return Finding(
        claim="the critical steps of the table are reproduced to its digits, a = 0.4",
        source="[derived] statement 8.3",
        measured=f"{found - len(wrong)} of {found} agree{listed}",
        interval="rounding of the table",
        status=decide(not wrong, found > 0),
    )


def _growth(ds: xr.Dataset) -> Finding:
    rate, expected = ds.rate.values, ds.expected_rate.values
    run = np.isfinite(rate)
    error = np.abs(rate - expected)[run] / np.abs(expected[run])
    signs = (np.sign(rate) == np.sign(expected))[run]
    worst = f"{error.max():.1e}" if run.any() else "none"
    return Finding(
        claim="3 % below its critical step a method returns to the equilibrium and 3 % above it leaves it, at the rate ln "
        "radius",
        source="[derived] statement 8 (table)",
        measured=f"{signs.sum()} of {signs.size} runs go the way foretold; largest relative error of the rate {worst}",
        interval=f"steps beyond 1/tau are not run, where a method refuses them; the rate to {RATE:g}",
        status=decide(signs.all() and (error < RATE).all(), run.any()),
    )


def _runs(ds: xr.Dataset) -> Finding:
    verdict = ds.verdict.values
    decided = np.abs(ds.radius.values - 1) > MARGIN
    stable = ds.radius.values < 1
    settled, moving = verdict == VERDICTS.index("converged"), verdict == VERDICTS.index("oscillating")
    right = decided & np.where(stable, settled, moving)
    open_ = decided & ~settled & ~moving
    tau = config_of(ds)["temperature"]
    return Finding(
        claim=f"from far away too, runs settle where the radius is below 1 and oscillate where it is above, tau = {tau:g}",
        source="[derived] statement 8 (table), which is local",
        measured=f"{right.sum()} of {decided.sum()} runs agree, {open_.sum()} undecided",
        interval=f"{(~decided).sum()} runs with |radius - 1| ≤ {MARGIN:g} left out",
        status=decide((right | open_)[decided].all(), (settled | moving)[decided].sum() > 0.9 * decided.sum()),
    )


def _ahead(ds: xr.Dataset) -> Finding:
    small, large = float(ds.temperature.min()), float(ds.temperature.max())
    critical = lambda names, tau: ds.critical.sel(game=list(names), temperature=tau).values
    first = critical(AHEAD, small).min() / critical(PLAIN, small).max()
    proximal = critical(PROXIMAL, large).min()
    others = critical(("onpo", "egpo"), large).max()
    return Finding(
        claim="looking ahead allows larger steps at small temperatures, proximal steps at large ones",
        source="[derived] statement 8.3",
        measured=f"tau = {small:g}: the least step of methods that look ahead is {first:.2f} times the largest of the others; "
        f"tau = {large:g}: the least of proximal methods {proximal:.3g}, the largest of explicit ones {others:.3g}",
        interval="exact",
        status=decide(first > 1 and proximal > others),
    )


def _usual(ds: xr.Dataset) -> Finding:
    steps = ds.critical_drawn
    inpo = steps.sel(game="inpo").values
    ratio = {name: (steps.sel(game=name) / steps.sel(game="inpo")).values[np.isfinite(inpo)] for name in AHEAD}
    told = ", ".join(
        f"{name} {np.median(r):.2f} ({r.min():.2f} to {r.max():.2f})" for name, r in ratio.items() if len(r)
    )
    below = sum(int((r < 1).sum()) for r in ratio.values())
    return Finding(
        claim="the order of the 3-cycle is not that of every matrix: some generated cyclic matrices limit a method that looks "
        "ahead to smaller steps than INPO, tau = 0.05",
        source="[derived] statement 8 (table)",
        measured=f"critical step over INPO's, median and range: {told}; below 1 in {below} of {sum(map(len, ratio.values()))}",
        interval=f"{int((~np.isfinite(inpo)).sum())} of {inpo.size} matrices limit no step of INPO up to 1,000",
        status=decide(below > 0, np.isfinite(inpo).any()),
    )
