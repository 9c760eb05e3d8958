"""The slope of a loss, and the check that a slope written by hand is the derivative of the loss."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

if TYPE_CHECKING:
    from ._margin_loss import MarginLoss

MARGIN_GRID = np.concatenate(
    [-np.geomspace(20.0, 1e-2, 12), [0.0], np.geomspace(1e-2, 20.0, 12)]
)  # margins, without a unit
MIN_SLOPE_TOLERANCE = 1e-6  # relative, in float64; both the slope and the loss round


def slope_of(loss: Callable[[Array], Array]) -> Callable[[Array], Array]:
    """f' of an entrywise function f, by differentiation: ``slope_of(loss)(r)`` for r of any shape."""
    return lambda margin: jax.jvp(loss, (margin,), (jnp.ones_like(margin),))[1]


def check_slope(objective: MarginLoss) -> None:
    """Raises ``ValueError`` where ``slope`` is not the derivative of ``loss`` at one of 25 margins r with |r| ≤ 20.

    Args:
        objective: a loss with concrete values.

    >>> dyn.objectives.check_slope(dyn.DPO(0.1))
    """
    r = jnp.asarray(MARGIN_GRID, objective.beta.dtype)
    name = type(objective).__name__
    value, own, derived = (np.asarray(f(r)) for f in (objective.loss, objective.slope, slope_of(objective.loss)))
    for what, array in (("loss", value), ("slope", own)):
        if array.shape != r.shape:
            raise ValueError(f"{name}.{what} makes shape {array.shape} of margins {r.shape}; work entrywise.")
        if not np.isfinite(array).all():
            bad = float(MARGIN_GRID[int(np.argmin(np.isfinite(array)))])
            raise ValueError(f"{name}.{what} is not finite at r = {bad:.4g}; return a finite number at every margin.")
    off = np.abs(own - derived) > _agreement(r.dtype) * (1.0 + np.abs(derived))
    if off.any():
        n = int(np.argmax(off))
        raise ValueError(
            f"{name}.slope is {own[n]:.6g} at r = {MARGIN_GRID[n]:.4g}, where the derivative of {name}.loss is "
            f"{derived[n]:.6g}; make the slope that derivative, or leave it out."
        )


def check_sign(objective: MarginLoss) -> None:
    """Raises ``ValueError`` where the loss rises at r = 0, so that it rewards the response that lost.

    Args:
        objective: a loss with concrete values.

    >>> dyn.objectives.check_sign(dyn.DPO(0.1))
    """
    at = float(np.asarray(objective.slope(jnp.zeros((), objective.beta.dtype))))
    if at > 0:
        name = type(objective).__name__
        raise ValueError(
            f"{name}.loss rises at r = 0 (f'(0) = {at:.4g}), so it prefers the response that lost; write f(-r), as "
            f"r = beta (h_winner - h_loser)."
        )


def _agreement(dtype: Any) -> float:
    return max(MIN_SLOPE_TOLERANCE, 1e3 * float(jnp.finfo(dtype).eps))
