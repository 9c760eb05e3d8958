"""The fixed sampler that separates responses best: a linear program over the simplex."""

from __future__ import annotations

import math
import warnings
from typing import NamedTuple

import numpy as np
from jaxtyping import Array, Float

from .._checks import Numbers, check_number
from .._numerics import as_array
from ..preferences import Target, host_matrix, ordered_pairs

DESCRIPTIONS = {
    "condorcet": "the Condorcet winner on top",
    "smith": "the Smith set on top",
    "order": "the majority order",
}
PRECISION = 1e-10  # the finest of HiGHS, relative to the largest difference of rows


class FittedSampler(NamedTuple):
    """The result of ``fitted``: ``log_mu, margin = fitted(P, target)``.

    Attributes:
        log_mu: log mu, shape (K,), ``-inf`` where it has no mass.
        margin: the smallest gap (P mu)_i - (P mu)_j of a pair that the target orders, in [-1, 1]: beta times IPO's gap
            in h, and at most 1/4 of DPO's (at least 1/4, where negative). It is ≤ 0 where no such sampler keeps the target,
            and inf where the target requires nothing.
    """

    log_mu: Float[Array, " K"]
    margin: float

    def __str__(self) -> str:
        mass = np.exp(np.asarray(self.log_mu, float))
        shown = ", ".join(f"{k}: {mass[k]:.4g}" for k in np.argsort(-mass, kind="stable")[:6] if mass[k] > 0)
        more = f" and {(mass > 0).sum() - 6} more" if (mass > 0).sum() > 6 else ""
        if self.margin == math.inf:
            verdict = "met by any sampler: no two responses have to be separated"
        elif self.margin > 0:
            verdict = f"kept by a margin of {self.margin:.4g}"
        else:
            verdict = f"impossible: the best margin is {self.margin:.4g}"
        return f"target    {verdict}\nmasses    {shown}{more}"


def fitted(P: Numbers, target: Target, *, floor: float = 0.0) -> FittedSampler:
    """max t subject to (P mu)_i - (P mu)_j ≥ t for i in S, j outside S; Σ mu = 1, mu_k ≥ floor.

    IPO's optimum at mu ranks by P mu, and so does DPO's (statement 1.8): with t > 0 both put S on top. S is the Condorcet
    winner or the Smith set; then t ≥ min P_ij - 1/2 > 0 over i in S, j outside, at floor 0. For the order, i and j are all
    members of successive ranks; tied responses share a rank and are not separated. At K = 3 an order without ties can always
    be kept; from K = 4 on no mu keeps some orders, and a warning says so.

    Args:
        P: preference matrix, shape (K, K), K ≥ 2, concrete.
        target: "condorcet", "smith" or "order".
        floor: least mass of every response, in [0, 1/K]; above 0 the sampler has full support.

    Returns:
        ``(log_mu, margin)``: log mu, shape (K,), and t recomputed from it. Values within rounding of 0 are 0, and the
        largest t is reached to 1e-10. Where the target requires nothing (the Smith set is everything, or all responses
        tie), mu is uniform and the margin inf.

    Raises:
        ValueError: a bad P, target or floor, no Condorcet winner, or a majority relation that is not transitive.

    Source: [paper] Chen26, samplers fitted to P; the linear program is [derived], statement 1.5.

    >>> log_mu, margin = dyn.samplers.fitted(dyn.preferences.bradley_terry([1.0, 0.0, -1.0]), "condorcet")
    >>> np.exp(log_mu).tolist(), round(margin, 4)
    ([1.0, 0.0, 0.0], 0.2311)
    """
    pairs = ordered_pairs(P, target)
    matrix = host_matrix(P).astype(np.float64)
    K = len(matrix)
    least = _floor(floor, K)
    if not pairs:
        return FittedSampler(as_array(np.full(K, -np.log(K))), math.inf)
    A = (matrix - matrix.T) / 2
    above, below = np.array(pairs).T
    gaps = A[above] - A[below]
    mu = _best(gaps, least)
    margin = float((gaps @ mu).min())
    if abs(margin) <= K * np.finfo(float).eps:
        margin = 0.0
    if margin <= 0:
        _warn(target, least, margin)
    with np.errstate(divide="ignore"):
        return FittedSampler(as_array(np.log(mu)), margin)


def _floor(floor: float, K: int) -> float:
    value = float(check_number(floor, "floor", 0.0, 1.0))
    if value > (1 + 1e-12) / K:
        raise ValueError(
            f"floor = {value:g} is more than 1/K = {1 / K:.6g} for each of {K} responses; pass a smaller one."
        )
    return min(value, 1 / K)


def _best(gaps: np.ndarray, floor: float) -> np.ndarray:
    """mu that maximises the smallest entry of gaps·mu; masses within rounding of 0 are exactly 0."""
    from scipy.optimize import linprog

    pairs, K = gaps.shape
    scale = np.abs(gaps).max()
    found = linprog(
        np.append(np.zeros(K), -1.0),
        A_ub=np.column_stack([-gaps / scale, np.ones(pairs)]),
        b_ub=np.zeros(pairs),
        A_eq=np.append(np.ones(K), 0.0)[None],
        b_eq=[1.0],
        bounds=[(floor, 1.0)] * K + [(-1.0, 1.0)],
        method="highs-ds",
        options={"primal_feasibility_tolerance": PRECISION, "dual_feasibility_tolerance": PRECISION},
    )
    if found.status != 0:
        raise RuntimeError(f"the linear program for the sampler was not solved: {found.message}")
    mu = np.maximum(found.x[:K], floor)
    mu[mu <= K * np.finfo(float).eps] = 0.0
    return mu / mu.sum()


def _warn(target: str, floor: float, margin: float) -> None:
    who = f"no sampler that gives every response at least {floor:g}" if floor else "no sampler"
    remedy = "pass target='smith', which can be kept" if target == "order" else "pass a smaller floor"
    remedy = f"pass a smaller floor, or {remedy[5:]}" if floor and target == "order" else remedy
    warnings.warn(f"{who} keeps {DESCRIPTIONS[target]}: the best margin is {margin:.4g}; {remedy}.", stacklevel=3)
