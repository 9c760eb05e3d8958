"""Losses of a reward margin: what gradient flow and descent minimise."""

from __future__ import annotations

from typing import ClassVar

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float

from .._numerics import check_scalar


class MarginLoss(eqx.Module):
    """mean of f(r), r = beta (h_w - h_l), h = log pi - log ref.

    Attributes:
        beta: beta, scalar in (0, ∞), the KL coefficient; it turns log-ratios into rewards.
    """

    smooth: ClassVar[bool] = True  # whether f' is continuous

    beta: Float[Array, ""]

    def __init__(self, beta: ArrayLike):
        self.beta = check_scalar(beta, "beta", 0.0, np.inf, open_low=True)
        if self.beta.ndim != 0:
            raise ValueError(f"beta has shape {self.beta.shape}; pass one number (use dyn.sweep or jax.vmap for many).")

    def loss(self, margin: Float[Array, "*batch"]) -> Float[Array, "*batch"]:
        """f(r), entrywise."""
        raise NotImplementedError

    def slope(self, margin: Float[Array, "*batch"]) -> Float[Array, "*batch"]:
        """f'(r), entrywise."""
        raise NotImplementedError

    def parabola(self) -> tuple[Float[Array, ""], Float[Array, ""]] | None:
        """(s, r0) where f(r) = s (r - r0)², whose flows are linear and solved exactly; None for other losses."""
        return None

    def hinge(self) -> tuple[ArrayLike, ArrayLike, ArrayLike] | None:
        """(kink, f' below it, f' above it) where f is convex and linear on either side of one kink; None for other losses.

        Flows of such a loss are piecewise linear in time and solved exactly.
        """
        return None


class SquaredMargin(MarginLoss):
    """f(r) = (r - 1)²: the margin is pulled to 1 (ImLi25 call it IPO; ``IPO`` here keeps Azar et al.'s and TRL's meaning).

    Its population optimum is that of ``IPO(beta/2)``.

    Args:
        beta: beta, scalar in (0, ∞): the KL coefficient.

    Source: [paper] ImLi25.
    """

    def __init__(self, beta: ArrayLike):
        super().__init__(beta)  # spelt out: type checkers would build the signature from the field, and refuse a float

    def loss(self, margin: Float[Array, "*batch"]) -> Float[Array, "*batch"]:
        return (margin - 1.0) ** 2

    def slope(self, margin: Float[Array, "*batch"]) -> Float[Array, "*batch"]:
        return 2.0 * (margin - 1.0)

    def parabola(self) -> tuple[Float[Array, ""], Float[Array, ""]]:
        return jnp.ones_like(self.beta), jnp.ones_like(self.beta)


class SLiC(MarginLoss):
    """f(r) = max(0, 1 - r): the hinge of sequence likelihood calibration.

    At the kink r = 1 a flow may slide: f' there is whichever of [-1, 0] holds the margin at 1.

    Args:
        beta: beta, scalar in (0, ∞): the KL coefficient.

    Source: [paper] ImLi25.
    """

    smooth: ClassVar[bool] = False

    def __init__(self, beta: ArrayLike):
        super().__init__(beta)

    def loss(self, margin: Float[Array, "*batch"]) -> Float[Array, "*batch"]:
        return jnp.maximum(0.0, 1.0 - margin)

    def slope(self, margin: Float[Array, "*batch"]) -> Float[Array, "*batch"]:
        return -(margin < 1.0).astype(margin.dtype)

    def hinge(self) -> tuple[ArrayLike, ArrayLike, ArrayLike]:
        return 1.0, -1.0, 0.0
