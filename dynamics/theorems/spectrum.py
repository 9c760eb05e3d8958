"""Statements on spectra, uniqueness and the onset of oscillation (statements 7.1, 7.5 and 7.14)."""

from __future__ import annotations

from typing import Any

import numpy as np

from . import _algebra as al
from ._bound import Claim, theorem
from .iteration import matched_matrix
from .source import FAMILIES, Source, log_policy, log_sampler, matrix, positive

_MODULI = "moduli of the K-1 eigenvalues of the round's Jacobian at pi (gauge left out), descending"


def _at_any_policy(source: Source) -> dict[str, Any]:
    K = source.integer(2, 6)
    return {
        "P": matrix(source, K, FAMILIES),
        "alpha": source.number(0.0, 1.0),
        "lam": source.number(0.0, 1.0),
        "beta": positive(source, 1e-2, 1e2),
        "log_pi": log_policy(source, K),
    }


def _root(S: np.ndarray) -> np.ndarray:
    """S^½ of a positive semi-definite matrix."""
    values, vectors = np.linalg.eigh(S)
    return (vectors * np.sqrt(np.maximum(values, 0.0))) @ vectors.T


def _moduli(alpha: float, frequencies: np.ndarray, K: int) -> np.ndarray:
    return np.hypot(alpha, np.sort(frequencies)[::-1][: K - 1])


@theorem(
    number="7.1",
    source="[derived] statement 7.1",
    statement="Under IPO the round's eigenvalues at every pi are alpha ± i (lam/beta) w_k, w_k the singular values of "
    "Sigma^½ A Sigma^½; a fixed point is exponentially stable iff alpha² + (lam/beta)² ‖Sigma^½ A Sigma^½‖² < 1.",
    quantity=_MODULI,
    strength="tight",
    build=_at_any_policy,
    about="ipo",
)
def spectrum(P: np.ndarray, alpha: float, lam: float, beta: float, log_pi: np.ndarray) -> Claim:
    """C A Sigma is similar to the skew Sigma^½ A Sigma^½; the null space of Sigma is the gauge."""
    root = _root(al.covariance(np.exp(log_pi)))
    w = np.linalg.svd(root @ al.skew(P) @ root, compute_uv=False)
    modulus = _moduli(alpha, lam / beta * w, len(P))
    return Claim(modulus, modulus)


@theorem(
    number="7.14",
    source="[derived] statement 7.14",
    statement="Under IPO the round's spectral radius at every pi is at most √(alpha² + (2 lam max|A|/(pi beta))²), pi = "
    "3.14…, for every P and K: iterated IPO is locally stable for every P, ref and pi_0 if alpha² + (lam/(pi beta))² < 1, "
    "and where that sum is above 1, some P is unstable at a uniform policy.",
    quantity="largest modulus of the K-1 eigenvalues of the round's Jacobian at pi (gauge left out)",
    strength="tight",
    build=_at_any_policy,
    about="ipo",
)
def universal_spectrum(P: np.ndarray, alpha: float, lam: float, beta: float, log_pi: np.ndarray) -> Claim:
    """Singular vectors u, v of Sigma^½ A Sigma^½ give uᵀA v ≤ ½ max|A| E r r' |sin(t - t')| ≤ 2 max|A|/pi; regular tournaments
    attain it as K tends to infinity.
    """
    return Claim(alpha, np.hypot(alpha, 2 * lam * np.abs(al.skew(P)).max() / (np.pi * beta)))


def _matched_policy(source: Source) -> dict[str, Any]:
    K = source.integer(2, 5)
    log_pi = log_policy(source, K, (1.0, 0.0, 4.0))
    reward = 2.0 * np.array([source.number(-1.0, 1.0) for _ in range(K)])
    P = matched_matrix(source, reward, np.exp(log_pi))
    beta = positive(source, 1e-2, 1e2)
    return {"P": P, "alpha": source.number(0.0, 1.0), "beta": beta, "log_pi": log_pi, "reward": reward}


