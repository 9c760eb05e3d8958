"""The findings on critical beta: its distribution over matrices, and what the statements say about it."""

from __future__ import annotations

import numpy as np
import xarray as xr

from .._framework import OBJECTIVES, Finding, binomial_interval, decide

CUSTOMARY = 0.1  # a common beta for DPO
MARGIN = 1.25  # the walk over beta starts at this multiple of the beta that 7.2 proves stable
OUTCOMES = ("loses stability", "never in range", "undefined", "failed", "not begun")
LOSES, NEVER, UNDEFINED, FAILED, NOT_BEGUN = range(5)


def check(ds: xr.Dataset) -> list[Finding]:
    """The distribution of critical betas, and what the statements say about it."""
    return [_beyond_proof(ds), _above_customary(ds), _ratio(ds), *(_quantiles(ds.sel(objective=n)) for n in OBJECTIVES)]


def _beyond_proof(ds: xr.Dataset) -> Finding:
    one = ds.sel(objective="IPO")
    share = (one.critical_beta / one.proven_beta).values[one.outcome.values == LOSES]
    return Finding(
        claim="IPO loses stability only below beta = lam ‖CAC‖₂/(2 √(1 - alpha²)), from which on 7.2 proves "
        "convergence",
        source="[derived] statement 7.2",
        measured=f"critical over proven beta: largest {share.max():.4g}, median {np.median(share):.3g}"
        if len(share)
        else "no loss",
        interval=f"{len(share)} matrices; followed from {MARGIN:g} times the proven beta",
        status=decide((share <= 1).all(), len(share) > 0),
    )


def _above_customary(ds: xr.Dataset) -> Finding:
    one = ds.sel(objective="DPO")
    defined = np.isin(one.outcome.values, (LOSES, NEVER))
    above = int((one.critical_beta.values[defined] > CUSTOMARY).sum())
    low, high = binomial_interval(above, int(defined.sum())) if defined.any() else (0.0, 1.0)
    return Finding(
        claim=f"DPO's customary beta = {CUSTOMARY:g} lies below the critical beta of some matrices with a majority "
        f"cycle",
        source="[derived] statement 2.2, evaluated on these matrices",
        measured=f"{above} of {defined.sum()} matrices where DPO is defined",
        interval=f"95% Clopper–Pearson {low:.1%} to {high:.1%}, as if drawn at random",
        status=decide(low > 0, defined.any()),
    )


def _ratio(ds: xr.Dataset) -> Finding:
    both = (ds.outcome == LOSES).all("objective").values
    betas = ds.critical_beta.values[:, both]
    ratio = betas[1] / betas[0]
    quantiles = ", ".join(f"{q:.3g}" for q in np.quantile(ratio, (0, 0.25, 0.5, 0.75, 1))) if len(ratio) else "none"
    return Finding(
        claim="DPO loses stability at a larger beta than IPO wherever both do (four times at a uniform fixed point)",
        source="[derived] statement 2.1 at uniform; elsewhere measured only",
        measured=f"critical beta of DPO over IPO's, least to largest by quarters: {quantiles}",
        interval=f"{both.sum()} matrices where both lose stability",
        status=decide((ratio > 1).all(), both.any()),
    )


def _quantiles(one: xr.Dataset) -> Finding:
    name, outcome = str(one.objective.values), one.outcome.values
    values = one.critical_beta.values[outcome == LOSES]
    counts = ", ".join(f"{(outcome == code).sum()} {word}" for code, word in enumerate(OUTCOMES))
    levels = (0.1, 0.25, 0.5, 0.75, 0.9)
    listed = (
        ", ".join(f"{level:.0%}: {q:.3g}" for level, q in zip(levels, np.quantile(values, levels), strict=True))
        if len(values)
        else "none"
    )
    interval = _median_interval(values)
    return Finding(
        claim=f"{name}: the branch of fixed points was followed on every matrix where the optimum exists",
        source="[derived] statements 2.2, 7.1",
        measured=f"{counts}; quantiles of the critical beta {listed}",
        interval=f"median {interval[0]:.3g} to {interval[1]:.3g} (95%, order statistics)" if len(values) else "none",
        status=decide((outcome != FAILED).all()),
    )


def _median_interval(values: np.ndarray) -> tuple[float, float]:
    """Order statistics with the median between them with a probability of 95% or more, if there are enough values."""
    from scipy.stats import binom

    ordered, n = np.sort(values), len(values)
    if n == 0:
        return np.nan, np.nan
    k = int(binom.ppf(0.025, n, 0.5))
    return float(ordered[max(k - 1, 0)]), float(ordered[min(n - k, n - 1)])
