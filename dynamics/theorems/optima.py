"""Statements on one-shot optima and their samplers (statements 1.3 and 1.4)."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from . import _algebra as al
from ._bound import Claim, theorem
from ._inputs import checked
from .source import Source, log_policy, log_sampler, matrix, positive

_INTERIOR = ("any", "cyclic", "bradley-terry", "strongly transitive", "linear", "near-deterministic")


def _samplers(source: Source, K: int, n: int) -> np.ndarray:
    return np.stack([log_policy(source, K, (1.0, 0.0, 5.0)) for _ in range(n)])


def _some_samplers(source: Source) -> dict[str, Any]:
    K = source.integer(2, 5)
    return {"P": matrix(source, K, _INTERIOR), "log_samplers": _samplers(source, K, source.integer(1, K + 1))}


@theorem(
    number="1.3",
    source="[paper] Chen26, sampler independence of DPO; the size of the dependence is [derived]",
    statement="For 0 < P < 1 DPO's optimum is the same at K-1 linearly independent samplers iff P is Bradley–Terry; "
    "otherwise max_m span(f(mu_m) - f(mu_1)) ≥ 4 σ g/√(K(n-1)), σ the (K-1)-th singular value of the n samplers, "
    "g = min over the worst triple's pairs of |sigma(logit P_ij ± d/3) - P_ij|, d its defect.",
    quantity="max over samplers m of span_i(f_i(mu_m) - f_i(mu_1)), f DPO's implicit reward",
    strength="loose",
    build=_some_samplers,
    about="dpo",
)
def sampler_independence(P: np.ndarray, log_samplers: np.ndarray) -> Claim:
    """K-1 independent samplers with one optimum f force Bradley–Terry: D = sigma(f_i - f_j) - P is skew of rank ≤ 1, so 0."""
    n, K = log_samplers.shape
    assumptions = {"0 < P < 1": bool(((P > 0) & (P < 1)).all())}
    if not assumptions["0 < P < 1"]:
        return Claim(0.0, np.inf, assumptions)
    defects = al.triple_defects(P)
    if n == 1 or defects.max() <= al.ROUNDING:
        return Claim(0.0, 0.0, assumptions)
    sigma = np.linalg.svd(np.exp(log_samplers), compute_uv=False)[K - 2] if n >= K - 1 else 0.0
    i, j, k = np.unravel_index(np.argmax(defects), defects.shape)
    third = defects[i, j, k] / 3
    pairs = [(i, j), (j, k), (k, i)]
    g = min(abs(al.sigmoid(al.logit(P)[pair] + sign * third) - P[pair]) for pair in pairs for sign in (-1, 1))
    return Claim(4 * sigma * g / np.sqrt(K * (n - 1)), np.inf, assumptions)


@theorem(
    number="1.3",
    source="[derived] statement 1.3, the triple diagnostic",
    statement="d = max |logit P_ij + logit P_jk + logit P_ki| satisfies d/3 ≤ max |logit P_ij - (s_i - s_j)| ≤ (K-2) "
    "d/K, s the least-squares scores s_i = mean_k logit P_ik; all are 0 iff P is Bradley–Terry.",
    quantity="max_ij |logit P_ij - (s_i - s_j)|, s_i = mean_k logit P_ik",
    strength="tight",
    build=lambda source: {"P": matrix(source, source.integer(2, 6), _INTERIOR)},
)
def bradley_terry_residual(P: np.ndarray) -> Claim:
    """The residual at (i, j) is the mean over k of the triples (i, j, k); any fit leaves a third of a triple's sum."""
    K = len(P)
    assumptions = {"0 < P < 1": bool(((P > 0) & (P < 1)).all())}
    if not assumptions["0 < P < 1"]:
        return Claim(0.0, np.inf, assumptions)
    defect = al.triple_defects(P).max()
    return Claim(defect / 3 if K > 2 else 0.0, (K - 2) / K * defect, assumptions)


