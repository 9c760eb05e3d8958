"""How entropy smooths the prior: reverse KL keeps pi_0 to the power beta/(beta+gamma) and so the mass of rare responses."""

from __future__ import annotations

import dataclasses

import jax.numpy as jnp
import numpy as np
import xarray as xr
from scipy.special import log_softmax

import dynamics as dyn

from .. import _toy
from .._framework import Tick, described, require, silent
from .checks import check

__all__ = ["Config", "check", "run"]

FITTED = 6  # instances that are also fitted by dyn.fit
POLICIES = {"reverse KL": _toy.reverse_kl, "RLHF": _toy.rlhf}


@dataclasses.dataclass(frozen=True)
class Config:
    """One context; pi* of spread 1, pi_0 falling by a constant factor from response to response, in an order of its own."""

    gamma: float = 0.5
    size: int = 10
    """Responses."""
    spread: float = 1.0
    """Standard deviation of the logits of pi*."""
    decays: tuple[float, ...] = (0.0, 0.5, 1.0, 1.5, 2.0)
    """Nats by which log pi_0 falls from response to response."""
    decay: float = 1.5
    """The one of ``decays`` that is shown against beta."""
    rare: float = 0.01
    """Responses with a smaller pi_0 are rare."""
    numbers: tuple[int, ...] = (2**10, 2**13, 2**16)
    """Comparisons; exact preferences are added."""
    beta: float = 0.5
    """The beta at which policies are compared response by response."""
    instances: int = 40
    sets: int = 10
    """Data sets of each instance."""
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("gamma", "spread", "beta"):
            require(self, name, 0, 10, open_low=True)
        require(self, "decays", 0, 5)
        require(self, "size", 3, 1000)
        require(self, "rare", 0, 1, open_low=True, open_high=True)
        require(self, "numbers", 1, 2**40)
        require(self, "instances", 6, 100_000)
        require(self, "sets", 1, 10_000)
        if self.decay not in self.decays or tuple(sorted(set(self.numbers))) != tuple(self.numbers):
            raise ValueError(
                "decay is not among decays, or numbers do not increase; pass one of decays, and rising numbers."
            )
        if not (_prior(self.decay, self.size) < np.log(self.rare)).any():
            raise ValueError(
                f"no response is rarer than {self.rare:g} at decay = {self.decay:g}; pass a larger decay or rare."
            )

    @classmethod
    def full(cls) -> Config:
        return cls(instances=200, sets=40)


