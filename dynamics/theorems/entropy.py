"""Statements on rounds with an entropy term, reverse KL on win rates (statement 7.16)."""

from __future__ import annotations

from typing import Any

import numpy as np

from . import _algebra as al
from ._bound import Claim, theorem
from .convergence import divergence_claim, row_span
from .source import INTERIOR, Source, log_policy, log_sampler, matrix, positive


def _round(source: Source) -> dict[str, Any]:
    K = source.integer(2, 6)
    return {
        "P": matrix(source, K, INTERIOR),
        "alpha": source.number(0.0, 1.0),
        "lam": source.number(0.0, 1.0),
        "beta": positive(source, 1e-2, 1e2),
        "gamma": positive(source, 1e-2, 1e2),
        "log_reference": log_policy(source, K, (0.0, 1.0, 30.0)),
        "log_offline": log_sampler(source, K),
        "log_initial": log_policy(source, K, (0.0, 1.0, 30.0)),
    }


@theorem(
    number="7.16",
    source="[derived] statement 7.16",
    statement="A round of reverse KL on win rates is one of IPO: z' = [alpha beta z + beta (1-alpha) log ref + P mu]/(beta "
    "+ gamma), that is alpha' = alpha beta/(beta+gamma), beta' = beta+gamma and ref' ∝ ref^{beta(1-alpha)/(beta(1-alpha)+"
    "gamma)}.",
    quantity="C log pi after one round from log_initial, shape (K,)",
    strength="tight",
    build=_round,
    about="ipo",
)
def entropy_round(
    P: np.ndarray,
    alpha: float,
    lam: float,
    beta: float,
    gamma: float,
    log_reference: np.ndarray,
    log_offline: np.ndarray,
    log_initial: np.ndarray,
) -> Claim:
    """The optimum of -E_pi Rhat - gamma H(pi) + beta KL(pi‖ref_t) is ∝ ref_t^{beta/(beta+gamma)} e^{Rhat/(beta+gamma)}."""
    mu = lam * np.exp(log_initial) + (1 - lam) * np.exp(log_offline)
    z = al.centre(alpha * beta * log_initial + beta * (1 - alpha) * log_reference + P @ mu) / (beta + gamma)
    return Claim(z, z)


def _remedied(source: Source) -> dict[str, Any]:
    """beta and gamma at a share of the edge, up to it."""
    P = matrix(source, source.integer(2, 5), INTERIOR)
    alpha, lam = source.number(0.0, 1.0), source.number(0.0, 1.0)
    inputs = {"P": P, "alpha": alpha, "lam": lam}
    gamma = positive(source, 1e-2, 1e1)
    needed = lam * row_span(P) / (4 * source.number(0.01, 0.9999))
    # beta from (beta + gamma)(beta (1-alpha) + gamma) = needed², or any where gamma alone suffices or alpha = 1.
    if alpha > 0.99:
        beta = max(needed**2 / gamma - gamma, 1e-2)
    else:
        b, c = gamma * (2 - alpha), gamma**2 - needed**2
        root = np.sqrt(b**2 - 4 * (1 - alpha) * c)
        beta = max((root - b) / (2 * (1 - alpha)), 1e-2)
    return {**inputs, "beta": float(beta), "gamma": gamma}


@theorem(
    number="7.16",
    source="[derived] statement 7.16, through 7.15",
    statement="(beta+gamma)(beta(1-alpha)+gamma) > (lam D/4)², D = max_ij span_k(A_ik - A_jk) ≤ 2, makes rounds of reverse "
    "KL on win rates converge for every P and K, at alpha = 1 too: KL(pi*‖pi_{t+1}) ≤ max(alpha', x²/(1-alpha')) "
    "KL(pi*‖pi_t), alpha' = alpha beta/(beta+gamma), x = lam D/(4 (beta+gamma)).",
    quantity="KL(pi*‖pi_{t+1})/KL(pi*‖pi_t), pi* the fixed point, one round of reverse KL on win rates",
    strength="tight",
    build=_remedied,
    about="ipo",
)
def entropy_remedy(P: np.ndarray, alpha: float, lam: float, beta: float, gamma: float) -> Claim:
    """7.15 at alpha' and beta' = beta + gamma; attained at lam = 0 as the start tends to a vertex."""
    return divergence_claim(alpha * beta / (beta + gamma), lam * row_span(P) / (4 * (beta + gamma)))


@theorem(
    number="7.16",
    source="[derived] statement 7.16",
    statement="With uniform ref and pi_0 and A1 = 0, rounds of reverse KL are unstable at uniform if (alpha beta)² + (kappa "
    "lam w/K)² > (beta+gamma)² and stable if it is smaller, kappa = 1 for win rates and 4 for Bradley–Terry "
    "rewards: entropy stabilises from gamma = "
    "√((alpha beta)² + (kappa lam w/K)²) - beta on, at alpha = 1 too.",
    quantity="the gamma at which the spectral radius of the round at uniform is 1, 0 where it is below 1 without entropy; "
    'objective "ipo" stands for win rates, "dpo" for Bradley–Terry rewards',
    strength="tight",
    build=lambda source: {
        "P": matrix(source, source.integer(3, 7), ("regular",)),
        "alpha": source.number(0.0, 1.0),
        "lam": source.number(0.0, 1.0),
        "beta": positive(source, 1e-2, 1e1),
        "objective": source.choice(("ipo", "dpo")),
    },
)
def entropy_threshold(P: np.ndarray, alpha: float, lam: float, beta: float, objective: str = "ipo") -> Claim:
    """The spectrum 2.1 at alpha' = alpha beta/(beta+gamma) and beta' = beta + gamma, solved for gamma."""
    A = al.skew(P)
    kappa = {"ipo": 1.0, "dpo": 4.0}[objective]
    reach = np.hypot(alpha * beta, kappa * lam * al.norm(A) / len(P))
    gamma = max(0.0, float(reach) - beta)
    return Claim(gamma, gamma, {"A1 = 0": bool(np.abs(A.sum(axis=1)).max() <= al.ROUNDING)})
