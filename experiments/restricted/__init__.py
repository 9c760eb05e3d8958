"""Restricted classes: where maximum likelihood, distillation and reverse KL part, against coverage of the class."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr

import dynamics as dyn

from .._framework import Tick, described, require, silent
from ._lists import finite_classes
from .checks import check

__all__ = ["Config", "check", "fitted_policies", "predicted_constants", "run"]

METHODS = ("PMLE", "distillation, uniform pairs", "distillation, pairs of pi*", "reverse KL")
PROJECTIONS = 200  # steps of the projection in reverse KL, at most


@dataclasses.dataclass(frozen=True)
class Config:
    """Log-linear policies of few features, pi* inside and outside the class, and finite classes of policies and rewards."""

    responses: int = 10
    features: int = 3
    gamma: float = 1.0
    instances: int = 6
    """Draws of features and pi*."""
    tilts: tuple[float, ...] = (-1.0, -0.5, 0.0, 0.5, 1.0)
    """The sampler is mu ∝ pi*^-tilt: on-policy at -1, uniform at 0, away from pi* above."""
    outside: float = 0.5
    """Standard deviation of log pi* outside the class."""
    data_sets: int = 60
    error: float = 0.001
    """Mean KL(pi* || pihat) foretold for PMLE, in nats; it fixes n."""
    sizes: tuple[int, ...] = (32, 128, 512, 2048)
    """Policies in the finite classes; the rewards are as many as the smallest class has policies."""
    rare: tuple[float, ...] = (0.5, 0.2, 0.05, 0.01)
    """The sampler's mass on the responses at which only the larger class differs."""
    comparisons: int = 1000
    """In each data set of the finite classes."""
    draws: int = 400
    """Data sets of the finite classes."""
    seed: int = 0

    def __post_init__(self) -> None:
        require(self, "responses", 4, 60)
        require(self, "features", 1, self.responses - 2)
        require(self, "instances", 2, 10_000)
        for name in ("gamma", "outside", "error"):
            require(self, name, 0, 20, open_low=True)
        for name in ("data_sets", "draws", "comparisons"):
            require(self, name, 10, 10**7)
        require(self, "tilts", -1, 5)
        require(self, "rare", 0, 0.5, open_low=True)
        require(self, "sizes", 2, 100_000)
        if (np.diff(self.sizes) <= 0).any() or (np.diff(self.rare) >= 0).any() or (np.diff(self.tilts) <= 0).any():
            raise ValueError("sizes and tilts have to ascend and rare to descend; pass them in order.")

    @classmethod
    def full(cls) -> Config:
        return cls(instances=40, data_sets=400, draws=4000, sizes=(32, 128, 512, 2048, 8192))


def run(config: Config, tick: Tick = silent) -> xr.Dataset:
    """Errors foretold and measured within a class of features, limits outside it, and errors in finite classes."""
    rng = np.random.default_rng(config.seed)
    keys = iter(jax.random.split(jax.random.key(config.seed), config.instances * len(config.tilts)))
    shape = (len(METHODS), config.instances, len(config.tilts))
    V, mean, deviation, floor = (np.full(shape, np.nan) for _ in range(4))
    covered, infinite, n = (np.full(shape[1:], np.nan) for _ in range(3))
    for i in range(config.instances):
        tick(0.8 * i / config.instances, "log-linear policies")
        phi = rng.normal(size=(config.responses, config.features))
        inside = _log_softmax(phi @ rng.normal(size=config.features) / np.sqrt(config.features))
        beyond = _log_softmax(inside + config.outside * rng.normal(size=config.responses))
        for t, tilt in enumerate(config.tilts):
            log_mu = _log_softmax(-tilt * inside)
            covered[i, t] = dyn.theorems.coverage(
                log_target=inside, log_sampler=log_mu, gamma=config.gamma, features=phi
            ).policies
            V[:, i, t] = predicted_constants(inside, phi, config.gamma, log_mu)
            n[i, t] = np.ceil(V[0, i, t] / config.error)
            model = dyn.PreferenceModel(inside, config.gamma, log_sampler=log_mu)
            wins = np.asarray(model.sample(int(n[i, t]), key=next(keys), data_sets=config.data_sets).wins)
            # The limit outside the class goes along as one data set of expected counts, as compiling takes most of the time.
            other = (
                dyn.PreferenceModel(beyond, config.gamma, log_sampler=_log_softmax(-tilt * beyond)).expected(1.0).wins
            )
            targets = np.stack([inside] * config.data_sets + [beyond])
            found = fitted_policies(np.concatenate([wins, np.asarray(other)[None]]), phi, config.gamma, targets)
            error = _divergence(targets, found)
            floor[:, i, t], error = error[:, -1], error[:, :-1]
            infinite[i, t] = np.mean(~np.isfinite(error).all(0))
            usable = error[:, np.isfinite(error).all(0)]
            if usable.shape[1] > 1:
                mean[:, i, t] = usable.mean(1)
                deviation[:, i, t] = usable.std(1, ddof=1) / np.sqrt(usable.shape[1])
    tick(0.85, "finite classes")
    lists = finite_classes(config, rng)
    cases = ("approach", "instance", "tilt")
    ds = xr.Dataset(
        {
            "V": (cases, V),
            "error": (cases, mean),
            "error_deviation": (cases, deviation),
            "floor": (cases, floor),
            "coverage": (("instance", "tilt"), covered),
            "infinite": (("instance", "tilt"), infinite),
            "n": (("instance", "tilt"), n),
        },
        coords={"approach": list(METHODS), "tilt": list(config.tilts)},
    ).merge(lists)
    units = {
        "V": ("nat", "limit of n KL(pi* || pihat), on average, pi* in the class"),
        "error": ("nat", "mean KL(pi* || pihat) of data sets with a finite tabular reward"),
        "error_deviation": ("nat", "its standard error"),
        "floor": ("nat", "KL(pi* || pi) of the limit of many comparisons, pi* outside the class"),
        "coverage": ("1", "C_Pi of the class of features"),
        "infinite": ("1", "share of data sets without a finite tabular reward"),
        "n": ("1", "comparisons in each data set"),
        "list_error": ("nat", "mean KL(pi* || pihat) in the finite classes"),
        "list_deviation": ("nat", "its standard error"),
        "list_coverage": ("1", "C_Pi of the finite class"),
        "reward_coverage": ("1", "C_R of the rewards"),
    }
    return described(ds, "restricted", config, units)