def run(config: Config, tick: Tick = silent) -> xr.Dataset:
    """Forward KL and the mass of rare responses by objective, n, beta and instance; slopes in the prior; errors by decay."""
    random = np.random.default_rng(config.seed)
    log_target = _toy.policies(config.instances, 1, config.size, config.spread, random)
    order = np.array([random.permutation(config.size) for _ in range(config.instances)])[:, None]
    priors = np.stack([_prior(decay, config.size)[order] for decay in config.decays])
    shown = config.decays.index(config.decay)
    betas = np.unique(np.append(_toy.GRID, config.gamma))  # gamma is RLHF's best for a uniform prior
    rare = priors[shown] < np.log(config.rare)
    numbers = np.append(np.array(config.numbers, dtype=float), np.inf)
    shape = (len(POLICIES), len(numbers), len(betas), config.instances)
    error = np.full((len(config.decays), *shape), np.nan)
    mass, exists = np.full(shape, np.nan), np.ones((len(numbers), config.instances, config.sets), bool)
    drawn = _toy.nested(_toy.models(log_target, config.gamma), np.array(config.numbers), config.sets, config.seed)
    rewards = [_toy.rewards(wins) for _, wins in drawn]
    exact = config.gamma * log_target[:, None]
    for k, n in enumerate(numbers):
        tick(0.1 + 0.7 * k / len(numbers), f"n = {n:g}")
        reward, exists[k] = rewards[k] if k < len(rewards) else (exact, True)
        one = slice(None) if k < len(rewards) else slice(1)
        count = np.maximum(exists[k][:, one].sum(axis=1), 1)
        average = lambda x, k=k, one=one, count=count: np.where(exists[k][:, one], x, 0).sum(1) / count
        for p, policy in enumerate(POLICIES.values()):
            for b, beta in enumerate(betas):
                for d, prior in enumerate(priors):
                    log_pi = policy(reward, prior[:, None], config.gamma, float(beta))
                    error[d, p, k, b] = average(_toy.divergence(log_target[:, None], log_pi))
                    if d == shown:
                        mass[p, k, b] = average((np.exp(log_pi) * rare[:, None]).sum((-2, -1)))
    tick(0.85, "policies by dyn.fit")
    fitted, even = _fitted(log_target[:FITTED, 0], priors[shown][:FITTED, 0], config)
    limits = [_limit(t[0], p[0], config.gamma) for t, p in zip(log_target, priors[shown], strict=True)]
    share = lambda log_pi: (np.exp(log_pi) * rare).sum((-2, -1))
    ds = xr.Dataset(
        {
            "error": (("decay", "objective", "n", "beta", "instance"), error),
            "mass": (("objective", "n", "beta", "instance"), mass),
            "limit": (("at", "instance"), np.array(limits).T),
            "exists": (("n", "instance", "set"), exists),
            "target_mass": (("instance",), share(log_target)),
            "prior_mass": (("instance",), share(priors[shown])),
            "fitted": (("prior_kind", "objective", "fitted_instance", "response"), fitted),
            "even": (("objective", "fitted_instance", "response"), even),
            "log_prior": (("instance", "response"), priors[shown][:, 0]),
            "log_target": (("instance", "response"), log_target[:, 0]),
        },
        {
            "decay": list(config.decays),
            "objective": list(POLICIES),
            "n": numbers,
            "beta": betas,
            "at": ["theorem", "its beta"],
            "prior_kind": ["peaked", "uniform"],
        },
    )
    units = {
        "error": ("nat", "KL(pi*||pihat), mean over the data sets that have an unregularised reward"),
        "mass": ("1", "probability of the rare responses, mean over the same"),
        "limit": ("nat", "RLHF's least error on exact preferences by theorem, and its error at that beta"),
        "exists": ("1", "whether the unregularised reward is finite"),
        "target_mass": ("1", "probability of the rare responses under pi*"),
        "prior_mass": ("1", "the same under pi_0"),
        "fitted": ("nat", "log-policy by dyn.fit on exact counts, from the peaked prior and from a uniform one"),
        "even": ("nat", "log-policy by dyn.fit where all votes are even, from the peaked prior"),
        "log_prior": ("nat", "log pi_0"),
        "log_target": ("nat", "log pi*"),
        "decay": ("nat", "by which log pi_0 falls from response to response"),
        "beta": ("1", "weight of the KL to the prior"),
        "n": ("comparisons", "number of comparisons, infinite for exact preferences"),
    }
    return described(ds, "prior_smoothing", config, units)


def _limit(log_target: np.ndarray, log_prior: np.ndarray, gamma: float) -> tuple[float, float]:
    """RLHF's least error by theorem, and its error by the closed form at the theorem's beta, in one context."""
    law = dyn.theorems.rlhf_limit(log_target=log_target, log_reference=log_prior, gamma=gamma).upper
    k, least = (float(x) for x in np.asarray(law))
    log_pi = _toy.rlhf(gamma * log_target, log_prior, gamma, gamma / k) if k > 0 else log_prior
    return least, float(_toy.divergence(log_target[None], log_pi[None]))


def _prior(decay: float, size: int) -> np.ndarray:
    return log_softmax(-decay * np.arange(size))


def _fitted(log_target: np.ndarray, log_prior: np.ndarray, config: Config) -> tuple[np.ndarray, np.ndarray]:
    """Log-policies on exact counts by prior and objective, and on even votes by objective; instances as contexts."""
    off = 1 - np.eye(config.size)
    wins = np.stack([world.expected(1.0).wins[0] for world in _toy.models(log_target[:, None], config.gamma)]) * off
    uniform = np.full_like(log_prior, -np.log(config.size))
    objectives = (dyn.ReverseKL(config.gamma, config.beta), dyn.RLHF(config.beta))
    fit = lambda o, data, prior: np.asarray(dyn.fit(o, data, log_reference=jnp.asarray(prior)).log_policy)
    found = [[fit(o, wins, prior) for o in objectives] for prior in (log_prior, uniform)]
    level = np.ones_like(wins) * off
    return np.array(found), np.array([fit(o, level, log_prior) for o in objectives])
