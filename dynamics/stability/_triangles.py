"""Cycles of three among the residuals: a few triangles stand out, each with an amplitude of its own.

eta = s_i - s_j + C + Σ_slots a u_T, where u_T is +1 along the cycle i > j > k > i. Each slot holds a triangle with probability
occupied ~ Beta(1/2, 1/2), the same for all slots; T is any with equal probability, and a ~ N(0, A²), A one of ``AMPLITUDES``.
Triangles span all residuals, so that this is a spike-and-slab prior on the cycles that a residual consists of. NumPy alone.
"""

from __future__ import annotations

from itertools import combinations

import numpy as np
from scipy.special import logsumexp

from ._gibbs import Pairs

AMPLITUDES = np.array([0.25, 0.5, 1.0, 2.0])
BLIND = 0.1  # share of proposals that pick any triangle with equal probability
TRIES = 3  # proposals for each slot and sweep, half of them to empty it


class Evidence:
    """What the votes say of triangles once scores and common residuals are integrated out, given ω: for M chains.

    With H = (prior covariance + 1/ω)^-1, ``left`` is H y and the information of a triangle uᵀ H u; nothing larger than K × K is
    inverted.
    """

    def __init__(self, pairs: Pairs, omega: np.ndarray, t: np.ndarray, sigma: np.ndarray) -> None:
        K = pairs.K
        self.pairs, self.omega, self.t2 = pairs, omega, t[:, None] ** 2
        self.damped = omega / (1 + self.t2 * omega)
        v = (sigma**2 - t**2 / K)[:, None, None]
        self.N = v * np.linalg.inv(np.eye(K) + v * pairs.laplacian(self.damped))

    def left(self, kappa: np.ndarray) -> np.ndarray:
        """H y with ω y = κ, ``(M, p)``."""
        h = kappa / (1 + self.t2 * self.omega)
        return h - self.damped * self.pairs.differences((self.N @ (h @ self.pairs.B)[..., None])[..., 0])

    def information(self, corners: np.ndarray, sides: np.ndarray) -> np.ndarray:
        """uᵀ H u for triangles ``(3, M, n)``, ``(M, n)``."""
        rows = np.arange(len(self.N))[:, None]
        first, second, third = (self.damped[rows, side] for side in sides)
        c = np.stack([first - third, second - first, third - second])
        form = sum(c[a] * c[b] * self.N[rows, corners[a], corners[b]] for a in range(3) for b in range(3))
        return np.maximum(first + second + third - form, 0.0)


