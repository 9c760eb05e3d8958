"""RLHF's dilemma: its error over beta and n, the plateau that more data does not lower, and priors without a dilemma."""

from __future__ import annotations

import dataclasses

import numpy as np
import xarray as xr
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax

import dynamics as dyn

from .. import _toy
from .._framework import Tick, described, require, silent
from .checks import check

__all__ = ["Config", "check", "run"]

MOMENTS = ["Var d", "Cov(d, u)", "Var u"]
PAIRS = 20  # pairs of policies on which the theorem on one context is checked
STEPS = np.array([-0.01, 0.0, 0.01])  # of k beside the best
PRIORS = ("independent", "part", "uniform", "equal")


@dataclasses.dataclass(frozen=True)
class Config:
    """The published toy with four priors: independent of pi*, pi_0 ∝ pi*^part, uniform, and pi_0 = pi*."""

    gamma: float = 0.5
    contexts: int = 10
    size: int = 10
    """Responses to each context."""
    spread: float = 0.1
    part: float = 0.5
    """k of the prior pi_0 ∝ pi*^k."""
    exponents: tuple[int, int] = (11, 24)
    """n goes from 2 to the first to 2 to the second, by factors of 2; below 2^11 many data sets have no reward."""
    instances: int = 12
    sets: int = 18
    """Data sets of each instance; those of larger n contain those of smaller n."""
    seed: int = 0

    def __post_init__(self) -> None:
        _toy.require_toy(self)
        require(self, "part", 0, 1, open_low=True, open_high=True)

    @classmethod
    def full(cls) -> Config:
        return cls(instances=40, sets=30)


def run(config: Config, tick: Tick = silent) -> xr.Dataset:
    """Forward KL by method, prior, n, beta and instance, on average over data sets; and the same for exact preferences."""
    random = np.random.default_rng(config.seed)
    shape = (config.instances, config.contexts, config.size, config.spread)
    log_target, independent = (_toy.policies(*shape, random) for _ in range(2))
    prior = np.stack([independent, log_softmax(config.part * log_target, -1), np.zeros_like(log_target), log_target])
    prior = log_softmax(prior, axis=-1)
    worlds = _toy.models(log_target, config.gamma)
    numbers = 2 ** np.arange(config.exponents[0], config.exponents[1] + 1)
    methods = {"RLHF": _toy.rlhf, "reverse KL": _toy.reverse_kl}
    error = np.full((len(methods), len(PRIORS), len(numbers), len(_toy.GRID), config.instances), np.nan)
    proven = np.full((2, len(numbers), config.instances), np.nan)
    exists = np.zeros((len(numbers), config.instances, config.sets), bool)
    for k, (n, wins) in enumerate(_toy.nested(worlds, numbers, config.sets, config.seed)):
        tick(k / len(numbers), f"n = {n}")
        reward, exists[k] = _toy.rewards(wins)
        average = lambda each, k=k: np.where(exists[k], each, 0).sum(1) / np.maximum(exists[k].sum(1), 1)
        for p, share in ((1, config.part), (2, 0.0)):
            found = _toy.rlhf(reward, prior[p][:, None], config.gamma, config.gamma / (1 - share))
            proven[p - 1, k] = average(_toy.divergence(log_target[:, None], found))
        for m, policy in enumerate(methods.values()):
            for p in range(len(PRIORS) if m == 0 else 1):
                for b, beta in enumerate(_toy.GRID):
                    found = policy(reward, prior[p][:, None], config.gamma, float(beta))
                    error[m, p, k, b] = average(_toy.divergence(log_target[:, None], found))
    none = ~exists.any(-1).all(-1)
    error[:, :, none], proven[:, none] = np.nan, np.nan
    exact = np.array(
        [
            [_toy.divergence(log_target, policy(config.gamma * log_target, prior, config.gamma, b)) for b in _toy.GRID]
            for policy in methods.values()
        ]
    )
    limits = np.array([_limit(t, r, config.gamma) for t, r in zip(log_target, independent, strict=True)])
    var_d, cov, var_u = _toy.moments(log_target, independent)
    plateau = (var_d - np.maximum(cov, 0) ** 2 / var_u) / 2
    ds = xr.Dataset(
        {
            "error": (("objective", "prior", "n", "beta", "instance"), error),
            "exact": (("objective", "prior", "beta", "instance"), np.swapaxes(exact, 1, 2)),
            "at_power": (("power", "n", "instance"), proven),
            "exists": (("n", "instance", "set"), exists),
            "limit": (("instance",), limits[:, 1]),
            "limit_beta": (("instance",), limits[:, 0]),
            "theorem_gap": (("pair",), [_theorem_gap(config.size, random) for _ in range(PAIRS)]),
            "plateau": (("instance",), plateau),
            "moment": (("moments", "instance"), np.stack([var_d, cov, var_u])),
            "error_constant": (("instance",), np.array([world.error_constant() for world in worlds])),
        },
        {"objective": list(methods), "prior": list(PRIORS), "n": numbers, "beta": _toy.GRID}
        | {"moments": MOMENTS, "power": [config.part, 0.0]},
    )
    units = {
        "error": ("nat", "E_x KL(pi*||pihat), mean over the data sets that have an unregularised reward"),
        "at_power": ("nat", "RLHF's error with pi_0 ∝ pi*^k at beta = gamma/(1-k)"),
        "power": ("1", "that k"),
        "exact": ("nat", "the same at infinitely many comparisons"),
        "exists": ("1", "whether the unregularised reward is finite in all contexts"),
        "limit": ("nat", "RLHF's error at infinitely many comparisons and the best of all beta, independent prior"),
        "limit_beta": ("1", "that beta"),
        "theorem_gap": ("nat", "least error in one context by theorem, against errors at its k and beside it"),
        "plateau": ("nat", "½ Var d (1 - corr²(d, u)), statement 7.13 to leading order"),
        "moment": ("nat²", "Var d, Cov(d, u), Var u under pi*, averaged over contexts"),
        "n": ("comparisons", "all contexts together"),
        "beta": ("1", "weight of the KL to the prior"),
        "error_constant": ("nat", "sum of V_x over contexts, statement 7.9"),
    }
    return described(ds, "dilemma", config, units)


def _theorem_gap(size: int, random: np.random.Generator) -> float:
    """How far the theorem's least error in one context is from that at its k, or above those beside it."""
    target, reference = _toy.policies(2, 1, size, 1.0, random)
    law = dyn.theorems.rlhf_limit(log_target=target[0], log_reference=reference[0], gamma=1.0).upper
    best, least = (float(x) for x in np.asarray(law))
    errors = [
        float(_toy.divergence(target, log_softmax(reference + k * target, axis=-1)))
        for k in np.maximum(best + STEPS, 0)
    ]
    return max(abs(errors[1] - least), least - min(errors))


def _limit(log_target: np.ndarray, log_prior: np.ndarray, gamma: float) -> tuple[float, float]:
    """The best beta for pi_k ∝ pi_0 pi*^k, k = gamma/beta, in all contexts at once, and its error, convex in k."""
    of = lambda k: float(_toy.divergence(log_target, log_softmax(log_prior + k * log_target, axis=-1)))
    found = minimize_scalar(of, bounds=(0.0, 100.0), method="bounded", options={"xatol": 1e-10})
    return (gamma / found.x if found.x > 1e-8 else np.inf), min(float(found.fun), of(0.0))
