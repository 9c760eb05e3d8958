"""Statements on iterated alignment near its fixed points (statements 2.1, 2.2 and 2.3)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from . import _algebra as al
from ._bound import Claim, theorem
from .source import FAMILIES, Source, log_policy, log_sampler, matrix, positive

_KAPPA = {"ipo": 1.0, "dpo": 4.0}


def _uniform(source: Source) -> dict[str, Any]:
    return {
        "P": matrix(source, source.integer(2, 7), ("regular",)),
        "alpha": source.number(0.0, 1.0),
        "lam": source.number(0.0, 1.0),
        "beta": positive(source, 1e-2, 1e2),
        "objective": source.choice(("ipo", "dpo")),
    }


@theorem(
    number="2.1",
    source="[derived] statement 2.1; the 3-cycle under IPO is [paper] Chen26, whose beta is our 1/beta",
    statement="With uniform ref and pi_0 and A1 = 0 the uniform policy is fixed with eigenvalues alpha ± i kappa lam "
    "w_k/(K beta), ± i w_k those of A, kappa = 1 for IPO and 4 for DPO; stable where the largest modulus is "
    "below 1, unstable where it "
    "exceeds 1.",
    quantity="moduli of the K-1 eigenvalues of the round's Jacobian at the uniform policy (gauge left out), descending",
    strength="tight",
    build=_uniform,
)
def uniform_spectrum(P: np.ndarray, alpha: float, lam: float, beta: float, objective: str = "ipo") -> Claim:
    """The eigenvector 1 of A, with eigenvalue 0, is the gauge."""
    A = al.skew(P)
    K = len(P)
    w = np.sort(np.linalg.svd(A, compute_uv=False))[::-1][: K - 1]
    modulus = np.hypot(alpha, _KAPPA[objective] * lam * w / (K * beta))
    return Claim(modulus, modulus, {"A1 = 0": bool(np.abs(A.sum(axis=1)).max() <= al.ROUNDING)})


def _structured(source: Source) -> dict[str, Any]:
    structure = source.choice(("cycle", "regular", "ring"))
    K = {"cycle": 3, "regular": 2 * source.integer(1, 5) + 1, "ring": source.integer(3, 10)}[structure]
    return {
        "structure": structure,
        "K": K,
        "advantage": source.number(1e-3, 0.5 if structure == "cycle" else 0.49),
        "alpha": source.number(0.0, 0.999),
        "lam": source.number(0.0, 1.0),
        "objective": source.choice(("ipo", "dpo")),
    }


@theorem(
    number="2.1",
    source="[derived] statement 2.1; the 3-cycle under IPO is [paper] Chen26, whose beta is our 1/beta",
    statement="Uniform is unstable if beta < kappa lam w/(K √(1 - alpha²)) and stable if it is larger, with w = "
    "a√3 (3-cycle), a cot(pi/2K) "
    "(regular tournament, odd K), 2a max_k sin(2 pi k/K) (ring), kappa = 1 for IPO and 4 for DPO; at alpha = 1 at "
    "every beta, if lam w > 0.",
    quantity="the beta at which the spectral radius of the round at the uniform policy is 1",
    strength="tight",
    build=_structured,
)
def uniform_threshold(
    structure: str, K: int, advantage: float, alpha: float, lam: float, objective: str = "ipo"
) -> Claim:
    """``advantage`` is a in P = 1/2 ± a; ``structure`` is "cycle" (K = 3), "regular" (odd K) or "ring" (K ≥ 3)."""
    if structure == "cycle":
        w = advantage * np.sqrt(3.0)
    elif structure == "regular":
        w = advantage / np.tan(np.pi / (2 * K))
    else:
        w = 2 * advantage * np.sin(2 * np.pi * np.arange(K) / K).max()
    assumptions = {"K = 3 for a cycle, odd for a regular tournament, ≥ 3 for a ring": _exists(structure, K)}
    strength = _KAPPA[objective] * lam * w / K
    critical = 0.0 if strength == 0 else np.inf if alpha == 1.0 else strength / np.sqrt((1 - alpha) * (1 + alpha))
    return Claim(critical, critical, assumptions)


def _exists(structure: str, K: int) -> bool:
    return K == 3 if structure == "cycle" else K >= 3 and (K % 2 == 1 or structure == "ring")


def matched_matrix(source: Source, f: np.ndarray, mu: np.ndarray) -> np.ndarray:
    """P = sigma(f_i - f_j) + D, D skew with D mu = 0: a matrix for which f is DPO's implicit reward at mu."""
    S = al.sigmoid(al.pairwise_difference(f))
    free = al.null_space(mu[None, :])
    B = np.array([[source.number(-1.0, 1.0) for _ in range(free.shape[1])] for _ in range(free.shape[1])])
    D = free @ (B - B.T) @ free.T
    room = (S / np.maximum(np.abs(D), 1e-300)).min()
    P = S + min(room, 1.0) * source.number(0.0, 0.95) * D
    P = np.clip((P - P.T) / 2 + 0.5, 0.0, 1.0)
    np.fill_diagonal(P, 0.5)
    return P


