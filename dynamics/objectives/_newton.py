"""The minimiser of a smooth function of a few unknowns, differentiable through the equation that defines it.

Newton's method within a trust region: it descends from any start, so it finds the minimum of a convex function. Unknowns are
scaled by the roots of their curvatures, so that light masses are not lost beside heavy ones. Along directions without slope
and curvature, where nothing was compared, the unknowns keep their start.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

MAX_ITERATIONS = 300
SLOPE_TOLERANCE = 1e3  # units of rounding; a smaller slope counts as zero
FLAT_CURVATURE = 16.0  # units of rounding for each unknown; a smaller curvature counts as zero
STEP_TOLERANCE = 1e-6  # share of 1 + max|x|; Newton's step at a minimum is no longer than that
MIN_DECREASE = 1e-4  # share of the predicted decrease that an accepted step reaches
BISECTIONS = 40

Value = Callable[[Array, Any], Array]


class _Place(NamedTuple):
    """The function at x: value and slope, the sums of the absolute values of their terms, and the curvature."""

    x: Float[Array, " m"]
    value: Float[Array, ""]
    value_size: Float[Array, ""]
    slope: Float[Array, " m"]
    slope_size: Float[Array, " m"]
    curvature: Float[Array, "m m"]

    @property
    def error(self) -> Float[Array, ""]:
        """The slope in units of the rounding of its terms."""
        unit = jnp.finfo(self.x.dtype).eps * self.slope_size
        size = jnp.abs(self.slope) / jnp.where(unit > 0, unit, 1.0)
        return jnp.max(jnp.where(jnp.isnan(size), jnp.inf, jnp.where(self.slope == 0, 0.0, size)))


class _Modes(NamedTuple):
    """Eigenvectors of the scaled curvature, as directions V/scale; their curvatures, and which of them are flat."""

    values: Float[Array, " m"]
    vectors: Float[Array, "m m"]
    scale: Float[Array, " m"]
    flat: Bool[Array, " m"]


class _Search(NamedTuple):
    place: _Place
    radius: Float[Array, ""]
    step: Float[Array, ""]  # the largest entry of Newton's step at ``place``
    curved: Array  # number of directions that are not flat
    most_curved: Array
    stalled: Array
    iteration: Array


def minimise(
    value: Value, start: Float[Array, " m"], arguments: Any, *, shifts: bool = False
) -> tuple[Float[Array, " m"], Bool[Array, ""]]:
    """argmin_x Σ value(x, arguments) nearest to ``start``, and whether it exists and was found.

    At the result the slope is zero to rounding, |∂_k Σ value| ≤ 1e3 eps (Σ_t |∂_k value_t| + Σ_l |H_kl x_l|) for every k, and
    Newton's step is at most 1e-6 (1 + max|x|). A direction is flat if its curvature, with unknowns scaled by the roots of
    their own curvatures, is below 16 m eps, which is zero to rounding. Along a direction that is flat, and has no slope, from
    the start on, x stays at ``start``. A direction that became flat on the way has no finite minimum, so ``found`` is False.
    For a function that is not convex the result is a local minimum, reached by descent from ``start``.

    Derivatives of every order with respect to ``arguments`` and ``start`` are those of the equation: dx = -H⁺ d(∂ Σ value),
    plus the movement of ``start`` along flat directions.

    Args:
        value: pure and traceable, ``value(x, arguments)``: a scalar, or an array of terms whose sum is minimised; the size of
            the terms tells how large rounding is. It must not close over traced values.
        start: the first x, ``(m,)``.
        arguments: any pytree of arrays.
        shifts: whether value(x + c) = value(x) for every number c, as where x are logits. The curvature is then cleared of
            rounding along that direction, which could otherwise be taken for one that became flat on the way.

    Returns:
        x, ``(m,)``, finite even where ``found`` is False, and ``found``.

    Source: [derived].

    >>> x, found = minimise(lambda x, a: (x - a) ** 2, jnp.zeros(2), jnp.array([1.0, -3.0]))
    >>> x.tolist(), bool(found)
    ([1.0, -3.0], True)
    """
    return _minimise(value, shifts, start, arguments)


@functools.partial(jax.custom_jvp, nondiff_argnums=(0, 1))
def _minimise(value: Value, shifts: bool, start: Array, arguments: Any) -> tuple[Array, Array]:
    eps = jnp.finfo(start.dtype).eps
    look = functools.partial(_look, value, shifts, arguments)

    def begun(place: _Place, **given: Any) -> _Search:
        step, curved = _newton_step(place)
        return _Search(place, step=jnp.max(jnp.abs(step)), curved=curved, **given)

    def going(s: _Search) -> Bool[Array, ""]:
        small = s.step <= STEP_TOLERANCE * (1.0 + jnp.max(jnp.abs(s.place.x)))
        settled = (s.place.error <= 2.0) | ((s.stalled >= 2) & ((s.place.error < SLOPE_TOLERANCE) | small))
        return ~settled & (s.iteration < MAX_ITERATIONS) & (s.radius > 0)

    def advance(s: _Search) -> _Search:
        old = s.place
        full, _ = _newton_step(old)
        whole = jnp.isfinite(_length(full)) & (_length(full) <= s.radius)
        step = jnp.where(whole, full, _confined_step(old, s.radius))
        new = look(old.x + step)
        predicted = -(old.slope @ step + 0.5 * step @ (old.curvature @ step))
        gained, slack = old.value - new.value, 8.0 * eps * (old.value_size + new.value_size)
        # A decrease below the rounding of the value does not show, so the slope decides.
        unseen = jnp.abs(predicted) <= slack
        better = jnp.where(
            unseen, (new.error <= old.error) | (new.error < SLOPE_TOLERANCE), gained >= MIN_DECREASE * predicted
        )
        better &= (unseen | (predicted > 0)) & jnp.isfinite(new.value) & jnp.isfinite(new.error)
        better &= jnp.all(jnp.isfinite(new.curvature))
        length = _length(step)
        far = unseen | (gained > 0.75 * predicted)
        radius = jnp.where(far & (length > 0.9 * s.radius), 4.0 * s.radius, s.radius)
        radius = jnp.where(~unseen & (gained < 0.25 * predicted), 0.5 * length, radius)
        radius = jnp.where(better, radius, length / 8.0)
        place = jax.tree.map(lambda a, b: jnp.where(better, a, b), new, old)
        after = begun(place, radius=radius, most_curved=s.most_curved, stalled=s.stalled, iteration=s.iteration + 1)
        progress = (place.error < 0.5 * s.place.error) | (after.step < 0.5 * s.step)
        stalled = jnp.where(
            progress | ~better, jnp.where(better, 0, s.stalled + unseen.astype(s.stalled.dtype)), s.stalled + 1
        )
        return after._replace(most_curved=jnp.maximum(s.most_curved, after.curved), stalled=stalled)

    infinite = jnp.asarray(jnp.inf, start.dtype)
    first = begun(look(start), radius=infinite, most_curved=jnp.array(0), stalled=jnp.array(0), iteration=jnp.array(0))
    out = jax.lax.while_loop(going, advance, first._replace(most_curved=first.curved))
    near = out.step <= STEP_TOLERANCE * (1.0 + jnp.max(jnp.abs(out.place.x)))
    met = (out.place.error < SLOPE_TOLERANCE) | (out.stalled >= 2)
    return out.place.x, met & near & (out.curved >= out.most_curved) & jnp.isfinite(out.place.value)


@_minimise.defjvp
def _minimise_jvp(
    value: Value, shifts: bool, primals: tuple[Array, Any], tangents: tuple[Array, Any]
) -> tuple[Any, Any]:
    start, arguments = primals
    x, found = _minimise(value, shifts, start, arguments)
    slope = lambda x, arguments: jax.grad(lambda y: jnp.sum(value(y, arguments)))(x)
    curvature = _cleared(jax.jacfwd(slope)(x, arguments), shifts)
    _, change = jax.jvp(lambda a: slope(x, a), (arguments,), (tangents[1],))
    dx = solve_least(curvature, -change) + tangents[0] - solve_least(curvature, curvature @ tangents[0])
    return (x, found), (dx, np.zeros(found.shape, dtype=jax.dtypes.float0))


@jax.custom_jvp
def solve_least(H: Float[Array, "m m"], b: Float[Array, " m"]) -> Float[Array, " m"]:
    """H⁺ b for symmetric H; its derivative assumes that the flat directions of H do not change."""
    modes = _modes(H)
    return _orthogonal(_inverse(modes, b), modes, modes.flat)


@solve_least.defjvp
def _solve_least_jvp(primals: tuple[Array, Array], tangents: tuple[Array, Array]) -> tuple[Array, Array]:
    (H, b), (dH, db) = primals, tangents
    y = solve_least(H, b)
    return y, solve_least(H, db - dH @ y)


def _look(value: Value, shifts: bool, arguments: Any, x: Float[Array, " m"]) -> _Place:
    terms = lambda x: jnp.ravel(value(x, arguments))
    slope = jax.grad(lambda x: jnp.sum(terms(x)))
    curvature, at = jax.jacfwd(slope)(x), terms(x)
    size = jnp.sum(jnp.abs(jax.jacfwd(terms)(x)), axis=0) + jnp.abs(curvature) @ jnp.abs(x)
    return _Place(x, jnp.sum(at), jnp.sum(jnp.abs(at)), slope(x), size, _cleared(curvature, shifts))


def _cleared(H: Float[Array, "m m"], shifts: bool) -> Float[Array, "m m"]:
    """The symmetric part of H; with ``shifts``, H 1 = 0 to the last bits."""
    H = 0.5 * (H + H.T)
    if not shifts:
        return H
    off = jnp.where(jnp.eye(len(H), dtype=bool), 0.0, H)
    return off - jnp.diag(jnp.sum(off, axis=1))


def _modes(H: Float[Array, "m m"]) -> _Modes:
    root = jnp.sqrt(jnp.abs(jnp.diag(H)))
    scale = jnp.where(root > 0, root, 1.0)
    values, vectors = jnp.linalg.eigh(H / scale[:, None] / scale[None, :])
    return _Modes(values, vectors, scale, jnp.abs(values) <= FLAT_CURVATURE * len(H) * jnp.finfo(H.dtype).eps)


def _inverse(modes: _Modes, b: Float[Array, " m"]) -> Float[Array, " m"]:
    share = modes.vectors.T @ (b / modes.scale)
    share = jnp.where(modes.flat, 0.0, share / jnp.where(modes.flat, 1.0, modes.values))
    return (modes.vectors @ share) / modes.scale


def _orthogonal(step: Float[Array, " m"], modes: _Modes, still: Bool[Array, " m"]) -> Float[Array, " m"]:
    """``step`` without its part along the directions ``still``, along which x is not to move."""
    order = jnp.argsort(~still)
    columns = jnp.where(still, modes.vectors / modes.scale[:, None], 0.0)
    lengths = jnp.sqrt(jnp.sum(columns**2, axis=0))
    Q, _ = jnp.linalg.qr((columns / jnp.where(lengths > 0, lengths, 1.0)[None, :])[:, order])
    Q = jnp.where(still[order], Q, 0.0)
    step = step - Q @ (Q.T @ step)
    return step - Q @ (Q.T @ step)


def _still(modes: _Modes, place: _Place) -> Bool[Array, " m"]:
    """Directions with neither slope nor curvature."""
    push = jnp.abs(modes.vectors.T @ (place.slope / modes.scale))
    size = jnp.abs(modes.vectors.T) @ (place.slope_size / modes.scale)
    return modes.flat & (push <= SLOPE_TOLERANCE * jnp.finfo(push.dtype).eps * size)


def _newton_step(place: _Place) -> tuple[Float[Array, " m"], Array]:
    """-H⁺ slope, infinite if there is slope along a direction that does not curve upward; and how many directions curve."""
    modes = _modes(place.curvature)
    still = _still(modes, place)
    step = _orthogonal(-_inverse(modes, place.slope), modes, still)
    upward = jnp.all(still | (~modes.flat & (modes.values > 0)))
    return jnp.where(upward, step, jnp.inf), jnp.sum(~modes.flat)


def _confined_step(place: _Place, radius: Float[Array, ""]) -> Float[Array, " m"]:
    """argmin of the quadratic model over steps of length up to ``radius``, by bisection for the multiplier."""
    modes = _modes(place.curvature)
    values, vectors = jnp.linalg.eigh(place.curvature)
    push = vectors.T @ place.slope
    radius = jnp.where(jnp.isfinite(radius), radius, 1.0 + _length(place.x))
    lowest = jnp.maximum(0.0, -jnp.min(values))
    most = _length(place.slope) / radius
    least = jnp.finfo(push.dtype).eps * most

    def halve(_: Any, ends: tuple[Array, Array]) -> tuple[Array, Array]:
        low, high = ends
        middle = jnp.sqrt(low * high)
        long = _length(push / (values + lowest + middle)) > radius
        return jnp.where(long, middle, low), jnp.where(long, high, middle)

    _, damping = jax.lax.fori_loop(0, BISECTIONS, halve, (least, most))
    damping = jnp.where(damping > 0, damping, 1.0)
    return _orthogonal(-vectors @ (push / (values + lowest + damping)), modes, _still(modes, place))


def _length(x: Float[Array, " m"]) -> Float[Array, ""]:
    largest = jnp.max(jnp.abs(x))
    scale = jnp.where((largest > 0) & jnp.isfinite(largest), largest, 1.0)
    return jnp.where(jnp.isfinite(largest), scale * jnp.sqrt(jnp.sum((x / scale) ** 2)), jnp.inf)
