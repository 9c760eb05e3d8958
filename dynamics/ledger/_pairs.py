"""Pairs of policies at which a round of IPO contracts least, to test contraction theorems."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import numpy as np

from ._lanes import Instance, divergences, grouped, jacobians, rewards, run, stacked
from ._trial import log_softmax, uniform

Size = Callable[[np.ndarray], np.ndarray]
EDGE_LOGIT = -45.0  # of the responses off an edge
HALF_DISTANCE = 1e-3  # between two neighbouring policies
PAIR_SCALES = (0.1, 1.0, 10.0)  # of random pairs
START_SCALES = (0.3, 3.0, 30.0, 1e4)


def two_norm(d: np.ndarray) -> np.ndarray:
    """‖d‖₂ of each row."""
    return np.linalg.norm(d, axis=-1)


def span(d: np.ndarray) -> np.ndarray:
    """max - min of each row."""
    return np.ptp(d, axis=-1)


def _edges(K: int) -> np.ndarray:
    """Log-policies at the middle of each edge of the simplex, ``(edges, K)``, where Sigma is largest."""
    pairs = list(itertools.combinations(range(K), 2))
    return log_softmax([np.where(np.isin(np.arange(K), pair), 0.0, EDGE_LOGIT) for pair in pairs])


def _stretched(J: np.ndarray, size: Size) -> np.ndarray:
    """The direction that J, ``(…, K, K)``, stretches most: a singular vector, or for the span a vector of 0s and 1s."""
    if size is two_norm:
        return np.linalg.svd(J)[2][..., 0, :]
    K = J.shape[-1]
    corners = np.array(list(itertools.product((0.0, 1.0), repeat=K)))[1:-1]
    best = np.argmax(np.ptp(J @ corners.T, axis=-2), axis=-1)
    return corners[best]


def _random_pairs(K: int, count: int) -> np.ndarray:
    rng = np.random.default_rng(0)
    scale = np.repeat(PAIR_SCALES, count)[:, None]
    return scale * rng.standard_normal((2, len(scale), K))


def step_ratio(size: Size) -> Callable[[list[Instance]], list[float]]:
    """The largest ratio of sizes after and before a round, over pairs near the middle of each edge and random ones."""

    def measure(group: list[Instance]) -> list[float]:
        values, K = stacked(group), len(group[0]["P"])
        edges = _edges(K)
        repeat = lambda count: {name: np.repeat(a, count, axis=0) for name, a in values.items()}
        J = jacobians("ipo", repeat(len(edges)), np.tile(edges, (len(group), 1)))
        d = HALF_DISTANCE * _stretched(J, size).reshape(len(group), -1, K)
        drawn = np.broadcast_to(_random_pairs(K, 8)[:, None], (2, len(group), 8 * len(PAIR_SCALES), K))
        pairs = np.concatenate([np.stack([edges + d, edges - d]), drawn], axis=2)
        each = pairs.shape[2]
        after = [run("ipo", repeat(each), log_softmax(p.reshape(-1, K)))["logits"] for p in pairs]
        gap = pairs[0] - pairs[1]
        before = size(gap - gap.mean(-1, keepdims=True))
        ratio = size(after[0] - after[1]).reshape(len(group), each) / before
        return list(ratio.max(axis=1))

    return lambda instances: grouped(instances, measure)


def divergence_ratio(instances: list[Instance]) -> list[float]:
    """The largest KL(pi*‖pi_{t+1})/KL(pi*‖pi_t) over starts up to the vertices.

    Any pi* is the fixed point of the reference log ref = log pi* - f(mu*)/(beta (1-alpha)); two of them are tried.
    """

    def measure(group: list[Instance]) -> list[float]:
        K, rng, worst = len(group[0]["P"]), np.random.default_rng(0), np.zeros(len(group))
        for target in (uniform(K), log_softmax(3 * rng.standard_normal(K))):
            worst = np.maximum(worst, _worst(group, target, rng))
        return list(worst)

    return grouped(instances, measure)


def _worst(group: list[Instance], target: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    K = len(target)
    values = stacked(group)
    alpha, lam = values["alpha"][:, None], values["lam"][:, None]
    targets = np.tile(target, (len(group), 1))
    log_mu = np.log(lam * np.exp(targets) + (1 - lam) / K)
    f = rewards("ipo", values["preference"], log_mu)
    reference = targets - f / (values["objective.beta"][:, None] * (1 - alpha))
    values["log_reference"] = log_softmax(reference)
    # The error of the fixed point is the rounding of the reference.
    error = 1e-16 * (1 + np.abs(reference).max(axis=1)) / (1 - alpha[:, 0])
    return worst_ratio("ipo", values, targets, error, rng)


def worst_ratio(
    objective: str, values: dict[str, np.ndarray], targets: np.ndarray, error: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """The largest KL(pi*‖pi_{t+1})/KL(pi*‖pi_t) over starts near pi* and up to the vertices, ``(n,)``, for log pi* ``(n, K)``.

    Only starts 1e7 times as far from pi* as its own error, ``(n,)``, count.
    """
    n, K = targets.shape
    far = np.concatenate([scale * rng.standard_normal((10, K)) for scale in START_SCALES])
    near = HALF_DISTANCE * rng.standard_normal((10, K))
    starts = log_softmax(np.concatenate([np.tile(far, (n, 1, 1)), targets[:, None] + near], axis=1))
    each = starts.shape[1]
    lanes = {name: np.repeat(a, each, axis=0) for name, a in values.items()}
    begun, goal = starts.reshape(-1, K), np.repeat(targets, each, axis=0)
    before = divergences(goal, begun).reshape(n, -1)
    after = divergences(goal, run(objective, lanes, begun)["log_policy"]).reshape(n, -1)
    resolved = np.sqrt(before) > 1e7 * error[:, None]
    return np.where(resolved, after / before, 0.0).max(axis=1)
