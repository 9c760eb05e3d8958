"""What the experiments on alignment as distribution learning share: instances, data sets, closed forms and errors."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from scipy.special import expit, log_softmax
from scipy.stats import t as student

import dynamics as dyn

from ._framework import require

GRID = 10 ** np.linspace(-3, 4, 57)  # every beta that is tried: eight per decade
NEWTON_STEPS = 100


def require_toy(config: Any) -> None:
    """Raises ``ValueError`` unless the fields that configurations of the toy share are in range; for ``__post_init__``."""
    for name in ("gamma", "spread"):
        require(config, name, 0, 10, open_low=True)
    require(config, "contexts", 1, 1000)
    require(config, "size", 3, 1000)
    require(config, "exponents", 0, 40)
    require(config, "instances", 3, 10_000)
    require(config, "sets", 1, 10_000)
    if config.exponents[1] - config.exponents[0] < 2:
        raise ValueError(f"exponents = {config.exponents} are fewer than three; pass a wider range.")


class Interval(NamedTuple):
    """A mean and its 95 % interval by Student's law."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.4g} [{self.low:.4g}, {self.high:.4g}]"

    def within(self, low: float, high: float) -> bool:
        return bool(low <= self.low and self.high <= high)

    def outside(self, low: float, high: float) -> bool:
        return bool(self.high < low or self.low > high)


def mean(values: np.ndarray) -> Interval:
    """The mean of independent values and its interval."""
    values = np.asarray(values, dtype=float).ravel()
    half = float(student.ppf(0.975, len(values) - 1) * values.std(ddof=1) / np.sqrt(len(values)))
    return Interval(float(values.mean()), float(values.mean() - half), float(values.mean() + half))


def ratio(above: np.ndarray, below: np.ndarray) -> Interval:
    """Σ above/Σ below and its interval, to first order, over independent pairs."""
    above, below = np.ravel(above), np.ravel(below)
    value = float(above.sum() / below.sum())
    spread = mean((above - value * below) / below.mean())
    return Interval(value, value + spread.low - spread.value, value + spread.high - spread.value)


def policies(count: int, contexts: int, size: int, spread: float, random: np.random.Generator) -> np.ndarray:
    """Log-policies with independent logits N(0, spread²), ``(count, contexts, size)``."""
    return log_softmax(spread * random.normal(size=(count, contexts, size)), axis=-1)


def models(log_target: np.ndarray, gamma: float) -> list[dyn.PreferenceModel]:
    """The preference model of every instance ``(X, K)``, with responses sampled uniformly."""
    uniform = jnp.full(log_target.shape[-1], -np.log(log_target.shape[-1]))
    return [dyn.PreferenceModel(jnp.asarray(one), gamma, log_sampler=uniform) for one in log_target]


def nested(
    worlds: list[dyn.PreferenceModel], numbers: np.ndarray, sets: int, seed: int
) -> Iterator[tuple[int, np.ndarray]]:
    """For every n the wins ``(I, sets, X, K, K)`` of n comparisons, which contain those of the n before."""
    wins, before, key = None, 0, jax.random.key(seed)
    for n in map(int, numbers):
        key, *keys = jax.random.split(key, len(worlds) + 1)
        more = [np.asarray(w.sample(n - before, key=k, data_sets=sets).wins) for w, k in zip(worlds, keys, strict=True)]
        wins = np.stack(more) if wins is None else wins + np.stack(more)
        before = n
        yield n, wins


