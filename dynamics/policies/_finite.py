"""A list of policies to choose from."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from .._checks import Numbers, as_numbers, check_log_rows
from .._numerics import centre, concrete
from ._base import OFF_CLASS, Policy


class Finite(Policy):
    """pi in {pi_1, …, pi_M}: the parameter is an index, so a round takes the policy of least value, the first of equal ones.

    Nothing slides along a list: rounds take the ``Optimum`` learner, and optimizer steps, flows and stability refuse it.

    Args:
        log_policies: log pi_m, ``(M, K)``, one row a policy, finite, in nats.

    Raises:
        ValueError: another shape, or a row that is not a distribution with full support.

    >>> import dynamics as dyn, jax.numpy as jnp
    >>> dyn.policies.Finite(jnp.log(jnp.array([[0.5, 0.5], [0.9, 0.1]]))).shape
    (2,)
    """

    log_policies: Float[Array, "M K"]

    def __init__(self, log_policies: Numbers):
        rows = as_numbers(log_policies, "log_policies")
        if rows.ndim != 2 or rows.shape[0] == 0 or rows.shape[1] < 2:
            raise ValueError(f"log_policies has shape {rows.shape}; pass one log-policy per row, (M, K) with K ≥ 2.")
        self.log_policies = check_log_rows(rows, "log_policies") if concrete(rows) else rows

    def start(self) -> Int[Array, ""]:
        """The first policy."""
        return jnp.asarray(0)

    def logits(self, parameters: Int[Array, ""]) -> Float[Array, " K"]:
        return centre(self.log_policies[parameters])

    def candidates(self) -> Float[Array, "M K"]:
        return self.log_policies

    def parameters(self, logits: Float[Array, " K"]) -> Int[Array, ""]:
        """The policy whose logits are nearest in the 2-norm, the first of equal ones."""
        return jnp.argmin(jnp.sum((centre(self.log_policies) - centre(logits)) ** 2, axis=1))

    def pull(self, parameters: Int[Array, ""], force: Float[Array, " K"]) -> Array:
        raise ValueError(
            "Finite has an index for its parameter, which no step moves; use learner=dyn.learners.Optimum()."
        )

    def check_member(self, logits: Float[Array, " K"], name: str) -> None:
        if not concrete(logits, self):
            return
        z = np.asarray(centre(logits))
        gaps = np.abs(np.asarray(centre(self.log_policies)) - z).max(axis=1)
        if not gaps.min() <= OFF_CLASS * (1.0 + np.abs(z).max()):
            raise ValueError(
                f"{name} is {gaps.min():.3g} nats off the nearest of the {len(gaps)} policies of the list; pass one of them."
            )
