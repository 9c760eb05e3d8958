"""Mutants: whether the test of a theorem would detect a slightly wrong statement."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..theorems import Bound, Theorem
from ._lanes import Instance
from ._trial import Misread, Searched, Tighter, Trial, log_softmax

CHILDREN = 4  # of each line of a search, per generation
SHARES = ("alpha", "lam", "delta")
FAILURE_RANGE = (5e-4, 1.0)  # probabilities of failure; rarer ones need too many runs


@dataclasses.dataclass(frozen=True)
class Judged:
    """One instance with its bound and the measured value."""

    instance: Instance
    origin: str
    bound: Bound
    value: np.ndarray
    tolerance: tuple[float, Any]
    silent: bool

    @property
    def slack(self) -> float:
        return self.bound.slack(self.value)

    @property
    def measured(self) -> bool:
        """Whether the simulators found a value: no entry is NaN."""
        return not np.isnan(self.value).any()

    def within(self, bound: Bound) -> bool:
        """Whether the value lies within another bound, to this instance's tolerance."""
        rtol, atol = self.tolerance
        return bound.contains(self.value, rtol=rtol, atol=atol)


@dataclasses.dataclass(frozen=True)
class Mutation:
    """A mutant of a theorem and whether it was caught.

    Attributes:
        what: the mutant, in words.
        caught: whether some instance refutes it.
        by: which one, in words.
        instance: its inputs, or None.
    """

    what: str
    caught: bool
    by: str
    instance: Instance | None


def judged(theorem: Theorem, trial: Trial, instances: Sequence[Instance], origins: Sequence[str]) -> list[Judged]:
    """Each instance, measured and compared with its bound."""
    if not instances:
        return []
    out = []
    for x, origin, value in zip(instances, origins, measured(theorem, trial, instances), strict=True):
        bound = theorem(**x)
        out.append(Judged(x, origin, bound, value, trial.tolerance(x, bound), trial.silent(x, bound)))
    return out


def measured(theorem: Theorem, trial: Trial, instances: Sequence[Instance]) -> list[np.ndarray]:
    """What the trial measures at each instance; raises ``ValueError`` unless that is one value for each."""
    values = trial.measure(list(instances))
    try:
        found = list(values)
    except TypeError:
        raise ValueError(f"the trial of {theorem.name} measures no sequence; return one value for each.") from None
    if len(found) != len(instances):
        raise ValueError(
            f"the trial of {theorem.name} measures {len(found)} values at {len(instances)} instances; return one for each."
        )
    return [np.asarray(value, float) for value in found]


def mutations(theorem: Theorem, trial: Trial, found: Sequence[Judged], seed: int) -> list[Mutation]:
    """The mutants that the trial asks for, each tried on every instance."""
    mutant = trial.mutant
    if isinstance(mutant, Tighter):
        telling = [j for j in found if mutant.telling(j.instance)]
        return [_tighter(telling, side, mutant.share) for side in mutant.sides]
    if isinstance(mutant, Searched):
        return [_searched(theorem, trial, mutant, found, np.random.default_rng(seed))]
    return _misread(mutant, found)


def stronger(bound: Bound, side: str, share: float) -> Bound:
    """``bound`` with one side moved inwards by ``share`` of its own size."""
    old = getattr(bound, side)
    step = share * np.abs(np.where(np.isfinite(old), old, 0.0))
    return dataclasses.replace(bound, **{side: np.asarray(old + step if side == "lower" else old - step)})


def _tighter(found: Sequence[Judged], side: str, share: float) -> Mutation:
    what = f"{side} side {100 * share:g}% stronger"
    catcher = next((j for j in found if not j.within(stronger(j.bound, side, share))), None)
    if catcher is None:
        return Mutation(what, False, f"none of {len(found)} instances", None)
    return Mutation(what, True, catcher.origin, catcher.instance)


def room(found: Judged, side: str) -> float:
    """The least relative slack |value/bound - 1| over entries whose bound is far above the tolerance."""
    bound, (rtol, atol) = getattr(found.bound, side), found.tolerance
    clear = np.isfinite(bound) & (np.abs(bound) > 100 * (atol + rtol * np.abs(found.value)))
    gap = found.value - bound if side == "lower" else bound - found.value
    return float(np.min(gap[clear] / np.abs(bound[clear]), initial=np.inf))


