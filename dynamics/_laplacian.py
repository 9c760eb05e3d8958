"""Graphs with weighted edges, on the host: inverses of their Laplacians, and what connects them.

The Laplacian of weights c_ab = c_ba ≥ 0 is diag(c 1) - c. Elimination keeps the row sums of what is left instead of its
diagonal, so that it only adds terms ≥ 0 and every entry keeps its relative precision however far the weights lie apart.
"""

from __future__ import annotations

import numpy as np


def grounded_inverse(weights: np.ndarray, ground: np.ndarray | np.integer | int = 0) -> np.ndarray:
    """G, ``(…, K, K)``: the inverse of the Laplacian without row and column ``ground``, which are 0 in G.

    G is a generalised inverse of the Laplacian with entries ≥ 0, and G_aa is the resistance between a and ``ground``.

    Args:
        weights: ``(…, K, K)``, symmetric, ≥ 0, of a connected graph; the diagonal has no effect.
        ground: the response that is held at 0, one for all graphs or one for each.
    """
    weights = np.asarray(weights, np.float64)
    K, batch = weights.shape[-1], weights.shape[:-2]
    order = np.argsort(np.arange(K) != np.broadcast_to(np.asarray(ground), batch)[..., None], axis=-1, kind="stable")
    left = np.take_along_axis(np.take_along_axis(weights, order[..., :, None], -2), order[..., None, :], -1)
    left = left * (1.0 - np.eye(K))
    # Solutions for unit inflow at each response: inflow at an eliminated response is passed on to its neighbours.
    inflow = np.broadcast_to(np.eye(K), left.shape).copy()
    shares, diagonals = [], []
    for n in range(K - 1, 0, -1):
        row = left[..., n, :n]
        diagonal = row.sum(-1)
        share = row / diagonal[..., None]
        left = left[..., :n, :n] + share[..., :, None] * row[..., None, :]
        inflow[..., :n, :] += share[..., :, None] * inflow[..., n, None, :]
        shares.append(share)
        diagonals.append(diagonal)
    G = np.zeros_like(inflow)
    for n in range(1, K):
        share, diagonal = shares[K - 1 - n], diagonals[K - 1 - n]
        G[..., n, :] = inflow[..., n, :] / diagonal[..., None] + np.sum(share[..., :, None] * G[..., :n, :], axis=-2)
    G[..., :, 0] = 0.0
    G = 0.5 * (G + np.swapaxes(G, -1, -2))
    back = np.argsort(order, axis=-1)
    return np.take_along_axis(np.take_along_axis(G, back[..., :, None], -2), back[..., None, :], -1)


def resistances(inverse: np.ndarray) -> np.ndarray:
    """(e_a - e_b)ᵀ G (e_a - e_b) of a generalised inverse G, ``(…, K, K)``."""
    own = np.diagonal(inverse, axis1=-2, axis2=-1)
    return own[..., :, None] + own[..., None, :] - 2.0 * inverse


def covariance_spectrum(weights: np.ndarray, log_p: np.ndarray) -> np.ndarray:
    """Eigenvalues of L⁺ Sigma, ``(…, K)``, ascending: L the Laplacian of a connected graph, Sigma = diag(p) - p pᵀ.

    The smallest is 0, that of the constants.
    """
    p = np.exp(log_p)
    inverse = grounded_inverse(weights, np.argmax(log_p, axis=-1))
    root = np.sqrt(p)
    # Sigma = F Fᵀ with F = (I - p 1ᵀ) diag(√p).
    F = root[..., :, None] * np.eye(p.shape[-1]) - p[..., :, None] * root[..., None, :]
    found = np.linalg.eigvalsh(np.swapaxes(F, -1, -2) @ inverse @ F)
    return np.maximum(found, 0.0)


def trace_with_covariance(inverse: np.ndarray, log_p: np.ndarray) -> np.ndarray:
    """tr(Sigma G) = Σ_a<b p_a p_b (e_a - e_b)ᵀ G (e_a - e_b), ``(…,)``; exact to rounding if G is grounded at the mode of p."""
    p = np.exp(log_p)
    return np.asarray(0.5 * np.einsum("...a,...b,...ab->...", p, p, resistances(inverse)))


def reachable(edges: np.ndarray) -> np.ndarray:
    """Whether a path leads from i to j, ``(…, K, K)``; every i reaches itself."""
    K = edges.shape[-1]
    paths = edges | np.eye(K, dtype=bool)
    for k in range(K):
        paths |= paths[..., :, k, None] & paths[..., None, k, :]
    return paths