def _fixed(source: Source) -> dict[str, Any]:
    """Any pi is a fixed point of the reference log ref = log pi - r/(beta (1 - alpha)), r the reward at its mu."""
    K = source.integer(2, 5)
    objective = source.choice(("ipo", "dpo"))
    alpha, lam, beta = source.number(0.0, 0.99), source.number(0.0, 1.0), positive(source, 0.02, 20.0)
    log_pi, log_offline = log_policy(source, K, (1.0, 0.0, 5.0)), log_policy(source, K, (0.0, 1.0, 5.0))
    mu = lam * np.exp(log_pi) + (1 - lam) * np.exp(log_offline)
    if objective == "ipo":
        P = matrix(source, K, FAMILIES)
        reward = P @ mu
    else:
        reward = 2.0 * np.array([source.number(-1.0, 1.0) for _ in range(K)])
        P = matched_matrix(source, reward, mu)
    log_reference = _normalised(log_pi - reward / (beta * (1 - alpha)))
    logs = {"log_pi": log_pi, "log_reference": log_reference, "log_offline": log_offline}
    return {"P": P, "alpha": alpha, "lam": lam, "beta": beta, **logs, "objective": objective}


def _normalised(z: np.ndarray) -> np.ndarray:
    shifted = z - z.max()
    return shifted - np.log(np.exp(shifted).sum())


@theorem(
    number="2.2",
    source="[derived] statement 2.2",
    statement="At a fixed point the round's Jacobian in centred logits is C(alpha I + (lam/beta) D Sigma)C with D = "
    "P for IPO and, for DPO, D = ∂f/∂mu from Lap df = -(S - P) dmu, S = sigma(f_i - f_j), Lap = diag(V mu) - V "
    "diag(mu).",
    quantity="the Jacobian of the round in centred logits, shape (K, K)",
    strength="tight",
    build=_fixed,
)
def fixed_point_jacobian(
    P: np.ndarray,
    alpha: float,
    lam: float,
    beta: float,
    log_pi: np.ndarray,
    log_reference: np.ndarray,
    log_offline: np.ndarray,
    objective: str = "ipo",
) -> Claim:
    """At a fixed point f = beta(1-alpha) C(log pi - log ref), so that DPO's derivative needs no solve for f."""
    K = len(P)
    pi = np.exp(log_pi)
    mu = lam * pi + (1 - lam) * np.exp(log_offline)
    f = beta * (1 - alpha) * al.centre(log_pi - log_reference)
    S = al.sigmoid(al.pairwise_difference(f))
    miss = al.centre(P @ mu) - f if objective == "ipo" else (S - P) @ mu
    D = P if objective == "ipo" else _reward_derivative(P, S, mu)
    C = np.eye(K) - 1.0 / K
    J = C @ (alpha * np.eye(K) + lam / beta * D @ al.covariance(pi)) @ C
    return Claim(J, J, {"pi is a fixed point": bool(np.abs(miss).max() <= al.ROUNDING)})


def _reward_derivative(P: np.ndarray, S: np.ndarray, mu: np.ndarray) -> np.ndarray:
    """Lap⁺-like solve of Lap df = (P - S) dmu with Σ df = 0, by the bordered matrix [[Lap, 1], [1ᵀ, 0]]."""
    K = len(P)
    V = S * S.T
    bordered = np.ones((K + 1, K + 1))
    bordered[:K, :K] = np.diag(V @ mu) - V * mu
    bordered[K, K] = 0.0
    return np.linalg.solve(bordered, np.vstack([P - S, np.zeros(K)]))[:K]


