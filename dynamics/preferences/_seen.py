"""What a round observes of the preferences: the exact law of its comparisons, or the mass of each result."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable

import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float

from .._checks import Numbers
from .._noun import Noun
from ._draws import win_rates

LIGHT = -1000.0  # log of the root of a weight of 0: a prompt that decides only what no other prompt says anything about


class Seen(Noun):
    """The data that an objective is fitted to, ``Pairs`` or ``Masses``: of one prompt, or of X prompts along a
    leading axis of every array.
    """

    @abstractmethod
    def rates(self) -> Float[Array, "*contexts K K"]:
        """Pr("i beat j") in one comparison, ``(K, K)``, zero diagonal; 1 minus their sum is Pr(a pair of equals)."""

    @abstractmethod
    def weighted(self, weights: Float[Array, " X"]) -> Seen:
        """What was seen of several prompts, every mass times the weight of its prompt, ``(X,)``, ≥ 0."""


class Pairs(Seen):
    """Both responses of a pair drawn i.i.d. from mu, the label from P: Pr(i beat j) = 2 mu_i mu_j P_ij.

    Exact solvers use this form. It keeps log mu beside mu, since masses may lie far below the smallest float.

    Attributes:
        preference: P, ``(K, K)``.
        log_mu: log mu, ``(K,)``, in nats, ``-inf`` where a response is never sampled; or a Module without arguments that
            computes it, which is called where log mu is read, because most solvers need only mu.
        mu: mu, ``(K,)``, as the sampler computes it without a logarithm.
    """

    preference: Float[Array, "*contexts K K"]
    given: Float[Array, "*contexts K"] | Callable[[], Float[Array, "*contexts K"]]
    mu: Float[Array, "*contexts K"]

    def __init__(
        self,
        preference: Float[Array, "*contexts K K"],
        log_mu: Float[Array, "*contexts K"] | Callable[[], Float[Array, "*contexts K"]],
        mu: Float[Array, "*contexts K"],
    ):
        self.preference, self.given, self.mu = preference, log_mu, mu

    @property
    def log_mu(self) -> Float[Array, "*contexts K"]:
        """log mu, ``(K,)``, in nats, ``-inf`` where a response is never sampled."""
        return self.given() if callable(self.given) else self.given

    def of(self, preference: Float[Array, "*contexts K K"]) -> Pairs:
        """The same pairs, with labels from other preferences."""
        return Pairs(preference, self.given, self.mu)

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

    A mass that is 0 or underflows means that the pair was not compared, so its log-ratio stays that of the reference.

    Attributes:
        wins: ``(K, K)``, ≥ 0, ``wins[i, j]`` the mass of "i beat j"; the diagonal holds pairs of equals, which have no effect.
        total: the sum of ``wins``, diagonal included: 1 for probabilities, n for n comparisons.
        smoothing: pseudo-wins that DPO adds in both directions to each compared pair, in units of ``wins``, ≥ 0.
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
        return self.wins * jnp.broadcast_to(1.0 - jnp.eye(self.wins.shape[-1]), self.wins.shape)

    def rates(self) -> Float[Array, "*contexts K K"]:
        return self.compared() / self.total[..., None, None]

    def weighted(self, weights: Float[Array, " X"]) -> Masses:
        share = weights / self.total
        return Masses(self.wins * share[:, None, None], weights, self.smoothing * share)
