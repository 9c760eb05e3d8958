"""Theorems as callables from inputs to a two-sided bound, with source, assumptions and drawn instances."""

from __future__ import annotations

import dataclasses
import difflib
import inspect
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Literal, get_args

import jax
import numpy as np

from . import _inputs
from .source import RandomSource, Source

Strength = Literal["tight", "loose", "vacuous where affordable"]
Kind = Literal["paper", "derived"]
About = Literal["", "ipo", "dpo"]
_MAX_TRIES = 200
_MAX_ENTRIES = 6  # of an array


@dataclasses.dataclass(frozen=True, eq=False)
class Bound:
    """lower ≤ quantity ≤ upper, entrywise, with probability at least 1 - failure_probability.

    Attributes:
        lower, upper: float64 arrays of the quantity's shape (0-d for a scalar).
        applicable: whether every assumption holds for these inputs; where one fails, the bounds are -inf and +inf.
        vacuous: whether the bound excludes nothing although the assumptions hold.
        failure_probability: 0.0 for deterministic statements, None where the source leaves a constant open.
        assumptions: each assumption in words → whether it holds.
    """

    lower: np.ndarray
    upper: np.ndarray
    applicable: bool
    vacuous: bool
    failure_probability: float | None
    assumptions: Mapping[str, bool]

    def __str__(self) -> str:
        """Each assumption with whether it holds, and the sides."""
        lines = [f"{'holds' if holds else 'FAILS'}: {words}" for words, holds in self.assumptions.items()]
        if not self.applicable:
            return "\n".join([*lines, "so it says nothing here: an assumption fails"])
        if self.failure_probability is None:
            lines.append("with a probability in which the source leaves a constant open")
        elif self.failure_probability:
            lines.append(f"with probability at least {1 - self.failure_probability:.6g}")
        return "\n".join([*lines, f"bound: {self.sides}{' (excludes nothing)' if self.vacuous else ''}"])

    @property
    def sides(self) -> str:
        """The bounds in words: "exactly 1", "at most 2" or "from 1 to 2"."""
        low, high = self.lower, self.upper
        if np.array_equal(low, high):
            return f"exactly {self.shown(low)}"
        if np.all(low == -np.inf):
            return f"at most {self.shown(high)}"
        if np.all(high == np.inf):
            return f"at least {self.shown(low)}"
        return f"from {self.shown(low)} to {self.shown(high)}"

    @staticmethod
    def shown(value: Any) -> str:
        """A word, a number to six digits, or the first six entries of an array."""
        if isinstance(value, str) or value is None:
            return str(value)
        array = np.asarray(value)
        cells = [f"{float(x):.6g}" for x in array.ravel()[:_MAX_ENTRIES]]
        if array.ndim == 0:
            return cells[0]
        more = f", … ({array.size} numbers)" if array.size > _MAX_ENTRIES else ""
        return f"({', '.join(cells)}{more})"

    def slack(self, value: Any) -> float:
        """min over entries of min(value - lower, upper - value); where the statement is violated, minus the violation."""
        value = np.asarray(value, dtype=np.float64)
        if value.shape != self.lower.shape:
            raise ValueError(f"value has shape {value.shape}; pass the quantity bounded, shape {self.lower.shape}.")
        # inf - inf is nan, but an infinite value at an infinite bound has slack 0.
        with np.errstate(invalid="ignore"):
            room = np.minimum(
                np.where(value == self.lower, 0.0, value - self.lower),
                np.where(value == self.upper, 0.0, self.upper - value),
            )
        return float("-inf") if np.isnan(room).any() else float(room.min(initial=np.inf))

    def contains(self, value: Any, *, rtol: float = 0.0, atol: float = 0.0) -> bool:
        """Whether lower - tol ≤ value ≤ upper + tol, tol = atol + rtol |value|; NaN is never contained."""
        value = np.asarray(value, dtype=np.float64)
        tolerance = atol + rtol * np.abs(np.where(np.isfinite(value), value, 0.0))
        return bool(np.all((value >= self.lower - tolerance) & (value <= self.upper + tolerance)))


@dataclasses.dataclass(frozen=True)
class Claim:
    """The return value of a theorem's body.

    Attributes:
        lower, upper: the bounds.
        assumptions: each assumption in words → whether it holds.
        failure_probability: as in ``Bound``.
        vacuous: whether the bounds exclude nothing within the quantity's own range.
    """

    lower: Any
    upper: Any
    assumptions: Mapping[str, bool] = dataclasses.field(default_factory=dict)
    failure_probability: float | None = 0.0
    vacuous: bool = False