def _vertex(source: Source) -> dict[str, Any]:
    K = source.integer(2, 6)
    return {
        "P": matrix(source, K, FAMILIES[:-1]),
        "lam": source.number(0.0, 1.0),
        "beta": positive(source, 1e-2, 1e2),
        "log_offline": log_sampler(source, K),
        "top": source.integer(0, K - 1),
        "objective": source.choice(("ipo", "dpo")),
    }


@theorem(
    number="2.2",
    source="[derived] statement 2.2 at alpha = 1",
    statement="At alpha = 1 the vertex w has transversal multipliers exp(((P mu)_j - (P mu)_w)/beta) under IPO, mu = "
    "lam e_w + (1-lam) pi_0; under DPO their logs have the same sign and are at least 4 times as large: w attracts "
    "iff all are < 1.",
    quantity="limit at the vertex of log[pi_{t+1}(j)/pi_{t+1}(w)] - log[pi_t(j)/pi_t(w)], shape (K,), 0 at j = w",
    strength="tight",
    build=_vertex,
)
def vertex_multipliers(
    P: np.ndarray, lam: float, beta: float, log_offline: np.ndarray, top: int, objective: str = "ipo"
) -> Claim:
    """``top`` is w; logs of the multipliers, which overflow at small beta."""
    mu = (1 - lam) * np.exp(log_offline) + lam * (np.arange(len(P)) == top)
    gap = al.beats(P, mu)[:, top] / beta
    if objective == "ipo":
        return Claim(gap, gap)
    lower, upper = al.one_sided(gap, 4.0)
    blurred = (np.abs(gap * beta) < 1e-15) & (gap != 0)
    lower, upper = np.where(blurred, -np.inf, lower), np.where(blurred, np.inf, upper)
    return Claim(lower, upper, {"0 < P < 1": bool(((P > 0) & (P < 1)).all())})


def contracting(
    source: Source, strength: Callable[[np.ndarray], float], room: Callable[[float], float]
) -> dict[str, Any]:
    """P, alpha < 1, lam, and the beta that puts strength(P)·lam/beta at a share of room(alpha), up to its edge."""
    P = matrix(source, source.integer(2, 5), FAMILIES)
    alpha, lam = source.number(0.0, 0.99), source.number(0.0, 1.0)
    weight = float(lam * strength(P))
    if weight <= 1e-12:
        return {"P": P, "alpha": alpha, "lam": lam, "beta": positive(source, 1e-2, 1e2)}
    # Below 1e-3, logits of size 1/beta leave too few digits for a test; a larger beta stays inside the assumptions.
    beta = max(weight / (float(room(alpha)) * source.number(0.01, 0.9999)), 1e-3)
    return {"P": P, "alpha": alpha, "lam": lam, "beta": beta}


_RATIO = (
    "‖C(log F(pi) - log F(pi'))‖₂ / ‖C(log pi - log pi')‖₂ for any two policies, F one round of IPO; pi' may be pi*"
)


@theorem(
    number="2.3",
    source="[paper] Chen26, contraction of iterated IPO, whose beta is our 1/beta",
    statement="alpha + (lam/(2 beta)) ‖P - 1/2‖₂ < 1 implies one interior fixed point and convergence at that rate "
    "in the 2-norm of the centred logits.",
    quantity=_RATIO,
    strength="tight",
    build=lambda source: contracting(source, lambda P: al.norm(al.skew(P)) / 2, lambda alpha: 1 - alpha),
    about="ipo",
)
def published_contraction(P: np.ndarray, alpha: float, lam: float, beta: float) -> Claim:
    """Attained at alpha = 0 on the 3-cycle, near the middle of an edge."""
    rate = alpha + lam / (2 * beta) * al.norm(al.skew(P))
    return Claim(0.0, rate, {"rate < 1": rate < 1})


@theorem(
    number="2.3",
    source="[derived] statement 2.3",
    statement="The published contraction holds with ‖CAC‖₂ ≤ ‖A‖₂ in place of ‖A‖₂: alpha + (lam/(2 beta)) ‖CAC‖₂ < 1.",
    quantity=_RATIO,
    strength="tight",
    build=lambda source: contracting(source, lambda P: al.norm(al.centred(al.skew(P))) / 2, lambda alpha: 1 - alpha),
    about="ipo",
)
def centred_contraction(P: np.ndarray, alpha: float, lam: float, beta: float) -> Claim:
    """The gauge part of A does not affect the policy."""
    rate = alpha + lam / (2 * beta) * al.norm(al.centred(al.skew(P)))
    return Claim(0.0, rate, {"rate < 1": rate < 1})
