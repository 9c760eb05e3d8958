"""Trials of the statements on reward margins, measured by ``MarginFlow``."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import diffrax
import numpy as np

from ..flows import MarginFlow
from ..objectives import DPO, IPO, SquaredMargin
from ..solve import gradient_flow
from ..theorems import Bound
from ..theorems.margins import cluster_features
from ._lanes import Instance
from ._trial import Tighter, Trial

LOSSES = {"dpo": DPO, "squared": SquaredMargin, "ipo": IPO}
SOLVER = "the solver's tolerance, 1e-10 relative and 1e-13 per step"


def tolerance(x: Instance, bound: Bound) -> tuple[float, Any]:
    return 1e-8, 1e-10


def end(
    g: np.ndarray,
    chosen: np.ndarray,
    rejected: np.ndarray,
    objective: Any,
    time: float,
    weights: np.ndarray | None = None,
) -> Any:
    """Rows of the flow at ``time``; the examples are padded with others of weight 0, so that few shapes are compiled."""
    N, d = g.shape
    tokens = 2 * (int(max(chosen.max(), rejected.max())) // 2 + 1)
    pairs = max(4, tokens // 2)  # every token occurs among the padding
    size, width = 32 * -(-(N + pairs) // 32), 8 * -(-d // 8)
    wide, every = np.zeros((size, width)), np.zeros(size)
    wide[:N, :d], every[:N] = g, 1.0 if weights is None else weights
    other = 2 * (np.arange(size - N) % pairs)
    w, l = np.concatenate([chosen, other]).astype(int), np.concatenate([rejected, other + 1]).astype(int)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # identical examples are valid instances
        flow = MarginFlow(wide, w, l, objective, weights=every, form="dual")
    return gradient_flow(flow, time, saveat=diffrax.SaveAt(t1=True), rtol=1e-10, atol=1e-13)


def _one_example(x: Instance) -> float:
    beta = x.get("beta", 1.0)
    if x["time"] == 0:
        return 0.0
    g = np.array([[np.sqrt(x["rate"] / 2) / beta]])
    return float(
        end(g, np.array([0]), np.array([1]), LOSSES[x.get("loss", "dpo")](beta), x["time"]).reward_margin[0, 0]
    )


def _head(x: Instance) -> float:
    yes = x["answer"] > 0
    return float(end(x["features"], np.where(yes, 0, 1), np.where(yes, 1, 0), DPO(x["beta"]), x["time"]).head_change[0])


def _speeds(x: Instance) -> np.ndarray:
    d = x["differences"]
    g = np.concatenate([d, -d]) / 2
    chosen = np.repeat([0, 1], len(d))
    flow = MarginFlow(g, chosen, 1 - chosen, DPO(x["beta"]), form="dual")
    speed = np.asarray(flow.velocity(flow.start(None), flow.prepare()).margin)
    return (speed[: len(d)] + speed[len(d) :]) / 2


def _cluster_margins(x: Instance) -> np.ndarray:
    data = cluster_features(x["pairs"], x["l_b"], x["noise"])
    return np.asarray(end(*data, DPO(x["beta"]), x["time"]).reward_margin[0])[: len(x["noise"])]


def each(one: Callable[[Instance], Any]) -> Callable[[list[Instance]], list[Any]]:
    return lambda instances: [one(x) for x in instances]


def _unbalanced(rng: np.random.Generator, x: Instance) -> Instance:
    more = int(rng.integers(1, 8))
    features = np.concatenate([x["features"], np.repeat(x["features"][:1], more, axis=0)])
    return {**x, "features": features, "answer": np.concatenate([x["answer"], np.ones(more)])}


def louder(rng: np.random.Generator, x: Instance) -> Instance:
    return {**x, "noise": x["noise"] + rng.normal(size=x["noise"].shape)}


NOTHING = "nothing is assumed"
_EARLY = {"rate": 1.0, "time": 1e-3, "beta": 1.0, "loss": "dpo"}
_PAIR = {"features": np.array([[1.0], [-1.0]]), "answer": np.array([1.0, -1.0]), "beta": 0.1, "time": 1e-3}
QUIET = {"pairs": 1, "l_b": 0.5, "noise": np.zeros((2, 2)), "beta": 1.0, "time": 1e-3}

TRIALS = {
    "mean_field": Trial(each(_one_example), NOTHING, tolerance=tolerance, reason=SOLVER, directed=lambda: [_EARLY]),
    "mean_field_bounds": Trial(
        each(_one_example),
        NOTHING,
        tolerance=tolerance,
        reason=SOLVER,
        directed=lambda: [{"rate": 1.0, "time": 1e-3}],
    ),
    "head_change": Trial(
        each(_head), NOTHING, Tighter(("upper",)), tolerance=tolerance, reason=SOLVER, directed=lambda: [_PAIR]
    ),
    "distinguishable_head_change": Trial(
        each(_head), _unbalanced, Tighter(("upper",)), tolerance=tolerance, reason=SOLVER, directed=lambda: [_PAIR]
    ),
    "priority": Trial(each(_speeds), NOTHING),
    "noisy_margins": Trial(
        each(_cluster_margins), louder, tolerance=tolerance, reason=SOLVER, directed=lambda: [QUIET]
    ),
}