@theorem(
    number="7.1",
    source="[derived] statement 7.1 for DPO at lambda = 1",
    statement="At lam = 1 and 0 < P < 1 DPO's eigenvalues at every pi are alpha ± i w_k/beta, w_k the singular "
    "values of L^{+½} B "
    "L^{+½}, L_ij = -pi_i pi_j sigma'(f_i - f_j) off the diagonal with zero row sums, B_ij = pi_i pi_j (P_ij - "
    "sigma(f_i - f_j)).",
    quantity=_MODULI,
    strength="tight",
    build=_matched_policy,
    about="dpo",
)
def spectrum_dpo(P: np.ndarray, alpha: float, beta: float, log_pi: np.ndarray, reward: np.ndarray) -> Claim:
    """``reward`` is f at mu = pi, up to a constant; since B1 = 0 the product is similar to a skew matrix."""
    pi = np.exp(log_pi)
    S = al.sigmoid(al.pairwise_difference(reward))
    weight = np.outer(pi, pi)
    L = -weight * S * S.T
    np.fill_diagonal(L, 0.0)
    np.fill_diagonal(L, -L.sum(axis=1))
    B = weight * (P - S)
    root = _root(np.linalg.pinv(L, rcond=1e-13, hermitian=True))
    modulus = _moduli(alpha, np.linalg.svd(root @ B @ root, compute_uv=False) / beta, len(P))
    return Claim(modulus, modulus, {"reward is f(pi)": bool(np.abs((S - P) @ pi).max() <= al.ROUNDING)})


def _unique(source: Source) -> dict[str, Any]:
    K = source.integer(2, 5)
    objective = source.choice(("ipo", "dpo"))
    P = matrix(source, K, ("any", "cyclic", "strongly transitive", "bradley-terry"))
    return {
        "P": P,
        "alpha": source.number(0.0, 0.95),
        "lam": 1.0 if objective == "dpo" else source.number(0.0, 1.0),
        "beta": positive(source, 0.05, 1e1),
        "log_reference": log_policy(source, K, (0.0, 1.0, 10.0)),
        "log_offline": log_sampler(source, K),
        "objective": objective,
    }


@theorem(
    number="7.1",
    source="[derived] statement 7.1",
    statement="For alpha < 1 there is exactly one fixed point of full support for every P, lam, beta, ref and pi_0 under "
    "IPO, and under DPO at lam = 1 if 0 < P < 1.",
    quantity="number of fixed points of the round in the open simplex",
    strength="tight",
    build=_unique,
)
def uniqueness(
    P: np.ndarray,
    alpha: float,
    lam: float,
    beta: float,
    log_reference: np.ndarray,
    log_offline: np.ndarray,
    objective: str = "ipo",
) -> Claim:
    """Two fixed points give (1-alpha)(z-z')·(p-p') = (lam/beta)(p-p')ᵀA(p-p') = 0, and softmax is strictly monotone."""
    assumptions = {"alpha < 1": alpha < 1, "IPO, or lam = 1": objective == "ipo" or lam == 1.0}
    if objective == "dpo":
        assumptions["0 < P < 1"] = bool(((P > 0) & (P < 1)).all())
    return Claim(1.0, 1.0, assumptions)


@theorem(
    number="7.5",
    source="[derived] statement 7.5",
    statement="On the 3-cycle P = 1/2 ± a with 0 < alpha < 1 the orbit born at the onset, z_j = w e^{2 pi i j/3} + "
    "c.c., has |w|²/(rho² - 1) → 2/(3 k²) for IPO (supercritical) and 1/(2 k² (3/4 - 4 a² lam²)) for DPO, k² = 1 - "
    "alpha², so DPO is subcritical if a lam > √3/4 and supercritical if a lam < √3/4.",
    quantity="limit of |w|²/(rho² - 1) as beta tends to the onset, negative where the orbit lives below it "
    "(subcritical)",
    strength="tight",
    build=lambda source: {
        "advantage": source.number(0.02, 0.49),
        "alpha": source.number(0.1, 0.95),
        "lam": source.number(0.05, 1.0),
        "objective": source.choice(("ipo", "dpo")),
    },
)
def onset_amplitude(advantage: float, alpha: float, lam: float, objective: str = "ipo") -> Claim:
    """At a lam = √3/4, within rounding, DPO's cubic term vanishes and the statement does not apply; alpha = 0 is the 1:4
    resonance.
    """
    k2 = (1 - alpha) * (1 + alpha)
    above = 0.75 if objective == "ipo" else 0.75 - 4 * (advantage * lam) ** 2
    cubic = 2 * k2 * above
    assumptions = {
        "0 < alpha < 1": al.ROUNDING < alpha < 1 - al.ROUNDING,
        "lam > 0": lam > 0,
        "P < 1": advantage < 0.5 - al.ROUNDING or objective == "ipo",
        "a lam ≠ √3/4": abs(above) > al.ROUNDING,
    }
    if not all(assumptions.values()):
        return Claim(0.0, 0.0, assumptions)
    return Claim(1 / cubic, 1 / cubic, assumptions)
