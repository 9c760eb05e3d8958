"""Trials of the statements on unseen samples, by the head that ``MarginFlow`` trains and the samples' exact law."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from scipy.special import ndtr

from ..flows import MarginFlow
from ..objectives import DPO
from ..theorems import Bound
from ..theorems.generalization import last_time, published_features
from ..theorems.margins import cluster_features
from ._lanes import Instance
from ._margins import NOTHING, QUIET, SOLVER, each, end, louder, tolerance
from ._trial import Misread, Searched, Tighter, Trial

NODES = 12  # of a Gauss–Hermite rule in each of two directions


def _wrong(head: np.ndarray, pairs: int, l_b: float, v: float) -> np.ndarray:
    """Pr(s u_k·g < 0) for g of N(s c_k + b, v² I), u_k the difference of pair k's rows; clusters +1, -1, +2, …"""
    u = head[0 : 2 * pairs : 2] - head[1 : 2 * pairs : 2]
    own, shared, size = np.diag(u[:, :pairs]), l_b * u[:, pairs], v * np.linalg.norm(u, axis=1)
    return np.stack([ndtr(-(own + shared) / size), ndtr(-(own - shared) / size)], axis=1).ravel()


def _head(data: tuple[np.ndarray, np.ndarray, np.ndarray], beta: float, time: float) -> np.ndarray:
    """W(t) - W(0) up to a factor, a row for each token: Σ a_i (e_w - e_l) g_iᵀ."""
    g, chosen, rejected = data
    a = np.asarray(end(*data, DPO(beta), time).coefficient[0])[: len(g)]
    head = np.zeros((int(max(chosen.max(), rejected.max())) + 1, g.shape[1]))
    np.add.at(head, chosen, a[:, None] * g)
    np.add.at(head, rejected, -a[:, None] * g)
    return head


def _cluster_errors(x: Instance) -> np.ndarray:
    head = _head(cluster_features(x["pairs"], x["l_b"], x["noise"]), x["beta"], x["time"])
    return _wrong(head, x["pairs"], x["l_b"], x["v"])


def _samples(x: Instance) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return published_features(x["pairs"], x["Q"], x["d"], x["l_b"], x["v"], x["seed"], x.get("delta", 0.0))


def _value_margins(x: Instance) -> np.ndarray:
    time = x.get("time", last_time(x["pairs"], x["beta"]))
    return np.asarray(end(*_samples(x), DPO(x["beta"]), time).reward_margin[0])[: 2 * x["pairs"] * x["Q"]]


def _value_error(x: Instance) -> float:
    head = _head(_samples(x), x["beta"], last_time(x["pairs"], x["beta"]))
    return float(_wrong(head, x["pairs"], x["l_b"], x["v"]).mean())


def _population(x: Instance) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """The two classes in the plane of m and b, by quadrature: examples, answers, weights, and m and b in that plane."""
    frame = np.linalg.qr(np.stack([x["mean"], x["shift"] + 1e-300], axis=1))[0] if len(x["mean"]) > 1 else np.eye(1)
    plane = np.stack([x["mean"], x["shift"]]) @ frame
    m, b = np.pad(plane, [(0, 0), (0, 2 - plane.shape[1])])
    nodes, weights = np.polynomial.hermite_e.hermegauss(NODES)
    noise = x["v"] * np.stack(np.meshgrid(nodes, nodes), axis=-1).reshape(-1, 2)
    both = np.outer(weights, weights).ravel() / weights.sum() ** 2
    answer = np.repeat([1, -1], len(noise))
    g = answer[:, None] * m + b + np.concatenate([noise, noise])
    return g, answer, np.concatenate([both, both]) / 2, np.stack([m, b])


def _right(u: np.ndarray, centre: np.ndarray, v: float) -> float:
    m, b = centre @ u / (v * np.linalg.norm(u))
    return float((ndtr(m + b) + ndtr(m - b)) / 2)


def _accuracy(x: Instance) -> float:
    g, answer, weights, centre = _population(x)
    chosen = np.where(answer > 0, 0, 1)
    a = np.asarray(end(g, chosen, 1 - chosen, DPO(x["beta"]), x["time"], weights).coefficient[0])[: len(g)]
    return _right((a * answer) @ g, centre, x["v"])


def _first_accuracy(x: Instance) -> float:
    g, answer, weights, centre = _population(x)
    chosen = np.where(answer > 0, 0, 1)
    flow = MarginFlow(g, chosen, 1 - chosen, DPO(1.0), weights=weights, form="primal")
    a = np.asarray(flow.velocity(flow.start(None)).coefficient)
    return _right((a * answer) @ g, centre, x["v"])


def _tails(x: Instance, bound: Bound) -> tuple[float, Any]:
    return 1e-6, 1e-12


def _tilted(rng: np.random.Generator, x: Instance) -> Instance:
    return {**x, "shift": x["shift"] + x["mean"] * rng.uniform(0.1, 1.0)}


def _wider(rng: np.random.Generator, x: Instance) -> Instance:
    return {**x, "v": x["v"] * float(rng.uniform(32, 320))}


def _error_bound(pairs: int, Q: int, **_: Any) -> tuple[float, float]:
    return 0.0, math.exp(math.log(2 * pairs) + 2 * math.log(Q) - Q / 45)


def _error_bound_of_pairs(pairs: int, Q: int, **_: Any) -> tuple[float, float]:
    return _error_bound(pairs, 2 * Q)


# published_features gives each pair two tokens of its own. With Z = 4, for example, l_b could only be 1/4.
_UNSHARED = "Z = 2, l_b ≤ √(1/8), unshared tokens; the source also admits tokens that pairs share, Z = 3 and 4"
_ONE_EACH = {**QUIET, "l_b": 0.0, "v": 1.0}
_SEARCH = Searched("lower", generations=6, lines=4)

TRIALS = {
    "gaussian_accuracy": Trial(each(_accuracy), _tilted, tolerance=tolerance, reason=SOLVER),
    "initial_accuracy": Trial(each(_first_accuracy), NOTHING),
    "noisy_error": Trial(
        each(_cluster_errors),
        louder,
        Tighter(("upper",)),
        tolerance=_tails,
        reason=f"{SOLVER}, magnified in a Gaussian's far tail to 1e-6 relative",
        directed=lambda: [_ONE_EACH],
    ),
    "value_margins": Trial(each(_value_margins), _wider, _SEARCH, tolerance=tolerance, reason=SOLVER, drawn=_UNSHARED),
    "value_error": Trial(
        each(_value_error),
        _wider,
        Misread("Q counted per value pair instead of per cluster", _error_bound_of_pairs, _error_bound),
        tolerance=_tails,
        reason=SOLVER,
        drawn=_UNSHARED,
    ),
    "nearly_orthogonal_margins": Trial(
        each(_value_margins), _wider, _SEARCH, tolerance=tolerance, reason=SOLVER, drawn=_UNSHARED
    ),
}
