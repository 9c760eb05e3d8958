"""A bound on the error of the maximum-likelihood policy from its comparisons alone."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import ArrayLike

from .._checks import Numbers, check_number
from .._laplacian import covariance_spectrum, grounded_inverse, resistances
from ..preferences import Comparisons, check_weights
from ._fit import bradley_terry
from ._groups import reason

REMEDY = "add comparisons until every response is reached from every other one by wins"


@dataclass(frozen=True)
class Certificate:
    """The result of ``certify``.

    Attributes:
        bound: of E_x KL(pi* || pihat), in nats; holds with probability at least 1 - delta.
        per_context: bounds of every KL(pi*_x || pihat_x), ``(*contexts,)``; they and ``bound`` hold at once.
        tau: the log-likelihood that the true rewards can lie below the maximum, in nats.
        M: the largest error of a difference of two rewards, ``(*contexts,)``, in nats.
        m: M/gamma, the same for log-ratios of policies.
        log_policy: log pihat, ``(*contexts, K)``, pihat ∝ exp(Rhat/gamma).
        delta: the failure probability that was asked for.
    """

    bound: float
    per_context: np.ndarray
    tau: float
    M: np.ndarray
    m: np.ndarray
    log_policy: np.ndarray
    delta: float

    def __str__(self) -> str:
        return f"E_x KL(pi* || pihat) ≤ {self.bound:.4g} nats with probability {1 - self.delta:g}"


def certify(
    data: Comparisons | Numbers, *, gamma: ArrayLike, delta: ArrayLike, scale: ArrayLike, weights: Numbers | None = None
) -> Certificate:
    """E_x KL(pi* || pihat) ≤ max_x w_x (tau/gamma²) l_max(H⁺ Sigma_pihat) · M²/(e^-M + M - 1) · ((m-1)e^m + 1)/m².

    tau = ln(1/delta) + Σ_x [½ logdet(I + s² Hbar) + ½ Rhatᵀ (s² I + Hbar⁺)^-1 Rhat], with H the Laplacian of the weights
    N_ab sigma'(Rhat_a - Rhat_b), Hbar that of N_ab/4, r the largest resistance of H, e^-M + M - 1 = r tau and m = M/gamma.
    It holds for any number of comparisons, also if they were stopped by looking at them, provided that gamma is right.

    Args:
        data: ``Comparisons`` of one data set, or wins ``(K, K)`` or ``(X, K, K)``: whole numbers, each an independent
            comparison. Pairs of equals have no effect.
        gamma: gamma of the preference model, in (0, ∞): an assumption, which the data cannot check.
        delta: probability that the bound fails, in (0, 1).
        scale: s, standard deviation of the rewards in nats that the bound is sharpest for, in (0, ∞). It has to be fixed
            before the data are seen.
        weights: shares of the contexts in E_x, ``(X,)``; equal ones by default.

    Raises:
        ValueError: a group that never lost to the others or was never compared with them, a context never sampled, counts
            that are not whole, or a gamma, delta or scale outside its range.

    Source: [derived], statement 7.12; with several contexts one tau serves all of them.

    >>> votes = 400 * np.array([[0, 3, 3], [2, 0, 3], [1, 2, 0]])
    >>> bool(0 < dyn.certify(votes, gamma=0.5, delta=0.05, scale=1.0).bound < 0.1)
    True
    """
    wins = np.asarray((data if isinstance(data, Comparisons) else Comparisons(data)).wins, np.float64)
    if wins.ndim > 3:
        raise ValueError(f"wins has shape {wins.shape}; certify one data set at a time, shape (K, K) or (X, K, K).")
    gamma = float(check_number(gamma, "gamma", 0.0, np.inf, open_low=True))
    scale = float(check_number(scale, "scale", 0.0, np.inf, open_low=True))
    delta = float(check_number(delta, "delta", 0.0, 1.0, open_low=True))
    if delta >= 1.0:
        raise ValueError(f"delta = {delta:g} is outside (0, 1); pass the probability that the bound may fail.")
    shares = np.asarray(check_weights(weights, wins.shape[:-2]), np.float64)
    K = wins.shape[-1]
    wins = wins * (1.0 - np.eye(K))
    if (wins != np.floor(wins)).any():
        at = [int(k) for k in np.argwhere(wins != np.floor(wins))[0]]
        raise ValueError(
            f"wins{at} = {wins[tuple(at)]:g} is not whole, but the bound counts independent comparisons; drop ties."
        )
    fit = bradley_terry(wins, throw=False)
    codes = np.asarray(fit.result)
    if codes.any():
        at = tuple(int(k) for k in np.argwhere(codes)[0]) if codes.ndim else ()
        raise ValueError(f"{reason(wins[at], int(codes[at]), at, REMEDY)}.")
    contexts = wins.shape[:-2]
    wins, reward = wins.reshape(-1, K, K), np.asarray(fit.reward, np.float64).reshape(-1, K)
    met = wins + np.swapaxes(wins, -1, -2)
    ratio = np.exp(-np.abs(reward[..., :, None] - reward[..., None, :]))
    weight = met * ratio / (1.0 + ratio) ** 2
    if not np.all(np.isfinite(grounded_inverse(weight))):
        raise ValueError("the fitted rewards lie so far apart that the bound overflows; add comparisons.")
    tau = float(np.log(1.0 / delta) + np.sum(_evidence(0.25 * met, reward, scale)))
    M = _largest_gap(resistances(grounded_inverse(weight)).max((-2, -1)) * tau)
    m = M / gamma
    log_policy = reward / gamma - np.logaddexp.reduce(reward / gamma, axis=-1, keepdims=True)
    largest = covariance_spectrum(weight, log_policy)[..., -1]
    with np.errstate(over="ignore"):
        per_context = tau / gamma**2 * largest / _below(M) * _above(m)
    bound = float(np.max(shares.ravel() * per_context))
    per_context, M, m = (x.reshape(contexts) for x in (per_context, M, m))
    return Certificate(bound, per_context, tau, M, m, log_policy.reshape(*contexts, K), delta)


def _evidence(weights: np.ndarray, reward: np.ndarray, scale: float) -> np.ndarray:
    """½ logdet(I + s² L) + ½ Rᵀ (s² I + L⁺)^-1 R for the Laplacian L of the weights; R has mean 0."""
    K = weights.shape[-1]
    laplacian = weights.sum(-1)[..., :, None] * np.eye(K) - weights
    values, vectors = np.linalg.eigh(laplacian)
    values = np.maximum(values, 0.0)
    along = np.einsum("...ak,...a->...k", vectors, reward)
    return 0.5 * np.sum(np.log1p(scale**2 * values) + along**2 * values / (1.0 + scale**2 * values), axis=-1)


def _largest_gap(target: np.ndarray) -> np.ndarray:
    """M ≥ 0 with e^-M + M - 1 = target."""
    M = target + np.minimum(np.sqrt(2.0 * target), 1.0)  # the left side is convex, and at least target there
    for _ in range(100):
        M = M - (M**2 * _below(M) - target) / -np.expm1(-M)
    return M


def _below(M: np.ndarray) -> np.ndarray:
    """(e^-M + M - 1)/M², 1/2 at 0."""
    small = M < 1e-2
    safe = np.where(small, 1.0, M)
    series = 0.5 - M / 6 + M**2 / 24 - M**3 / 120 + M**4 / 720 - M**5 / 5040
    return np.where(small, series, (np.expm1(-safe) + safe) / safe**2)


def _above(m: np.ndarray) -> np.ndarray:
    """((m-1) e^m + 1)/m² = Σ_k m^k / (k! (k+2)), 1/2 at 0."""
    small = m < 1e-2
    safe = np.where(small, 1.0, m)
    series = 0.5 + m / 3 + m**2 / 8 + m**3 / 30 + m**4 / 144 + m**5 / 840
    return np.where(small, series, ((safe - 1.0) * np.exp(safe) + 1.0) / safe**2)
