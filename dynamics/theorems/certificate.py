"""A bound on KL(pi*||pihat) from the comparisons alone (statement 7.12)."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import root_scalar
from scipy.sparse.csgraph import connected_components

from .._checks import host_numbers
from . import _algebra as al
from . import _inputs
from ._bound import Claim, theorem
from .source import Source, log_policy, positive

_MAX_STEPS = 200
_MAX_EXPONENT = 600.0  # beyond it the width is infinite in float64


def sampled_wins(log_target: np.ndarray, log_mu: np.ndarray, gamma: float, comparisons: int, seed: int) -> np.ndarray:
    """wins (K, K): how often a beat b in n comparisons drawn by ``default_rng(seed)``; those of a with itself are left out."""
    mu = np.exp(log_mu)
    chance = 2 * np.outer(mu, mu) * al.sigmoid(gamma * al.pairwise_difference(log_target))
    np.fill_diagonal(chance, mu**2)
    drawn = np.random.default_rng(seed).multinomial(comparisons, chance.ravel() / chance.sum()).reshape(chance.shape)
    np.fill_diagonal(drawn, 0)
    return drawn.astype(float)


def separated(wins: np.ndarray) -> list[int]:
    """A group of responses that never loses to the others (Ford), or none where the estimate is finite."""
    count, label = connected_components(wins > 0, directed=True, connection="strong")
    groups = [np.flatnonzero(label == k) for k in range(count)]
    beaten = lambda inside: wins[np.ix_(np.setdiff1d(np.arange(len(wins)), inside), inside)].sum()
    return [] if count == 1 else next(group.tolist() for group in groups if beaten(group) == 0)


def estimate(wins: np.ndarray) -> np.ndarray:
    """The maximum-likelihood rewards, Σ R = 0, by Newton's method on the K - 1 free coordinates."""
    total, basis = wins + wins.T, al.null_space(np.ones((1, len(wins))))
    R = np.zeros(len(wins))
    for _ in range(_MAX_STEPS):
        P = al.sigmoid(al.pairwise_difference(R))
        slope = (wins - total * P).sum(axis=1)
        step = basis @ np.linalg.solve(basis.T @ laplacian(total * P * P.T) @ basis, basis.T @ slope)
        span = float(np.ptp(step))
        R = R + step * (math.log1p(span) / span if span > 1e-3 else 1.0)
        if span <= 1e-13 * (1 + np.ptp(R)):
            break
    return R


def laplacian(weight: np.ndarray) -> np.ndarray:
    """diag(weight 1) - weight, for symmetric weights."""
    off = weight - np.diag(np.diag(weight))
    return np.diag(off.sum(axis=1)) - off


def _width(wins: np.ndarray, gamma: float, failure: float, scale: float) -> float:
    R, total, basis = estimate(wins), wins + wins.T, al.null_space(np.ones((1, len(wins))))
    P = al.sigmoid(al.pairwise_difference(R))
    free = lambda A: basis.T @ A @ basis
    H, most, reward = free(laplacian(total * P * P.T)), free(laplacian(total / 4)), basis.T @ R
    one = np.eye(len(reward))
    prior = reward @ np.linalg.solve(scale**2 * one + np.linalg.inv(most), reward)
    tau = math.log(1 / failure) + (np.linalg.slogdet(one + scale**2 * most)[1] + prior) / 2
    pinv = basis @ np.linalg.inv(H) @ basis.T
    variances = np.diag(pinv)[:, None] + np.diag(pinv) - 2 * pinv
    r_tau = float(variances.max() * tau)
    if 2 + r_tau > _MAX_EXPONENT * gamma:
        return math.inf
    M = float(root_scalar(lambda M: M + math.expm1(-M) - r_tau, bracket=(0.0, 2 + r_tau), xtol=1e-300, rtol=1e-14).root)
    root = np.linalg.cholesky(H)
    half = np.linalg.solve(root, free(al.covariance(np.exp(_inputs.normalise(R / gamma)))))
    largest = float(np.linalg.eigvalsh(np.linalg.solve(root, half.T))[-1])
    m = M / gamma
    curved = (m - 1) * math.exp(m) + 1 if m > 1e-3 else m**2 / 2 + m**3 / 3 + m**4 / 8
    return tau / gamma**2 * largest * M**2 / r_tau * curved / m**2


