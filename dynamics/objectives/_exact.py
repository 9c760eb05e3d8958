"""The open table of exact solvers, and what stands in where none is listed.

A solver belongs to the exact class of an objective, of what was seen, and to whether all logits are allowed or only those in
the span of a basis. ``register`` adds one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from jaxtyping import Array, Bool, Float

from ..preferences import Seen
from ._base import MarginLoss, Objective, kl_coefficient

Solve = Callable[[Any, Any, Any, Any], tuple[Array, Array]]
"""(objective, seen, basis or None, guess or None) → (f, whether it was found); pi* ∝ ref exp(f/beta)."""


class Exact(NamedTuple):
    """An exact solver, and whether a guess helps it."""

    solve: Solve
    warm: bool = False


_TABLE: dict[tuple[type, type, bool], Exact] = {}


def register(objective: type[Objective], seen: type[Seen], *, free: bool, warm: bool = False) -> Callable[[Solve], Solve]:
    """Adds a solver for this class of objective on this kind of what was seen.

    Args:
        objective: the exact class, e.g. ``dyn.IPO``.
        seen: ``dyn.feedback.Pairs`` or ``dyn.feedback.Masses``.
        free: True for a solver over all logits (``basis`` is None), False for one within the span of ``basis``.
        warm: whether a guess, f of the round before, helps it.

    Raises:
        ValueError: there is one already.
    """

    def add(solve: Solve) -> Solve:
        key = (objective, seen, free)
        if key in _TABLE:
            raise ValueError(f"{objective.__name__} on {seen.__name__} has an exact solver already.")
        _TABLE[key] = Exact(solve, warm)
        return solve

    return add


def exact_for(objective: Objective, seen: type[Seen], *, free: bool) -> Exact | None:
    """The exact solver of an objective, or None where it is solved by Newton's method on its value."""
    return _TABLE.get((type(objective), seen, free))


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
    from ._newton import minimise_within  # loads on use

    logits, found = minimise_within(objective, seen, log_reference, basis)
    return kl_coefficient(objective) * (logits - log_reference), found

