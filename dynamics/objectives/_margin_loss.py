"""The base class of losses of a reward margin."""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Bool, Float

from .._checks import check_scalar
from .._noun import is_own
from .._numerics import concrete
from ..preferences import Seen
from ._base import Objective
from ._slope import check_sign, check_slope, slope_of


class MarginLoss(Objective):
    """mean of f(r), r = beta (h_w - h_l), h = log pi - log ref.

    A subclass writes ``loss(r)``, and then works in rounds, flows, sweeps and stability. Its slope f' is obtained by
    differentiation unless it writes ``slope`` as well.

    Args:
        beta: beta, scalar in (0, ∞), the KL coefficient; it turns log-ratios into rewards.

    >>> class Exponential(dyn.objectives.MarginLoss):
    ...     def loss(self, margin):
    ...         return jnp.exp(-margin)
    >>> Exponential(0.1).slope(jnp.array(0.0)).item()
    -1.0
    """

    sealed: ClassVar[frozenset[str]] = Objective.sealed | {
        "as_margin_loss",
        "value",
        "gradient",
        "margins",
        "solve",
        "search",
    }

    beta: Float[Array, ""]

    def __init__(self, beta: ArrayLike):
        self.beta = check_scalar(beta, "beta", 0.0, np.inf, open_low=True)
        if self.beta.ndim != 0:
            raise ValueError(f"beta has shape {self.beta.shape}; pass one number (use dyn.sweep or jax.vmap for many).")

    def as_margin_loss(
        self, alpha: ArrayLike, log_reference: Float[Array, "*contexts K"]
    ) -> tuple[MarginLoss, Float[Array, ""], Float[Array, "*contexts K"]]:
        return self, jnp.asarray(alpha, dtype=float), log_reference

    @abstractmethod
    def loss(self, margin: Float[Array, "*batch"]) -> Float[Array, "*batch"]:
        """f(r), entrywise."""

    def slope(self, margin: Float[Array, "*batch"]) -> Float[Array, "*batch"]:
        """f'(r), entrywise; the derivative of ``loss`` unless overridden."""
        return slope_of(self.loss)(margin)

    def __check_init__(self) -> None:
        kind = type(self)
        if kind.__module__.startswith("dynamics.") or not concrete(self):
            return
        if kind.slope is not MarginLoss.slope:
            check_slope(self)
        check_sign(self)

    def parabola(self) -> tuple[Float[Array, ""], Float[Array, ""]] | None:
        """(s, r0) if f(r) = s (r - r0)² + const, whose flows are linear and solved exactly; None for other losses."""
        return None

    def hinge(self) -> tuple[ArrayLike, ArrayLike, ArrayLike] | None:
        """(kink, f' below it, f' above it) if f is convex and linear on both sides of one kink; None for other losses.

        Flows of such a loss are piecewise linear in time and solved exactly.
        """
        return None

    def search(
        self,
        seen: Seen,
        log_reference: Float[Array, "*contexts K"],
        basis: Float[Array, "*contexts K m"] | None,
        weights: Float[Array, " X"] | None = None,
    ) -> tuple[Float[Array, "*contexts K"], Bool[Array, ""]]:
        from ._convex import solve_convex  # loads on use

        return solve_convex(self, seen if weights is None else seen.weighted(weights), basis)

    def value(self, log_policy: Float[Array, " K"], log_reference: Float[Array, " K"], seen: Seen) -> Float[Array, ""]:
        """E[f(beta (h_w - h_l))] over the feedback; a pair of equal responses counts as f(0)."""
        rates = seen.rates()
        zero = jnp.zeros((), rates.dtype)
        return jnp.sum(rates * self.loss(self.margins(log_policy, log_reference))) + (1 - jnp.sum(rates)) * self.loss(
            zero
        )

    def margins(self, logits: Float[Array, "*contexts K"], log_reference: Float[Array, "*contexts K"]) -> Array:
        """r_ij = beta (h_i - h_j) of every pair, ``(..., K, K)``."""
        h = logits - log_reference
        return self.beta * (h[..., :, None] - h[..., None, :])

    def gradient(self, logits: Float[Array, " K"], log_reference: Float[Array, " K"], seen: Seen) -> Float[Array, " K"]:
        pull = self.beta * seen.rates() * self.slope(self.margins(logits, log_reference))
        return jnp.sum(pull, axis=1) - jnp.sum(pull, axis=0)

    def has_one_minimum(self, *, free: bool) -> bool:
        return not is_own(self)  # the library's losses are convex

    def check_parameter(self, path: str, values: np.ndarray) -> None:
        if path.rsplit(".", 1)[-1] == "beta":
            check_scalar(values, path, 0.0, np.inf, open_low=True)
        else:
            super().check_parameter(path, values)

    def in_range(self) -> Bool[Array, ""]:
        return self.beta > 0