def undetected(scores: ArrayLike, log_samplers: ArrayLike) -> np.ndarray:
    """P = sigma(f_i - f_j) - D, D skew with D mu_m = 0 for all m: not Bradley–Terry, yet f is DPO's optimum at every
    mu_m.

    Args:
        scores: f, shape (K,), the common implicit reward.
        log_samplers: log mu_m, shape (n, K), n ≤ K - 2.

    Returns:
        P, shape (K, K), 0 < P < 1, half-way between sigma(f_i - f_j) and the first entry that reaches 0 or 1.

    Raises:
        ValueError: a bad entry, or more than K - 2 linearly independent samplers.
    """
    inputs = checked({"scores": scores, "log_samplers": log_samplers})
    free = al.null_space(np.exp(inputs["log_samplers"]))
    if free.shape[1] < 2:
        raise ValueError("log_samplers has rank above K - 2; pass at most K - 2 linearly independent samplers.")
    D = np.outer(free[:, 0], free[:, 1]) - np.outer(free[:, 1], free[:, 0])
    S = al.sigmoid(al.pairwise_difference(inputs["scores"]))
    P = S - 0.5 * (S / np.maximum(np.abs(D), 1e-300)).min() * D
    np.fill_diagonal(P, 0.5)
    return P


def _few_samplers(source: Source) -> dict[str, Any]:
    K = source.integer(3, 6)
    scores = source.choice((1.0, 0.0, 3.0)) * np.array([source.number(-1.0, 1.0) for _ in range(K)])
    return {"scores": scores, "log_samplers": _samplers(source, K, source.integer(1, K - 2))}


@theorem(
    number="1.3",
    source="[derived] statement 1.3: K-2 samplers never suffice",
    statement="For any f and any n ≤ K-2 samplers the witness P = sigma(f_i - f_j) - D, D skew with D mu_m = 0, is not "
    "Bradley–Terry, and DPO's implicit reward is f at each of them.",
    quantity="(max_m span(f(mu_m) - f), max_ij |P_ij - sigma(f_i - f_j)|) at the witness P",
    strength="tight",
    build=_few_samplers,
    witness=undetected,
    about="dpo",
)
def too_few_samplers(scores: np.ndarray, log_samplers: np.ndarray) -> Claim:
    """The second entry is half the distance from sigma(f_i - f_j) along D to an entry 0 or 1, so it is positive."""
    n, K = log_samplers.shape
    assumptions = {"K ≥ 3": K >= 3, "at most K - 2 samplers": n <= K - 2}
    if not all(assumptions.values()):
        return Claim(np.zeros(2), np.full(2, np.inf), assumptions)
    basis = al.null_space(np.exp(log_samplers))[:, :2]
    bivector = np.abs(np.outer(basis[:, 0], basis[:, 1]) - np.outer(basis[:, 1], basis[:, 0]))
    S = al.sigmoid(al.pairwise_difference(scores))
    with np.errstate(divide="ignore"):
        distance = bivector.max() * 0.5 * (S / bivector).min()
    return Claim([0.0, distance], [0.0, distance], assumptions)


def _ipo_samplers(source: Source) -> dict[str, Any]:
    K = source.integer(2, 5)
    P = matrix(source, K, (*_INTERIOR, "deterministic entries"))
    return {"P": P, "log_samplers": np.stack([log_sampler(source, K) for _ in range(source.integer(1, K + 1))])}


