"""Buying comparisons: what uniform, on-policy and designed sampling cost, and whether fits to n comparisons confirm it."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr

import dynamics as dyn

from .._framework import Tick, described, require, silent
from .checks import check

__all__ = ["Config", "check", "run"]

LAWS = ("uniform", "on-policy", "square-root rule", "best sampler", "best pairs")
TOLERANCE = 1e-4  # of V, for the best law of pairs


@dataclasses.dataclass(frozen=True)
class Config:
    """V of five laws of comparisons over gamma, and the errors of policies fitted to as many comparisons of each law."""

    responses: int = 5
    targets: int = 8
    """Targets pi*, with logits N(0, spread²)."""
    spread: float = 1.0
    gammas: tuple[float, ...] = (0.05, 0.1, 0.3, 1.0, 2.0, 3.0)
    measured: tuple[int, ...] = (1, 3, 4)
    """Which of the gammas are measured."""
    measured_targets: int = 4
    """The first so many targets are measured."""
    data_sets: int = 400
    error: float = 0.0005
    """Mean KL(pi* || pihat) foretold for uniform sampling, in nats; it fixes n, the same for all laws."""
    seed: int = 0

    def __post_init__(self) -> None:
        require(self, "responses", 3, 40)
        require(self, "targets", 2, 10_000)
        require(self, "measured_targets", 1, self.targets)
        require(self, "measured", 0, len(self.gammas) - 1)
        require(self, "data_sets", 10, 100_000)
        for name in ("spread", "gammas", "error"):
            require(self, name, 0, 20, open_low=True)
        if len(self.gammas) < 2 or (np.diff(self.gammas) <= 0).any():
            raise ValueError(f"gammas = {self.gammas} do not ascend; pass two or more, the smallest first.")

    @classmethod
    def full(cls) -> Config:
        return cls(targets=60, measured_targets=12, data_sets=2000)


def run(config: Config, tick: Tick = silent) -> xr.Dataset:
    """V by law, gamma and target; the mean errors of fitted policies, with standard errors, where they are measured."""
    rng = np.random.default_rng(config.seed)
    K, X = config.responses, config.targets
    log_target = np.asarray(jax.nn.log_softmax(jnp.asarray(rng.normal(0, config.spread, (X, K)))))
    designs = []
    for g, gamma in enumerate(config.gammas):
        tick(0.6 * g / len(config.gammas), f"designs at gamma = {gamma:g}")
        designs.append(_designs(log_target, gamma))
    V = np.stack(
        [np.stack([_model(log_target, gamma, law).error_constants() for law in laws]) for gamma, laws in designs]
    )
    V = np.moveaxis(V, 0, 1)
    chosen, some = list(config.measured), config.measured_targets
    shape = (len(LAWS), len(chosen), some)
    n, mean, deviation, infinite = (np.zeros(shape) for _ in range(4))
    keys = iter(jax.random.split(jax.random.key(config.seed), len(chosen) * len(LAWS)))
    for c, g in enumerate(chosen):
        tick(0.6 + 0.4 * c / len(chosen), "fits")
        gamma, laws = designs[g]
        for k, law in enumerate(laws):
            # The contexts of one model share the comparisons by weight; every target gets the n of its own.
            n[k, c] = np.ceil(V[0, g, :some] / config.error)
            found = _errors(log_target[:some], gamma, law[:some], n[k, c], config.data_sets, next(keys))
            infinite[k, c] = np.mean(~np.isfinite(found), axis=0)
            mean[k, c] = np.nanmean(found, axis=0)
            deviation[k, c] = np.nanstd(found, axis=0, ddof=1) / np.sqrt(np.sum(np.isfinite(found), axis=0))
    pi = np.exp(log_target)
    gammas = np.array(config.gammas)
    share = np.stack([[np.exp(np.logaddexp.reduce(law, axis=-1)) for law in laws] for _, laws in designs])
    cases = ("law", "measured_gamma", "measured_target")
    ds = xr.Dataset(
        {
            "V": (("law", "gamma", "target"), V),
            "sampler_bound": (("gamma", "target"), np.sum(np.sqrt(pi * (1 - pi)), -1) ** 2 / gammas[:, None] ** 2),
            "share": (("gamma", "law", "target", "response"), share),
            "policy": (("target", "response"), pi),
            "n": (cases, n),
            "error": (cases, mean),
            "error_deviation": (cases, deviation),
            "infinite": (cases, infinite),
        },
        coords={
            "law": list(LAWS),
            "gamma": gammas,
            "measured_gamma": gammas[chosen],
            "target": np.arange(X),
            "measured_target": np.arange(some),
        },
    )
    units = {
        "V": ("nat", "limit of n KL(pi* || pihat), on average"),
        "sampler_bound": ("nat", "gamma^-2 (sum sqrt(pi (1 - pi)))², below V of every sampler"),
        "share": ("1", "share of each response among those compared"),
        "policy": ("1", "pi*"),
        "n": ("1", "comparisons in each data set"),
        "error": ("nat", "mean KL(pi* || pihat) of the data sets with a finite fit"),
        "error_deviation": ("nat", "its standard error"),
        "infinite": ("1", "share of data sets without a finite fit"),
    }
    return described(ds, "buying", config, units)


def _designs(log_target: np.ndarray, gamma: float) -> tuple[float, list[np.ndarray]]:
    """log-laws of ordered pairs, ``(X, K, K)``, in the order of ``LAWS``."""
    K = log_target.shape[-1]
    flat = np.full_like(log_target, -np.log(K))
    model = dyn.PreferenceModel(log_target, gamma, log_sampler=flat)
    sampler = dyn.samplers.design(model, tolerance=TOLERANCE)
    pairs = dyn.samplers.design(model, pairs=True, tolerance=TOLERANCE)
    assert sampler.log_sampler is not None
    assert pairs.log_pairs is not None
    both = [mu[:, :, None] + mu[:, None, :] for mu in (flat, log_target, sampler.log_root_rule, sampler.log_sampler)]
    return gamma, [*both, pairs.log_pairs]


def _model(log_target: np.ndarray, gamma: float, log_pairs: np.ndarray) -> dyn.PreferenceModel:
    return dyn.PreferenceModel(log_target, gamma, log_pairs=log_pairs)


def _errors(
    log_target: np.ndarray, gamma: float, log_pairs: np.ndarray, n: np.ndarray, data_sets: int, key: jax.Array
) -> np.ndarray:
    """KL(pi* || pihat), ``(data_sets, X)``; NaN where the fit is infinite."""
    keys = jax.random.split(key, len(n))
    wins = [
        _model(target, gamma, law).sample(int(count), key=one, data_sets=data_sets).wins
        for target, law, count, one in zip(log_target, log_pairs, n, keys, strict=True)
    ]
    logs = np.asarray(dyn.rewards.bradley_terry(jnp.stack(wins, axis=1), throw=False).reward) / gamma
    with np.errstate(invalid="ignore"):
        log_fit = logs - np.logaddexp.reduce(logs, axis=-1, keepdims=True)
    return np.sum(np.exp(log_target) * (log_target - log_fit), axis=-1)
