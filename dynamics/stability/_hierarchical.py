"""Draws of P from the hierarchical model: scores, residuals with one scale, and a few triangles that stand out."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.special import logsumexp

from . import _laplace as laplace
from ._chains import Chains
from ._gibbs import Pairs
from ._triangles import AMPLITUDES, Evidence, along, every, log_ratio

SLOTS = 6  # triangles that may stand out; K ≥ 4
CHAINS, MANY_CHAINS = 120, 50  # K ≤ 25, K > 25
BURN_IN, GAP = 30, 4  # sweeps before the first draw of a chain, and between its draws


class Sample(NamedTuple):
    """Draws and diagnostics; the attributes of ``Posterior`` say what each is."""

    P: np.ndarray
    sigma: np.ndarray
    tau: np.ndarray
    log10_bayes_factor: float
    acceptance: float
    edge_weight: float
    prior_share: float | None


def hierarchical(
    counts: np.ndarray, rng: np.random.Generator, draws: int, scale: float, *, slots: int = SLOTS
) -> Sample:
    """Draws from the posterior.

    Chains start from draws of the Gaussian model at its modes, which has the scales nearly right; each gives several draws.

    Args:
        counts: checked win counts, ``(K, K)``.
        rng: a generator.
        draws: number of draws.
        scale: the scale of the prior of tau.
        slots: triangles that may stand out; 0 for the Gaussian model alone.
    """
    K = len(counts)
    grid = laplace.fit(counts, scale)
    M = min(draws, CHAINS if K <= 25 else MANY_CHAINS)
    index, eta = laplace.draw(grid, counts, rng, M)
    chains = Chains(counts, eta, grid.sigma[index], grid.t[index], rng, scale=scale, slots=slots)
    triangle = 0.0
    if chains.triangles is not None:
        kappa, omega, t, sigma = _at_modes(grid, counts, chains.pairs)
        chains.triangles.aim(kappa, omega, t, sigma)
        triangle = _one_triangle(kappa[-1:], omega[-1:], t[-1:], sigma[-1:], chains.pairs)
    kept = []
    turns = BURN_IN + GAP * (-(-draws // M) - 1)
    for turn in range(turns):
        chains.sweep(turn)
        if turn >= BURN_IN - 1 and (turn - BURN_IN + 1) % GAP == 0:
            kept.append((chains.eta, chains.sigma, chains.tau))
    eta, sigma, tau = (np.concatenate(x)[:draws] for x in zip(*kept, strict=True))
    pairs = chains.pairs
    P = np.full((draws, K, K), 0.5)
    # Both sides are computed from the log-odds, because 1 - p would round to 0 for p near 1.
    P[:, pairs.i, pairs.j], P[:, pairs.j, pairs.i] = laplace.sigmoid(eta), laplace.sigmoid(-eta)
    weight, ends = np.exp(grid.log_weight), grid.sigma == laplace.SIGMAS[-1]
    if K > 2:
        ends |= grid.tau == laplace.TAUS[-1]
    factor = grid.log10_bayes_factor
    if chains.triangles is not None:
        factor = float(np.logaddexp(factor * np.log(10), triangle) - np.log(2)) / np.log(10)
    share = None if K == 2 else float(np.ptp(np.quantile(tau, (0.05, 0.95))) / np.ptp(_prior_interval(K, scale)))
    return Sample(P, sigma, tau, float(factor), chains.accepted / chains.proposed, float(weight[ends].sum()), share)


def _at_modes(grid: laplace.Grid, counts: np.ndarray, pairs: Pairs) -> tuple[np.ndarray, ...]:
    """(κ, ω, t, sigma) of the likelihood's quadratic approximation at the best point of the grid and at the best of its first
    tau, where triangles are not yet explained by a common scale.
    """
    low = np.flatnonzero(grid.tau == grid.tau.min())
    best = [int(grid.log_weight.argmax()), int(low[grid.log_weight[low].argmax()])]
    eta = grid.mode[best][:, pairs.i, pairs.j]
    wins, n = counts[pairs.i, pairs.j], (counts + counts.T)[pairs.i, pairs.j]
    p = laplace.sigmoid(eta)
    W = n * p * laplace.sigmoid(-eta)
    return wins - n * p + W * eta, W, grid.t[best], grid.sigma[best]


def _one_triangle(kappa: np.ndarray, omega: np.ndarray, t: np.ndarray, sigma: np.ndarray, pairs: Pairs) -> float:
    """log of the marginal likelihood of Bradley–Terry with one triangle, any, over that of Bradley–Terry."""
    corners, sides = every(pairs)
    evidence = Evidence(pairs, omega, t, sigma)
    information = evidence.information(corners[:, None], sides[:, None])
    g = along(evidence.left(kappa), sides[:, None])
    logs = np.stack([log_ratio(g, information, A) for A in AMPLITUDES])
    return float(logsumexp(logs) - np.log(logs.size))


def _prior_interval(K: int, scale: float) -> np.ndarray:
    tau = np.geomspace(laplace.TAUS[0], laplace.TAUS[-1], 2000)
    density = np.exp(laplace.log_prior_tau(tau, K, scale))
    return np.interp((0.05, 0.95), np.cumsum(density) / density.sum(), tau)
