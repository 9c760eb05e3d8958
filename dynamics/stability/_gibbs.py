"""Gibbs sampling of log-odds eta_ij = s_i - s_j + C_ij, C with row sums 0, in parallel chains over pairs i < j.

Arrays over pairs have shape ``(M, p)``, p = K(K-1)/2; those over responses ``(M, K)``; M chains. NumPy alone.
"""

from __future__ import annotations

import numpy as np


class Pairs:
    """The pairs i < j of K responses, and sums over them.

    Attributes:
        K: number of responses.
        i, j: ``(p,)``.
        B: incidence, ``(p, K)``: x @ B sums signed pair values into responses, s @ B.T are differences.
    """

    def __init__(self, K: int) -> None:
        self.K = K
        self.i, self.j = np.triu_indices(K, 1)
        rows = np.arange(len(self.i))
        self.B = np.zeros((len(rows), K))
        self.B[rows, self.i], self.B[rows, self.j] = 1.0, -1.0

    def differences(self, s: np.ndarray) -> np.ndarray:
        """s_i - s_j."""
        return s[:, self.i] - s[:, self.j]

    def square(self, x: np.ndarray, sign: float) -> np.ndarray:
        """``(M, K, K)`` with x above the diagonal and ``sign`` x below it."""
        full = np.zeros((len(x), self.K, self.K))
        full[:, self.i, self.j], full[:, self.j, self.i] = x, sign * x
        return full

    def laplacian(self, w: np.ndarray) -> np.ndarray:
        """Bᵀ diag(w) B."""
        full = self.square(-w, 1.0)
        rows = np.arange(self.K)
        full[:, rows, rows] = -full.sum(axis=2)
        return full


def polya_gamma(rng: np.random.Generator, b: np.ndarray, z: np.ndarray) -> np.ndarray:
    """PG(b, z) = Σ_k Gamma(b, 1)/(2 π² ((k - 1/2)² + z²/4π²)): the first two terms as they are, the others together as one
    Gamma variable with their mean and variance; the error is in the third cumulant, below 1e-3 of it for abs(z) ≤ 6.
    """
    z = np.maximum(np.abs(z), 0.01)
    tail = np.exp(-z)
    mean = 0.5 * b * (1 - tail) / (z * (1 + tail))
    variance = 0.5 * b * ((1 - tail**2) - 2 * z * tail) / (z**3 * (1 + tail) ** 2)
    total = np.zeros(z.shape)
    squared = (z / (2 * np.pi)) ** 2
    b = np.broadcast_to(b, z.shape)
    for k in (0.5, 1.5):
        scale = 0.5 / (np.pi**2 * (k**2 + squared))
        total += scale * rng.standard_gamma(b)
        mean, variance = mean - scale * b, variance - scale**2 * b
    rest = b > 0
    shape = np.where(rest, mean**2 / np.where(rest, variance, 1.0), 0.0)
    return total + np.where(rest, variance / np.where(rest, mean, 1.0), 0.0) * rng.standard_gamma(shape)


def log_odds(
    rng: np.random.Generator, pairs: Pairs, kappa: np.ndarray, omega: np.ndarray, D: np.ndarray, sigma: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """An exact draw of (s, C) with density ∝ exp(κ·eta - ½ ω·eta²) N(s; 0, sigma²) N(C; 0, 1/D), given that rows of C sum to 0.

    The unconstrained Gaussian is drawn by perturbing and solving, and then moved onto the constraint by its own covariance;
    nothing larger than K × K is solved.

    Args:
        rng: a generator.
        pairs: the pairs.
        kappa: (c_ij - c_ji)/2, ``(p,)``.
        omega: ≥ 0, ``(M, p)``.
        D: prior precision of residuals, > 0, ``(M, p)``.
        sigma: sd of scores, ``(M,)``.
    """
    M, K = len(sigma), pairs.K
    if K == 2:  # no residuals
        noise = (kappa + np.sqrt(omega) * rng.standard_normal(omega.shape)) @ pairs.B
        right = noise + rng.standard_normal((M, K)) / sigma[:, None]
        matrix = pairs.laplacian(omega) + np.eye(K) / (sigma**2)[:, None, None]
        return np.linalg.solve(matrix, right[..., None])[..., 0], np.zeros_like(omega)
    both = omega + D
    share = omega / both
    u = kappa + np.sqrt(omega) * rng.standard_normal(omega.shape)
    v = u + np.sqrt(D) * rng.standard_normal(omega.shape)
    inverse = np.linalg.inv(pairs.laplacian(share * D) + np.eye(K) / (sigma**2)[:, None, None])
    right = (u - share * v) @ pairs.B + rng.standard_normal((M, K)) / sigma[:, None]
    s = (inverse @ right[..., None])[..., 0]
    C = v / both - share * pairs.differences(s)
    L = pairs.laplacian(share)
    LS = L @ inverse
    spread = pairs.laplacian(1 / both) + LS @ L
    size = np.trace(spread, axis1=1, axis2=2) / K  # fixes the constant, which differences do not see
    w = np.linalg.solve(spread + (size / K)[:, None, None], (C @ pairs.B)[..., None])
    back = (np.swapaxes(LS, 1, 2) @ w)[..., 0]
    w = w[..., 0]
    C = C - pairs.differences(w) / both - share * pairs.differences(back)
    s = s + back
    left = (C @ pairs.B) / K  # rounding alone
    return s + left, C - pairs.differences(left)
