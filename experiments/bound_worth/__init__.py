"""What guarantees are worth: bounds on KL(pi*||pihat) beside its true 95 % quantile, and how often each of them covers."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from scipy.special import log_expit, log_softmax

import dynamics as dyn

from .. import _toy
from .._framework import Tick, described, require, silent
from .checks import check

__all__ = ["Config", "check", "run"]

# Of the maximum-likelihood policy in the class, and of the unregularised one among all policies.
CLASS_BOUNDS = ("Theorem 4", "7.11 corollary", "7.11 Chernoff")
TABULAR_BOUNDS = ("7.9 quantile", "7.12 certificate", "7.9 plug-in")
DIRECTIONS = 24
RADII = 36
NEAREST = 1e-3  # smallest distance of a policy of the class from pi*, in nats


@dataclasses.dataclass(frozen=True)
class Config:
    """Three responses, one context, uniform sampler; policies around pi*, in 24 directions and at 36 distances up to B/2."""

    gamma: float = 0.5
    bounds: tuple[float, ...] = (0.5, 2.0, 5.0, 11.0)
    """B, the range of log-policies about their mean; that of pi* is B/2."""
    exponents: tuple[int, int] = (6, 20)
    """n goes from 2 to the first to 2 to the second, by factors of 4."""
    sets: int = 2000
    """Data sets for each B and n."""
    certified: int = 24
    """How many of them get a bound from the data; a third of it below n = 10^4."""
    failure: float = 0.05
    scale: float = 1.0
    """s of the certificate, nats of reward."""
    seed: int = 0

    def __post_init__(self) -> None:
        require(self, "gamma", 0, 10, open_low=True)
        require(self, "scale", 0, 1e3, open_low=True)
        require(self, "bounds", 0, 12, open_low=True)
        require(self, "exponents", 0, 40)
        require(self, "failure", 0, 1, open_low=True, open_high=True)
        require(self, "sets", 20 / self.failure, 10_000_000)
        require(self, "certified", 1, self.sets)
        if self.exponents[1] - self.exponents[0] < 2:
            raise ValueError(f"exponents = {self.exponents} give one n; pass a wider range.")

    @classmethod
    def full(cls) -> Config:
        return cls(sets=10_000, certified=150)


def run(config: Config, tick: Tick = silent) -> xr.Dataset:
    """Bounds, true quantiles, and how many data sets each bound covered, by B and n."""
    numbers = 2 ** np.arange(config.exponents[0], config.exponents[1] + 1, 2)
    sizes, names = (len(config.bounds), len(numbers)), CLASS_BOUNDS + TABULAR_BOUNDS
    bound, covered = (np.full((len(names), *sizes), np.nan) for _ in range(2))
    spread = np.full((2, len(names), *sizes), np.nan)
    trials = np.full((len(names), *sizes), config.sets)
    quantile, infinite, largest = np.full((2, *sizes), np.nan), np.zeros(sizes), np.zeros(len(config.bounds))
    factor = np.zeros(len(config.bounds))
    key = jax.random.key(config.seed)
    for b, B in enumerate(config.bounds):
        policies = family(B)
        target, uniform = policies[0], np.full(3, -np.log(3.0))
        model = dyn.PreferenceModel(jnp.asarray(target), config.gamma, log_sampler=jnp.asarray(uniform))
        far = _toy.divergence(target[None], policies[:, None])
        largest[b] = far.max()
        given = {"log_policies": policies, "member": 0, "log_mu": uniform, "gamma": config.gamma}
        factor[b] = dyn.theorems.coverage(
            log_target=target, log_sampler=uniform, gamma=config.gamma, log_policies=policies
        ).B
        for k, n in enumerate(map(int, numbers)):
            tick((b * len(numbers) + k) / np.prod(sizes), f"B = {B:g}, n = {n}")
            key, own = jax.random.split(key)
            wins = np.asarray(model.sample(n, key=own, data_sets=config.sets).wins) * (1 - np.eye(3))
            asked = given | {"comparisons": n, "failure": config.failure}
            bound[0, b, k] = np.asarray(dyn.theorems.likelihood_guarantee(**asked).upper)
            bound[1, b, k] = np.asarray(dyn.theorems.finite_class_error(**asked).upper)[1]
            bound[2, b, k] = dyn.theorems.finite_class_quantile(**asked)
            bound[3, b, k] = model.error_quantile(n, 1 - config.failure)
            logs = log_expit(config.gamma * (policies[:, :, None] - policies[:, None, :])).reshape(len(policies), 9)
            in_class = far[np.argmax(wins.reshape(-1, 9) @ logs.T, axis=1)]
            tabular, log_pi = _tabular(wins, target, config.gamma)
            infinite[b, k] = np.isinf(tabular).mean()
            for e, errors in enumerate((in_class, tabular)):
                quantile[e, b, k] = np.sort(errors)[int(np.ceil((1 - config.failure) * len(errors))) - 1]
            covered[:3, b, k] = (in_class <= bound[:3, b, k, None] * (1 + 1e-12)).sum(axis=1)
            covered[3, b, k] = (tabular <= bound[3, b, k]).sum()
            some = slice(config.certified if n >= 10**4 else max(1, config.certified // 3))
            own_bounds = np.array([_from_data(*one, n, config) for one in zip(wins[some], log_pi[some], strict=True)]).T
            bound[4:, b, k] = np.median(own_bounds, axis=1)
            spread[:, 4:, b, k] = np.quantile(own_bounds, (0.05, 0.95), axis=1, method="inverted_cdf")
            known = np.isfinite(tabular[some])
            covered[4:, b, k] = ((tabular[some] <= own_bounds) & known).sum(axis=1)
            trials[4:, b, k] = known.sum()
    ds = xr.Dataset(
        {
            "bound": (("name", "B", "n"), bound),
            "spread": (("end", "name", "B", "n"), spread),
            "covered": (("name", "B", "n"), covered),
            "trials": (("name", "B", "n"), trials),
            "quantile": (("estimate", "B", "n"), quantile),
            "infinite": (("B", "n"), infinite),
            "largest": (("B",), largest),
            "range": (("B",), factor),
        },
        {
            "name": list(names),
            "B": list(config.bounds),
            "n": numbers,
            "estimate": ["class", "tabular"],
            "end": [0.05, 0.95],
        },
    )
    units = {
        "bound": (
            "nat",
            "bound on KL(pi*||pihat) with probability 1 - failure; the median where it depends on the data",
        ),
        "spread": ("nat", "quantiles over data sets of a bound from the data; infinite without a finite estimate"),
        "covered": ("data sets", "how many had an error within the bound"),
        "trials": ("data sets", "out of so many; for bounds from the data those with a finite estimate"),
        "quantile": ("nat", "(1 - failure)-quantile of KL(pi*||pihat) over data sets; infinite if estimates are"),
        "infinite": ("1", "share of data sets whose unregularised estimate among all policies is infinite"),
        "largest": ("nat", "largest KL(pi*||pi) in the class: no bound above it says anything"),
        "range": ("nat", "B as computed from the class"),
        "B": ("nat", "B as asked for"),
        "n": ("comparisons", "number of comparisons"),
    }
    return described(ds, "bound_worth", config, units)


def family(B: float) -> np.ndarray:
    """pi* and policies around it, log-probabilities ``(1 + 24·36, 3)``, with centred log-policies within ±B."""
    angle = 2 * np.pi * np.arange(DIRECTIONS) / DIRECTIONS
    plane = np.array([[1.0, 0.0, -1.0], [1.0, -2.0, 1.0]]) / np.array([[2**0.5], [6**0.5]])
    towards = np.stack([np.cos(angle), np.sin(angle)], axis=-1) @ plane
    towards /= np.abs(towards).max(axis=-1, keepdims=True)
    radii = np.geomspace(NEAREST, B / 2, RADII)
    centre = B / 2 * np.array([1.0, 0.0, -1.0])
    around = centre + (radii[:, None, None] * towards).reshape(-1, 3)
    return log_softmax(np.concatenate([centre[None], around]), axis=-1)


def _tabular(wins: np.ndarray, target: np.ndarray, gamma: float) -> tuple[np.ndarray, np.ndarray]:
    """Errors of the unregularised estimates among all policies, infinite where there is none, and their log-policies."""
    fit = dyn.rewards.bradley_terry(dyn.Comparisons(wins), throw=False)
    log_pi = log_softmax(np.asarray(fit.reward) / gamma, axis=-1)
    exists = np.asarray(fit.result) == 0
    errors = _toy.divergence(target, np.where(exists[:, None], log_pi, target)[:, None])
    return np.where(exists, errors, np.inf), np.where(exists[:, None], log_pi, np.nan)


def _from_data(wins: np.ndarray, log_pi: np.ndarray, n: int, config: Config) -> tuple[float, float]:
    """The certificate, and the quantile of 7.9 as if the estimate were pi*; infinite without a finite estimate."""
    if np.isnan(log_pi).any():
        return np.inf, np.inf
    delta = config.failure
    certificate = dyn.certify(wins, gamma=config.gamma, delta=delta, scale=config.scale).bound
    uniform = jnp.full(3, -np.log(3.0))
    model = dyn.PreferenceModel(jnp.asarray(log_pi), config.gamma, log_sampler=uniform)
    return certificate, model.error_quantile(n, 1 - delta)
