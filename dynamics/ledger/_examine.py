"""The test of one theorem: a row of the ledger."""

from __future__ import annotations

import dataclasses
import time
import zlib
from typing import Any

import jax
import numpy as np
from scipy.stats import binom

from ..theorems import Bound, Theorem
from ._lanes import Instance
from ._mutants import Judged, Mutation, judged, measured, mutations
from ._trial import Trial

ENOUGH = 100  # instances at which the bound is meaningful
MAX_BATCHES = 5  # of draws to reach that
FALSE_ALARM = 1e-6  # probability that a true statement about probabilities counts as violated


@dataclasses.dataclass(frozen=True)
class Row:
    """The result of testing one theorem.

    Attributes:
        name, source, kind, strength, statement, quantity: of the theorem.
        status: "green"; "green (n of 100)", where fewer instances were requested and n of them are meaningful; "red", for
            the reasons in ``reasons``; or "vacuous", where the theorem declares that the bound is meaningful at hardly any
            affordable instance, and that is so.
        instances: how many were measured inside the assumptions.
        unmeasured: at how many more the simulators found no value; one makes the row red.
        meaningful: at how many of them the bound excludes something.
        violations: at how many the quantity is outside the bound by more than ``tolerance`` (in words) allows.
        smallest_slack, median_slack: over the meaningful instances, in the quantity's unit; unless violated, negative only
            within rounding.
        drawn: the part of the assumptions that the draws cover, where not all.
        worst: the instance with the smallest slack, or the worst violation: inputs, value, lower, upper and slack.
        mutants: each mutant and what caught it.
        outside, outside_hold: how many measurable instances break an assumption, and at how many of them the formula still
            holds; ``outside_reason`` says why there are none.
        seconds: duration of the test.
    """

    name: str
    source: str
    kind: str
    strength: str
    statement: str
    quantity: str
    status: str
    reasons: tuple[str, ...]
    instances: int = 0
    meaningful: int = 0
    violations: int = 0
    smallest_slack: float | None = None
    median_slack: float | None = None
    tolerance: str = ""
    drawn: str = ""
    worst: dict[str, Any] | None = None
    mutants: tuple[Mutation, ...] = ()
    outside: int = 0
    outside_hold: int = 0
    outside_reason: str | None = None
    seconds: float = 0.0
    unmeasured: int = 0

    def __str__(self) -> str:
        """The status and its reasons, the counts, and the mutants, a line each."""
        lines = [f"{self.name}: {self.status}", *(f"  {reason}" for reason in self.reasons)]
        lines.append(f"  {self.instances} instances, {self.meaningful} meaningful, {self.violations} violations")
        if self.smallest_slack is not None:
            lines.append(f"  least slack {self.smallest_slack:.3g} (tolerance: {self.tolerance})")
        caught = sum(m.caught for m in self.mutants)
        return "\n".join([*lines, f"  {caught} of {len(self.mutants)} mutants caught"])


def needed(instances: int) -> int:
    """How many instances have to be meaningful: 100, or as many as were requested."""
    return min(ENOUGH, instances)


def examine(theorem: Theorem, trial: Trial | None, *, instances: int = 100, seed: int = 0) -> Row:
    """A theorem's row: its bounds against the simulators, its mutants, and instances outside its assumptions.

    Args:
        theorem: one of ``dyn.theorems.all()``, or your own.
        trial: how its quantity is measured and what its mutant is; None gives a red row.
        instances: how many are drawn inside the assumptions, ≥ 1; more where too few of them are meaningful.
        seed: of the draws.
    """
    about = {name: getattr(theorem, name) for name in ("name", "source", "kind", "strength", "statement", "quantity")}
    if trial is None:
        return Row(**about, status="red", reasons=("it has no trial that measures it",))
    began = time.monotonic()
    try:
        row = _measured(theorem, trial, instances, seed, about)
    except (ValueError, RuntimeError, ArithmeticError, np.linalg.LinAlgError) as error:
        row = Row(**about, status="red", reasons=(f"could not be measured: {error}",))
    return dataclasses.replace(row, seconds=time.monotonic() - began)


