"""Linear algebra shared by the statements, in float64 on the host."""

from __future__ import annotations

import numpy as np

# The rounding error allowed in an identity that is an assumption.
ROUNDING = 1e-9


def skew(P: np.ndarray) -> np.ndarray:
    """A = P - 1/2, exactly skew: (P - Pᵀ)/2."""
    return (P - P.T) / 2


def centred(A: np.ndarray) -> np.ndarray:
    """C A C."""
    A = A - A.mean(axis=0, keepdims=True)
    return A - A.mean(axis=1, keepdims=True)


def norm(A: np.ndarray) -> float:
    """‖A‖₂, the largest singular value."""
    return float(np.linalg.norm(A, 2))


def centre(z: np.ndarray) -> np.ndarray:
    """C z."""
    z = z - z.mean(axis=-1, keepdims=True)
    return z - z.mean(axis=-1, keepdims=True)


def covariance(p: np.ndarray) -> np.ndarray:
    """Sigma = diag(p) - p pᵀ, its diagonal as p_i times the sum of the other p_j."""
    sigma = -np.outer(p, p)
    np.fill_diagonal(sigma, 0.0)
    np.fill_diagonal(sigma, -sigma.sum(axis=1))
    return sigma


def logit(P: np.ndarray) -> np.ndarray:
    """logit P_ij = log P_ij - log P_ji; infinite at entries 0 and 1."""
    with np.errstate(divide="ignore"):
        log_P = np.log(P)
    out = log_P - log_P.T
    np.fill_diagonal(out, 0.0)
    return out


def sigmoid(x: np.ndarray | float) -> np.ndarray:
    """1/(1 + e^-x)."""
    return np.asarray(np.exp(-np.logaddexp(0.0, -np.asarray(x))))


def pairwise_difference(f: np.ndarray) -> np.ndarray:
    """f_i - f_j, shape (K, K)."""
    return f[:, None] - f[None, :]


def triple_defects(P: np.ndarray) -> np.ndarray:
    """|logit P_ij + logit P_jk + logit P_ki|, shape (K, K, K): all zero iff P is Bradley–Terry."""
    L = logit(P)
    return np.abs(L[:, :, None] + L[None, :, :] + L.T[:, None, :])


def beats(P: np.ndarray, mu: np.ndarray) -> np.ndarray:
    """g_ij = (P mu)_i - (P mu)_j, each as Σ_k (P_ik - P_jk) mu_k so that equal rows give exactly 0."""
    return np.einsum("ijk,k->ij", P[:, None, :] - P[None, :, :], mu)


def row_dominant(P: np.ndarray) -> bool:
    """P_ij ≥ 1/2 ⇒ P_ik ≥ P_jk for every k."""
    dominates = (P[:, None, :] >= P[None, :, :]).all(axis=2)
    return bool((dominates | (P < 0.5)).all())


def one_sided(gap: np.ndarray, factor: float) -> tuple[np.ndarray, np.ndarray]:
    """Bounds that say factor·gap ≤ x where gap > 0, x ≤ factor·gap where gap < 0, and x = 0 where gap = 0."""
    return np.where(gap >= 0, factor * gap, -np.inf), np.where(gap <= 0, factor * gap, np.inf)


def geometric(alpha: float, rounds: int) -> tuple[float, float, float]:
    """alpha^t, 1 - alpha^t and G_t = (1 - alpha^t)/(1 - alpha), with 0^0 = 1 and G_t = t at alpha = 1."""
    if rounds == 0:
        return 1.0, 0.0, 0.0
    if alpha in (0.0, 1.0):
        return alpha, 1.0 - alpha, 1.0 if alpha == 0.0 else float(rounds)
    exponent = rounds * np.log(alpha)
    return float(np.exp(exponent)), float(-np.expm1(exponent)), float(-np.expm1(exponent) / (1.0 - alpha))


def null_space(rows: np.ndarray) -> np.ndarray:
    """An orthonormal basis of {x: rows x = 0}, shape (K, K - rank)."""
    _, values, right = np.linalg.svd(rows)
    rank = int((values > 1e-12 * values[0]).sum())
    return right[rank:].T
