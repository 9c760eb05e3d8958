"""Squared losses: the flow is linear and solved exactly in the eigenbasis of the smaller of its two matrices."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

if TYPE_CHECKING:
    from ._margin import MarginFlow

LARGEST = 6000  # size of an eigenproblem that is still worth it


def _weights_are_fewer(flow: MarginFlow) -> bool:
    return flow.form == "primal" and flow.tokens.shape[0] * flow.features.shape[-1] < flow.features.shape[-2]


def feasible(flow: MarginFlow) -> bool:
    """Whether the smaller of the two matrices is small enough."""
    numbers = flow.tokens.shape[0] * flow.features.shape[-1] if _weights_are_fewer(flow) else flow.features.shape[-2]
    return numbers <= LARGEST


def solution(flow: MarginFlow, state: Any) -> Callable[[Array], tuple[Any, Float[Array, "R d"]]]:
    """s ↦ the state a time s later, and W(s) - W(0), for f(r) = k (r - r0)².

    With rho = r0 - r, W = diag(w): d rho/dt = -2 k beta² C W rho, so a(s) = a(0) + 2 k W ∫ rho. Conflicting labels make
    coefficients grow like s in directions that move nothing; the head is summed without these, or their rounding would
    drown it.
    """
    parabola = flow.objective.parabola()
    assert parabola is not None
    curvature, target = parabola
    residual = target - state.margin
    solve = _in_weights if _weights_are_fewer(flow) else _in_examples
    return solve(flow, state, 2.0 * curvature, residual)


def _risen(rate: Float[Array, " m"], s: Array) -> Float[Array, " m"]:
    """∫_0^s e^{-rate u} du = (1 - e^{-rate s})/rate."""
    x = rate * s
    tiny = x < 1e-12
    return s * jnp.where(tiny, 1.0, -jnp.expm1(-x) / jnp.where(tiny, 1.0, x))


def _risen_twice(rate: Float[Array, " m"], s: Array) -> Float[Array, " m"]:
    """∫_0^s ∫_0^u e^{-rate v} dv du = (s - _risen)/rate; as a series where that would cancel."""
    x = rate * s
    small = x < 1e-2
    y = jnp.where(small, x, 0.0)
    series = 1 / 2 - y * (1 / 6 - y * (1 / 24 - y * (1 / 120 - y * (1 / 720 - y * (1 / 5040 - y / 40320)))))
    z = jnp.where(small, 1.0, x)
    return s**2 * jnp.where(small, series, (1.0 + jnp.expm1(-z) / z) / z)


def _spectrum(symmetric: Float[Array, "m m"]) -> tuple[Float[Array, " m"], Float[Array, "m m"]]:
    """Eigenvalues ≥ 0 and vectors; what rounding makes of an eigenvalue 0 is 0 again."""
    values, vectors = jnp.linalg.eigh(symmetric)
    least = jnp.finfo(values.dtype).eps * values.shape[0] * jnp.max(jnp.abs(values))
    return jnp.where(values > least, values, 0.0), vectors


def _in_examples(flow: MarginFlow, state: Any, k: Array, residual: Float[Array, " N"]) -> Callable[[Array], Any]:
    root, beta = jnp.sqrt(flow.weights), flow.objective.beta
    C = flow.gram()
    values, Q = _spectrum(root[:, None] * C * root[None, :])
    rate, begun = k * beta**2 * values, Q.T @ (root * residual)
    start = beta * flow.combine(state.coefficient)
    # Margins of examples that weigh something come straight from the eigenbasis, where nothing grows.
    own = root > 1e-3 * jnp.max(root)

    def at(s: Array) -> Any:
        risen = _risen(rate, s) * begun
        moving = k * root * (Q @ jnp.where(rate > 0.0, risen, 0.0))
        still = k * root * (Q @ jnp.where(rate > 0.0, 0.0, risen))
        gained = jnp.where(own, Q @ (-jnp.expm1(-rate * s) * begun) / jnp.where(own, root, 1.0), beta**2 * (C @ moving))
        after = type(state)(state.coefficient + moving + still, state.margin + gained)
        return after, start + beta * flow.combine(moving)

    return at


def _in_weights(flow: MarginFlow, state: Any, k: Array, residual: Float[Array, " N"]) -> Callable[[Array], Any]:
    beta = flow.objective.beta
    shape = (flow.tokens.shape[0], flow.features.shape[1])
    column = lambda unit: flow.combine(flow.weights * flow.apply(unit.reshape(shape))).reshape(-1)
    M = jax.lax.map(column, jnp.eye(shape[0] * shape[1]))  # Xᵀ W X, a column at a time
    values, V = _spectrum(0.5 * (M + M.T))
    rate = k * beta**2 * values
    begun = V.T @ flow.combine(flow.weights * residual).reshape(-1)
    start = beta * flow.combine(state.coefficient)

    def at(s: Array) -> Any:
        grown = (k * beta * V @ (_risen(rate, s) * begun)).reshape(shape)
        summed = (k * beta * V @ (_risen_twice(rate, s) * begun)).reshape(shape)
        a = state.coefficient + k * flow.weights * (residual * s - beta * flow.apply(summed))
        return type(state)(a, state.margin + beta * flow.apply(grown)), start + grown

    return at
