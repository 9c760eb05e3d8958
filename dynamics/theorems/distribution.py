"""Alignment as distribution learning (Yun25): its lemmas, the constant of O(1/n) (7.9, 7.10), and RLHF's limit (7.13).

The preference of a over b is sigma(gamma log pi*_a/pi*_b); comparisons draw both responses from mu; one context.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from scipy.optimize import root_scalar

from . import _algebra as al
from ._bound import Claim, theorem
from ._coverage import psi
from ._inputs import normalise
from .source import Source, log_policy, positive


def _two_numbers(source: Source) -> dict[str, Any]:
    size = source.choice((1e-3, 1.0, 10.0))
    return {"first": source.number(-size, size), "second": source.number(-size, size)}


@theorem(
    number="5.3",
    source="[paper] Yun25, lemma on the logistic function",
    statement="|sigma(a) - sigma(b)| ≥ e^(-max(|a|, |b|)) |a - b|/4.",
    quantity="|sigma(a) - sigma(b)|, a = first, b = second",
    strength="tight",
    build=_two_numbers,
)
def sigmoid_difference(first: float, second: float) -> Claim:
    """sigma'(x) ≥ e^-|x|/4, with equality at 0; no slope exceeds 1/4."""
    distance = abs(first - second) / 4
    return Claim(math.exp(-max(abs(first), abs(second))) * distance, distance)


def _ratio_below(source: Source) -> dict[str, Any]:
    most = positive(source, 1e-3, 1e4)
    return {"ratio": most * source.choice((1.0, positive(source, 1e-3, 1.0))), "ratio_bound": most}


@theorem(
    number="5.3",
    source="[paper] Yun25, lemma on r - 1 - ln r, from above",
    statement="0 < r ≤ r_max: 0 ≤ r - 1 - ln r ≤ psi(r_max) (ln r)², psi(z) = (z - 1 - ln z)/(ln z)².",
    quantity="r - 1 - ln r, r = ratio; r_max = ratio_bound",
    strength="tight",
    build=_ratio_below,
)
def logarithm_above(ratio: float, ratio_bound: float) -> Claim:
    """psi increases: equality at r = r_max."""
    upper = psi(math.log(ratio_bound)) * math.log(ratio) ** 2
    return Claim(0.0, upper, {"ratio ≤ ratio_bound": ratio <= ratio_bound})


def _ratio_above(source: Source) -> dict[str, Any]:
    least = source.choice((math.exp(-1), positive(source, 1e-6, 1e2)))
    return {"ratio": least * source.choice((1.0, positive(source, 1.0, 1e3))), "ratio_bound": least}


@theorem(
    number="5.3",
    source="[paper] Yun25, lemma on r - 1 - ln r, from below",
    statement="r ≥ r_min > 0: r - 1 - ln r ≥ (ln r)²/(e max(ln 1/r_min, 1)).",
    quantity="r - 1 - ln r, r = ratio; r_min = ratio_bound",
    strength="tight",
    build=_ratio_above,
)
def logarithm_below(ratio: float, ratio_bound: float) -> Claim:
    """Equality at r = r_min = 1/e; for r ≥ 1 the left side is even (ln r)²/2 or more."""
    lower = math.log(ratio) ** 2 / (math.e * max(-math.log(ratio_bound), 1.0))
    return Claim(lower, np.inf, {"ratio ≥ ratio_bound": ratio >= ratio_bound})


def _two_policies(source: Source) -> dict[str, Any]:
    K = source.integer(2, 5)
    log_pi, move = log_policy(source, K, (0.0, 1.0, 5.0)), source.choice((0.1, 1.0, 5.0))
    other = normalise(log_pi + move * np.array([source.number(-1.0, 1.0) for _ in range(K)]))
    return {"log_target": log_pi, "log_pi": other}


def reversal(M: float) -> float:
    """rho(M) = (1 + (M-1) e^M)/(e^M - 1 - M)."""
    if M < 1e-2:
        # Both Taylor series over M²: Σ (k+1) M^k/(k+2)! and Σ M^k/(k+2)!.
        return (1 / 2 + M / 3 + M**2 / 8 + M**3 / 30 + M**4 / 144) / (
            1 / 2 + M / 6 + M**2 / 24 + M**3 / 120 + M**4 / 720
        )
    return (math.exp(-M) + M - 1) / (1 - (1 + M) * math.exp(-M))


@theorem(
    number="5.3",
    source="[derived] the sharp form of Yun25's Proposition 15, whose factor 1 + M it improves",
    statement="|log pihat/pi*| ≤ M: 1/rho(M) ≤ KL(pihat||pi*)/KL(pi*||pihat) ≤ rho(M), "
    "rho(M) = (1 + (M-1)e^M)/(e^M - 1 - M) ≤ 1 + M.",
    quantity="KL(pihat||pi*)/KL(pi*||pihat), pi* = target, pihat = pi",
    strength="tight",
    build=_two_policies,
)
def reversed_divergence(log_target: np.ndarray, log_pi: np.ndarray) -> Claim:
    """(d e^d - e^d + 1)/(e^d - 1 - d) increases in d; attained as the mass at d = M goes to 0."""
    M = float(np.abs(log_pi - log_target).max())
    factor = reversal(M)
    return Claim(1 / factor, factor, {"the policies differ": M > 1e-3})


