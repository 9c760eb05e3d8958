"""Comparisons drawn from a preference model, and estimates from them by plain Newton steps and plain enumeration."""

from __future__ import annotations

import numpy as np
from scipy.stats import binom

from ._lanes import Instance

MAX_STEPS = 60
MIN_RUNS, MAX_RUNS = 400, 4000
EXCEEDING_RUNS = 60  # expected number of runs beyond a quantile
FALSE_ALARM = 1e-6  # probability that a quantile or a frequency is overestimated


def logistic(x: np.ndarray) -> np.ndarray:
    return 0.5 * (1 + np.tanh(0.5 * x))


def fitted(wins: np.ndarray) -> np.ndarray:
    """Bradley–Terry rewards of maximum likelihood, Σ R = 0, of each table of wins, ``(…, K, K)`` → ``(…, K)``.

    Damped Newton steps with ln(1 + s)/s, s the largest change of a difference; the counts have to be connected.
    """
    K = wins.shape[-1]
    total, scale = wins + np.swapaxes(wins, -1, -2), wins.sum(axis=(-1, -2))[..., None]
    R = np.zeros(wins.shape[:-1])
    for _ in range(MAX_STEPS):
        p = logistic(R[..., :, None] - R[..., None, :])
        slope = (wins * (1 - p) - np.swapaxes(wins, -1, -2) * p).sum(axis=-1) / scale
        w = total * p * (1 - p) / scale[..., None]
        w = w * (1 - np.eye(K))
        H = w.sum(axis=-1)[..., None] * np.eye(K) - w + 1 / K
        step = np.linalg.solve(H, slope[..., None])[..., 0]
        size = np.ptp(step, axis=-1, keepdims=True)
        R = R + step * np.where(size > 1e-6, np.log1p(size) / np.where(size > 0, size, 1.0), 1.0)
        if size.max() < 1e-13:
            break
    return R - R.mean(axis=-1, keepdims=True)


def cells(log_target: np.ndarray, log_mu: np.ndarray, gamma: float) -> np.ndarray:
    """Probability that a comparison is between two responses and the first wins, (K, K); of one with itself on the diagonal."""
    R, mu = gamma * log_target, np.exp(log_mu)
    q = 2 * mu[:, None] * mu[None, :] / (1 + np.exp(R[None, :] - R[:, None]))
    return np.where(np.eye(len(mu)) > 0, mu[:, None] ** 2, q)


def softmax_of(R: np.ndarray, gamma: float) -> np.ndarray:
    """log pihat ∝ exp(R/gamma)."""
    z = R / gamma
    return z - np.logaddexp.reduce(z, axis=-1, keepdims=True)


def forward_kl(log_target: np.ndarray, log_pi: np.ndarray) -> np.ndarray:
    """KL(pi*||pi) without cancellation: E_*[e^d - 1 - d], since E_* e^d = 1."""
    d = log_pi - log_target
    return np.asarray((np.exp(log_target) * (np.expm1(d) - d)).sum(axis=-1))


def log_preferences(log_policies: np.ndarray, gamma: float) -> np.ndarray:
    """log P_pi(first wins) of each policy, (N, K, K); 0 on the diagonal, which tells policies nothing."""
    R = gamma * log_policies
    out = -np.logaddexp(0.0, R[:, None, :] - R[:, :, None])
    return out * (1 - np.eye(log_policies.shape[1]))


def draws(x: Instance, runs: int) -> np.ndarray:
    """Counts of each cell in ``runs`` data sets of n comparisons, (runs, K²)."""
    q = cells(x["log_policies"][x["member"]], x["log_mu"], x["gamma"]).ravel()
    return np.random.default_rng(0).multinomial(x["comparisons"], q / q.sum(), runs).astype(float)


def runs_for(failure: float) -> int:
    return int(np.clip(np.ceil(EXCEEDING_RUNS / failure), MIN_RUNS, MAX_RUNS))


def limit_of_quantile(values: np.ndarray, failure: float) -> float:
    """A lower confidence limit, with error probability 1e-6, of the (1 - failure)-quantile; 0 where the runs are too few."""
    least = int(binom.isf(FALSE_ALARM, len(values), failure)) + 1
    return float(np.sort(values)[len(values) - least]) if least <= len(values) else 0.0


def _worst_first(x: Instance) -> np.ndarray:
    """The class by decreasing KL(pi*||pi), so that ties go to the worst."""
    far = forward_kl(x["log_policies"][x["member"]], x["log_policies"])
    return x["log_policies"][np.argsort(-far, kind="stable")]


def chosen(x: Instance, counts: np.ndarray) -> np.ndarray:
    """The policy of maximum likelihood on each row of counts, (runs, K)."""
    policies = _worst_first(x)
    return policies[(counts @ log_preferences(policies, x["gamma"]).reshape(len(policies), -1).T).argmax(axis=1)]


def _best_rewards(x: Instance, counts: np.ndarray) -> np.ndarray:
    return (counts @ log_preferences(x["rewards"], 1.0).reshape(len(x["rewards"]), -1).T).argmax(axis=1)


def distilled(x: Instance, counts: np.ndarray) -> np.ndarray:
    """Distillation of the best reward of the class on the same pairs: soft wins in place of the counts."""
    K, policies = len(x["log_mu"]), _worst_first(x)
    pairs = counts.reshape(-1, K, K) + counts.reshape(-1, K, K).transpose(0, 2, 1)
    soft = pairs * np.exp(log_preferences(x["rewards"], 1.0))[_best_rewards(x, counts)]
    score = soft.reshape(len(counts), -1) @ log_preferences(policies, x["gamma"]).reshape(len(policies), -1).T
    return policies[score.argmax(axis=1)]


def tilted_best(x: Instance, counts: np.ndarray) -> np.ndarray:
    """The policy that maximises E_pi Rhat + gamma H(pi), Rhat the best reward of the class."""
    policies = _worst_first(x)
    value = (np.exp(policies) @ x["rewards"].T - x["gamma"] * (np.exp(policies) * policies).sum(axis=1)[:, None]).T
    return policies[value.argmax(axis=1)][_best_rewards(x, counts)]
