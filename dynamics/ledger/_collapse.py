"""Trials of the statements on whole runs: collapse (2.4), matched links (7.6) and divergence (7.7)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ..theorems import Bound
from ._lanes import Instance, grouped, run, stacked
from ._optima import certain
from ._trial import Tighter, Trial, cycle, log_softmax, random_matrix, uniform

Reading = Callable[[list[Instance], dict[str, np.ndarray]], np.ndarray]


def _after_run(read: Reading, start: str, **fixed: Any) -> Callable[[list[Instance]], list[Any]]:
    """``read`` applied to the run from ``start`` over the instance's number of rounds, or one."""

    def measure(group: list[Instance]) -> np.ndarray:
        values = stacked([{**x, **fixed} for x in group])
        rounds = np.array([x.get("rounds", 1) for x in group])
        objective = group[0].get("objective", "ipo")
        return read(group, run(objective, values, np.stack([x[start] for x in group]), rounds))

    return lambda instances: grouped(instances, measure)


def _log_ratio(group: list[Instance], done: dict[str, np.ndarray]) -> np.ndarray:
    top = np.array([x["top"] for x in group])[:, None]
    return np.take_along_axis(done["logits"], top, axis=1) - done["logits"]


def _entropy(group: list[Instance], done: dict[str, np.ndarray]) -> np.ndarray:
    return done["entropy"]


def _entropy_gain(group: list[Instance], done: dict[str, np.ndarray]) -> np.ndarray:
    return done["entropy"] - done["entropy_before"]


def _logits(group: list[Instance], done: dict[str, np.ndarray]) -> np.ndarray:
    return done["logits"]


def _divergence_gain(group: list[Instance], done: dict[str, np.ndarray]) -> np.ndarray:
    p, before = (np.stack([x[name] for x in group]) for name in ("log_stationary", "log_pi"))
    return np.einsum("nk,nk->n", np.exp(p), before - done["log_policy"])


def _relative(x: Instance, bound: Bound) -> tuple[float, Any]:
    return 0.0, 1e-11 * np.abs(bound.lower) + 1e-300


def _another_top(rng: np.random.Generator, x: Instance) -> Instance:
    return {**x, "top": int((x["top"] + rng.integers(1, len(x["P"]))) % len(x["P"]))}


def _early(rng: np.random.Generator, x: Instance) -> Instance:
    return {**x, "log_pi": log_softmax(rng.standard_normal(len(x["P"])))}


def _any_matrix(rng: np.random.Generator, x: Instance) -> Instance:
    return {**x, "P": random_matrix(rng, len(x["P"]))}


def _elsewhere(rng: np.random.Generator, x: Instance) -> Instance:
    return {**x, "log_stationary": log_softmax(rng.standard_normal(len(x["P"])))}


def _edge() -> list[Instance]:
    logs = {"log_pi": log_softmax([0.0, 0.0, -60.0]), "log_stationary": uniform(3)}
    return [{"P": cycle(0.3), "beta": 50.0, **logs}]


def _allows_all(x: Instance, bound: Bound) -> bool:
    """Whether the bound allows every entropy, that is [0, log K]."""
    return bool(bound.lower <= 0 and bound.upper >= np.log(len(x["P"])) * (1 - 1e-12))


def _two(**more: Any) -> Callable[[], list[Instance]]:
    """Two responses under IPO, where the two bounds coincide."""
    logs = {"log_offline": uniform(2), "log_initial": log_softmax([0.3, -0.2])}
    x = {"P": np.array([[0.5, 0.8], [0.2, 0.5]]), "lam": 0.0, "beta": 0.7, "rounds": 4, "top": 0, "objective": "ipo"}
    return lambda: [x | logs | more]


# At round 0 both bounds equal the start, which tests nothing.
AFTER_START = Tighter(telling=lambda x: x["rounds"] > 0)
_MIXED = {"alpha": 0.5, "log_reference": log_softmax([0.1, 0.4])}

TRIALS = {
    "collapse": Trial(_after_run(_log_ratio, "log_initial"), certain, AFTER_START, _two(**_MIXED)),
    "collapse_entropy": Trial(
        _after_run(_entropy, "log_initial"), certain, AFTER_START, _two(**_MIXED), silent=_allows_all
    ),
    "certain_collapse": Trial(_after_run(_log_ratio, "log_initial", alpha=1.0), _another_top, AFTER_START, _two()),
    "entropy_decreases": Trial(
        measure=_after_run(_entropy_gain, "log_pi", alpha=1.0),
        outside=_early,
        mutant=Tighter(("lower",)),
        tolerance=_relative,
        reason="1e-11 of the entropy before",
    ),
    "matched_link": Trial(_after_run(_logits, "log_initial"), _any_matrix, AFTER_START),
    "divergence_on_policy": Trial(
        measure=_after_run(_divergence_gain, "log_pi", alpha=1.0, lam=1.0),
        outside=_elsewhere,
        mutant=Tighter(("upper",)),
        directed=_edge,
    ),
}
