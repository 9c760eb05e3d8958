"""The open table of exact solvers; where none is listed, an objective is searched by ``Objective.search``.

A solver belongs to the exact class of an objective, of what was seen, and to whether all logits are allowed or only those in
the span of a basis. ``register`` adds one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

from jaxtyping import Array

from ..preferences import Seen

if TYPE_CHECKING:
    from ._base import Objective

Solve = Callable[[Any, Any, Any, Any], tuple[Array, Array]]
"""(objective, seen, basis or None, guess or None) → (f, whether it was found); pi* ∝ ref exp(f/beta)."""


Guess = Callable[[Any, Any, Any], Array]
"""(objective, seen, basis or None) → f to begin with, at little cost."""


class Exact(NamedTuple):
    """An exact solver, whether a guess helps it, and what it begins with where there is no round before (None: its f)."""

    solve: Solve
    warm: bool = False
    first: Guess | None = None


def register(
    objective: type[Objective], seen: type[Seen], *, free: bool, warm: bool = False, first: Guess | None = None
) -> Callable[[Solve], Solve]:
    """Adds a solver for this class of objective on this kind of what was seen.

    It is kept on the class, so that its code belongs to what a process is: kept results of another solver are refused.

    Args:
        objective: the exact class, e.g. ``dyn.IPO``.
        seen: ``dyn.feedback.Pairs`` or ``dyn.feedback.Masses``.
        free: True for a solver over all logits (``basis`` is None), False for one within the span of ``basis``.
        warm: whether a guess, f of the round before, helps it.
        first: a cheap guess for the first round of a run; None: the solver's own f, without a guess.

    Raises:
        ValueError: there is one already.
    """

    def add(solve: Solve) -> Solve:
        name = _entry(seen, free)
        if name in vars(objective):
            raise ValueError(f"{objective.__name__} on {seen.__name__} has an exact solver already.")
        setattr(objective, name, Exact(solve, warm, first))
        return solve

    return add


def _entry(seen: type[Seen], free: bool) -> str:
    return f"exact_on_{seen.__name__.lower()}{'' if free else '_within'}"


def exact_for(objective: Objective, seen: type[Seen], *, free: bool) -> Exact | None:
    """The exact solver of an objective, or None where it is solved by Newton's method on its value."""
    return vars(type(objective)).get(_entry(seen, free))
