"""The hierarchical Gaussian on log-odds: modes, marginal likelihoods and draws by Laplace's method, on a grid of scales.

The log-odds eta (skew) are G + C: G_ij = g_i - g_j with g the row means, what scores explain, and C with row sums 0, what no
score explains. A priori G ~ N(0, K sigma² Pi_G) and C ~ N(0, t² Pi_C) with t² = tau²/(1 - 2/K), Pi_G and Pi_C the projections,
so that √2 sigma is the sd of a pair's log-odds from scores, and tau that of its residual. Bradley–Terry is tau = 0 and a
regular tournament sigma = 0; both are in reach, and neither is forced. Matrices are skew ``(…, K, K)``; NumPy alone.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.special import logsumexp

SIGMAS = np.geomspace(0.03, 8.0, 12)
TAUS = np.geomspace(0.02, 4.0, 12)
NEWTON_STEPS = 60
NEWTON_TOLERANCE = 1e-9


class Grid(NamedTuple):
    """The posterior on the grid of (sigma, tau), one row for each point.

    Attributes:
        sigma, tau, t: the scales, ``(S,)``; tau and t are 0 for K = 2, where there is no residual.
        mode: log-odds at the mode, ``(S, K, K)``.
        log_weight: logarithm of the posterior weight, ``(S,)``, normalised.
        log10_bayes_factor: of the whole grid against its first tau, which is Bradley–Terry to within .02.
        residual: the largest last Newton step, relative.
    """

    sigma: np.ndarray
    tau: np.ndarray
    t: np.ndarray
    mode: np.ndarray
    log_weight: np.ndarray
    log10_bayes_factor: float
    residual: float


def log_prior_sigma(sigma: np.ndarray) -> np.ndarray:
    """The log density of log sigma: sigma p(sigma), p ∝ 1/(sigma (1 + (sigma/2)²)), on [.03, 8]."""
    return -np.log1p((sigma / 2) ** 2)


def log_prior_tau(tau: np.ndarray, K: int, scale: float) -> np.ndarray:
    """The log density of log tau: tau^(1 + 1/d) exp(-(tau/scale)²/2), d = (K-1)(K-2)/2 the dimension of C."""
    d = (K - 1) * (K - 2) / 2
    return (1 + 1 / d) * np.log(tau) - 0.5 * (tau / scale) ** 2


def residual_scale(tau: np.ndarray, K: int) -> np.ndarray:
    """t, the scale of skew white noise before its score part is taken out."""
    return tau / np.sqrt(1 - 2 / K)


def sigmoid(x: np.ndarray) -> np.ndarray:
    """1/(1 + exp(-x)) without overflow; both tails keep their precision."""
    ratio = np.exp(-np.abs(x))
    return np.where(x >= 0, 1.0, ratio) / (1.0 + ratio)


def differences(s: np.ndarray) -> np.ndarray:
    """s_i - s_j."""
    return s[..., :, None] - s[..., None, :]


def score_part(eta: np.ndarray) -> np.ndarray:
    """G, with G_ij = g_i - g_j and g the row means."""
    return differences(eta.mean(axis=-1))


def log_likelihood(eta: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Σ_ij c_ij log sigmoid(eta_ij)."""
    return -(counts * np.logaddexp(0.0, -eta)).sum(axis=(-2, -1))


