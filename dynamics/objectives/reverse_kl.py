"""Reverse KL to the distribution that a reward defines."""

from __future__ import annotations

from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Bool, Float

from .._checks import check_number
from .._numerics import log_softmax
from ..preferences import Seen
from ._margin_loss import MarginLoss
from ._reward import (
    SOLVERS,
    RewardName,
    _RewardObjective,
    check_gamma_beta,
    check_linked,
    check_name,
    divergence,
    fit_reward,
)


class ReverseKL(_RewardObjective):
    """-E_pi Rhat - gamma H(pi) + beta KL(pi||ref), whose optimum is pi ∝ ref^{beta/(beta+gamma)} exp(Rhat/(beta+gamma)).

    A round of it over all policies is exactly one of DPO (Bradley–Terry rewards) or of IPO (win rates), with another alpha,
    beta and reference: ``as_margin_loss``. At beta = 0 it equals ``PMLE(gamma, 0)`` and ``PreferenceDistillation(gamma, 0)``.
    They differ in a restricted policy class, or with win rates.

    Args:
        gamma: gamma, scalar in (0, ∞), the weight of the entropy.
        beta: beta, scalar in [0, ∞), the weight of the KL penalty.
        reward: "bradley-terry", the maximum-likelihood scores of the comparisons, refitted in every round; or "win-rate",
            P mu (of counts, the scores whose gaps fit ±1/2 best by least squares, as for IPO).

    Raises:
        ValueError: an argument out of range; comparisons whose reward is infinite, or does not link all responses.

    Source: [paper] Yun25; rounds are [derived], statement 7.16.

    >>> wins, uniform = [[0, 3], [1, 0]], jnp.log(jnp.array([0.5, 0.5]))
    >>> fit = dyn.fit(dyn.ReverseKL(gamma=0.5, beta=0.5), wins, log_reference=uniform)
    >>> round(float(jnp.exp(fit.log_policy[0])), 6)
    0.75
    """

    gamma: Float[Array, ""]
    beta: Float[Array, ""]
    reward: RewardName = eqx.field(static=True)

    def __init__(self, gamma: ArrayLike, beta: ArrayLike, reward: RewardName = "bradley-terry"):
        self.gamma = check_number(gamma, "gamma", 0.0, np.inf, open_low=True)
        self.beta = check_number(beta, "beta", 0.0, np.inf)
        self.reward = check_name(reward)

    def reward_kind(self) -> RewardName:
        return self.reward

    @property
    def reward_unit(self) -> float:
        return 1.0

    def value(self, log_policy: Float[Array, " K"], log_reference: Float[Array, " K"], seen: Seen) -> Float[Array, ""]:
        pi = jnp.exp(log_policy)
        return (
            -jnp.sum(pi * self.reward_of(seen))
            + self.gamma * jnp.sum(pi * log_policy)
            + self.beta * divergence(log_policy, log_reference)
        )

    def solve(
        self, seen: Seen, log_reference: Array, basis: Any = None, guess: Any = None, weights: Any = None
    ) -> tuple[Float[Array, "*contexts K"], Bool[Array, ""]]:
        if basis is not None:
            return self.search(seen, log_reference, basis, weights)
        reward, found = fit_reward(self.reward, seen)
        return (reward - self.gamma * log_softmax(log_reference)) / (self.beta + self.gamma), found

    def as_margin_loss(
        self, alpha: ArrayLike, log_reference: Float[Array, "*contexts K"]
    ) -> tuple[MarginLoss, Float[Array, ""], Float[Array, "*contexts K"]]:
        """The loss, alpha and log ref of the rounds of DPO or IPO that equal the rounds of this objective.

        beta' = beta + gamma, alpha' = alpha beta/beta', ref' ∝ ref^{beta (1-alpha)/(beta (1-alpha) + gamma)}.

        Args:
            alpha: alpha, scalar in [0, 1], the share of the policy in the reference.
            log_reference: log ref, the rest of the reference, in nats.

        Source: [derived], statement 7.16.

        >>> loss, alpha, _ = dyn.ReverseKL(0.25, 0.75).as_margin_loss(0.8, jnp.log(jnp.array([0.5, 0.5])))
        >>> type(loss).__name__, float(loss.beta), round(float(alpha), 12)
        ('DPO', 1.0, 0.6)
        """
        kept = self.beta * (1 - jnp.asarray(alpha))
        loss = SOLVERS[self.reward](self.beta + self.gamma)
        return loss, self.beta * alpha / loss.beta, log_softmax(log_reference * (kept / (kept + self.gamma)))

    def implicit_reward(self, P: Any, log_mu: Any, *, guess: Any = None) -> Float[Array, " K"]:
        """Raises ``ValueError``: log pi/ref depends on the reference."""
        raise ValueError(
            "the log-ratio of ReverseKL depends on the reference; call optimum(P, log_mu, log_ref) instead."
        )

    def is_exact(self, seen: type[Seen], *, free: bool) -> bool:
        return free

    def has_one_minimum(self, *, free: bool) -> bool:
        return free

    def check_optimum(self, seen: Seen, support: Bool[np.ndarray, "*contexts K"], basis: np.ndarray | None) -> None:
        check_linked(seen, "ReverseKL has no reward")
        super().check_optimum(seen, support, basis)

    def check_parameter(self, path: str, values: np.ndarray) -> None:
        check_gamma_beta(path, values)

    def in_range(self) -> Bool[Array, ""]:
        return (self.gamma > 0) & (self.beta >= 0)
