"""Statements on the loss as a link and on references that follow the policy (statement 7.17 and one without a number)."""

from __future__ import annotations

from typing import Any

import numpy as np

from . import _algebra as al
from ._bound import Claim, theorem
from .source import Source, matrix, positive

KAPPA = {"linear": 1.0, "logistic": 4.0, "probit": np.sqrt(2.0 * np.pi), "cauchit": np.pi}


def _frequencies(P: np.ndarray) -> tuple[np.ndarray, dict[str, bool]]:
    """w_k, descending, of the K-1 directions off the gauge."""
    A = al.skew(P)
    balanced = bool(np.abs(A.sum(axis=1)).max() <= al.ROUNDING)
    return np.sort(np.linalg.svd(A, compute_uv=False))[::-1][: len(P) - 1], {"A1 = 0": balanced}


def _linked(source: Source) -> dict[str, Any]:
    return {
        "P": matrix(source, source.integer(2, 7), ("regular",)),
        "alpha": source.number(0.0, 1.0),
        "lam": source.number(0.0, 1.0),
        "beta": positive(source, 1e-2, 1e2),
        "link": source.choice(tuple(KAPPA)),
        "label_smoothing": source.number(0.0, 0.45),
    }


@theorem(
    number="7.17",
    source="[derived] statement 7.17",
    statement="With uniform ref and pi_0 and A1 = 0, any smooth margin loss f has at uniform the eigenvalues alpha ± i "
    "kappa lam w_k/(K beta), kappa = 2|f'(0)|/f''(0): linear 1, logistic 4, probit √(2pi), cauchit pi, each times 1 - 2 "
    "eps under label smoothing eps; unstable if alpha² + (kappa lam w/(K beta))² > 1, stable if it is smaller.",
    quantity="moduli of the K-1 eigenvalues of the round's Jacobian at the uniform policy (gauge left out), descending",
    strength="tight",
    build=_linked,
)
def link_spectrum(
    P: np.ndarray, alpha: float, lam: float, beta: float, link: str = "logistic", label_smoothing: float = 0.0
) -> Claim:
    """Stationarity, Σ_j mu_j [P_ij f'(r_ij) - P_ji f'(-r_ij)] = 0, holds at r = 0, P mu = 1/2; linearised there it is
    f''(0) C dr = -2 f'(0) A dmu, dmu = lam dz/K.
    """
    w, assumptions = _frequencies(P)
    kappa = KAPPA[link] * (1.0 - 2.0 * label_smoothing)
    modulus = np.hypot(alpha, kappa * lam * w / (len(P) * beta))
    return Claim(modulus, modulus, assumptions)


def _followed(source: Source) -> dict[str, Any]:
    return {
        "P": matrix(source, source.integer(2, 7), ("regular",)),
        "rate": source.number(1e-3, 1.0),
        "lam": source.number(0.0, 1.0),
        "beta": positive(source, 1e-2, 1e2),
    }


@theorem(
    number="9.1",
    source="[derived] statement 9.1",
    statement="IPO with log ref_t+1 = rate log pi_t+1 + (1 - rate) log ref_t, uniform pi_0 and A1 = 0: at uniform the "
    "eigenvalues of a round are the roots of x² - (1 + iy) x + iy (1 - rate), y = ± lam w_k/(K beta).",
    quantity="moduli of the 2(K-1) eigenvalues of the round of (log pi, log ref) at uniform (gauge left out), descending",
    strength="tight",
    build=_followed,
    about="ipo",
)
def ema_spectrum(P: np.ndarray, rate: float, lam: float, beta: float) -> Claim:
    """Along an eigenvector of A at i w, dz' = d log ref + iy dz and d log ref' = rate dz' + (1 - rate) d log ref: the matrix
    [[iy, 1], [iy rate, 1]] has trace 1 + iy and determinant iy (1 - rate).
    """
    w, assumptions = _frequencies(P)
    moduli = averaged_moduli(lam * w / (len(P) * beta), rate)
    return Claim(moduli, moduli, assumptions | {"rate ≤ 1": rate <= 1.0})


def averaged_moduli(k: np.ndarray, rate: float) -> np.ndarray:
    """The moduli of the roots of x² - (1 + ik) x + ik (1 - rate), ``(2 len(k),)``, descending.

    >>> averaged_moduli(np.array([0.5]), 1.0).round(6).tolist()  # the last policy as reference: |1 + ik| and 0
    [1.118034, 0.0]
    """
    k = 1j * np.asarray(k)
    root = np.sqrt((1.0 + k) ** 2 - 4.0 * k * (1.0 - rate))
    # The smaller root comes from the product of the two, without cancellation.
    sign = np.where(np.real(np.conj(1.0 + k) * root) >= 0, 1.0, -1.0)
    large = 0.5 * (1.0 + k + sign * root)
    return -np.sort(-np.abs(np.concatenate([large, k * (1.0 - rate) / large])))


@theorem(
    number="9.1",
    source="[derived] statement 9.1",
    statement="For the rounds of ema_spectrum uniform is unstable if y² (1 - rate)² (2 - rate) > 2 - 3 rate and "
    "y > 0, y = lam w/(K "
    "beta), w the largest w_k: for small y iff rate > 2/3, and at rate = 2/3 for every y > 0; the geometric reference"
    " of alpha = 1, in contrast, is never stable. So the critical beta is lam w (1 - rate) √((2 - rate)/(2 - 3 "
    "rate))/K, infinite from rate = 2/3 on.",
    quantity="the beta at which the spectral radius of the round of (log pi, log ref) at uniform, directions with w_k = 0 "
    "left out, is 1",
    strength="tight",
    build=lambda source: {
        "P": matrix(source, source.integer(3, 7), ("regular",)),
        "rate": source.number(1e-3, 0.66),
        "lam": source.number(1e-3, 1.0),
    },
    about="ipo",
)
def ema_threshold(P: np.ndarray, rate: float, lam: float) -> Claim:
    """Both roots of x² + a x + b are inside the circle iff |b| < 1 and |a - conj(a) b| < 1 - |b|² (Schur, Cohn). With q = 1 -
    rate, a = -(1 + iy), b = iyq the second is y² q² (1 - q²) < 2q(1-q) - (1-q)², that is y² q² (2 - rate) < 2 - 3 rate, and
    implies the first.
    """
    w, assumptions = _frequencies(P)
    assumptions = assumptions | {"rate ≤ 1": rate <= 1.0, "lam A ≠ 0": bool(lam * w[0] > al.ROUNDING)}
    if not all(assumptions.values()):
        return Claim(0.0, 0.0, assumptions)
    never = 3.0 * rate >= 2.0
    beta = np.inf if never else lam * w[0] * (1.0 - rate) * np.sqrt((2.0 - rate) / (2.0 - 3.0 * rate)) / len(P)
    return Claim(beta, beta, assumptions)
