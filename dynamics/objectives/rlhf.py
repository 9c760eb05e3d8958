"""Reinforcement learning from human feedback, taken to its optimum."""

from __future__ import annotations

from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Bool, Float

from .._checks import check_number, check_scalar
from ..preferences import Seen
from ._margin_loss import MarginLoss
from ._reward import SOLVERS, RewardName, _RewardObjective, check_linked, check_name, divergence, fit_reward


class RLHF(_RewardObjective):
    """-E_pi Rhat + beta KL(pi||ref), whose optimum over all policies is pi ∝ ref · exp(Rhat/beta).

    With Bradley–Terry rewards this is DPO's optimum at the same beta and that of ``REBEL(eta=1/beta)``, and with win rates it
    is IPO's. It differs from them in a restricted policy class.

    Args:
        beta: beta, scalar in (0, ∞), the KL coefficient.
        reward: "bradley-terry", the maximum-likelihood scores of the comparisons, refitted in every round; or "win-rate",
            P mu (of counts, the scores whose gaps fit ±1/2 best by least squares, as for IPO).

    Raises:
        ValueError: an argument out of range; comparisons whose reward is infinite, or does not link all responses.

    Source: [paper] Yun25; the identities are [derived], statement 5.2.

    >>> wins, uniform = [[0, 3], [1, 0]], jnp.log(jnp.array([0.5, 0.5]))
    >>> round(float(jnp.exp(dyn.fit(dyn.RLHF(beta=1.0), wins, log_reference=uniform).log_policy[0])), 6)
    0.75
    """

    beta: Float[Array, ""]
    reward: RewardName = eqx.field(static=True)

    def __init__(self, beta: ArrayLike, reward: RewardName = "bradley-terry"):
        self.beta = check_number(beta, "beta", 0.0, np.inf, open_low=True)
        self.reward = check_name(reward)

    def reward_kind(self) -> RewardName:
        return self.reward

    def value(self, log_policy: Float[Array, " K"], log_reference: Float[Array, " K"], seen: Seen) -> Float[Array, ""]:
        gained = jnp.sum(jnp.exp(log_policy) * self.reward_of(seen))
        return self.beta * divergence(log_policy, log_reference) - gained

    def solve(
        self, seen: Seen, log_reference: Array, basis: Any = None, guess: Any = None, weights: Any = None
    ) -> tuple[Float[Array, "*contexts K"], Bool[Array, ""]]:
        if basis is not None:
            return self.search(seen, log_reference, basis, weights)
        return fit_reward(self.reward, seen)

    def as_margin_loss(
        self, alpha: ArrayLike, log_reference: Float[Array, "*contexts K"]
    ) -> tuple[MarginLoss, Float[Array, ""], Float[Array, "*contexts K"]]:
        return SOLVERS[self.reward](self.beta), jnp.asarray(alpha, dtype=float), log_reference

    def is_exact(self, seen: type[Seen], *, free: bool) -> bool:
        return free

    def has_one_minimum(self, *, free: bool) -> bool:
        return free

    def check_optimum(self, seen: Seen, support: Bool[np.ndarray, "*contexts K"], basis: np.ndarray | None) -> None:
        check_linked(seen, "RLHF has no reward")
        super().check_optimum(seen, support, basis)

    def check_parameter(self, path: str, values: np.ndarray) -> None:
        check_scalar(values, path, 0.0, np.inf, open_low=True)

    def in_range(self) -> Bool[Array, ""]:
        return self.beta > 0
