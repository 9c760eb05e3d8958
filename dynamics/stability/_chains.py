"""Chains over scores, residuals, their scales, and triangles, started from draws of the Gaussian model. NumPy alone."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ._gibbs import Pairs, log_odds, polya_gamma
from ._laplace import SIGMAS, TAUS, log_prior_sigma, log_prior_tau
from ._triangles import Triangles

STEPS = (0.15, 0.5, 1.5)  # sd of random-walk proposals, in turn


class Chains:
    """M chains; every ``sweep`` leaves the posterior invariant.

    Attributes:
        s, C, sigma, t: scores ``(M, K)``, residuals ``(M, p)`` with the scale t, and the two scales ``(M,)``.
        triangles, planted: slots of triangles (None for none), and what they add to the log-odds, ``(M, p)``.
        accepted, proposed: counts of the joint moves of a scale and what it scales.
    """

    def __init__(
        self,
        counts: np.ndarray,
        eta: np.ndarray,
        sigma: np.ndarray,
        t: np.ndarray,
        rng: np.random.Generator,
        *,
        scale: float,
        slots: int = 0,
    ) -> None:
        self.pairs = pairs = Pairs(len(counts))
        self.K, self.M, self.rng, self.scale = pairs.K, len(eta), rng, scale
        i, j = pairs.i, pairs.j
        self.wins, self.n = counts[i, j], counts[i, j] + counts[j, i]
        self.compared = np.flatnonzero(self.n > 0)
        self.s = eta.mean(axis=2)
        self.C = eta[:, i, j] - pairs.differences(self.s) if self.K > 2 else np.zeros((self.M, 1))
        self.sigma, self.t = sigma.copy(), t.copy()
        self.d = (self.K - 1) * (self.K - 2) // 2
        self.to_tau = np.sqrt(1 - 2 / self.K) if self.K > 2 else 0.0
        self.triangles = Triangles(pairs, self.M, slots, rng) if slots and self.K > 3 else None
        self.planted = np.zeros_like(self.C)
        self.likelihood = self._likelihood(self.eta)
        self.accepted = self.proposed = 0

    @property
    def eta(self) -> np.ndarray:
        """Log-odds of pairs, ``(M, p)``."""
        return self.pairs.differences(self.s) + self.C + self.planted

    @property
    def tau(self) -> np.ndarray:
        """The scale of residuals, ``(M,)``."""
        return self.t * self.to_tau

    def sweep(self, turn: int) -> None:
        """One update of everything."""
        eta = self.eta[:, self.compared]
        omega = np.zeros_like(self.C)
        omega[:, self.compared] = polya_gamma(self.rng, self.n[self.compared], eta)
        D = np.broadcast_to(1 / self.t[:, None] ** 2 if self.K > 2 else 1.0, self.C.shape)
        kappa = self.wins - self.n / 2
        if self.triangles is not None:
            self.triangles.update(kappa, omega, self.t, self.sigma)
            self.planted = self.triangles.total()
        self.s, self.C = log_odds(self.rng, self.pairs, kappa - omega * self.planted, omega, D, self.sigma)
        self.likelihood = self._likelihood(self.eta)
        self._stretch_scores(STEPS[turn % 3])
        self._sigma()
        if self.K > 2:
            for step in (STEPS[turn % 3], STEPS[(turn + 1) % 3]):
                self._stretch_residuals(step)
            self._t()

    def _likelihood(self, eta: np.ndarray) -> np.ndarray:
        e = eta[:, self.compared]
        return e @ self.wins[self.compared] - np.logaddexp(0.0, e) @ self.n[self.compared]

    def _accept(self, log_ratio: np.ndarray) -> np.ndarray:
        return np.log(self.rng.uniform(size=self.M)) < log_ratio

    def _prior_sigma(self, sigma: np.ndarray) -> np.ndarray:
        inside = (sigma >= SIGMAS[0]) & (sigma <= SIGMAS[-1])
        return np.where(inside, log_prior_sigma(sigma), -np.inf)

    def _prior_t(self, t: np.ndarray) -> np.ndarray:
        tau = t * self.to_tau
        inside = (tau >= TAUS[0] * (1 - 1e-12)) & (tau <= TAUS[-1] * (1 + 1e-12))
        return np.where(inside, log_prior_tau(tau, self.K, self.scale), -np.inf)

    def _stretch_scores(self, step: float) -> None:
        """(s, sigma) → a (s, sigma): the prior of s/sigma stays, the likelihood decides."""
        a = np.exp(step * self.rng.standard_normal(self.M))
        s, sigma = a[:, None] * self.s, a * self.sigma
        found = self._likelihood(self.pairs.differences(s) + self.C + self.planted)
        ratio = found - self.likelihood + self._prior_sigma(sigma) - self._prior_sigma(self.sigma)
        yes = self._accept(ratio)
        self.s, self.sigma = np.where(yes[:, None], s, self.s), np.where(yes, sigma, self.sigma)
        self.likelihood = np.where(yes, found, self.likelihood)
        self.accepted, self.proposed = self.accepted + int(yes.sum()), self.proposed + self.M

    def _stretch_residuals(self, step: float) -> None:
        """(C, t) → a (C, t)."""
        a = np.exp(step * self.rng.standard_normal(self.M))
        C, t = a[:, None] * self.C, a * self.t
        found = self._likelihood(self.pairs.differences(self.s) + C + self.planted)
        yes = self._accept(found - self.likelihood + self._prior_t(t) - self._prior_t(self.t))
        self.C, self.t = np.where(yes[:, None], C, self.C), np.where(yes, t, self.t)
        self.likelihood = np.where(yes, found, self.likelihood)
        self.accepted, self.proposed = self.accepted + int(yes.sum()), self.proposed + self.M

    def _sigma(self) -> None:
        squares = (self.s**2).sum(axis=1)

        def value(sigma: np.ndarray) -> np.ndarray:
            return self._prior_sigma(sigma) - self.K * np.log(sigma) - 0.5 * squares / sigma**2

        self.sigma = self._walk(self.sigma, value)

    def _t(self) -> None:
        squares = (self.C**2).sum(axis=1)

        def value(t: np.ndarray) -> np.ndarray:
            return self._prior_t(t) - self.d * np.log(t) - 0.5 * squares / t**2

        self.t = self._walk(self.t, value)

    def _walk(self, scale: np.ndarray, value: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
        now = value(scale)
        for step in STEPS:
            trial = scale * np.exp(step * self.rng.standard_normal(self.M))
            found = value(trial)
            yes = self._accept(found - now)
            scale, now = np.where(yes, trial, scale), np.where(yes, found, now)
        return scale