def fisher(log_target: np.ndarray, gamma: float, log_mu: np.ndarray) -> np.ndarray:
    """L_mu: the Laplacian with weights 2 mu_a mu_b sigma'(R_a - R_b), R = gamma log pi*."""
    gaps = al.pairwise_difference(gamma * log_target)
    mu = np.exp(log_mu)
    weight = 2 * np.outer(mu, mu) * al.sigmoid(gaps) * al.sigmoid(-gaps)
    np.fill_diagonal(weight, 0.0)
    return np.diag(weight.sum(axis=1)) - weight


def error_weights(log_target: np.ndarray, gamma: float, log_mu: np.ndarray) -> np.ndarray:
    """The eigenvalues of L_mu⁺ Sigma_*/(2 gamma²), largest first, K - 1 of them."""
    basis = al.null_space(np.ones((1, len(log_target))))
    reduced = lambda A: basis.T @ A @ basis
    root = np.linalg.cholesky(reduced(fisher(log_target, gamma, log_mu)))
    half = np.linalg.solve(root, reduced(al.covariance(np.exp(log_target))))
    values = np.linalg.eigvalsh(np.linalg.solve(root, half.T))
    return values[::-1] / (2 * gamma**2)


def _model(source: Source, scales: tuple[float, ...] = (1.0, 0.1, 3.0)) -> dict[str, Any]:
    K = source.integer(2, 5)
    log_mu = log_policy(source, K, (0.0, 1.0, 2.0))
    return {"log_target": log_policy(source, K, scales), "log_mu": log_mu, "gamma": positive(source, 0.1, 3.0)}


@theorem(
    number="7.9",
    source="[derived] statement 7.9, the constant of O(1/n)",
    statement="n KL(pi*||pihat) → Σ_k w_k chi²_1, w the eigenvalues of L_mu⁺ Sigma_*/(2 gamma²), for PMLE, distillation and "
    "reverse KL with beta = o(1/√n); its mean is V = tr(Sigma_* L_mu⁺)/(2 gamma²), and no estimator has a smaller local "
    "asymptotic minimax risk.",
    quantity="(w_1 ≥ … ≥ w_{K-1}, V), shape (K,), of the unregularised maximum-likelihood policy",
    strength="tight",
    build=_model,
)
def error_constant(log_target: np.ndarray, log_mu: np.ndarray, gamma: float) -> Claim:
    """L_mu is the Fisher information of one comparison. V is the sum of w; over contexts the V_x add up."""
    covers = bool(np.isfinite(log_mu).all())
    if not covers:
        return Claim(0.0 * log_target, np.inf, {"mu has full support": False})
    w = error_weights(log_target, gamma, log_mu)
    law = np.append(w, w.sum())
    return Claim(law, law, {"mu has full support": covers})


def root_rule(log_target: np.ndarray) -> np.ndarray:
    """log mu, mu ∝ √(pi* (1 - pi*)): the best i.i.d. sampler as gamma times the range of log pi* goes to 0."""
    p = np.exp(log_target)
    return normalise((log_target + np.log(p.sum() - p)) / 2)


@theorem(
    number="7.10",
    source="[derived] statement 7.10, samplers",
    statement="V(mu) ≥ gamma^-2 Σ_a pi_a (1-pi_a)/mu_a ≥ gamma^-2 (Σ √(pi_a (1-pi_a)))², and at most 1/(4 sigma'(g)) "
    "times the first, g = gamma max log pi*_a/pi*_b. The first is (K-1)/gamma² on policy, K (1 - |pi*|²)/gamma² under "
    "uniform sampling, and the second one under mu ∝ √(pi* (1-pi*)).",
    quantity="V of mu, V of mu again, V of the root rule, of uniform sampling and on policy, shape (5,)",
    strength="tight",
    build=lambda source: _model(source, (1e-3, 0.1, 1.0, 3.0)),
    witness=root_rule,
)
def sampler_errors(log_target: np.ndarray, log_mu: np.ndarray, gamma: float) -> Claim:
    """sigma' lies between sigma'(g) and 1/4, and at 1/4 the information is (diag mu - mu muᵀ)/2."""
    if not np.isfinite(log_mu).all():
        return Claim(np.zeros(5), np.inf, {"mu has full support": False})
    p, K = np.exp(log_target), len(log_target)
    spread = p * (p.sum() - p)
    of_mu, best = float((spread / np.exp(log_mu)).sum()), float(np.sqrt(spread).sum() ** 2)
    each = np.array([of_mu, of_mu, best, K * spread.sum(), K - 1]) / gamma**2
    g = gamma * float(np.ptp(log_target))
    worst = math.exp(g) * (1 + math.exp(-g)) ** 2 / 4
    lower = each.copy()
    lower[1] = best / gamma**2
    return Claim(lower, each * worst, {"mu has full support": True})