def rewards(wins: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Unregularised Rhat ``(…, X, K)``, and whether all contexts of a data set have one, ``(…)``."""
    fit = dyn.rewards.bradley_terry(dyn.Comparisons(wins), throw=False)
    return np.asarray(fit.reward), (np.asarray(fit.result) == 0).all(axis=-1)


def divergence(log_target: np.ndarray, log_policy: np.ndarray) -> np.ndarray:
    """E_x KL(pi*||pi), contexts and responses on the last two axes, as E_* [e^d - 1 - d], d = log pi/pi*."""
    d = log_policy - log_target
    return ((np.expm1(d) - d) * np.exp(log_target)).sum(axis=-1).mean(axis=-1)


def reverse_kl(reward: np.ndarray, log_reference: np.ndarray, gamma: float, beta: float) -> np.ndarray:
    """log pi, pi ∝ pi_0^{beta/(beta+gamma)} exp(Rhat/(beta+gamma)); also what PMLE and distillation learn at beta = 0."""
    return log_softmax((beta * log_reference + reward) / (beta + gamma), axis=-1)


def rlhf(reward: np.ndarray, log_reference: np.ndarray, gamma: float, beta: float) -> np.ndarray:
    """log pi, pi ∝ pi_0 exp(Rhat/beta), whatever gamma is."""
    return log_softmax(log_reference + reward / beta, axis=-1)


def moments(log_target: np.ndarray, log_reference: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Var d, Cov(d, u) and Var u under pi*, averaged over contexts; d = log pi*/pi_0, u = log pi*."""
    p, d, u = np.exp(log_target), log_target - log_reference, log_target
    covariance = lambda x, y: ((p * x * y).sum(-1) - (p * x).sum(-1) * (p * y).sum(-1)).mean(-1)
    return covariance(d, d), covariance(d, u), covariance(u, u)


def pmle(wins: np.ndarray, log_reference: np.ndarray, gamma: float, beta: float) -> np.ndarray:
    """log pi of the least PMLE + beta KL(pi||pi_0) near pi_0, for wins ``(N, K, K)`` and log pi_0 ``(N, K)``, beta > 0.

    Newton's method from pi_0, many problems at once, in logits; where a step would not descend it is halved. Losses are means
    over the comparisons of a context; a context without any keeps pi_0.
    """
    count, K = log_reference.shape
    off = wins * (1 - np.eye(K))
    total = np.maximum(wins.sum((-2, -1)), 1.0)[:, None, None]
    rates = off / total
    met = rates + np.swapaxes(rates, -1, -2)
    x, settled = log_reference.copy(), np.zeros(count, bool)
    one = np.ones((K, K)) / K

    def value(z: np.ndarray, k: np.ndarray) -> np.ndarray:
        log_pi = log_softmax(z, axis=-1)
        gaps = gamma * (z[:, :, None] - z[:, None, :])
        penalty = (np.exp(log_pi) * (log_pi - log_reference[k])).sum(-1)
        return (rates[k] * np.logaddexp(0.0, -gaps)).sum((-2, -1)) + beta * penalty

    for _ in range(NEWTON_STEPS):
        k = np.flatnonzero(~settled)
        if not len(k):
            break
        z = log_softmax(x[k], axis=-1)
        pi, log_ratio = np.exp(z), z - log_reference[k]
        gaps = gamma * (z[:, :, None] - z[:, None, :])
        pull = rates[k] * expit(-gaps)
        excess = log_ratio - (pi * log_ratio).sum(-1, keepdims=True)
        slope = -gamma * (pull.sum(-1) - pull.sum(-2)) + beta * pi * excess
        weight = gamma**2 * met[k] * expit(gaps) * expit(-gaps)
        curvature = np.eye(K) * weight.sum(-1)[:, :, None] - weight
        # The KL's curvature without its part in ``excess``, which vanishes at pi_0 and may be negative: always a descent.
        curvature += beta * (np.eye(K) * pi[:, :, None] - pi[:, :, None] * pi[:, None, :])
        exact = curvature + beta * (
            np.eye(K) * (pi * excess)[:, :, None] - pi[:, :, None] * (pi * excess)[:, None, :]
            - (pi * excess)[:, :, None] * pi[:, None, :]
        )  # fmt: skip
        least = np.linalg.eigvalsh(exact + one * beta)[:, 0]
        curvature = np.where((least > 0)[:, None, None], exact, curvature)
        step = -np.linalg.solve(curvature + one * beta, slope[..., None])[..., 0]
        now, length = value(z, k), np.ones(len(k))
        for _ in range(30):
            worse = value(z + length[:, None] * step, k) > now + 1e-14 * (1 + np.abs(now) + beta)  # rounding
            if not worse.any():
                break
            length[worse] /= 2
        x[k] = z + length[:, None] * step
        settled[k] = np.ptp(step, axis=-1) < 1e-11 * (1 + np.ptp(z, axis=-1))
    return np.where(settled[:, None], log_softmax(x, axis=-1), np.nan)
