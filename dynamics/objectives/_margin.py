"""Losses of a reward margin with which the gradient flow of a last layer is studied."""

from __future__ import annotations

from typing import Any, ClassVar

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Bool, Float

from ..preferences import Masses, Pairs, Seen
from . import ipo
from ._exact import register
from ._margin_loss import MarginLoss


class SquaredMargin(MarginLoss):
    """f(r) = (r - 1)²: the margin is pulled to 1 (ImLi25 call it IPO; ``IPO`` here keeps Azar et al.'s and TRL's meaning).

    Its population optimum is that of ``IPO(beta/2)``.

    Args:
        beta: beta, scalar in (0, ∞): the KL coefficient.

    Source: [paper] ImLi25.

    >>> dyn.SquaredMargin(0.1).loss(jnp.array([0.0, 1.0])).tolist()
    [1.0, 0.0]
    """

    def __init__(self, beta: ArrayLike):
        super().__init__(beta)  # spelt out: type checkers would build the signature from the field, and refuse a float

    def loss(self, margin: Float[Array, "*batch"]) -> Float[Array, "*batch"]:
        return (margin - 1.0) ** 2

    def slope(self, margin: Float[Array, "*batch"]) -> Float[Array, "*batch"]:
        return 2.0 * (margin - 1.0)

    def parabola(self) -> tuple[Float[Array, ""], Float[Array, ""]]:
        return jnp.ones_like(self.beta), jnp.ones_like(self.beta)


def _twice(solve: Any) -> Any:
    """The optimum is that of IPO(beta/2), so f is twice IPO's, because f is measured in units of beta."""

    def solved(objective: Any, seen: Any, basis: Any, guess: Any) -> tuple[Array, Array]:
        f, found = solve(objective, seen, basis, guess)
        return 2.0 * f, found

    return solved


register(SquaredMargin, Pairs, free=True)(_twice(ipo.tilt))
register(SquaredMargin, Pairs, free=False)(_twice(ipo.projection))
register(SquaredMargin, Masses, free=True)(_twice(ipo.least_squares))


class SLiC(MarginLoss):
    """f(r) = max(0, 1 - r): the hinge of sequence likelihood calibration.

    At the kink r = 1 a flow may slide: f' there takes the value in [-1, 0] that keeps the margin at 1. The minimiser is in
    general not unique, so rounds with this loss take steps of an optimizer (``Descend``).

    Args:
        beta: beta, scalar in (0, ∞): the KL coefficient.

    Source: [paper] ImLi25.

    >>> dyn.SLiC(0.1).loss(jnp.array([0.0, 1.0, 2.0])).tolist()
    [1.0, 0.0, 0.0]
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

    def check_optimum(self, seen: Seen, support: Bool[np.ndarray, "*contexts K"], basis: np.ndarray | None) -> None:
        raise ValueError(
            "SLiC's optimum is not unique (margins beyond 1 cost nothing); take steps of an optimizer instead, "
            "dyn.Descend(optax.sgd(0.1), steps)."
        )
