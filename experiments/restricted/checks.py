"""The findings on restricted classes: who errs least inside and outside a class of features, and what coverage decides."""

from __future__ import annotations

import numpy as np
import xarray as xr

from .._framework import Finding, binomial_interval, decide

ROUNDING = 1e-9
SIDES = 3.0  # standard errors within which a mean agrees
SECOND = 20.0  # relative size of the next term of the mean error in units of the foretold one, at most


def check(ds: xr.Dataset) -> list[Finding]:
    """Constants and measured errors inside the class, limits outside, and finite classes."""
    return [
        _least(ds),
        _better_pairs(ds),
        _measured(ds),
        *_outside(ds),
        _same(ds),
        _grow(ds),
        _rewards(ds),
        _distilled(ds),
    ]


def _least(ds: xr.Dataset) -> Finding:
    ratio = (ds.V / ds.V.sel(approach="PMLE")).values[1:]
    reverse = ratio[-1]
    return Finding(
        claim="with pi* in a class of few features and a tabular reward, PMLE errs least, and reverse KL pays for the reward",
        source="[derived] statement 7.9: within the class PMLE attains the Cramér–Rao bound",
        measured=f"n E KL over PMLE's: {ratio.min():.3f} at least; reverse KL {np.median(reverse):.3g} at the median, "
        f"{reverse.max():.3g} at most",
        interval=f"exact (computed) over {ratio.size} cases",
        status=decide(ratio.min() > 1 - ROUNDING),
    )


def _better_pairs(ds: xr.Dataset) -> Finding:
    ratio = ds.V / ds.V.sel(approach="PMLE")
    on = ratio.sel(approach="distillation, pairs of pi*").values
    reverse = ratio.sel(approach="reverse KL").values
    flat = ratio.sel(approach="distillation, uniform pairs").values
    share = np.mean(on < reverse)
    return Finding(
        claim="no sampler of distilled pairs beats the compared pairs, where pi* is in the class",
        source="[derived] statement 5.2 and statement 7.9: on the compared pairs distillation is PMLE",
        measured=f"n E KL over PMLE's: pairs of pi* {on.min():.3f} to {on.max():.3g}, uniform pairs {flat.min():.3f} to "
        f"{flat.max():.3g}; distilling pairs of pi* errs less than reverse KL in {share:.0%} of the cases",
        interval=f"exact (computed) over {on.size} cases",
        status=decide(min(on.min(), flat.min()) > 1 - ROUNDING),
    )


def _measured(ds: xr.Dataset) -> Finding:
    foretold = (ds.V / ds.n).values
    kept = np.broadcast_to(ds.infinite.values == 0, foretold.shape)
    ratio, deviation = ds.error.values / foretold, ds.error_deviation.values / foretold
    # Methods share data, so their errors add up; weights by precision would favour data sets of small errors.
    cases = kept.all(axis=0)
    pooled = ratio[:, cases].mean()
    of_pooled = np.sqrt(np.sum(deviation[:, cases].mean(axis=0) ** 2)) / cases.sum()
    allowed = SIDES * of_pooled + SECOND * float(np.median(foretold[kept]))
    return Finding(
        claim="measured mean errors within the class are those of the linearisation",
        source="[derived] statement 7.9, its proof carried over to a class of features",
        measured=f"mean error over the foretold one {pooled:.3f} over {kept.sum()} cases, {ratio[kept].min():.2f} to "
        f"{ratio[kept].max():.2f}; {(~kept).sum()} cases with an infinite reward left out",
        interval=f"{of_pooled:.3f} standard error of the mean ratio (methods share data); within {allowed:.3f} asked for",
        status=decide(abs(pooled - 1) < allowed, kept.mean() > 0.5),
    )


