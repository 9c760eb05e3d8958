"""Skewed sampling: how reward gaps change when the top of the majority order is sampled more often."""

from __future__ import annotations

import dataclasses

import jax
import numpy as np
import xarray as xr

import dynamics as dyn

from .._framework import OBJECTIVES, Tick, described, require, silent
from .._matrices import drawn
from ..rankings import rewards
from .checks import check

__all__ = ["Config", "check", "run"]

FLAT = 1e-12  # increase of d from rank to rank that is attributed to rounding


@dataclasses.dataclass(frozen=True)
class Config:
    """Random matrices, and random samplers that are skewed towards the top of the majority order."""

    matrices: int = 80
    """Matrices of each of five families and each size."""
    sizes: tuple[int, ...] = (3, 4)
    voters: int = 15
    """Voters for each pair, in the matrices from counts."""
    spread: float = 1.0
    """Standard deviation of the sampler's logits before skewing."""
    amounts: tuple[float, ...] = (0.1, 0.3, 1.0, 3.0, 10.0)
    """Amounts of skewing, in nats between the top and the bottom, in ascending order."""
    amount: float = 1.0
    """The amount that the findings on shares refer to."""
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
    """The reward gap of every pair in the majority order, before and after skewing by each amount, for IPO and DPO."""
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
    """Every pair with i above j in the majority order, of matrices of one size."""
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
