"""What statement 7.8 assumes of clusters of features, measured on those of a real model."""

from __future__ import annotations

import numpy as np

import dynamics as dyn

from ._data import Examples
from ._flows import differences, solved


def of_clusters(one: Examples, beta: float) -> dict[str, float]:
    """The numbers of 7.8 for K behaviours, in units of the mean |c_k|, and margins with tokens that no two behaviours share.

    c_k is half the difference of the two answers' mean features, b the mean of all features, and noise is what is left.
    """
    K = len(one.chosen)
    centre = differences(one) / 2
    size = float(np.linalg.norm(centre, axis=-1).mean())
    c, g = centre / size, one.feature / size
    sign = np.where(one.chosen == np.minimum(one.chosen, one.rejected), 1.0, -1.0)
    b = g.mean(axis=(0, 1))
    noise = g - sign[..., None] * c[:, None] - b
    eps = float(np.linalg.norm(noise, axis=-1).max())
    l_b = float(np.linalg.norm(b))
    unit_c = c / np.linalg.norm(c, axis=-1, keepdims=True)
    cosine = unit_c @ unit_c.T - np.eye(K)
    own = 2 * np.arange(K)[:, None] + (sign < 0)
    other = 2 * np.arange(K)[:, None] + (sign > 0)
    time = K / beta**2  # U = 1 + e at most, in units of the features
    _, sol = solved(Examples(*(x[None] for x in Examples(g, own, other).flat())), beta, np.array([0.0, time]))
    r = np.asarray(sol.reward_margin)[0, -1]
    scalar = float(dyn.theorems.mean_field(rate=2 * beta**2 / K, time=time, beta=beta).upper)
    e = float(2 * eps * np.sqrt(1 + l_b**2) + eps**2)
    return {
        "noise": eps,
        "excess": e,
        "allowed_excess": 1 - l_b**2,
        "shift": l_b,
        "shift_along": float(np.abs(unit_c @ b).max()),
        "centre_cosine": float(np.abs(cosine).max()) if K > 1 else 0.0,
        "centre_spread": float(np.ptp(np.linalg.norm(c, axis=-1))),
        "least_margin": float(r.min()),
        "largest_margin": float(r.max()),
        "scalar_margin": scalar,
    }