class Triangles:
    """The slots of M chains.

    Attributes:
        which: the triangle of each slot, or -1, ``(J, M)``.
        a: its amplitude, 0 where the slot is empty, ``(J, M)``.
        A: the prior scale of its amplitude, ``(J, M)``.
        occupied: the probability that a slot holds a triangle, ``(M,)``.
    """

    def __init__(self, pairs: Pairs, M: int, slots: int, rng: np.random.Generator) -> None:
        self.pairs, self.rng = pairs, rng
        self.corners, self.sides = every(pairs)
        self.which = np.full((slots, M), -1)
        self.a = np.zeros((slots, M))
        self.A = rng.choice(AMPLITUDES, size=(slots, M))
        self.occupied = np.clip(rng.beta(0.5, 0.5, M), 1e-12, 1 - 1e-12)
        self.count = self.corners.shape[1]
        self.propose = np.full(self.count, 1 / self.count)

    def aim(self, kappa: np.ndarray, omega: np.ndarray, t: np.ndarray, sigma: np.ndarray) -> None:
        """Proposals in proportion to the evidence for each triangle at given (κ, ω, t, sigma), the mean over their rows."""
        evidence = Evidence(self.pairs, omega, t, sigma)
        info = evidence.information(self.corners[:, None], self.sides[:, None])
        g = along(evidence.left(kappa), self.sides[:, None])
        log = logsumexp([log_ratio(g, info, A) for A in AMPLITUDES], axis=0)
        weight = np.exp(log - logsumexp(log, axis=1, keepdims=True)).mean(axis=0)
        self.propose = BLIND / self.count + (1 - BLIND) * weight / weight.sum()

    def total(self) -> np.ndarray:
        """Σ_slots a u_T, ``(M, p)``."""
        return np.sum([self._one(slot) for slot in range(len(self.a))], axis=0)

    def update(self, kappa: np.ndarray, omega: np.ndarray, t: np.ndarray, sigma: np.ndarray) -> None:
        """Triangle and amplitude of every slot, with scores and residuals integrated out, given the other slots."""
        evidence = Evidence(self.pairs, omega, t, sigma)
        total, rows, M = self.total(), np.arange(len(t)), len(t)
        cumulative = np.cumsum(self.propose)
        log_proposal = np.append(np.log(self.propose), 0.0)
        log_prior = np.stack([np.log(self.occupied / self.count), np.log1p(-self.occupied)])
        for slot in range(len(self.a)):
            total = total - self._one(slot)
            left = evidence.left(kappa - omega * total)
            offered = np.searchsorted(cumulative, self.rng.uniform(size=(M, TRIES)) * cumulative[-1])
            offered = np.where(self.rng.uniform(size=(M, TRIES)) < 0.5, np.minimum(offered, self.count - 1), -1)
            now = np.concatenate([self.which[slot][:, None], offered], axis=1)
            at = np.maximum(now, 0)
            g, info = along(left, self.sides[:, at]), evidence.information(self.corners[:, at], self.sides[:, at])
            value = np.where(now >= 0, log_ratio(g, info, self.A[slot][:, None]), 0.0)
            value += np.where(now >= 0, log_prior[0][:, None], log_prior[1][:, None]) - log_proposal[now]
            held = np.zeros(M, int)
            for n in range(1, TRIES + 1):
                yes = np.log(self.rng.uniform(size=M)) < value[:, n] - value[rows, held]
                held = np.where(yes, n, held)
            which = now[rows, held]
            variance = self.A[slot] ** 2 / (1 + self.A[slot] ** 2 * info[rows, held])
            a = variance * g[rows, held] + np.sqrt(variance) * self.rng.standard_normal(M)
            self.which[slot], self.a[slot] = which, np.where(which >= 0, a, 0.0)
            self._scale(slot)
            total = total + self._one(slot)
        held = (self.which >= 0).sum(axis=0)
        share = self.rng.beta(0.5 + held, 0.5 + len(self.a) - held)
        self.occupied = np.clip(share, 1e-12, 1 - 1e-12)

    def _scale(self, slot: int) -> None:
        """A given a; from its prior where the slot is empty."""
        log = -np.log(AMPLITUDES) - 0.5 * (self.a[slot][:, None] / AMPLITUDES) ** 2
        log = np.where(self.which[slot][:, None] >= 0, log, 0.0)
        gumbel = -np.log(-np.log(self.rng.uniform(size=log.shape)))
        self.A[slot] = AMPLITUDES[(log + gumbel).argmax(axis=1)]

    def _one(self, slot: int) -> np.ndarray:
        out = np.zeros((self.a.shape[1], len(self.pairs.i)))
        rows = np.flatnonzero(self.which[slot] >= 0)
        for side, sign in zip(self.sides, (1, 1, -1), strict=True):
            out[rows, side[self.which[slot][rows]]] = sign * self.a[slot][rows]
        return out


def every(pairs: Pairs) -> tuple[np.ndarray, np.ndarray]:
    """Corners i < j < k of all triangles, and their sides as indices of pairs, the last against the cycle; ``(3, T)`` each."""
    corners = np.array(list(combinations(range(pairs.K), 3))).T
    index = np.zeros((pairs.K, pairs.K), int)
    index[pairs.i, pairs.j] = np.arange(len(pairs.i))
    i, j, k = corners
    return corners, np.stack([index[i, j], index[j, k], index[i, k]])


def along(x: np.ndarray, sides: np.ndarray) -> np.ndarray:
    """u_T · x for x ``(M, p)`` and the sides of triangles ``(3, M, n)``."""
    rows = np.arange(len(x))[:, None]
    first, second, third = (x[rows, side] for side in sides)
    return first + second - third


def log_ratio(g: np.ndarray, information: np.ndarray, A: np.ndarray | float) -> np.ndarray:
    """log of the marginal likelihood with a ~ N(0, A²) over that with a = 0."""
    grown = 1 + A**2 * information
    return 0.5 * (A**2 * g**2 / grown - np.log(grown))
