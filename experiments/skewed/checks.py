"""The findings on skewed sampling: IPO's gaps never shrink inside the assumption; how often others do."""

from __future__ import annotations

import numpy as np
import xarray as xr

from .._framework import Finding, binomial_interval, config_of, decide

SHRINKS = 1e-9  # a gap that loses less counts as unchanged; rounding is 1e-13
RARE = 0.01  # shrinking counts as systematic above this share
CLOPPER = "95 % Clopper–Pearson, as if pairs were drawn at random"
EARLIER = "395 of 3,724 (10.6 %) under another law of draws"


def check(ds: xr.Dataset) -> list[Finding]:
    """Whether IPO's gaps never shrink inside the assumption, and how often the others do."""
    return [
        _never_shrinks(ds),
        _within(ds),
        _grows(ds),
        _away(ds),
        _shares(ds, "DPO", True),
        _shares(ds, "IPO", False),
        _keeps_its_order(ds),
    ]


def _inside(ds: xr.Dataset, objective: str) -> np.ndarray:
    return ds.change.sel(objective=objective).values[ds.qualifies.values]


def _about(ds: xr.Dataset) -> str:
    return f"{int(ds.qualifies.sum())} of {ds.sizes['pair']} pairs are inside the assumption"


def _never_shrinks(ds: xr.Dataset) -> Finding:
    change = _inside(ds, "IPO")
    return Finding(
        claim="skewing towards the top never shrinks IPO's gap of i over j where P_ik - P_jk does not rise with rank",
        source="[derived] statement 1.7, of Chen26's kind",
        measured=f"{(change < -SHRINKS).sum()} of {change.size} gaps shrink, pairs times amounts; {_about(ds)}",
        interval="exact but for rounding",
        status=decide((change >= -SHRINKS).all(), change.size > 0),
    )


def _within(ds: xr.Dataset) -> Finding:
    amount = config_of(ds)["amount"]
    inside = ds.qualifies.values
    change = ds.change.sel(objective="IPO", amount=amount).values[inside]
    bound = ds.bound.values[inside]
    telling = bound > SHRINKS
    share = change[telling] / bound[telling]
    filled = f"median share of it {np.median(share):.2f}, largest {share.max():.3f}" if len(share) else "none"
    return Finding(
        claim="IPO's gap inside the assumption grows by at most (d_top - d_bottom) max_r (M'_r - M_r)",
        source="[derived] statement 1.7",
        measured=f"{(change > bound + SHRINKS).sum()} of {inside.sum()} beyond the bound; {filled}, amount {amount:g}",
        interval="exact but for rounding",
        status=decide((change <= bound + SHRINKS).all(), inside.any()),
    )


def _grows(ds: xr.Dataset) -> Finding:
    step = np.diff(_inside(ds, "IPO"), axis=-1)
    return Finding(
        claim="the more the sampler is skewed, the wider IPO's gap inside the assumption",
        source="[derived] statement 1.7: skewing more dominates skewing less",
        measured=f"{(step < -SHRINKS).sum()} of {step.size} steps from one amount to the next shrink the gap",
        interval="exact but for rounding",
        status=decide((step >= -SHRINKS).all(), step.size > 0),
    )


def _away(ds: xr.Dataset) -> Finding:
    change = ds.change_away.sel(objective="IPO").values[ds.qualifies.values]
    shrink = (change < -SHRINKS).mean() if change.size else 0.0
    return Finding(
        claim="skewing away from the top never widens IPO's gap inside the assumption: without dominance 1.7 turns round",
        source="[derived] statement 1.7, the samplers exchanged",
        measured=f"{(change > SHRINKS).sum()} of {change.size} gaps widen, {shrink:.0%} shrink",
        interval="exact but for rounding",
        status=decide((change <= SHRINKS).all() and (change < -SHRINKS).any(), change.size > 0),
    )


def _shares(ds: xr.Dataset, objective: str, inside: bool) -> Finding:
    amount = config_of(ds)["amount"]
    rows = ds.qualifies.values == inside
    change = ds.change.sel(objective=objective).values[rows]
    shrunk = (change < -SHRINKS).sum(axis=0)
    at = list(ds.amount.values).index(amount)
    count, total = int(shrunk[at]), int(rows.sum())
    low, high = binomial_interval(count, total) if total else (0.0, 1.0)
    every = ", ".join(f"{a:g}: {s / max(total, 1):.1%}" for a, s in zip(ds.amount.values, shrunk, strict=True))
    where = "inside" if inside else "outside"
    return Finding(
        claim=f"{where} the assumption {objective}'s gap shrinks on more than {RARE:.0%} of pairs, amount {amount:g}",
        source="[derived] statement 1.7, which is false for DPO"
        if inside
        else "[derived] statement 1.7, whose assumption is needed",
        measured=f"{count} of {total} pairs ({count / max(total, 1):.1%}); by amount {every}"
        + (f"; {EARLIER}" if inside else ""),
        interval=f"{low:.1%} to {high:.1%}; {CLOPPER}",
        status=decide(low > RARE, low > RARE or high < RARE),
    )


def _keeps_its_order(ds: xr.Dataset) -> Finding:
    inside = ds.qualifies.values
    gap, change = (ds[name].sel(objective="DPO").values[inside] for name in ("gap", "change"))
    kept = gap > SHRINKS
    after = gap[kept, None] + change[kept]
    return Finding(
        claim="skewing towards the top never reverses a pair inside the assumption under DPO, though its gap may shrink",
        source="[derived] statements 1.7 and 1.8: IPO orders it alike, and IPO's gap does not shrink",
        measured=f"{(after < -SHRINKS).sum()} of {after.size} are reversed, pairs with i above j before times amounts",
        interval="exact but for rounding",
        status=decide((after >= -SHRINKS).all(), kept.any()),
    )