def fit(counts: np.ndarray, scale: float) -> Grid:
    """Modes and weights on the grid of scales.

    Args:
        counts: win counts, ``(K, K)``.
        scale: the scale of the prior of tau.
    """
    K = len(counts)
    sigma, tau = (x.ravel() for x in np.meshgrid(SIGMAS, TAUS if K > 2 else [0.0], indexing="ij"))
    t2 = residual_scale(tau, K) ** 2 if K > 2 else np.zeros_like(tau)
    v = sigma**2 - t2 / K
    n = counts + counts.T
    mode = np.zeros((len(sigma), K, K))
    value = _objective(mode, counts, sigma, t2)
    step_size = np.full(len(sigma), np.inf)
    active = np.arange(len(sigma))
    for _ in range(NEWTON_STEPS):
        eta = mode[active]
        p = sigmoid(eta)
        W = n * p * sigmoid(-eta)
        step = solve(W, W * eta + counts - n * p, v[active], t2[active]) - eta
        better, size = np.zeros(len(active), bool), np.ones(len(active))
        for _ in range(30):
            trial = eta + size[:, None, None] * step
            found = _objective(trial, counts, sigma[active], t2[active])
            better = found >= value[active] - 1e-12 * (1 + np.abs(value[active]))
            if better.all():
                break
            size = np.where(better, size, size / 2)
        mode[active] = np.where(better[:, None, None], trial, eta)
        value[active] = np.where(better, found, value[active])
        step_size[active] = np.abs(step).max(axis=(1, 2)) / (1 + np.abs(eta).max(axis=(1, 2)))
        active = active[better & (step_size[active] > NEWTON_TOLERANCE)]
        if len(active) == 0:
            break
    p = sigmoid(mode)
    W = n * p * sigmoid(-mode)
    i, j = np.triu_indices(K, 1)
    log_weight = value - 0.5 * np.log1p(t2[:, None] * W[:, i, j]).sum(axis=1)
    log_weight -= 0.5 * np.linalg.slogdet(np.eye(K) + v[:, None, None] * _laplacian(W, t2))[1]
    prior = log_prior_sigma(sigma) + (log_prior_tau(tau, K, scale) if K > 2 else 0.0)
    log_prior = prior - logsumexp(prior)
    whole = logsumexp(log_weight + log_prior)
    first = tau == tau.min()
    alone = logsumexp((log_weight + log_prior)[first]) - logsumexp(log_prior[first])
    return Grid(
        sigma, tau, np.sqrt(t2), mode, log_weight + log_prior - whole, (whole - alone) / np.log(10), step_size.max()
    )


def draw(grid: Grid, counts: np.ndarray, rng: np.random.Generator, draws: int) -> tuple[np.ndarray, np.ndarray]:
    """Draws of (sigma, tau) by index, and log-odds from the Gaussian at each mode, by perturbing and solving."""
    K = len(counts)
    index = rng.choice(len(grid.sigma), size=draws, p=np.exp(grid.log_weight))
    mode, t2, sigma = grid.mode[index], grid.t[index] ** 2, grid.sigma[index]
    v = sigma**2 - t2 / K
    W = (counts + counts.T) * sigmoid(mode) * sigmoid(-mode)
    prior = white(rng, draws, K)
    explained = score_part(prior)
    noise = np.sqrt(W) * white(rng, draws, K) + explained / (np.sqrt(K) * sigma)[:, None, None]
    if K > 2:
        noise += (prior - explained) / np.sqrt(t2)[:, None, None]
    return index, mode + solve(W, noise, v, t2)


def white(rng: np.random.Generator, draws: int, K: int) -> np.ndarray:
    """Skew matrices with independent N(0, 1) above the diagonal."""
    i, j = np.triu_indices(K, 1)
    z = np.zeros((draws, K, K))
    z[:, i, j] = rng.standard_normal((draws, len(i)))
    return z - np.swapaxes(z, 1, 2)


def solve(W: np.ndarray, r: np.ndarray, v: np.ndarray, t2: np.ndarray) -> np.ndarray:
    """(W + prior precision)^-1 r for skew r, where the prior covariance is v (s_i - s_j) structure plus t² I."""
    K = W.shape[-1]
    t2 = t2[:, None, None]
    damped = 1 + t2 * W
    matrix = np.eye(K) + v[:, None, None] * _laplacian(W, t2[:, 0, 0])
    s = np.linalg.solve(matrix, v[:, None, None] * (r / damped).sum(axis=2)[..., None])[..., 0]
    pull = differences(s)
    return pull + t2 * (r - W * pull) / damped


def _laplacian(W: np.ndarray, t2: np.ndarray) -> np.ndarray:
    D = W / (1 + t2[:, None, None] * W)
    return np.eye(W.shape[-1]) * D.sum(axis=2)[..., None] - D


def _objective(eta: np.ndarray, counts: np.ndarray, sigma: np.ndarray, t2: np.ndarray) -> np.ndarray:
    """The log-likelihood minus half the prior's quadratic form."""
    K = eta.shape[-1]
    g = eta.mean(axis=-1)
    scores = (g**2).sum(axis=-1)
    form = scores / sigma**2
    if K > 2:
        form = form + (0.5 * (eta**2).sum(axis=(-2, -1)) - K * scores) / t2
    return log_likelihood(eta, counts) - 0.5 * form