def _two_logs(source: Source) -> dict[str, Any]:
    K = source.integer(2, 5)
    return {
        "log_target": log_policy(source, K, (1.0, 0.1, 3.0)),
        "log_reference": log_policy(source, K, (0.0, 1.0, 3.0)),
        "gamma": positive(source, 0.1, 3.0),
    }


def tilted(log_reference: np.ndarray, log_target: np.ndarray, k: float) -> np.ndarray:
    """log pi_k, pi_k ∝ pi_0 pi*^k."""
    return normalise(log_reference + k * log_target)


@theorem(
    number="7.13",
    source="[derived] statement 7.13; the dilemma is [paper] Yun25",
    statement="RLHF = DPO = REBEL converge to pi_k ∝ pi_0 pi*^k, k = gamma/beta. The best k solves E_{pi_k} log pi* = "
    "E_{pi*} log pi*, or is 0 if E_{pi_0} log pi* is at least that; no beta does better than its KL(pi*||pi_k).",
    quantity="(best gamma/beta, KL(pi*||pi_k) there), over beta in (0, ∞], of RLHF on infinitely many comparisons",
    strength="tight",
    build=_two_logs,
)
def rlhf_limit(log_target: np.ndarray, log_reference: np.ndarray, gamma: float) -> Claim:
    """KL(pi*||pi_k) is convex in k, with derivative E_{pi_k} log pi* - E_{pi*} log pi*; gamma only names beta = gamma/k."""
    p = np.exp(log_target)
    varied = float(np.ptp(log_target)) > 1e-6
    if not varied:
        return Claim(np.zeros(2), np.inf, {"pi* is not uniform": False})
    excess = lambda k: float((np.exp(tilted(log_reference, log_target, k)) - p) @ log_target)
    k, most = 0.0, 1.0
    if excess(0.0) < 0:
        while excess(most) < 0:
            most *= 2
        k = float(root_scalar(excess, bracket=(0.0, most), xtol=1e-14, rtol=1e-14).root)
    d = tilted(log_reference, log_target, k) - log_target
    law = np.array([k, float(p @ (np.expm1(d) - d))])
    return Claim(law, law, {"pi* is not uniform": True})


def _small(source: Source) -> dict[str, Any]:
    K = source.integer(2, 5)
    vector = lambda: np.array([source.number(-1.0, 1.0) for _ in range(K)])
    scores = vector()
    scores[0] += 2.0
    offsets = source.choice((1.0, -1.0, 0.0)) * scores + vector()
    rest = {"gamma": positive(source, 0.1, 3.0), "comparisons": int(positive(source, 1.0, 1e4))}
    return {"scores": scores, "offsets": offsets, "log_mu": log_policy(source, K, (0.0, 1.0)), **rest}


@theorem(
    number="7.13",
    source="[derived] statement 7.13, the laws of tuned estimators to leading order",
    statement="pi* ∝ e^(eps u), pi*/pi_0 ∝ e^(eps d), n = m/eps² and eps → 0, v = V/n: the least mean of KL(pi*||pihat)/eps² "
    "over beta is 1/(2/Var d + 1/v) for reverse KL, and (Var d - max(Cov(d, u), 0)²/(Var u + 2v))/2 for RLHF. "
    "PMLE has the former where mu is uniform.",
    quantity="(reverse KL's, RLHF's) least mean of KL(pi*||pihat)/eps² over beta; u = scores, d = offsets, m = comparisons",
    strength="tight",
    build=_small,
)
def tuned_errors(scores: np.ndarray, offsets: np.ndarray, log_mu: np.ndarray, gamma: float, comparisons: int) -> Claim:
    """Variances are under the uniform limit of pi*; at finite n the laws are within 5% for the published toy."""
    covers = bool(np.isfinite(log_mu).all())
    if not covers:
        return Claim(np.zeros(2), np.inf, {"mu has full support": False})
    even = np.full(len(scores), -math.log(len(scores)))
    noise = float(error_weights(even, gamma, log_mu).sum()) / comparisons
    var_d, var_u = float(offsets.var()), float(scores.var())
    along = max(float(np.mean((offsets - offsets.mean()) * (scores - scores.mean()))), 0.0)
    reverse = var_d * noise / (2 * noise + var_d)
    law = np.array([reverse, (var_d - along**2 / (var_u + 2 * noise)) / 2])
    return Claim(law, law, {"mu has full support": covers})
