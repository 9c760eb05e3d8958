"""The table of exact solvers, to which ``register`` adds; an objective without one is solved by ``Objective.search``.

A solver is listed by the exact class of the objective, the exact class of what feedback shows, and whether all logits are
allowed or only those in the span of a basis.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

from jaxtyping import Array

from ..preferences import Seen

if TYPE_CHECKING:
    from ._base import Objective

Solve = Callable[[Any, Any, Any, Any], tuple[Array, Array]]
"""(objective, seen, basis or None, guess or None) → (f, whether it was found), where pi* ∝ ref · exp(f/beta)."""


Guess = Callable[[Any, Any, Any], Array]
"""(objective, seen, basis or None) → a cheap f to start a solver from."""


class Exact(NamedTuple):
    """An exact solver and how it is started.

    Attributes:
        solve: (objective, seen, basis or None, guess or None) → (f, whether it was found).
        warm: whether it can start from the f of the last round.
        first: a cheap guess for the first round; None: the f that the solver itself finds without a guess.

    >>> dyn.objectives.exact_for(dyn.IPO(0.1), dyn.feedback.Pairs, free=True).warm
    False
    """

    solve: Solve
    warm: bool = False
    first: Guess | None = None


def register(
    objective: type[Objective], seen: type[Seen], *, free: bool, warm: bool = False, first: Guess | None = None
) -> Callable[[Solve], Solve]:
    """A decorator that adds an exact solver for one class of objective on one kind of feedback.

    The solver becomes part of the class and thereby of the identity of a process: stored results of another solver are not
    read back.

    Args:
        objective: the exact class, e.g. ``dyn.IPO``.
        seen: ``dyn.feedback.Pairs`` or ``dyn.feedback.Masses``.
        free: True for a solver over all logits (``basis`` is None), False for one within the span of ``basis``.
        warm: whether the solver can start from a guess, the f of the last round.
        first: a cheap guess for the first round of a run; None: the f that the solver itself finds without a guess.

    Raises:
        ValueError: there is a solver already.

    >>> class Copy(dyn.objectives.MarginLoss):
    ...     def loss(self, margin):
    ...         return jnp.log1p(jnp.exp(-margin))
    >>> @register(Copy, dyn.feedback.Pairs, free=True)
    ... def solve(objective, pairs, basis, guess):
    ...     return dyn.DPO(1.0).solve(pairs, jnp.zeros_like(pairs.log_mu))
    >>> exact_for(Copy(0.1), dyn.feedback.Pairs, free=True).solve is solve
    True
    """

    def add(solve: Solve) -> Solve:
        name = _entry(seen, free)
        if name in vars(objective):
            raise ValueError(
                f"{objective.__name__} on {seen.__name__} has an exact solver already; register another class of objective."
            )
        setattr(objective, name, Exact(solve, warm, first))
        return solve

    return add


def _entry(seen: type[Seen], free: bool) -> str:
    return f"exact_on_{seen.__name__.lower()}{'' if free else '_within'}"


def exact_for(objective: Objective, seen: type[Seen], *, free: bool) -> Exact | None:
    """The exact solver of an objective, or None where it is solved by ``Objective.search``.

    Args:
        objective: an ``Objective``.
        seen: ``dyn.feedback.Pairs`` or ``dyn.feedback.Masses``.
        free: whether all logits are allowed, or only those in the span of a basis.

    >>> exact_for(dyn.DPO(0.1), dyn.feedback.Pairs, free=True).warm
    True
    """
    return vars(type(objective)).get(_entry(seen, free))
