"""What a theorem is here: a callable from inputs to a two-sided bound, with its source, its assumptions and its
draws.
"""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable, Mapping
from typing import Any, Literal

import jax
import numpy as np

from . import _inputs
from .source import RandomSource, Source

Strength = Literal["tight", "loose", "vacuous where affordable"]
_TRIES = 200


@dataclasses.dataclass(frozen=True, eq=False)
class Bound:
    """lower ≤ quantity ≤ upper, entrywise, with probability at least 1 - failure_probability.

    ``lower``, ``upper``: float64 arrays of the quantity's shape (0-d for a scalar). ``applicable``: whether every
    assumption holds for these inputs; where one fails, the bounds are -inf and +inf. ``vacuous``: nothing is said here,
    although the assumptions hold. ``failure_probability``: 0.0 for deterministic statements, None where the source
    leaves a constant open. ``assumptions``: each assumption in words → whether it holds.
    """

    lower: np.ndarray
    upper: np.ndarray
    applicable: bool
    vacuous: bool
    failure_probability: float | None
    assumptions: Mapping[str, bool]

    def slack(self, value: Any) -> float:
        """min over entries of min(value - lower, upper - value): negative by as much as the statement is violated."""
        value = np.asarray(value, dtype=np.float64)
        if value.shape != self.lower.shape:
            raise ValueError(f"value has shape {value.shape}; pass the quantity bounded, shape {self.lower.shape}.")
        # inf - inf is nan: an infinite value at an infinite bound has no room, but violates nothing.
        with np.errstate(invalid="ignore"):
            room = np.minimum(
                np.where(value == self.lower, 0.0, value - self.lower),
                np.where(value == self.upper, 0.0, self.upper - value),
            )
        return float("-inf") if np.isnan(room).any() else float(room.min(initial=np.inf))

    def contains(self, value: Any, *, rtol: float = 0.0, atol: float = 0.0) -> bool:
        """Whether lower - tol ≤ value ≤ upper + tol, tol = atol + rtol |value|; NaN is contained nowhere."""
        value = np.asarray(value, dtype=np.float64)
        tolerance = atol + rtol * np.abs(np.where(np.isfinite(value), value, 0.0))
        return bool(np.all((value >= self.lower - tolerance) & (value <= self.upper + tolerance)))


@dataclasses.dataclass(frozen=True)
class Claim:
    """What the body of a theorem returns: bounds, the assumptions under which they hold, and whether they say nothing that
    the quantity's own range does not.
    """

    lower: Any
    upper: Any
    assumptions: Mapping[str, bool] = dataclasses.field(default_factory=dict)
    failure_probability: float | None = 0.0
    vacuous: bool = False


@dataclasses.dataclass(frozen=True, eq=False)
class Theorem:
    """A statement that can be asked: ``theorem(**inputs)`` → ``Bound``, ``theorem.draw(key, n)`` → instances.

    ``name``; ``source`` (with its tag [paper] or [derived]); ``statement`` (one sentence with the formula); ``kind``;
    ``quantity`` (what lies between lower and upper); ``strength``: "tight" (attained, or approached, in the draws),
    "loose", "vacuous where affordable"; ``build``: one instance from a ``Source`` of choices; ``witness``: the
    construction that the statement speaks of, where it has one.
    """

    name: str
    source: str
    statement: str
    kind: Literal["paper", "derived"]
    quantity: str
    strength: Strength
    claim: Callable[..., Claim] = dataclasses.field(repr=False)
    build: Callable[[Source], dict[str, Any]] = dataclasses.field(repr=False)
    witness: Callable[..., np.ndarray] | None = dataclasses.field(repr=False, default=None)

    @property
    def inputs(self) -> tuple[str, ...]:
        """The names of the inputs, in order."""
        return tuple(inspect.signature(self.claim).parameters)

    def __call__(self, *positional: Any, **inputs: Any) -> Bound:
        """The bound at ``inputs``, by name; raises ``ValueError`` for malformed input, naming the entry."""
        signature = inspect.signature(self.claim)
        if positional:
            raise TypeError(f"{self.name} takes its inputs by name: {', '.join(signature.parameters)}.")
        try:
            bound = signature.bind(**inputs)
        except TypeError as error:
            raise TypeError(f"{self.name}: {error}; it takes {', '.join(self.inputs)}.") from None
        bound.apply_defaults()
        beyond = ValueError(
            f"{self.name}: the bound is out of float64's range at these inputs; pass numbers nearer to 1."
        )
        checked = _inputs.checked(bound.arguments)
        try:
            claim = self.claim(**checked)
        except (ArithmeticError, np.linalg.LinAlgError):
            raise beyond from None
        lower, upper = np.broadcast_arrays(np.asarray(claim.lower, np.float64), np.asarray(claim.upper, np.float64))
        applicable = all(claim.assumptions.values())
        if not applicable:
            lower, upper = np.full_like(lower, -np.inf), np.full_like(upper, np.inf)
        elif np.isnan(lower).any() or np.isnan(upper).any():
            raise beyond
        vacuous = applicable and (claim.vacuous or bool(np.all((lower == -np.inf) & (upper == np.inf))))
        return Bound(lower, upper, applicable, vacuous, claim.failure_probability, dict(claim.assumptions))

    def draw(self, key: Any, n: int) -> list[dict[str, Any]]:
        """``n`` instances inside the assumptions, a good share of them at their edge; ``key``: a ``jax.random`` key."""
        if not isinstance(n, int) or n < 1:
            raise ValueError(f"n = {n!r}; pass a whole number of at least 1.")
        words = np.asarray(jax.random.bits(key, (4,), "uint32"))
        source = RandomSource(np.random.default_rng(words))
        return [self._one(source) for _ in range(n)]

    def _one(self, source: Source) -> dict[str, Any]:
        for _ in range(_TRIES):
            inputs = self.build(source)
            if self(**inputs).applicable:
                return inputs
        raise RuntimeError(f"{self.name}: no instance inside the assumptions in {_TRIES} draws.")


_REGISTRY: dict[str, Theorem] = {}


def theorem(
    *,
    source: str,
    statement: str,
    quantity: str,
    strength: Strength,
    build: Callable[[Source], dict[str, Any]],
    witness: Callable[..., np.ndarray] | None = None,
) -> Callable[[Callable[..., Claim]], Theorem]:
    """Makes a ``Theorem`` of the decorated function, named after it, and enters it in the registry."""
    kind: Literal["paper", "derived"] = "paper" if source.startswith("[paper]") else "derived"

    def register(claim: Callable[..., Claim]) -> Theorem:
        made = Theorem(claim.__name__, source, statement, kind, quantity, strength, claim, build, witness)
        _REGISTRY[made.name] = made
        return made

    return register


def registered() -> dict[str, Theorem]:
    """Every theorem by its name, in the order of definition."""
    return dict(_REGISTRY)
