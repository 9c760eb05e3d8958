"""How one theorem is put to the test: what measures its quantity, what would refute it, and where it may fail."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..theorems import Bound
from ._lanes import Instance

Sides = tuple[str, ...]
BOTH: Sides = ("lower", "upper")
# A simulator's logits of size 1e4 carry 1e-12, and 1/beta multiplies what rounding leaves of a reward of size 1.
RTOL, ATOL = 1e-10, 1e-10
ROUNDING = "rounding: 1e-10 relative, and 1e-10 of a reward times 1/beta"


def rounding(instance: Instance, bound: Bound) -> tuple[float, Any]:
    """(rtol, atol) of float64 rounds: what 1/beta makes of 1e-10."""
    return RTOL, ATOL / min(1.0, instance.get("beta", 1.0))


@dataclasses.dataclass(frozen=True)
class Tighter:
    """The mutant of a tight statement: one side made stronger by ``share`` of its own size.

    ``sides``: those that are attained or approached; each is a mutant of its own. ``telling``: whether an instance may
    catch it; before the first round, say, every bound is attained and tells nothing.
    """

    sides: Sides = BOTH
    share: float = 0.01
    telling: Callable[[Instance], bool] = lambda instance: True


@dataclasses.dataclass(frozen=True)
class Searched:
    """The mutant of a loose statement: its side strengthened by twice the smallest slack that a search finds.

    Slack here is relative, |value/bound - 1|. The search follows ``lines`` of descent, each from one of the instances with
    the least slack: it perturbs their numbers for so many ``generations`` and keeps what has less. ``side``: "lower" or
    "upper".
    """

    side: str
    generations: int = 40
    lines: int = 16


@dataclasses.dataclass(frozen=True)
class Misread:
    """The mutant of a statement that is vacuous where it can be afforded: a sign or an assumption got wrong.

    ``what``: the error; ``mutant`` and ``second``: the bounds (lower, upper) with it, and by a second derivation, which
    the statement has to agree with and the mutant must not.
    """

    what: str
    mutant: Callable[..., tuple[Any, Any]]
    second: Callable[..., tuple[Any, Any]]
    rtol: float = 1e-9


@dataclasses.dataclass(frozen=True)
class Trial:
    """What the ledger does with a theorem.

    Attributes:
        measure: the bounded quantity of each of several instances, by the library's simulators; NaN where they fail.
        outside: an instance next to a given one that breaks an assumption, or None where this one has none near; or, in
            words, why there is nothing to look at outside.
        mutant: what a test of the statement has to tell it from.
        directed: instances beside the drawn ones, such as those at which a bound is attained.
        tolerance: (rtol, atol) at an instance and its bound.
        reason: why that much.
        silent: whether a bound says nothing at an instance that the quantity's own range does not.
        drawn: which part of the assumptions the draws cover, where not all, in words.
    """

    measure: Callable[[list[Instance]], Sequence[Any]]
    outside: Callable[[np.random.Generator, Instance], Instance | None] | str
    mutant: Tighter | Searched | Misread = Tighter()
    directed: Callable[[], list[Instance]] = list
    tolerance: Callable[[Instance, Bound], tuple[float, Any]] = rounding
    reason: str = ROUNDING
    silent: Callable[[Instance, Bound], bool] = lambda instance, bound: bound.vacuous
    drawn: str = ""


def log_softmax(z: Any) -> np.ndarray:
    """log softmax(z) on the host."""
    z = np.asarray(z, float)
    return z - np.logaddexp.reduce(z, axis=-1, keepdims=True)


def uniform(K: int) -> np.ndarray:
    """log of the uniform distribution."""
    return np.full(K, -np.log(K))


def random_matrix(rng: np.random.Generator, K: int, size: float = 2.0) -> np.ndarray:
    """P with Gaussian logits, which has no property that it need not have."""
    L = np.triu(size * rng.standard_normal((K, K)), 1)
    upper = 1 / (1 + np.exp(-L))
    P = np.triu(upper, 1)
    return P + np.tril(1 - P.T, -1) + 0.5 * np.eye(K)


def cycle(a: float) -> np.ndarray:
    """The 3-cycle with P = 1/2 ± a."""
    return 0.5 + a * np.array([[0.0, 1.0, -1.0], [-1.0, 0.0, 1.0], [1.0, -1.0, 0.0]])
