"""Laws of true preference matrices, on which a posterior is judged: each draws the log-odds of a truth, then its votes.

``camps`` and ``odd one`` were written down before any model was fitted to them, and no model was changed after they had been
looked at. ``plant`` is the law that defeats a single scale for all residuals.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np

Truth = Callable[[np.random.Generator, int], np.ndarray]


@dataclasses.dataclass(frozen=True)
class Law:
    """Truths, and how many votes they get.

    Attributes:
        name: what is printed.
        truth: log-odds of a truth, ``(K, K)``, from a generator and K.
        K: number of responses.
        votes: votes of each pair that is compared.
        beta: IPO's beta at which radii are compared; alpha = 1/2 and lam = 1.
        missing: share of pairs that are never compared.
    """

    name: str
    truth: Truth
    K: int
    votes: int
    beta: float
    missing: float = 0.0

    def sample(self, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """One truth P and its win counts, both ``(K, K)``."""
        eta = self.truth(rng, self.K)
        i, j = np.triu_indices(self.K, 1)
        P = np.full((self.K, self.K), 0.5)
        P[i, j], P[j, i] = 1 / (1 + np.exp(-eta[i, j])), 1 / (1 + np.exp(eta[i, j]))
        compared = np.where(rng.uniform(size=len(i)) < self.missing, 0, self.votes)
        counts = np.zeros((self.K, self.K))
        counts[i, j] = rng.binomial(compared, P[i, j])
        counts[j, i] = compared - counts[i, j]
        return P, counts


def scores(sd: float, residual: float = 0.0) -> Truth:
    """Bradley–Terry with scores N(0, sd²), and an independent N(0, residual²) on each pair."""
    return lambda rng, K: _differences(rng, K, sd) + _skew(residual * rng.normal(size=(K, K)))


def heavy(sd: float, residual: float) -> Truth:
    """Scores N(0, sd²) and residuals of Student's t with three degrees of freedom, scaled by ``residual``."""
    return lambda rng, K: _differences(rng, K, sd) + _skew(residual * rng.standard_t(3, size=(K, K)))


def tournament(advantage: tuple[float, float], sd: float = 0.0) -> Truth:
    """Each response beats the next (K-1)/2 on a circle with probability 1/2 + U(advantage), and small scores besides."""

    def truth(rng: np.random.Generator, K: int) -> np.ndarray:
        share = 0.5 + rng.uniform(*advantage)
        ahead = (np.arange(K)[None, :] - np.arange(K)[:, None]) % K
        sign = np.where(ahead == 0, 0, np.where(ahead <= (K - 1) // 2, 1, -1))
        return sign * np.log(share / (1 - share)) + _differences(rng, K, sd)

    return truth


def plant(rng: np.random.Generator, K: int) -> np.ndarray:
    """Scores N(0, .7²), and in place of their differences among the three best a 3-cycle of U(.3, 1.2)."""
    s = np.sort(rng.normal(0, 0.7, K))[::-1]
    eta = s[:, None] - s[None, :]
    strength = rng.uniform(0.3, 1.2)
    for i, j in ((0, 1), (1, 2), (2, 0)):
        eta[i, j], eta[j, i] = strength, -strength
    return eta


def camps(rng: np.random.Generator, K: int) -> np.ndarray:
    """Scores N(0, .5²), and three camps of equal size, each ahead of the next by U(.3, 1.2) in every pair."""
    ahead = (np.arange(K)[None, :] % 3 - np.arange(K)[:, None] % 3) % 3
    return np.array([0, 1, -1])[ahead] * rng.uniform(0.3, 1.2) + _differences(rng, K, 0.5)


def odd_one(rng: np.random.Generator, K: int) -> np.ndarray:
    """Scores N(0, .7²), and one response that is judged otherwise: a residual N(0, 1) against each of the others."""
    eta, odd, off = _differences(rng, K, 0.7), rng.integers(K), rng.normal(size=K)
    off[odd] = 0
    eta[odd] += off
    eta[:, odd] -= off
    return eta


def _differences(rng: np.random.Generator, K: int, sd: float) -> np.ndarray:
    s = sd * rng.normal(size=K)
    return s[:, None] - s[None, :]


def _skew(x: np.ndarray) -> np.ndarray:
    upper = np.triu(x, 1)
    return upper - upper.T


CYCLE, MIXED = tournament((0.1, 0.1)), tournament((0.05, 0.35), 0.2)

LAWS = (
    Law("BT .5", scores(0.5), 14, 15, 0.1),
    Law("BT 1", scores(1.0), 14, 15, 0.1),
    Law("BT 1, 12", scores(1.0), 12, 15, 0.1),
    Law("BT 1, 70% missing", scores(1.0), 14, 15, 0.1, 0.7),
    Law("BT 1 + .3, half missing", scores(1.0, 0.3), 14, 15, 0.05, 0.5),
    Law("BT .5, 5 votes", scores(0.5), 30, 5, 0.05),
    Law("BT .5, 3 votes", scores(0.5), 40, 3, 0.05),
    Law("BT 1 + .3", scores(1.0, 0.3), 40, 15, 0.05),
    Law("BT 1 + 1", scores(1.0, 1.0), 14, 15, 0.1),
    Law("BT .3 + .3", scores(0.3, 0.3), 8, 30, 0.05),
    Law("BT .5 + 1, 3 votes", scores(0.5, 1.0), 8, 3, 0.07),
    Law("BT .5 + 1", scores(0.5, 1.0), 8, 30, 0.1),
    Law("BT 2, 5 votes", scores(2.0), 6, 5, 0.05),
    Law("BT 1 + .1, 1000 votes", scores(1.0, 0.1), 6, 1000, 0.02),
    Law("BT 1, 1000 votes", scores(1.0), 4, 1000, 0.005),
    Law("BT 1, K = 3", scores(1.0), 3, 10, 0.05),
    Law("BT .5 + .3, 40% missing", scores(0.5, 0.3), 6, 30, 0.05, 0.4),
    Law("heavy tails", heavy(0.5, 0.3), 10, 20, 0.05),
    Law("3-cycle .6/.4", CYCLE, 3, 30, 0.06),
    Law("3-cycle .6/.4, 200 votes", CYCLE, 3, 200, 0.06),
    Law("3-cycle .6/.4, 1000 votes", CYCLE, 3, 1000, 0.06),
    Law("3-cycle .7/.3", tournament((0.2, 0.2)), 3, 30, 0.06),
    Law("5-tournament .6/.4", CYCLE, 5, 30, 0.06),
    Law("mixed cycles, K = 3", MIXED, 3, 30, 0.08),
    Law("mixed cycles, K = 5", MIXED, 5, 15, 0.1),
    Law("mixed cycles, 5 votes", MIXED, 7, 5, 0.1),
    Law("mixed cycles, 3 votes", MIXED, 9, 3, 0.1),
    Law("plant", plant, 8, 20, 0.06),
    Law("camps", camps, 9, 20, 0.1),
    Law("odd one", odd_one, 8, 20, 0.06),
)