def _outside(ds: xr.Dataset) -> list[Finding]:
    floor = ds.floor
    moved = (floor.max("tilt") / floor.min("tilt")).values
    still = np.abs(moved[1:] - 1).max()
    worst, count = floor.isel(tilt=-1), ds.sizes["instance"]
    better = int((worst.sel(approach="distillation, pairs of pi*") < worst.sel(approach="PMLE")).sum())
    low, high = binomial_interval(better, count)
    middle = {str(m): float(np.median(worst.sel(approach=m))) for m in floor.approach.values}
    return [
        Finding(
            claim="with pi* outside the class PMLE's limit follows the sampler; the limits of the other methods ignore it",
            source="[derived] statement 5.2: their reward is exact in the limit, and the projection is their own",
            measured=f"largest over least KL(pi* || limit) over samplers: PMLE {np.median(moved[0]):.2f} (median), the others "
            f"within {still:.1e} of 1",
            interval="exact (computed on expected counts)",
            status=decide(still < 1e-6 and moved[0].min() > 1 + 1e-6),
        ),
        Finding(
            claim="with pi* outside the class and comparisons away from pi*, distilling pairs of pi* ends nearer than PMLE",
            source="[derived] statement 5.2; a better sampler of pairs, measured here",
            measured=f"in {better} of {count} instances; median KL(pi* || limit): "
            + ", ".join(f"{m} {v:.3g}" for m, v in middle.items()),
            interval=f"share [{low:.2f}, {high:.2f}], Clopper and Pearson over instances; above 1/2 asked for",
            status=decide(low > 0.5, low > 0.5 or high < 0.5),
        ),
    ]


def _same(ds: xr.Dataset) -> Finding:
    least = ds.list_error.isel(size=0).values
    gap = np.abs(least - least[:1]).max()
    return Finding(
        claim="where every policy comes from a reward, |Pi| = |R|, the three methods choose the same policy",
        source="[derived] statement 5.2, for lists",
        measured=f"largest difference of mean errors {gap:.1e} nats over {least.shape[1]} samplers",
        interval="exact on the same data",
        status=decide(gap < ROUNDING),
    )


def _grow(ds: xr.Dataset) -> Finding:
    worst = ds.isel(rare=-1)
    error, side = (worst[name].sel(chooser="PMLE").values for name in ("list_error", "list_deviation"))
    reverse = worst.list_error.sel(chooser="reverse KL").values
    rise = (error[-1] - error[0]) / np.hypot(side[0], side[-1])
    steady = np.abs(reverse - reverse[0]).max()
    return Finding(
        claim="where |Pi| ≫ |R| and comparisons cover Pi badly, PMLE's error grows with |Pi|, reverse KL's does not",
        source="[paper] Yun25, Theorems 4 and 7, as orders of growth",
        measured=f"C_Pi = {worst.list_coverage.values[-1]:.3g}, C_R = {float(worst.reward_coverage):.3g}: mean error of PMLE "
        f"{error[0]:.2g} nats at |Pi| = {int(ds['size'][0])}, {error[-1]:.2g} at {int(ds['size'][-1])}; of reverse KL "
        f"{reverse[0]:.2g} and {reverse[-1]:.2g}",
        interval=f"PMLE's rise is {rise:.1f} standard errors over data sets; {SIDES:g} asked for; reverse KL exactly steady",
        status=decide(rise > SIDES and steady < ROUNDING),
    )


def _rewards(ds: xr.Dataset) -> Finding:
    error = ds.list_error.isel(size=-1)
    first, last = (error.isel(rare=k) for k in (0, -1))
    ratio = {m: float(last.sel(chooser=m) / first.sel(chooser=m)) for m in ("PMLE", "reverse KL")}
    of_pi = ds.list_coverage.isel(size=-1).values
    of_r = ds.reward_coverage.values
    return Finding(
        claim="reverse KL's error follows C_R, which stays, and not C_Pi, which grows as the sampler leaves responses out",
        source="[paper] Yun25, Theorem 7",
        measured=f"C_Pi from {of_pi[0]:.3g} to {of_pi[-1]:.3g}, C_R from {of_r[0]:.3g} to {of_r[-1]:.3g}: the error of PMLE "
        f"changes {ratio['PMLE']:.3g}-fold, that of reverse KL {ratio['reverse KL']:.3g}-fold",
        interval="means over the same number of comparisons; PMLE's above 2, reverse KL's below 1.5 asked for",
        status=decide(ratio["PMLE"] > 2 and ratio["reverse KL"] < 1.5),
    )


def _distilled(ds: xr.Dataset) -> Finding:
    gap = np.abs(ds.list_error.sel(chooser="distillation") - ds.list_error.sel(chooser="reverse KL")).values
    return Finding(
        claim="distillation shares reverse KL's indifference to C_Pi where the rewards' policies are in the class",
        source="[derived] statement 5.2; Theorem 6 of Yun25 has C_Pi ln|Pi| in its bound, which it does not need here",
        measured=f"largest difference of the two mean errors {gap.max():.1e} nats over {gap.size} cases",
        interval="exact on the same data",
        status=decide(gap.max() < ROUNDING),
    )