def certificate_bound(*, wins: ArrayLike, gamma: float, failure: float, scale: float) -> float:
    """A bound on KL(pi*||pihat) with probability 1 - delta, whatever n is, also under optional stopping; tabular.

    (tau/gamma²) l_max(H⁺ Sigma_pihat) · M²/(e^-M + M - 1) · ((m-1)e^m + 1)/m², with tau, H and M as in statement 7.12.

    Args:
        wins: how often a beat b, shape (K, K); the diagonal carries nothing and is ignored.
        gamma: of P(a over b) = sigma(gamma log pi*_a/pi*_b), > 0: an assumption, not learned.
        failure: delta, in (0, 1].
        scale: the prior scale s of rewards, > 0, fixed before the data are seen.

    Returns:
        The bound in nats; infinite where it is out of float64's range.

    Raises:
        ValueError: a malformed input, or counts whose estimate is infinite, with the group that never loses.

    Source: [derived] statement 7.12.

    >>> wins = [[0, 600], [400, 0]]
    >>> round(dyn.theorems.certificate_bound(wins=wins, gamma=0.5, failure=0.05, scale=1.0), 4)
    0.0324
    """
    x = _inputs.checked({"gamma": gamma, "failure": failure, "scale": scale})
    counts = host_numbers(wins, "wins").copy()
    square = counts.ndim == 2 and counts.shape[0] == counts.shape[1] and len(counts) > 1
    if not square or not np.isfinite(counts).all() or (counts < 0).any():
        raise ValueError(f"wins has shape {counts.shape} or entries below 0; pass counts, shape (K, K), K ≥ 2.")
    np.fill_diagonal(counts, 0.0)
    group = separated(counts)
    if group:
        raise ValueError(
            f"responses {group} never lose to the others, so that the estimate is infinite; compare them until they do, or "
            "leave them out."
        )
    return float(_width(counts, x["gamma"], x["failure"], x["scale"]))


def _data(source: Source) -> dict[str, Any]:
    K = source.integer(2, 5)
    return {
        "log_target": log_policy(source, K, (0.1, 1.0, 2.0)),
        "log_mu": log_policy(source, K, (0.0, 1.0)),
        "gamma": positive(source, 0.3, 2.0),
        "comparisons": int(positive(source, 1e3, 1e6)),
        "seed": source.integer(0, 10**6),
        "scale": positive(source, 0.3, 3.0),
        "failure": source.choice((0.05, 0.01, 0.3)),
    }


@theorem(
    number="7.12",
    source="[derived] statement 7.12, the certificate",
    statement="H = Σ N_ab sigma'(Rhat_a - Rhat_b)(e_a - e_b)(e_a - e_b)ᵀ, Hbar the same with 1/4, tau = ln(1/delta) + "
    "½ logdet(I + s² Hbar) + ½ Rhatᵀ(s² I + Hbar⁺)⁻¹ Rhat, r = max_ab (e_a - e_b)ᵀH⁺(e_a - e_b), e^-M + M - 1 = r tau, "
    "m = M/gamma, s > 0 fixed before the data: with probability at least 1 - delta KL(pi*||pihat) ≤ "
    "(tau/gamma²) l_max(H⁺ Sigma_pihat) "
    "M²/(e^-M + M - 1) ((m-1)e^m + 1)/m².",
    quantity="KL(pi*||pihat), pihat the tabular maximum-likelihood policy on the comparisons of sampled_wins",
    strength="loose",
    build=_data,
)
def certificate(
    log_target: np.ndarray,
    log_mu: np.ndarray,
    gamma: float,
    comparisons: int,
    seed: int,
    scale: float,
    failure: float,
) -> Claim:
    """``log_target`` and ``log_mu`` only make the data; ``certificate_bound`` takes your own. ``scale`` is s."""
    wins = sampled_wins(log_target, log_mu, gamma, comparisons, seed)
    finite = {"the estimate is finite": not separated(wins)}
    upper = _width(wins, gamma, failure, scale) if all(finite.values()) else math.inf
    return Claim(0.0, upper, finite, failure, vacuous=bool(upper == math.inf))