@dataclasses.dataclass(frozen=True, eq=False)
class Theorem:
    """An executable statement: ``theorem(**inputs)`` → ``Bound``, ``theorem.draw(key, n)`` → instances.

    Attributes:
        name: of the theorem.
        source: with its tag [paper] or [derived].
        statement: one sentence with the formula.
        kind: "paper" or "derived".
        quantity: what lies between lower and upper.
        strength: "tight" (attained or approached in the draws), "loose", or "vacuous where affordable".
        claim: the function from inputs to a ``Claim``.
        build: makes one instance from a ``Source`` of choices.
        witness: the construction in the statement, if any.
        number: of the statement in docs/theory, such as "7.15", where it is proved; ``statements()[number]`` finds it. "" for a
            theorem of your own.
        about: "ipo" or "dpo" where it is about the rounds or the optimum of that objective alone, else "".

    >>> dyn.theorems.mean_field_bounds(rate=1.0, time=2.0).upper.round(4).item()
    1.0
    """

    name: str
    source: str
    statement: str
    kind: Kind
    quantity: str
    strength: Strength
    claim: Callable[..., Claim] = dataclasses.field(repr=False)
    build: Callable[[Source], dict[str, Any]] = dataclasses.field(repr=False)
    witness: Callable[..., np.ndarray] | None = dataclasses.field(repr=False, default=None)
    number: str = ""
    about: About = ""

    def __post_init__(self) -> None:
        for field, known in (("kind", get_args(Kind)), ("strength", get_args(Strength)), ("about", get_args(About))):
            if getattr(self, field) not in known:
                words = ", ".join(map(repr, known))
                raise ValueError(
                    f"theorem {self.name}: {field} = {getattr(self, field)!r} is unknown; pass one of {words}."
                )
        # What help(theorem) prints.
        where = f"Statement {self.number} of docs/theory ({self.source})" if self.number else f"Source: {self.source}"
        where += f". It bounds: {self.quantity}."
        inputs = "\n".join(f"    {name}: {_inputs.meaning(name)}." for name in self.inputs)
        text = f"{self.statement}\n\n{where}\n\nInputs, given by name:\n{inputs}\n\nReturns ``Bound``."
        object.__setattr__(self, "__doc__", text)

    @property
    def inputs(self) -> tuple[str, ...]:
        """The names of the inputs, in order."""
        return tuple(inspect.signature(self.claim).parameters)

    def complete(self, **inputs: Any) -> dict[str, Any]:
        """``inputs`` checked, as float64 arrays and numbers, with the defaults of those left out; errors as in a call."""
        signature = inspect.signature(self.claim)
        for name in inputs:
            if name not in self.inputs:
                raise TypeError(
                    f"{self.name} has no input {name!r}; {meant(name, self.inputs)}it takes {', '.join(self.inputs)}."
                )
        try:
            bound = signature.bind(**inputs)
        except TypeError as error:
            raise TypeError(f"{self.name}: {error}; it takes {', '.join(self.inputs)}.") from None
        bound.apply_defaults()
        return _inputs.checked(bound.arguments)

    def __call__(self, *positional: Any, **inputs: Any) -> Bound:
        """The bound at ``inputs``, given by name; raises ``ValueError`` with the malformed entry."""
        if positional:
            raise TypeError(f"{self.name} takes its inputs by name: {', '.join(self.inputs)}.")
        checked = self.complete(**inputs)
        beyond = ValueError(
            f"{self.name}: the bound is out of float64's range at these inputs; pass numbers nearer to 1."
        )
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
        """``n`` instances inside the assumptions, many of them at their edge.

        Args:
            key: a ``jax.random`` key.
            n: number of instances, ≥ 1.
        """
        if not isinstance(n, int) or n < 1:
            raise ValueError(f"n = {n!r}; pass a whole number of at least 1.")
        words = np.asarray(jax.random.bits(key, (4,), "uint32"))
        source = RandomSource(np.random.default_rng(words))
        return [self._one(source) for _ in range(n)]

    def _one(self, source: Source) -> dict[str, Any]:
        for _ in range(_MAX_TRIES):
            inputs = self.build(source)
            if self(**inputs).applicable:
                return inputs
        raise RuntimeError(
            f"{self.name} found no instance inside its assumptions in {_MAX_TRIES} draws; widen its build."
        )


def meant(word: str, known: Iterable[str]) -> str:
    """The beginning of a clause that suggests the nearest of ``known``, or "" where none is near."""
    close = difflib.get_close_matches(word, list(known), n=1, cutoff=0.4)
    return f"did you mean {close[0]!r}? " if close else ""


_REGISTRY: dict[str, Theorem] = {}


def theorem(
    *,
    number: str,
    source: str,
    statement: str,
    quantity: str,
    strength: Strength,
    build: Callable[[Source], dict[str, Any]],
    witness: Callable[..., np.ndarray] | None = None,
    about: About = "",
) -> Callable[[Callable[..., Claim]], Theorem]:
    """Makes a ``Theorem`` of the decorated function, with its name, and registers it."""
    kind: Kind = "paper" if source.startswith("[paper]") else "derived"

    def register(claim: Callable[..., Claim]) -> Theorem:
        made = Theorem(
            claim.__name__, source, statement, kind, quantity, strength, claim, build, witness, number, about
        )
        _REGISTRY[made.name] = made
        return made

    return register


def registered() -> dict[str, Theorem]:
    """Every theorem by its name, in the order of definition."""
    return dict(_REGISTRY)