def _measured(theorem: Theorem, trial: Trial, instances: int, seed: int, about: dict[str, Any]) -> Row:
    key = jax.random.fold_in(jax.random.key(seed), zlib.crc32(theorem.name.encode()) % 2**31)
    directed = trial.directed()
    found = judged(theorem, trial, directed, [f"directed instance {n}" for n in range(len(directed))])
    drawn: list[Instance] = []
    declared = theorem.strength == "vacuous where affordable"
    for batch in range(1 if declared else MAX_BATCHES):
        new = theorem.draw(jax.random.fold_in(key, batch), instances)
        origins = [f"drawn instance {len(drawn) + n}" for n in range(instances)]
        found += judged(theorem, trial, new, origins)
        drawn += new
        if sum(not j.silent for j in found) >= needed(instances):
            break
    tried, found = len(found), [j for j in found if j.measured]
    mutants = mutations(theorem, trial, found, seed) if found else []
    broken = [j for j in found if not (j.bound.applicable and j.within(j.bound))]
    meaningful = [j for j in found if not j.silent]
    slacks = [j.slack for j in meaningful]
    reasons = _reasons(found, broken, mutants)
    if len(found) < tried:
        reasons.insert(0, f"could not be measured at {tried - len(found)} of {tried}")
    few = len(meaningful) < needed(instances)
    if few and found and not declared:
        reasons.append(f"only {len(meaningful)} instances are meaningful, {needed(instances)} are needed")
    return Row(
        **about,
        status="red" if reasons else "vacuous" if few else _green(len(meaningful)),
        reasons=tuple(reasons),
        instances=len(found),
        meaningful=len(meaningful),
        violations=len(broken),
        smallest_slack=min(slacks, default=None),
        median_slack=float(np.median(slacks)) if slacks else None,
        tolerance=trial.reason,
        drawn=trial.drawn,
        worst=_described(min(broken or meaningful or found, key=lambda j: j.slack)) if found else None,
        unmeasured=tried - len(found),
        mutants=tuple(mutants),
        **_outside(theorem, trial, drawn[:instances], seed),
    )


def _green(meaningful: int) -> str:
    return "green" if meaningful >= ENOUGH else f"green ({meaningful} of {ENOUGH})"


def _reasons(found: list[Judged], broken: list[Judged], mutants: list[Mutation]) -> list[str]:
    chance = max((j.bound.failure_probability or 0.0 for j in found), default=0.0)
    allowed = int(binom.ppf(1 - FALSE_ALARM, len(found), chance)) if chance else 0
    reasons = [f"{len(broken)} violations, {allowed} allowed"] if len(broken) > allowed else []
    return reasons + [f"mutant not caught: {m.what} ({m.by})" for m in mutants if not m.caught]


def _described(worst: Judged) -> dict[str, Any]:
    bound = worst.bound
    sides = {"value": worst.value, "lower": bound.lower, "upper": bound.upper, "slack": worst.slack}
    return {"origin": worst.origin, "inputs": worst.instance, **sides}


def _outside(theorem: Theorem, trial: Trial, drawn: list[Instance], seed: int) -> dict[str, Any]:
    if isinstance(trial.outside, str):
        return {"outside_reason": trial.outside}
    rng = np.random.default_rng(seed)
    near = [y for y in (trial.outside(rng, x) for x in drawn) if y is not None]
    broken = [y for y in near if not theorem(**y).applicable]
    if not broken:
        return {"outside_reason": "no drawn instance has a neighbour outside the assumptions"}
    held = []
    for y, value in zip(broken, measured(theorem, trial, broken), strict=True):
        bound = _unconditional(theorem, y)
        rtol, atol = trial.tolerance(y, bound)
        if not trial.silent(y, bound) and not np.isnan(value).any():
            held.append(bound.contains(value, rtol=rtol, atol=atol))
    if not held:
        return {"outside_reason": "the formula is not meaningful at the drawn ones"}
    return {"outside": len(held), "outside_hold": sum(held)}


def _unconditional(theorem: Theorem, instance: Instance) -> Bound:
    """The theorem's bound regardless of its assumptions."""
    claim = theorem.claim(**instance)
    lower, upper = np.broadcast_arrays(np.asarray(claim.lower, float), np.asarray(claim.upper, float))
    vacuous = claim.vacuous or bool(np.all((lower == -np.inf) & (upper == np.inf)))
    return Bound(lower, upper, True, vacuous, claim.failure_probability, {})
