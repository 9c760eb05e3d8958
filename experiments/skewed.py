"""Skewed sampling: how gaps of reward change when the top of the majority order is sampled more often."""

from __future__ import annotations

import dataclasses

import jax
import numpy as np
import xarray as xr

import dynamics as dyn

from ._framework import OBJECTIVES, Finding, Tick, binomial_interval, config_of, decide, described, require, silent
from ._matrices import drawn
from .rankings import rewards

SHRINKS = 1e-9  # what a gap must lose to count; rounding is 1e-13
RARE = 0.01  # a share above which shrinking counts as no accident
FLAT = 1e-12  # by how much d may rise from rank to rank, for rounding
CLOPPER = "95 % Clopper–Pearson, as if pairs were drawn at random"
EARLIER = "395 of 3,724 (10.6 %) under another law of draws"


@dataclasses.dataclass(frozen=True)
class Config:
    """Random matrices and samplers; the samplers are tilted towards the top of the majority order."""

    matrices: int = 80
    """Of each of five families and each size."""
    sizes: tuple[int, ...] = (3, 4)
    voters: int = 15
    """Behind each pair of the matrices from counts."""
    spread: float = 1.0
    """Standard deviation of the sampler's logits before skewing."""
    amounts: tuple[float, ...] = (0.1, 0.3, 1.0, 3.0, 10.0)
    """Of skewing, in nats between the top and the bottom, ascending."""
    amount: float = 1.0
    """The one of them that findings on shares are about."""
    seed: int = 0

    def __post_init__(self) -> None:
        require(self, "matrices", 1, 1_000_000)
        require(self, "sizes", 3, 40)
        require(self, "voters", 1, 1_000_000)
        require(self, "spread", 0, 100)
        require(self, "amounts", 0, 1000, open_low=True)
        if sorted(set(self.amounts)) != list(self.amounts) or self.amount not in self.amounts:
            raise ValueError(
                f"amounts = {self.amounts} do not ascend or leave out amount = {self.amount:g}; pass them ascending, "
                "amount among them."
            )

    @classmethod
    def full(cls) -> Config:
        return cls(matrices=2000, sizes=(3, 4, 5, 6), amounts=(0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0))


def run(config: Config, tick: Tick = silent) -> xr.Dataset:
    """The gap of every pair that the majority orders, before and after skewing by each amount, for IPO and DPO."""
    tick(0.0, "matrices")
    cases = [case for case in drawn(config.matrices, config.sizes, config.voters, config.seed) if _interior(case.P)]
    rng = np.random.default_rng(config.seed)
    found = []
    for n, K in enumerate(config.sizes):
        tick(0.2 + 0.8 * n / len(config.sizes), f"K = {K}")
        found.append(_pairs([case.P for case in cases if len(case.P) == K], config, rng))
    joined = {name: np.concatenate([one[name] for one in found]) for name in found[0]}
    ds = xr.Dataset(
        {
            "gap": (("pair", "objective"), joined["gap"]),
            "change": (("pair", "objective", "amount"), joined["change"]),
            "change_away": (("pair", "objective"), joined["away"]),
            "bound": (("pair",), joined["bound"]),
            "qualifies": (("pair",), joined["qualifies"]),
            "num_responses": (("pair",), joined["size"]),
        },
        {"objective": list(OBJECTIVES), "amount": list(config.amounts)},
    )
    units = {
        "amount": ("nats", "between the top and the bottom of the majority order"),
        "gap": ("1", "beta (h_i - h_j) at the sampler before skewing, i ranked above j"),
        "change": ("1", "what skewing towards the top adds to the gap"),
        "change_away": ("1", "what skewing by the same away from the top adds, at the amount of the findings"),
        "bound": ("1", "largest change of IPO's gap by statement 1.7, at that amount; NaN outside its assumption"),
        "num_responses": ("1", "K"),
    }
    return described(ds, "skewed", config, units)


def _interior(P: np.ndarray) -> bool:
    """Whether DPO has an optimum at every sampler."""
    return bool(((P > 0) & (P < 1)).all())


def _pairs(group: list[np.ndarray], config: Config, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Every pair i above j of matrices of one size, in the order of the majority."""
    K, n = len(group[0]), len(group)
    orders = [dyn.preferences.classify(P).order for P in group]
    P = np.stack([M[np.ix_(order, order)] for M, order in zip(group, orders, strict=True)])
    log_mu = np.asarray(jax.nn.log_softmax(config.spread * rng.standard_normal((n, K)), axis=-1))
    best_first = np.arange(K)
    tilt = jax.vmap(dyn.samplers.skew, (0, None, None))
    skewed = [np.asarray(tilt(log_mu, best_first, amount)) for amount in config.amounts]
    away = np.asarray(tilt(log_mu, best_first[::-1], config.amount))
    f = rewards(P, np.stack([log_mu, *skewed, away], axis=1), np.ones(n, dtype=bool))
    above, below = np.triu_indices(K, 1)
    gaps = f[..., above] - f[..., below]  # (matrix, objective, sampler, pair)
    flat = lambda x: np.moveaxis(x, -1, 1).reshape(n * len(above), *x.shape[1:-1])
    d = P[:, above] - P[:, below]
    qualifies = (np.diff(d, axis=-1) <= FLAT).all(axis=-1)
    bound = np.full(qualifies.shape, np.nan)
    chosen = skewed[config.amounts.index(config.amount)]
    for m, pair in np.argwhere(qualifies):
        asked = {"P": P[m], "log_mu": log_mu[m], "log_mu_skewed": chosen[m]}
        bound[m, pair] = dyn.theorems.skewed_sampling(**asked, better=above[pair], worse=below[pair]).upper
    return {
        "gap": flat(gaps[:, :, 0]),
        "change": flat(gaps[:, :, 1:-1] - gaps[:, :, :1]),
        "away": flat(gaps[:, :, -1] - gaps[:, :, 0]),
        "bound": bound.ravel(),
        "qualifies": qualifies.ravel(),
        "size": np.full(qualifies.size, K),
    }


def check(ds: xr.Dataset) -> list[Finding]:
    """That IPO's gaps inside the assumption never shrink, and how often the others do."""
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
    return Finding(
        claim="skewing away from the top never widens IPO's gap inside the assumption: without dominance 1.7 turns round",
        source="[derived] statement 1.7, the samplers exchanged",
        measured=f"{(change > SHRINKS).sum()} of {change.size} gaps widen, {(change < -SHRINKS).mean():.0%} shrink",
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
