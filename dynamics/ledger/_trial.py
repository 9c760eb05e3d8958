"""The definition of a test: how a theorem's quantity is measured, its mutant, and instances outside its assumptions."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..theorems import Bound
from ._lanes import Instance

Sides = tuple[str, ...]
BOTH: Sides = ("lower", "upper")
# Logits of size 1e4 have rounding errors of 1e-12, and 1/beta multiplies those of a reward of size 1.
RTOL, ATOL = 1e-10, 1e-10
ROUNDING = "rounding: 1e-10 relative, and 1e-10 of a reward times 1/beta"


def rounding(instance: Instance, bound: Bound) -> tuple[float, Any]:
    """(rtol, atol) of float64 rounds: 1e-10, and 1e-10/beta for beta < 1."""
    return RTOL, ATOL / min(1.0, instance.get("beta", 1.0))


@dataclasses.dataclass(frozen=True)
class Tighter:
    """The mutant of a tight statement: one side strengthened by ``share`` of its own size.

    Attributes:
        sides: those that are attained or approached; each gives its own mutant.
        share: relative strengthening.
        telling: whether an instance may catch the mutant; at round 0, for example, every bound is attained trivially.
    """

    sides: Sides = BOTH
    share: float = 0.01
    telling: Callable[[Instance], bool] = lambda instance: True


@dataclasses.dataclass(frozen=True)
class Searched:
    """The mutant of a loose statement: its side strengthened by twice the smallest slack that a search finds.

    Slack here is relative, |value/bound - 1|. The search starts from the instances with the least slack, perturbs their
    numbers and keeps perturbations with less slack.

    Attributes:
        side: "lower" or "upper".
        generations: rounds of perturbation.
        lines: number of instances from which the search starts.
    """

    side: str
    generations: int = 40
    lines: int = 16


@dataclasses.dataclass(frozen=True)
class Misread:
    """The mutant of a statement that is vacuous at affordable instances: one with a wrong sign or assumption.

    Attributes:
        what: the error, in words.
        mutant: the bounds (lower, upper) with the error.
        second: the bounds by a second derivation; the statement has to agree with them, and the mutant must not.
        rtol: relative tolerance of that agreement.
    """

    what: str
    mutant: Callable[..., tuple[Any, Any]]
    second: Callable[..., tuple[Any, Any]]
    rtol: float = 1e-9


@dataclasses.dataclass(frozen=True)
class Trial:
    """How the ledger tests a theorem.

    Attributes:
        measure: the bounded quantity at each of several instances, by the library's simulators; NaN where they fail, which
            counts as unmeasured.
        outside: a neighbour of an instance that breaks an assumption, or None if it has none; or, in words, why no
            instance outside can be tested.
        mutant: the wrong statement that the test has to detect.
        directed: instances in addition to the drawn ones, such as those at which a bound is attained.
        tolerance: (rtol, atol) at an instance and its bound.
        reason: the reason for that tolerance.
        silent: whether a bound excludes nothing within the quantity's own range.
        drawn: in words, the part of the assumptions that the draws cover, where not all.
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
    """P with Gaussian logits, without any special structure."""
    L = np.triu(size * rng.standard_normal((K, K)), 1)
    upper = 1 / (1 + np.exp(-L))
    P = np.triu(upper, 1)
    return P + np.tril(1 - P.T, -1) + 0.5 * np.eye(K)


def cycle(a: float) -> np.ndarray:
    """The 3-cycle with P = 1/2 ± a."""
    return 0.5 + a * np.array([[0.0, 1.0, -1.0], [-1.0, 0.0, 1.0], [1.0, -1.0, 0.0]])
