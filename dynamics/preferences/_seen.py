"""What a round has seen of the preferences: the exact law of its comparisons, or how much mass each result has."""

from __future__ import annotations

from abc import abstractmethod

import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float

from .._checks import Numbers
from .._noun import Noun
from ._draws import win_rates

LIGHT = -1000.0  # log of the root of a weight of 0: a prompt that decides only what no other prompt says anything about


class Seen(Noun):
    """What an objective is fitted to, of one prompt or, with a leading axis X on every array, of several.

    ``Pairs`` and ``Masses`` are the two kinds there are.
    """

    @abstractmethod
    def rates(self) -> Float[Array, "*contexts K K"]:
        """Pr("i beat j") in one comparison, i ≠ j, ``(K, K)``; zero diagonal: what is left to 1 are pairs of equals."""

    @abstractmethod
    def weighted(self, weights: Float[Array, " X"]) -> Seen:
        """What was seen of several prompts, every mass times the weight of its prompt, ``(X,)``, ≥ 0."""


class Pairs(Seen):
    """Both responses of a pair i.i.d. from mu and a label by P: Pr(i beat j) = 2 mu_i mu_j P_ij.

    Exact solvers use this form, whose masses may lie far below the floats: log mu is kept beside mu.

    Attributes:
        preference: P, ``(K, K)``.
        log_mu: log mu, ``(K,)``, in nats, ``-inf`` where a response is never sampled.
        mu: mu, ``(K,)``, as the sampler computes it without a logarithm.
    """

    preference: Float[Array, "*contexts K K"]
    log_mu: Float[Array, "*contexts K"]
    mu: Float[Array, "*contexts K"]

    def rates(self) -> Float[Array, "*contexts K K"]:
        return win_rates(self.preference, self.mu)

    def weighted(self, weights: Float[Array, " X"]) -> Pairs:
        root = jnp.sqrt(weights)[:, None]
        some = root > 0
        return Pairs(
            self.preference, self.log_mu + jnp.where(some, jnp.log(jnp.where(some, root, 1.0)), LIGHT), self.mu * root
        )


class Masses(Seen):
    """The mass of each result "i beat j": counts, or probabilities.

    A mass that is 0, or below the floats, counts as not compared: there the reference's log-ratio stays.

    Attributes:
        wins: ``(K, K)``, ≥ 0, ``wins[i, j]`` the mass of "i beat j"; the diagonal holds pairs of equals, which teach nothing.
        total: what ``wins`` sums to, diagonal included: 1 for probabilities, n for n comparisons.
        smoothing: pseudo-wins that DPO adds both ways to each pair that was compared, in units of ``wins``, ≥ 0.
    """

    wins: Float[Array, "*contexts K K"]
    total: Float[Array, "*contexts"]
    smoothing: Float[Array, "*contexts"]

    def __init__(self, wins: Numbers, total: ArrayLike = 1.0, smoothing: ArrayLike = 0.0):
        self.wins = jnp.asarray(wins, dtype=float)
        self.total = jnp.asarray(total, dtype=float)
        self.smoothing = jnp.asarray(smoothing, dtype=float)

    def compared(self) -> Float[Array, "*contexts K K"]:
        """``wins`` without pairs of equals."""
        return self.wins * (1.0 - jnp.eye(self.wins.shape[-1]))

    def rates(self) -> Float[Array, "*contexts K K"]:
        return self.compared() / self.total[..., None, None]

    def weighted(self, weights: Float[Array, " X"]) -> Masses:
        share = weights / self.total
        return Masses(self.wins * share[:, None, None], weights, self.smoothing * share)
