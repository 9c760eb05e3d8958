"""Fixed points of many loops at once, by Newton's method on the compiled round and its Jacobian, from spread starts."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from .._numerics import gauge_basis, low_discrepancy_policies
from ._lanes import Instance, grouped, jacobians, rewards, run, stacked
from ._trial import log_softmax

SPREAD_STARTS = 16  # over the simplex; as many again at log ref + f/(beta (1-alpha)) of these
MAX_STEPS = 60
MAX_HALVINGS = 12
MIN_DISTANCE = 1e-6  # relative, of two distinct roots

Move = Callable[[np.ndarray, np.ndarray], np.ndarray]


def fixed_points(instances: list[Instance]) -> list[float]:
    """How many distinct fixed points of the round Newton's method finds in the open simplex."""
    return grouped(instances, _counts)


def _counts(group: list[Instance]) -> list[float]:
    K, objective, values = len(group[0]["P"]), group[0]["objective"], stacked(group)
    starts = _starts(objective, values, K)
    lanes = {name: np.repeat(a, starts.shape[1], axis=0) for name, a in values.items()}
    z, converged = _solved(objective, lanes, starts.reshape(-1, K) @ gauge_basis(K))
    z, converged = (a.reshape(len(group), starts.shape[1], *a.shape[1:]) for a in (z, converged))
    return [float(len(_distinct(points[found]))) for points, found in zip(z, converged, strict=True)]


def _starts(objective: str, values: dict[str, np.ndarray], K: int) -> np.ndarray:
    """Log-policies spread over the simplex, and log ref + f(mu)/(beta (1-alpha)) at their mu, ``(n, starts, K)``."""
    total = len(values["alpha"])
    spread = np.broadcast_to(low_discrepancy_policies(K, SPREAD_STARTS), (total, SPREAD_STARTS, K))
    column = {name: values[name][:, None, None] for name in ("alpha", "lam", "objective.beta")}
    with np.errstate(divide="ignore"):
        log_mu = np.logaddexp(np.log(column["lam"]) + spread, np.log1p(-column["lam"]) + values["log_offline"][:, None])
    P = np.repeat(values["preference"], SPREAD_STARTS, axis=0)
    f = rewards(objective, P, log_mu.reshape(-1, K)).reshape(total, SPREAD_STARTS, K)
    settled = values["log_reference"][:, None] + f / (column["objective.beta"] * (1 - column["alpha"]))
    return np.concatenate([spread, log_softmax(settled)], axis=1)


def _solved(objective: str, lanes: dict[str, np.ndarray], y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Roots y of F(y) - y in coordinates of the centred logits, as logits, and which lanes have converged."""
    basis = gauge_basis(y.shape[1] + 1)
    some = lambda at: {name: a[at] for name, a in lanes.items()}

    def gap(y: np.ndarray, at: np.ndarray) -> np.ndarray:
        return run(objective, some(at), log_softmax(y @ basis.T))["logits"] @ basis - y

    y, active = y.copy(), np.arange(len(y))
    g = gap(y, active)
    for _ in range(MAX_STEPS):
        if not len(active):
            break
        J = basis.T @ jacobians(objective, some(active), log_softmax(y[active] @ basis.T)) @ basis
        step = np.linalg.solve(np.eye(J.shape[-1]) - J, g[active][..., None])[..., 0]
        gained = _shortened(gap, y, g, active, step)
        active = active[gained]
    resolution = 1e-11 * (1 + np.abs(y).max(axis=1))
    return y @ basis.T, np.linalg.norm(g, axis=1) <= resolution


def _shortened(gap: Move, y: np.ndarray, g: np.ndarray, active: np.ndarray, step: np.ndarray) -> np.ndarray:
    """Moves the active lanes of y and g by the step, halved until the gap shrinks; returns which lanes improved."""
    gained, left = np.zeros(len(active), bool), np.arange(len(active))
    for halving in range(MAX_HALVINGS):
        at = active[left]
        tried = y[at] + 0.5**halving * step[left]
        moved = gap(tried, at)
        better = np.linalg.norm(moved, axis=1) < (1 - 1e-4) * np.linalg.norm(g[at], axis=1)
        y[at[better]], g[at[better]] = tried[better], moved[better]
        gained[left[better]] = True
        left = left[~better]
        if not len(left):
            break
    return gained


def _distinct(points: np.ndarray) -> list[np.ndarray]:
    found: list[np.ndarray] = []
    for z in log_softmax(points):
        if not any((np.abs(z - other) <= MIN_DISTANCE * (1 + np.abs(z))).all() for other in found):
            found.append(z)
    return found