def _searched(
    theorem: Theorem, trial: Trial, mutant: Searched, found: Sequence[Judged], rng: np.random.Generator
) -> Mutation:
    least = lambda j: room(j, mutant.side)
    lines = sorted(found, key=least)[: mutant.lines]
    begun, sizes = least(lines[0]), np.full(len(lines), 0.3)
    for _ in range(mutant.generations):
        tried = [(n, perturbed(rng, lines[n].instance, size)) for n, size in enumerate(sizes) for _ in range(CHILDREN)]
        tried = [(n, x) for n, x in tried if theorem(**x).applicable]
        children = judged(theorem, trial, [x for _, x in tried], ["search"] * len(tried))
        before = [least(line) for line in lines]
        for (n, _), child in zip(tried, children, strict=True):
            lines[n] = min(lines[n], child, key=least) if child.measured else lines[n]
        # Steps grow while they gain and shrink while they do not.
        sizes *= [1.5 if least(line) < old else 0.8 for line, old in zip(lines, before, strict=True)]
    best = min(lines, key=least)
    slack = least(best)
    search = (
        f"search from the {len(lines)} instances with the least slack, {mutant.generations} generations of {CHILDREN} "
        f"perturbations each (from {begun:.3g} to {slack:.3g} of the bound)"
    )
    if not 0 < slack < np.inf:
        return Mutation(f"{mutant.side} side: a {search} finds no slack to remove", False, "none", None)
    caught = not best.within(stronger(best.bound, mutant.side, 2 * slack))
    factor = 1 + 2 * slack if mutant.side == "lower" else 1 - 2 * slack
    what = f"{mutant.side} side times {factor:.4g} by twice the least slack of a {search}"
    return Mutation(what, caught, f"the instance that it found, {_in_short(best.instance)}", best.instance)


def _in_short(instance: Instance) -> str:
    shown = {name: np.round(v, 4).tolist() if isinstance(v, float | np.ndarray) else v for name, v in instance.items()}
    return ", ".join(f"{name} = {value}" for name, value in shown.items())


def perturbed(rng: np.random.Generator, instance: Instance, size: float) -> Instance:
    """A neighbour of an instance: logits of P and distributions, logs of positive numbers, and shares moved by ``size``."""
    return {name: _perturbed(rng, name, value, size) for name, value in instance.items()}


def _perturbed(rng: np.random.Generator, name: str, value: Any, size: float) -> Any:
    if name == "P":
        return _perturbed_matrix(rng, value, size)
    if isinstance(value, float):
        noise = size * rng.standard_normal()
        if name == "failure":
            return float(np.clip(value * np.exp(noise), *FAILURE_RANGE))
        return float(np.clip(value + noise, 0.0, 1.0)) if name in SHARES else value * float(np.exp(noise))
    if isinstance(value, np.ndarray) and value.dtype.kind == "f":
        moved = value + size * rng.standard_normal(value.shape)
        return log_softmax(moved) if name.startswith("log_") else moved
    return value


def _perturbed_matrix(rng: np.random.Generator, P: np.ndarray, size: float) -> np.ndarray:
    with np.errstate(divide="ignore"):
        logits = np.clip(np.log(P) - np.log(P.T), -35.0, 35.0)
    moved = 1 / (1 + np.exp(-np.triu(logits + size * rng.standard_normal(P.shape), 1)))
    upper = np.triu(moved, 1)
    return upper + np.tril(1 - upper.T, -1) + 0.5 * np.eye(len(P))


def _misread(mutant: Misread, found: Sequence[Judged]) -> list[Mutation]:
    same = lambda j, sides: np.allclose([j.bound.lower, j.bound.upper], sides, rtol=mutant.rtol, atol=0.0)
    astray = next((j for j in found if not same(j, mutant.second(**j.instance))), None)
    if astray is not None:
        return [Mutation(mutant.what, False, f"the second derivation disagrees at {astray.origin}", astray.instance)]
    agree = lambda j: np.allclose(mutant.mutant(**j.instance), mutant.second(**j.instance), rtol=mutant.rtol, atol=0.0)
    catcher = next((j for j in found if not agree(j)), None)
    if catcher is None:
        return [Mutation(mutant.what, False, f"none of {len(found)} instances", None)]
    return [Mutation(mutant.what, True, f"the second derivation at {catcher.origin}", catcher.instance)]
