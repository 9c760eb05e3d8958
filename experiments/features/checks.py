"""The findings on features: what is proven about policy classes, and what features do to random matrices."""

from __future__ import annotations

import numpy as np
import xarray as xr
from jaxtyping import Float

from .._classes import FAILED, FLIPS, FOLDS, NEVER, TURNS, counted
from .._framework import (
    OBJECTIVES,
    Finding,
    binomial_interval,
    config_of,
    decide,
)


def check(ds: xr.Dataset) -> list[Finding]:
    """What is proven about policy classes, and what features do to random matrices."""
    moved = [say(ds, name) for say in (_raised, _lowered) for name in OBJECTIVES]
    return [_same_spectrum(ds), _interlacing(ds), _one_feature(ds), _kinds(ds), *moved]


def _same_spectrum(ds: xr.Dataset) -> Finding:
    checked = ds.sel(rank=[d for d in config_of(ds)["checked"] if d in ds["rank"].values])
    lost = np.isin(checked.outcome.values, (TURNS, FLIPS, FOLDS))
    off = np.abs(checked.library_radius.values - 1)[lost]
    bound = np.where(checked.outcome.values[lost] == FOLDS, 1e-3, 1e-8)
    worst = [f"{off[bound == b].max():.1g}" if (bound == b).any() else "none" for b in (1e-8, 1e-3)]
    return Finding(
        claim="a round within a class has Jacobian alpha + H⁻¹D/beta, so the library's has radius 1 where that is found "
        "to stop attracting",
        source="[derived] statement 2.2 within a class",
        measured=f"|radius - 1| at {len(off)} losses, ranks {', '.join(map(str, checked['rank'].values))}: at most {worst[0]} "
        f"where rounds turn or flip, {worst[1]} at folds; {int((~np.isfinite(off)).sum())} policies were not fixed",
        interval="walks end 1e-11 in log beta before the loss, whose root is the distance at a fold: 1e-8 and 1e-3 allowed",
        status=decide((off <= bound).all(), len(off) > 0),  # NaN, where a policy was not fixed, counts as a failure
    )


def _interlacing(ds: xr.Dataset) -> Finding:
    one = ds.sel(family="balanced")
    beta, exact, lost = one.critical_beta.values, one.uniform_beta.values, one.outcome.values == TURNS
    off = np.abs(beta[lost] / exact[lost] - 1).max(initial=0.0)
    rises = (beta[..., :-1] > (1 + 1e-9) * beta[..., 1:]).sum()
    return Finding(
        claim="balanced matrices (uniform stays fixed): leaving out features never raises the critical beta, "
        "kappa lam ‖ΦᵀAΦ‖/(K √(1 - alpha²)) for orthonormal Φ",
        source="[derived] statement 9.4 within a class; a compression has no larger norm",
        measured=f"{rises} rises among {beta[..., 1:].size} pairs of nested classes; relative error of the formula at most "
        f"{off:.1g} over {lost.sum()} losses",
        interval="rounding, 1e-8",
        status=decide(rises == 0 and off < 1e-8 and not np.isin(one.outcome, (FLIPS, FOLDS, FAILED)).any(), lost.any()),
    )


def _one_feature(ds: xr.Dataset) -> Finding:
    one = ds.sel(rank=1).outcome
    cyclic, balanced = one.sel(family="cyclic").values, one.sel(family="balanced").values
    return Finding(
        claim="one feature: rounds never turn, since their one eigenvalue is real, and on balanced matrices it is alpha at "
        "uniform, so stability is never lost",
        source="[derived] statement 2.2 within a class; a skew 1 by 1 matrix is 0",
        measured=f"majority cycle: {counted(cyclic)}; balanced: {counted(balanced)}",
        interval=f"both objectives together; followed over {config_of(ds)['decades']:g} decades of beta",
        status=decide(not (one == TURNS).any() and (balanced == NEVER).all()),
    )


def _kinds(ds: xr.Dataset) -> Finding:
    one = ds.sel(family="cyclic").outcome.values
    tabular, fewer = one[..., -1], one[..., :-1]
    others = np.isin(fewer, (FLIPS, FOLDS))
    only_turns = not np.isin(tabular, (FLIPS, FOLDS)).any()
    return Finding(
        claim="tabular rounds lose stability only by starting to turn; with fewer features also by a flip or at a fold",
        source="[derived] statement 7.1 for tabular policies (DPO at lam = 1); with fewer features measured",
        measured=f"tabular: {counted(tabular)}; fewer features: {counted(fewer)}",
        interval=f"{one.size} walks, both objectives; {(one == FAILED).sum()} failed",
        status=decide(only_turns, others.any() or not only_turns),
    )


def _ratio(ds: xr.Dataset, name: str) -> Float[np.ndarray, "n d"]:
    """Critical beta over that of tabular policies: 0 or inf if one never loses stability, NaN if both or if one failed."""
    one = ds.sel(family="cyclic", objective=name)
    beta = np.where(one.outcome.values == FAILED, np.nan, one.critical_beta.values)
    with np.errstate(divide="ignore", invalid="ignore"):
        return beta[:, :-1] / beta[:, -1:]


def _raised(ds: xr.Dataset, name: str) -> Finding:
    ratio = _ratio(ds, name)
    raised = ratio > 1 + 1e-6
    matrices = int((~np.isnan(ratio)).any(axis=1).sum())
    _, high = binomial_interval(int(raised.any(axis=1).sum()), matrices) if matrices else (0.0, 1.0)
    return Finding(
        claim=f"{name}: fewer features do not always stabilise: on some matrices with a majority cycle they raise the "
        "critical beta",
        source="[derived] statement 7.1 covers tabular policies only, whose fits leave no residual; measured",
        measured="raised, by number of features: " + "; ".join(_shares(raised, ratio)[0]),
        interval="95% Clopper–Pearson, matrices and features drawn at random; where neither loses, left out",
        status=decide(raised.any(), raised.any() or high < 0.02),
    )


def _lowered(ds: xr.Dataset, name: str) -> Finding:
    ratio = _ratio(ds, name)[:, : ds.sizes["response"] // 2]
    said, low, high = _shares(ratio < 1 - 1e-6, ratio)
    known = [r[~np.isnan(r)] for r in ratio.T]
    medians = ", ".join(f"{np.quantile(r, 0.5, method='inverted_cdf'):.2g}" for r in known if r.size)
    return Finding(
        claim=f"{name}: with up to half as many features as responses, most classes lose stability at a smaller beta than "
        "tabular policies, or never",
        source="[derived] statement 9.4 within a class, at uniform; elsewhere measured",
        measured=f"lowered, by number of features: {'; '.join(said)}; median of the ratio: {medians or 'none'}",
        interval="95% Clopper–Pearson, matrices and features drawn at random; where neither loses, left out",
        status=decide((low > 0.5).all(), bool((low > 0.5).all() or (high < 0.5).any())),
    )


def _shares(hit: np.ndarray, ratio: np.ndarray) -> tuple[list[str], np.ndarray, np.ndarray]:
    """The share of matrices with a ratio that are in ``hit``, by number of features, in words and as 95% intervals."""
    counts = [(int(h.sum()), int((~np.isnan(r)).sum())) for h, r in zip(hit.T, ratio.T, strict=True)]
    ends = [binomial_interval(*c) if c[1] else (0.0, 1.0) for c in counts]
    said = [
        f"{d}: {c[0]} of {c[1]} ({e[0]:.0%} to {e[1]:.0%})"
        for d, (c, e) in enumerate(zip(counts, ends, strict=True), 1)
    ]
    return said, np.array([e[0] for e in ends]), np.array([e[1] for e in ends])
