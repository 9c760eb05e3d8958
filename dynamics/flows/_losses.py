"""A margin loss with a beta of each pair, and checks of the parabola or hinge that it declares."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from .._numerics import concrete
from ..objectives import MarginLoss

Scale = Float[Array, " N"] | None
DISTANCES = 10.0 ** np.arange(-4, 5)  # of margins from the vertex or kink, at which a declared shape is checked


def _with_beta(objective: MarginLoss, scale: Any) -> MarginLoss:
    return eqx.tree_at(lambda loss: loss.beta, objective, objective.beta * scale)


def _each(objective: MarginLoss, scale: Scale, ask: Callable[..., Any], *margin: Array) -> Any:
    """ask(loss with beta_i = s_i beta, r_i) for every pair i."""
    if scale is None:
        return ask(objective, *margin)
    return jax.vmap(lambda s, *r: ask(_with_beta(objective, s), *r))(scale, *margin)


def loss(objective: MarginLoss, scale: Scale, margin: Float[Array, " N"]) -> Float[Array, " N"]:
    """f_i(r_i)."""
    return _each(objective, scale, lambda f, r: f.loss(r), margin)


def slope(objective: MarginLoss, scale: Scale, margin: Float[Array, " N"]) -> Float[Array, " N"]:
    """f_i'(r_i)."""
    return _each(objective, scale, lambda f, r: f.slope(r), margin)


def _numbers(declared: Any) -> tuple[Array, ...]:
    return tuple(jnp.asarray(x, dtype=float) for x in declared)


def parabola(objective: MarginLoss, scale: Scale) -> tuple[Array, ...] | None:
    """``MarginLoss.parabola``, for each pair where they differ in beta."""
    if objective.parabola() is None:
        return None
    return _each(objective, scale, lambda f: _numbers(f.parabola()))


def hinge(objective: MarginLoss, scale: Scale) -> tuple[Array, ...] | None:
    """``MarginLoss.hinge``, for each pair where they differ in beta."""
    if objective.hinge() is None:
        return None
    return _each(objective, scale, lambda f: _numbers(f.hinge()))


def check(objective: MarginLoss, scale: Any) -> None:
    """Raises ``ValueError`` where a loss declares a parabola or hinge that contradicts its slope."""
    if not concrete(objective, scale):
        return
    edges = [] if scale is None else [_with_beta(objective, x) for x in (jnp.min(scale), jnp.max(scale))]
    for one in [objective, *edges]:
        _check_parabola(one)
        _check_hinge(one)


def _declared(objective: MarginLoss, name: str, symbols: str) -> list[float] | None:
    values = getattr(objective, name)()
    if values is None:
        return None
    try:
        numbers = [float(np.asarray(x, float)) for x in values]
    except (TypeError, ValueError):
        numbers = []
    if len(numbers) != len(symbols.split(", ")) or not np.isfinite(numbers).all():
        raise ValueError(f"{type(objective).__name__}.{name}() returns {values!r}; return finite numbers ({symbols}).")
    return numbers


def _check_parabola(objective: MarginLoss) -> None:
    numbers = _declared(objective, "parabola", "s, r0")
    if numbers is None:
        return
    s, r0 = numbers
    if s <= 0:
        raise ValueError(f"{type(objective).__name__}.parabola() says s = {s:g}, which has no minimum; return s > 0.")
    r = _around(r0)
    size = 2 * s * (np.abs(r) + abs(r0) + DISTANCES[0])
    _compare(objective, f"parabola() says f(r) = {s:g} (r - {r0:g})²", r, 2 * s * (r - r0), size)


def _check_hinge(objective: MarginLoss) -> None:
    numbers = _declared(objective, "hinge", "kink, slope below, slope above")
    if numbers is None:
        return
    kink, below, above = numbers
    says = f"hinge() says f' = {below:g} below {kink:g} and {above:g} above"
    if below > above:
        raise ValueError(
            f"{type(objective).__name__}.{says}, which is not convex, so its flow at the kink is not unique; return None."
        )
    r = _around(kink)
    r = r[r != kink]
    _compare(objective, says, r, np.where(r < kink, below, above), np.full(len(r), max(abs(below), abs(above))))


def _around(centre: float) -> np.ndarray:
    """Margins near ``centre`` and 0 and far from them."""
    away = np.concatenate([-DISTANCES[::-1], [0.0], DISTANCES])
    return np.unique(np.concatenate([centre + away * max(1.0, abs(centre)), away]))


def _compare(objective: MarginLoss, says: str, r: np.ndarray, expected: np.ndarray, size: np.ndarray) -> None:
    found = np.broadcast_to(np.asarray(objective.slope(jnp.asarray(r, dtype=float)), float), r.shape)
    bad = ~(np.abs(found - expected) <= np.sqrt(jnp.finfo(float).eps) * size)
    if bad.any():
        at = int(np.argmax(bad))
        raise ValueError(
            f"{type(objective).__name__}.{says}, but its slope at r = {r[at]:g} is {found[at]:g}, not {expected[at]:g}; "
            "correct one of the two."
        )
