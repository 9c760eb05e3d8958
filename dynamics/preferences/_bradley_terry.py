"""The Bradley–Terry maximum-likelihood fit of a preference matrix, on the host."""

from __future__ import annotations

import numpy as np

_MAX_STEPS = 2000
_MAX_STEP = 10.0  # range of a step, in nats


def strong_components(edge: np.ndarray) -> np.ndarray:
    """Labels, shape (K,), of the strongly connected components of the digraph with adjacency ``edge``.

    >>> dyn.preferences.strong_components(np.array([[0, 1, 0], [1, 0, 1], [0, 0, 0]])).tolist()
    [1, 1, 0]
    """
    from scipy.sparse import csr_array  # SciPy loads on use
    from scipy.sparse.csgraph import connected_components

    return connected_components(csr_array(edge), directed=True, connection="strong")[1]


def unlinked(wins: np.ndarray) -> list[int]:
    """The responses that comparisons link to the first one, itself included; all of them if the comparisons are connected.

    >>> dyn.preferences.unlinked(np.array([[0, 1, 0], [1, 0, 0], [0, 0, 0]]))
    [0, 1]
    """
    label = strong_components(wins + wins.T > 0)
    return [int(i) for i in np.flatnonzero(label == label[0])]


def unbeaten(wins: np.ndarray) -> list[int]:
    """A smallest group that won comparisons with the others and lost none; empty if there is none (Ford's condition).

    >>> dyn.preferences.unbeaten(np.array([[0, 1, 3], [1, 0, 2], [0, 0, 0]]))
    [0, 1]
    """
    label = strong_components(wins > 0)
    for top in range(label.max() + 1):
        inside = label == top
        if wins[np.ix_(inside, ~inside)].any() and not wins[np.ix_(~inside, inside)].any():
            return [int(i) for i in np.flatnonzero(inside)]
    return []


def bradley_terry_fit(P: np.ndarray) -> np.ndarray:
    """S_ij = σ(s_i - s_j) at the s that maximises Σ_{i<j} P_ij log S_ij + P_ji log S_ji, shape (K, K).

    Where a group always beats the rest no finite maximum exists (Ford 1957): gaps between the strongly connected components
    of P_ij > 0 grow without bound, and the limit is 0 or 1 between components and a finite fit within each.
    """
    from scipy.special import expit

    label = strong_components(P > 0)
    fit = np.where(P > P.T, 1.0, 0.0)
    for component in range(label.max() + 1):
        members = np.flatnonzero(label == component)
        s = _scores(P[np.ix_(members, members)])
        fit[np.ix_(members, members)] = expit(s[:, None] - s[None, :])
    return fit


def _scores(P: np.ndarray) -> np.ndarray:
    """Damped Newton on the convex negative log-likelihood of a strongly connected P, in the centred gauge."""
    from scipy.special import expit

    K = len(P)
    # Exact where P is Bradley–Terry; entries 0 and 1 are clipped, for the start only.
    inside = np.clip(P, 1e-3, 1 - 1e-3)
    s = np.mean(np.log(inside) - np.log1p(-inside), axis=1)
    loss = _loss(P, s)
    for _ in range(_MAX_STEPS):
        S = expit(s[:, None] - s[None, :])
        gradient = np.sum(S - P, axis=1) - np.sum(S - P) / K
        # The error of S is a flow whose net outflow is the gradient, so no entry is off by more than the sum of that.
        if np.abs(gradient).sum() <= 1e-13 * K:
            break
        step = _newton_step(S * S.T, gradient)
        step *= min(1.0, _MAX_STEP / np.ptp(step))
        while not (new := _loss(P, s - step)) <= loss + 1e-14 * abs(loss):
            step /= 2
            if np.abs(step).max() <= 1e-15 * max(1.0, np.abs(s).max()):
                return s
        s, loss = s - step, new
    return s


def _newton_step(weight: np.ndarray, gradient: np.ndarray) -> np.ndarray:
    laplacian = np.diag(weight.sum(axis=1)) - weight
    # The gauge direction gets the mean curvature; the ridge matters only where weights underflow.
    scale = np.trace(laplacian) / len(weight)
    ridge = 1e-15 * scale + 1e-300
    step = np.linalg.solve(laplacian + scale / len(weight) + ridge * np.eye(len(weight)), gradient)
    return step - step.mean()


def _loss(P: np.ndarray, s: np.ndarray) -> float:
    """Σ_{i≠j} P_ij log(1 + e^(s_j - s_i))."""
    return float(np.sum(P * np.logaddexp(0.0, s[None, :] - s[:, None])))
