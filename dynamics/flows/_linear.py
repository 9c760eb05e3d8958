"""Squared losses: the flow is linear and solved exactly in the eigenbasis of the smaller of its two matrices."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from ._pairs import Form, PairFeatures

MAX_UNKNOWNS = 6000  # in an eigenproblem


class _Problem(NamedTuple):
    """da/dt = k w (r0 - r),  r = beta² C a, from a and r at the start."""

    pairs: PairFeatures
    beta: Array
    k: Array
    weights: Float[Array, " N"]
    residual: Float[Array, " N"]
    coefficient: Float[Array, " N"]
    margin: Float[Array, " N"]


After = Callable[[Array], tuple[Array, Array, Array]]


def _weights_are_fewer(pairs: PairFeatures, form: Form) -> bool:
    return form == "primal" and pairs.tokens.shape[0] * pairs.features.shape[-1] < pairs.features.shape[-2]


def feasible(pairs: PairFeatures, form: Form) -> bool:
    """Whether the smaller of the two matrices is small enough."""
    R, d = pairs.head_shape
    return (R * d if _weights_are_fewer(pairs, form) else pairs.features.shape[-2]) <= MAX_UNKNOWNS


def solution(
    pairs: PairFeatures,
    form: Form,
    beta: Array,
    parabola: tuple[Array, ...],
    coefficient: Float[Array, " N"],
    margin: Float[Array, " N"],
) -> After:
    """s ↦ coefficients, margins and W(s) - W(0) a time s later, for f(r) = k (r - r0)², k and r0 numbers or ``(N,)``.

    With rho = r0 - r and W = diag(w), d rho/dt = -2 k beta² C W rho, so a(s) = a(0) + 2 k W ∫ rho. Conflicting labels make
    coefficients grow like s along directions that do not move the head. These directions are left out of the sum for the head,
    which their rounding would dominate.
    """
    curvature, target = parabola
    one = curvature.ndim == 0
    k, weights = (2.0 * curvature, pairs.weights) if one else (jnp.asarray(2.0), pairs.weights * curvature)
    problem = _Problem(pairs, beta, k, weights, target - margin, coefficient, margin)
    return _in_weights(problem) if _weights_are_fewer(pairs, form) else _in_examples(problem)


def _risen(rate: Float[Array, " m"], s: Array) -> Float[Array, " m"]:
    """∫_0^s e^{-rate u} du = (1 - e^{-rate s})/rate."""
    x = rate * s
    tiny = x < 1e-12
    return s * jnp.where(tiny, 1.0, -jnp.expm1(-x) / jnp.where(tiny, 1.0, x))


def _risen_twice(rate: Float[Array, " m"], s: Array) -> Float[Array, " m"]:
    """∫_0^s ∫_0^u e^{-rate v} dv du = (s - _risen)/rate; a series where that would cancel."""
    x = rate * s
    small = x < 1e-2
    y = jnp.where(small, x, 0.0)
    series = 1 / 2 - y * (1 / 6 - y * (1 / 24 - y * (1 / 120 - y * (1 / 720 - y * (1 / 5040 - y / 40320)))))
    z = jnp.where(small, 1.0, x)
    return s**2 * jnp.where(small, series, (1.0 + jnp.expm1(-z) / z) / z)


def _spectrum(symmetric: Float[Array, "m m"]) -> tuple[Float[Array, " m"], Float[Array, "m m"]]:
    """Eigenvalues ≥ 0 and vectors; eigenvalues within rounding of 0 are set to 0."""
    values, vectors = jnp.linalg.eigh(symmetric)
    least = jnp.finfo(values.dtype).eps * values.shape[0] * jnp.max(jnp.abs(values))
    return jnp.where(values > least, values, 0.0), vectors


def _in_examples(problem: _Problem) -> After:
    pairs, beta, k, weights, residual, coefficient, margin = problem
    root = jnp.sqrt(weights)
    C = pairs.gram()
    values, Q = _spectrum(root[:, None] * C * root[None, :])
    rate, begun = k * beta**2 * values, Q.T @ (root * residual)
    start = beta * pairs.combine(coefficient)
    # Margins of examples with enough weight come directly from the eigenbasis, where nothing grows.
    own = root > 1e-3 * jnp.max(root)

    def at(s: Array) -> tuple[Array, Array, Array]:
        risen = _risen(rate, s) * begun
        moving = k * root * (Q @ jnp.where(rate > 0.0, risen, 0.0))
        still = k * root * (Q @ jnp.where(rate > 0.0, 0.0, risen))
        gained = jnp.where(own, Q @ (-jnp.expm1(-rate * s) * begun) / jnp.where(own, root, 1.0), beta**2 * (C @ moving))
        return coefficient + moving + still, margin + gained, start + beta * pairs.combine(moving)

    return at


def _in_weights(problem: _Problem) -> After:
    pairs, beta, k, weights, residual, coefficient, margin = problem
    shape = pairs.head_shape
    column = lambda unit: pairs.combine(weights * pairs.apply(unit.reshape(shape))).reshape(-1)
    M = jax.lax.map(column, jnp.eye(shape[0] * shape[1]))  # Xᵀ W X, a column at a time
    values, V = _spectrum(0.5 * (M + M.T))
    rate = k * beta**2 * values
    begun = V.T @ pairs.combine(weights * residual).reshape(-1)
    start = beta * pairs.combine(coefficient)

    def at(s: Array) -> tuple[Array, Array, Array]:
        grown = (k * beta * V @ (_risen(rate, s) * begun)).reshape(shape)
        summed = (k * beta * V @ (_risen_twice(rate, s) * begun)).reshape(shape)
        a = coefficient + k * weights * (residual * s - beta * pairs.apply(summed))
        return a, margin + beta * pairs.apply(grown), start + grown

    return at