@theorem(
    number="1.3",
    source="[derived] statement 1.3 for IPO",
    statement="IPO's optimum ignores the sampler iff C A C = 0, that is P_ij = 1/2 + x_i - x_j: with B the differences "
    "mu_m - mu_1, σ_{K-1}(B) ‖CAC‖_F/√(n-1) ≤ max_m ‖C P (mu_m - mu_1)‖₂ ≤ ‖CAC‖₂ max_m ‖mu_m - mu_1‖₂.",
    quantity="max over samplers m of ‖C P (mu_m - mu_1)‖₂, the shift of beta·h in the centred gauge",
    strength="tight",
    build=_ipo_samplers,
    about="ipo",
)
def sampler_independence_ipo(P: np.ndarray, log_samplers: np.ndarray) -> Claim:
    """C P (mu - nu) = C A C (mu - nu), since mu - nu sums to 0."""
    n, K = log_samplers.shape
    if n == 1:
        return Claim(0.0, 0.0)
    A = al.centred(al.skew(P))
    mu = np.exp(log_samplers)
    B = mu[1:] - mu[0]
    sigma = np.linalg.svd(B, compute_uv=False)[K - 2] if n >= K else 0.0
    lower = sigma * np.linalg.norm(A) / np.sqrt(n - 1)
    return Claim(lower, al.norm(A) * np.linalg.norm(B, axis=1).max())


def unseated(log_mu: ArrayLike, margin: float) -> np.ndarray:
    """P with P_wj = 1/2 + eps for all j, P_kj = 1 - eps for j ≠ w, k, the rest 1/2; w, k are the two least sampled.

    Args:
        log_mu: log mu, shape (K,), K ≥ 3.
        margin: eps in (0, 1/8), so that k is ranked above the Condorcet winner w at this sampler.

    Returns:
        P, shape (K, K): transitive with w > k > others, so it breaks Condorcet-top, Smith-top and order preservation.

    Raises:
        ValueError: a bad entry, K < 3, or eps outside (0, 1/8).
    """
    mu = checked({"log_mu": log_mu, "margin": margin})["log_mu"]
    K = len(mu)
    if K < 3 or margin >= 0.125:
        raise ValueError(
            f"K = {K}, margin = {margin:g} have no such matrix; pass K ≥ 3 responses and a margin below 1/8."
        )
    w, k = _least_sampled(mu)
    P = np.full((K, K), 0.5)
    others = [j for j in range(K) if j not in (w, k)]
    P[k, others], P[others, k] = 1 - margin, margin
    for j in (*others, k):
        P[w, j], P[j, w] = 0.5 + margin, 0.5 - margin
    return P


def _least_sampled(log_mu: np.ndarray) -> tuple[int, int]:
    order = np.argsort(log_mu, kind="stable")
    return int(order[0]), int(order[1])


@theorem(
    number="1.4",
    source="[paper] Chen26, no fixed sampler serves every preference; the construction is [derived] (statement 1.4)",
    statement="For K ≥ 3 and every sampler the witness P has Condorcet winner w ranked below k: beta(h_k - h_w) = "
    "m(1/2 - 2 eps) - eps(mu_k + mu_w) > 0 for IPO and ≥ 4 times that for DPO, m = mass outside {w, k}.",
    quantity="(h_k - h_w of IPO's optimum, of DPO's) at the witness P, in nats",
    strength="tight",
    build=lambda source: {
        "log_mu": log_sampler(source, source.integer(3, 6)),
        "margin": positive(source, 1e-6, 0.1249),
        "beta": positive(source, 1e-2, 1e2),
    },
    witness=unseated,
)
def no_universal_sampler(log_mu: np.ndarray, margin: float, beta: float) -> Claim:
    """w and k are the two least sampled responses, in that order; then m ≥ 1/3, and every eps < 1/8 works."""
    K = len(log_mu)
    w, k = _least_sampled(log_mu)
    mu = np.exp(log_mu)
    outside = mu.sum() - mu[w] - mu[k]
    gap = outside * (0.5 - 2 * margin) - margin * (mu[k] + mu[w])
    assumptions = {"K ≥ 3": K >= 3, "eps < 1/8": margin < 0.125}
    return Claim(np.array([gap, 4 * gap]) / beta, np.array([gap / beta, np.inf]), assumptions)
