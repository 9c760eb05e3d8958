"""Regression to relative rewards."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Bool, Float

from .._checks import check_number, check_scalar
from ..preferences import Seen
from ._margin_loss import MarginLoss
from ._reward import _RewardObjective, fit_reward, smoothed
from .dpo import DPO


class REBEL(_RewardObjective):
    """mean of (h(a+) - h(a-) - eta (Rhat(a+) - Rhat(a-)))², h = log pi - log ref: the log-ratios regress on the reward.

    Over all policies the optimum is pi ∝ ref · exp(eta Rhat), which is that of DPO and of ``RLHF`` at beta = 1/eta; it differs
    from them in a restricted policy class. Rhat is the Bradley–Terry reward of the comparisons, refitted in every round; where
    comparisons do not link two groups, the reference's log-ratio between them stays.

    Args:
        eta: eta, scalar in (0, ∞), the step along the reward.

    Raises:
        ValueError: eta out of range; comparisons that a group of responses never lost.

    Source: [paper] Yun25; the identities are [derived], statement 5.2.

    >>> wins, uniform = [[0, 3], [1, 0]], jnp.log(jnp.array([0.5, 0.5]))
    >>> round(float(jnp.exp(dyn.fit(dyn.REBEL(eta=2.0), wins, log_reference=uniform).log_policy[0])), 6)
    0.9
    """

    eta: Float[Array, ""]

    def __init__(self, eta: ArrayLike):
        self.eta = check_number(eta, "eta", 0.0, np.inf, open_low=True)

    @property
    def reward_unit(self) -> Float[Array, ""]:
        return 1.0 / self.eta

    def value(self, log_policy: Float[Array, " K"], log_reference: Float[Array, " K"], seen: Seen) -> Float[Array, ""]:
        rates = smoothed(seen).rates()
        missed = log_policy - log_reference - self.eta * self.reward_of(seen)
        return jnp.sum(rates * (missed[:, None] - missed[None, :]) ** 2)

    def solve(
        self, seen: Seen, log_reference: Array, basis: Any = None, guess: Any = None, weights: Any = None
    ) -> tuple[Float[Array, "*contexts K"], Bool[Array, ""]]:
        if basis is not None:
            return self.search(seen, log_reference, basis, weights)
        return fit_reward(self.reward_kind(), seen)

    def as_margin_loss(
        self, alpha: ArrayLike, log_reference: Float[Array, "*contexts K"]
    ) -> tuple[MarginLoss, Float[Array, ""], Float[Array, "*contexts K"]]:
        return DPO(1.0 / self.eta), jnp.asarray(alpha, dtype=float), log_reference

    def is_exact(self, seen: type[Seen], *, free: bool) -> bool:
        return free

    def has_one_minimum(self, *, free: bool) -> bool:
        return True

    def check_parameter(self, path: str, values: np.ndarray) -> None:
        check_scalar(values, path, 0.0, np.inf, open_low=True)

    def in_range(self) -> Bool[Array, ""]:
        return self.eta > 0
