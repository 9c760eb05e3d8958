"""The open table of exact solvers, and what stands in where none is listed.

A solver belongs to the exact class of an objective, of what was seen, and to whether all logits are allowed or only those in
the span of a basis. ``register`` adds one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from .._numerics import gauge_basis, log_softmax
from ..preferences import Seen
from ._base import MarginLoss, Objective, kl_coefficient

Solve = Callable[[Any, Any, Any, Any], tuple[Array, Array]]
"""(objective, seen, basis or None, guess or None) → (f, whether it was found); pi* ∝ ref exp(f/beta)."""


class Exact(NamedTuple):
    """An exact solver, and whether a guess helps it."""

    solve: Solve
    warm: bool = False


def register(objective: type[Objective], seen: type[Seen], *, free: bool, warm: bool = False) -> Callable[[Solve], Solve]:
    """Adds a solver for this class of objective on this kind of what was seen.

    It is kept on the class, so that its code belongs to what a process is: kept results of another solver are refused.

    Args:
        objective: the exact class, e.g. ``dyn.IPO``.
        seen: ``dyn.feedback.Pairs`` or ``dyn.feedback.Masses``.
        free: True for a solver over all logits (``basis`` is None), False for one within the span of ``basis``.
        warm: whether a guess, f of the round before, helps it.

    Raises:
        ValueError: there is one already.
    """

    def add(solve: Solve) -> Solve:
        name = _entry(seen, free)
        if name in vars(objective):
            raise ValueError(f"{objective.__name__} on {seen.__name__} has an exact solver already.")
        setattr(objective, name, Exact(solve, warm))
        return solve

    return add


def _entry(seen: type[Seen], free: bool) -> str:
    return f"exact_on_{seen.__name__.lower()}{'' if free else '_within'}"


def exact_for(objective: Objective, seen: type[Seen], *, free: bool) -> Exact | None:
    """The exact solver of an objective, or None where it is solved by Newton's method on its value."""
    return vars(type(objective)).get(_entry(seen, free))


def solve(
    objective: Objective,
    seen: Seen,
    log_reference: Float[Array, " K"],
    basis: Float[Array, "K m"] | None = None,
    guess: Float[Array, " K"] | None = None,
) -> tuple[Float[Array, " K"], Bool[Array, ""]]:
    """f, up to a constant, such that the optimum is ∝ ref · exp(f/beta), and whether it was found.

    Args:
        objective: smooth.
        seen: what was seen.
        log_reference: log ref up to a constant; losses of margins do not depend on it.
        basis: orthonormal centred columns, ``(K, m)``, that f has to be in the span of; None: all logits.
        guess: f of a round nearby, for solvers that it helps.
    """
    exact = exact_for(objective, type(seen), free=basis is None)
    if exact is not None:
        return exact.solve(objective, seen, basis, guess)
    if isinstance(objective, MarginLoss):
        from ._convex import solve_convex  # loads on use

        return solve_convex(objective, seen, basis)
    return _by_value(objective, seen, log_reference, basis)


def _by_value(
    objective: Objective, seen: Seen, log_reference: Float[Array, " K"], basis: Float[Array, "K m"] | None
) -> tuple[Float[Array, " K"], Bool[Array, ""]]:
    """Newton's method on the value itself, from the reference."""
    from ._newton import minimise  # loads on use

    columns = jnp.asarray(gauge_basis(log_reference.shape[0])) if basis is None else basis
    arrays, rest = eqx.partition((objective, seen, log_reference, columns), eqx.is_array)

    def value(x: Array, arrays: Any) -> Array:
        objective, seen, log_reference, columns = eqx.combine(arrays, rest)
        return objective.value(log_softmax(log_reference + columns @ x), log_reference, seen)

    x, found = minimise(value, jnp.zeros(columns.shape[1], columns.dtype), arrays)
    return kl_coefficient(objective) * (columns @ x), found
