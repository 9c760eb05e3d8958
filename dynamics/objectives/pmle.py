"""Preference maximum likelihood: the policy itself is the preference model."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Bool, Float

from .._checks import check_number
from .._numerics import concrete
from ..preferences import Seen
from ._base import Objective
from ._margin_loss import MarginLoss
from ._reward import (
    check_gamma_beta,
    check_reward,
    components,
    divergence,
    smoothed,
    solve_freely,
    without_penalty,
)


class PMLE(Objective):
    """mean of -log sigma(gamma log pi(a+)/pi(a-)) + beta KL(pi||ref): maximum likelihood where P(a≻b) ∝ pi(a)^gamma.

    At beta = 0 over all policies the optimum is pi ∝ exp(Rhat/gamma), with Rhat the Bradley–Terry reward of the same
    comparisons, and the reference does not matter (where comparisons do not link two groups, the reference's log-ratio between
    them stays). There it equals ``ReverseKL(gamma, 0)`` and DPO's optimum from a uniform reference at DPO's beta = gamma. At
    every beta its value is that of ``PreferenceDistillation`` plus a constant, so that both have the same optima. With beta > 0
    there may be several minima: a round takes the one that Newton's method reaches from its reference, and ``dyn.fit`` the
    least of those that it reaches from several starts.

    Args:
        gamma: gamma, scalar in (0, ∞), how strongly preferences follow log-probabilities; an assumption, not learned.
        beta: beta, scalar in [0, ∞), the weight of the KL penalty.

    Raises:
        ValueError: gamma or beta out of range; at beta = 0, comparisons that a group of responses never lost.

    Source: [paper] Yun25; the identities are [derived], statement 5.2.

    >>> wins = [[0, 3], [1, 0]]
    >>> fit = dyn.fit(dyn.PMLE(gamma=0.5, beta=0.0), wins, log_reference=jnp.log(jnp.array([0.5, 0.5])))
    >>> round(float(jnp.exp(fit.log_policy[0])), 6)  # odds 3 to the power 1/gamma
    0.9
    """

    gamma: Float[Array, ""]
    beta: Float[Array, ""]

    def __init__(self, gamma: ArrayLike, beta: ArrayLike):
        self.gamma = check_number(gamma, "gamma", 0.0, np.inf, open_low=True)
        self.beta = check_number(beta, "beta", 0.0, np.inf)

    @property
    def reward_unit(self) -> float:
        return 1.0

    def value(self, log_policy: Float[Array, " K"], log_reference: Float[Array, " K"], seen: Seen) -> Float[Array, ""]:
        rates = smoothed(seen).rates()
        gaps = self.gamma * (log_policy[:, None] - log_policy[None, :])
        equal = (1.0 - jnp.sum(rates)) * jnp.log(2.0)
        return jnp.sum(rates * jax.nn.softplus(-gaps)) + equal + self.beta * divergence(log_policy, log_reference)

    def solve(
        self, seen: Seen, log_reference: Array, basis: Any = None, guess: Any = None, weights: Any = None
    ) -> tuple[Float[Array, "*contexts K"], Bool[Array, ""]]:
        if basis is not None:
            return self.search(seen, log_reference, basis, weights)
        return solve_freely(self, seen, log_reference, lambda: components(seen))

    def implicit_reward(self, P: Any, log_mu: Any, *, guess: Any = None) -> Float[Array, " K"]:
        """Raises ``ValueError``: log pi/ref depends on the reference."""
        raise ValueError("PMLE's log-ratio depends on the reference; call optimum(P, log_mu, log_ref) instead.")

    def as_margin_loss(
        self, alpha: ArrayLike, log_reference: Float[Array, "*contexts K"]
    ) -> tuple[MarginLoss, Float[Array, ""], Float[Array, "*contexts K"]] | None:
        return without_penalty(self, log_reference)

    def is_exact(self, seen: type[Seen], *, free: bool) -> bool:
        return free and concrete(self.beta) and float(self.beta) == 0.0

    def has_one_minimum(self, *, free: bool) -> bool:
        return concrete(self.beta) and float(self.beta) == 0.0

    def check_optimum(self, seen: Seen, support: Bool[np.ndarray, "*contexts K"], basis: np.ndarray | None) -> None:
        if self.has_one_minimum(free=True):
            trouble = f"{type(self).__name__} has no finite optimum at beta = 0"
            check_reward("bradley-terry", seen, support, trouble, basis)

    def check_parameter(self, path: str, values: np.ndarray) -> None:
        check_gamma_beta(path, values)

    def in_range(self) -> Bool[Array, ""]:
        return (self.gamma > 0) & (self.beta >= 0)
