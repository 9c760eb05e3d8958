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


def solution(flow: MarginFlow, state: Any) -> Callable[[Array], Any]:
    """s ↦ the state a time s later, for f(r) = k (r - r0)².

    With rho = r0 - r, W = diag(w): d rho/dt = -2 k beta² C W rho, so a(s) = a(0) + 2 k W ∫ rho.
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
    values, vectors = jnp.linalg.eigh(symmetric)
    return jnp.maximum(values, 0.0), vectors


def _in_examples(flow: MarginFlow, state: Any, k: Array, residual: Float[Array, " N"]) -> Callable[[Array], Any]:
    root = jnp.sqrt(flow.weights)
    C = flow.gram()
    values, Q = _spectrum(root[:, None] * C * root[None, :])
    rate, begun = k * flow.objective.beta**2 * values, Q.T @ (root * residual)

    def at(s: Array) -> Any:
        grown = k * root * (Q @ (_risen(rate, s) * begun))
        return type(state)(state.coefficient + grown, state.margin + flow.objective.beta**2 * (C @ grown))

    return at


def _in_weights(flow: MarginFlow, state: Any, k: Array, residual: Float[Array, " N"]) -> Callable[[Array], Any]:
    beta = flow.objective.beta
    shape = (flow.tokens.shape[0], flow.features.shape[1])
    column = lambda unit: flow.combine(flow.weights * flow.apply(unit.reshape(shape))).reshape(-1)
    M = jax.lax.map(column, jnp.eye(shape[0] * shape[1]))  # Xᵀ W X, a column at a time
    values, V = _spectrum(0.5 * (M + M.T))
    rate = k * beta**2 * values
    begun = V.T @ flow.combine(flow.weights * residual).reshape(-1)

    def at(s: Array) -> Any:
        grown = (k * beta * V @ (_risen(rate, s) * begun)).reshape(shape)
        summed = (k * beta * V @ (_risen_twice(rate, s) * begun)).reshape(shape)
        a = state.coefficient + k * flow.weights * (residual * s - beta * flow.apply(summed))
        return type(state)(a, state.margin + beta * flow.apply(grown))

    return at
