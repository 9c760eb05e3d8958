"""Preference distillation: the policy learns the probabilities that a reward model gives to comparisons."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np
from jax.nn import log_sigmoid, sigmoid
from jaxtyping import Array, ArrayLike, Bool, Float

from .._checks import Numbers, as_numbers, check_number
from .._numerics import concrete
from ..preferences import Seen
from ._empirical import reachable
from ._margin_loss import MarginLoss
from ._reward import (
    _RewardObjective,
    check_gamma_beta,
    components,
    divergence,
    smoothed,
    solve_freely,
    without_penalty,
)


class PreferenceDistillation(_RewardObjective):
    """mean KL(Bern sigma(Rhat(a)-Rhat(b)) || Bern sigma(gamma log pi(a)/pi(b))) + beta KL(pi||ref).

    Rhat is the Bradley–Terry reward of the comparisons. With the compared pairs (``pairs=None``) the value is that of
    ``PMLE(gamma, beta)`` minus a constant, for every policy and beta, because both see the data through the wins of each
    response only: the two have the same optima. They differ where ``pairs`` come from elsewhere and the policy class is
    restricted or beta > 0.

    Args:
        gamma: gamma, scalar in (0, ∞), how strongly preferences follow log-probabilities; an assumption, not learned.
        beta: beta, scalar in [0, ∞), the weight of the KL penalty.
        pairs: masses of the pairs that are distilled, ``(K, K)``, ≥ 0, either order of a pair counts for it; those of equal
            responses contribute 0 to the mean. None: the compared pairs.

    Raises:
        ValueError: an argument out of range; comparisons that a group of responses never lost.

    Source: [paper] Yun25; the identity is [derived], statement 5.2.

    >>> wins, ref = [[0, 3], [1, 0]], jnp.log(jnp.array([0.5, 0.5]))
    >>> fit = dyn.fit(dyn.PreferenceDistillation(gamma=0.5, beta=0.0), wins, log_reference=ref)
    >>> round(float(jnp.exp(fit.log_policy[0])), 6), abs(float(fit.loss)) < 1e-12
    (0.9, True)
    """

    gamma: Float[Array, ""]
    beta: Float[Array, ""]
    pairs: Float[Array, "K K"] | None

    def __init__(self, gamma: ArrayLike, beta: ArrayLike, pairs: Numbers | None = None):
        self.gamma = check_number(gamma, "gamma", 0.0, np.inf, open_low=True)
        self.beta = check_number(beta, "beta", 0.0, np.inf)
        self.pairs = None if pairs is None else _checked_pairs(pairs)

    @property
    def reward_unit(self) -> float:
        return 1.0

    def value(self, log_policy: Float[Array, " K"], log_reference: Float[Array, " K"], seen: Seen) -> Float[Array, ""]:
        reward = self.reward_of(seen)
        gaps, targets = (x[:, None] - x[None, :] for x in (self.gamma * log_policy, reward))
        # An ordered pair carries the mass of both orders, and the part of its divergence where its first response wins.
        parts = self._met(seen) * sigmoid(targets) * (log_sigmoid(targets) - log_sigmoid(gaps))
        return jnp.sum(parts) + self.beta * divergence(log_policy, log_reference)

    def _met(self, seen: Seen) -> Float[Array, "K K"]:
        if self.pairs is None:
            rates = smoothed(seen).rates()
            return rates + rates.T
        return self._met_pairs()

    def _met_pairs(self) -> Float[Array, "K K"]:
        assert self.pairs is not None
        return (self.pairs + self.pairs.T) * (1.0 - jnp.eye(len(self.pairs))) / jnp.sum(self.pairs)

    def solve(
        self, seen: Seen, log_reference: Array, basis: Any = None, guess: Any = None, weights: Any = None
    ) -> tuple[Float[Array, "*contexts K"], Bool[Array, ""]]:
        if basis is not None:
            return self.search(seen, log_reference, basis, weights)
        linked = lambda: components(seen) if self.pairs is None else reachable(self._met(seen) > 0)
        return solve_freely(self, seen, log_reference, linked)

    def implicit_reward(self, P: Any, log_mu: Any, *, guess: Any = None) -> Float[Array, " K"]:
        """Raises ``ValueError``: log pi/ref depends on the reference."""
        raise ValueError(
            "the log-ratio of PreferenceDistillation depends on the reference; call optimum(P, log_mu, log_ref) instead."
        )

    def as_margin_loss(
        self, alpha: ArrayLike, log_reference: Float[Array, "*contexts K"]
    ) -> tuple[MarginLoss, Float[Array, ""], Float[Array, "*contexts K"]] | None:
        linked = self.pairs is None or bool(np.all(np.asarray(reachable(self._met_pairs() > 0))))
        return without_penalty(self, log_reference) if linked else None

    def is_exact(self, seen: type[Seen], *, free: bool) -> bool:
        return free and self.has_one_minimum(free=free)

    def has_one_minimum(self, *, free: bool) -> bool:
        return concrete(self.beta) and float(self.beta) == 0.0

    def check_optimum(self, seen: Seen, support: Bool[np.ndarray, "*contexts K"], basis: np.ndarray | None) -> None:
        if self.pairs is not None and self.pairs.shape != seen.rates().shape[-2:]:
            raise ValueError(
                f"pairs has shape {self.pairs.shape}, the comparisons {seen.rates().shape[-2:]}; let them match."
            )
        super().check_optimum(seen, support, basis)

    def check_parameter(self, path: str, values: np.ndarray) -> None:
        if path.endswith("pairs"):
            for masses in values:
                _checked_pairs(masses)
        else:
            check_gamma_beta(path, values)

    def in_range(self) -> Bool[Array, ""]:
        return (self.gamma > 0) & (self.beta >= 0)


def _checked_pairs(pairs: Numbers) -> Float[Array, "K K"]:
    masses = as_numbers(pairs, "pairs")
    if masses.ndim != 2 or masses.shape[0] != masses.shape[1]:
        raise ValueError(f"pairs has shape {masses.shape}; pass the mass of each pair, shape (K, K).")
    if concrete(masses):
        host = np.asarray(masses)
        if not np.isfinite(host).all() or (host < 0).any():
            raise ValueError("pairs has an entry that is negative or not finite; pass masses ≥ 0.")
        if not (host - np.diag(np.diag(host))).any():
            raise ValueError("pairs holds no pair of different responses; pass some.")
    return masses