def predicted_constants(log_target: np.ndarray, phi: np.ndarray, gamma: float, log_mu: np.ndarray) -> np.ndarray:
    """The limits of n E KL(pi* || pihat) within log pi = phi theta + const, in the order of ``METHODS``, by linearisation.

    Rhat has covariance L⁺/n; a method with weights W has dtheta = (phiᵀ W phi)^-1 phiᵀ W dR/gamma: W = L for PMLE, the
    Laplacian of its own pairs for distillation, and Sigma_* for reverse KL.
    """
    pi, K = np.exp(log_target), len(log_target)
    sigma = np.diag(pi) - np.outer(pi, pi)
    met = lambda log_q: _laplacian(log_target, gamma, log_q)
    weights = (met(log_mu), met(np.full(K, -np.log(K))), met(log_target), sigma)
    spread, fisher = np.linalg.pinv(weights[0], hermitian=True), phi.T @ sigma @ phi
    found = []
    for W in weights:
        to_theta = np.linalg.solve(phi.T @ W @ phi, phi.T @ W) / gamma
        found.append(0.5 * np.trace(fisher @ to_theta @ spread @ to_theta.T))
    return np.array(found)


def _laplacian(log_target: np.ndarray, gamma: float, log_q: np.ndarray) -> np.ndarray:
    weights = dyn.PreferenceModel(log_target, gamma, log_sampler=log_q).information()
    return np.diag(weights.sum(-1)) - weights


def fitted_policies(wins: np.ndarray, phi: np.ndarray, gamma: float, log_targets: np.ndarray) -> np.ndarray:
    """log pihat of every method within the class of features, ``(method, data set, K)``; NaN where the reward is infinite."""
    K = len(phi)
    reward = np.asarray(dyn.rewards.bradley_terry(jnp.asarray(wins), throw=False).reward)
    chance = 1 / (1 + np.exp(-(reward[:, :, None] - reward[:, None, :])))
    pi = np.exp(np.broadcast_to(log_targets, reward.shape))
    pairs = (np.full((K, K), 1 / K**2), pi[:, :, None] * pi[:, None, :])
    usable = np.isfinite(reward.sum(axis=-1))
    safe = np.where(usable[:, None, None], chance, 0.5)
    # Distillation is maximum likelihood on the wins that the reward expects of its pairs.
    asked = np.concatenate([wins / wins.sum((1, 2), keepdims=True), *(q * safe for q in pairs)])
    asked = asked * (1 - np.eye(K))
    fits = np.asarray(dyn.rewards.bradley_terry(jnp.asarray(asked), features=gamma * phi, throw=False).reward) / gamma
    logs = np.concatenate([fits.reshape(3, len(wins), K), _projected(reward / gamma, phi)[None]])
    return np.where(usable[None, :, None], _log_softmax(logs), np.nan)


def _projected(target: np.ndarray, phi: np.ndarray) -> np.ndarray:
    """argmin of KL(pi || softmax(target)) over log pi = phi theta + const, by natural-gradient steps halved until it falls."""
    target = np.where(np.isfinite(target), target, 0.0)
    theta = np.zeros((len(target), phi.shape[1]))
    value = _reverse(phi, theta, target)
    for _ in range(PROJECTIONS):
        pi = np.exp(_log_softmax(theta @ phi.T))
        moment = lambda x, pi=pi: pi[..., None] * (x - np.einsum("nk,nkd->nd", pi, x)[:, None])
        both = np.broadcast_to(phi, (len(pi), *phi.shape))
        gap = target - theta @ phi.T
        slope = np.einsum("nkd,nk->nd", moment(both), gap)
        curve = np.einsum("nkd,nke->nde", moment(both), both)
        step = np.linalg.solve(curve, slope[..., None])[..., 0]
        size = np.ones(len(pi))
        for _ in range(30):
            trial = theta + size[:, None] * step
            found = _reverse(phi, trial, target)
            size = np.where(found > value, size / 2, size)
        better = found <= value
        theta, value = np.where(better[:, None], trial, theta), np.where(better, found, value)
        if np.abs(size[:, None] * step)[better].max(initial=0.0) < 1e-10:
            break
    return theta @ phi.T


def _reverse(phi: np.ndarray, theta: np.ndarray, target: np.ndarray) -> np.ndarray:
    log_pi = _log_softmax(theta @ phi.T)
    return np.sum(np.exp(log_pi) * (log_pi - _log_softmax(target)), axis=-1)


def _log_softmax(x: np.ndarray) -> np.ndarray:
    with np.errstate(invalid="ignore"):
        return x - np.logaddexp.reduce(x, axis=-1, keepdims=True)


def _divergence(log_target: np.ndarray, logs: np.ndarray) -> np.ndarray:
    return np.sum(np.exp(log_target) * (log_target - logs), axis=-1)
