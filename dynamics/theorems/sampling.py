"""Statements on samplers fitted to P (statement 1.5) and on orders that no sampler keeps."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from .. import preferences
from . import _algebra as al
from ._bound import Claim, theorem
from ._inputs import checked
from .source import Source, log_sampler, matrix, mirrored, pairwise, permutation

_INTERIOR = "0 < P < 1 off the diagonal"
# Four responses, P = 1/2 + a·_CROSSED above the diagonal: row 1 - row 2 + row 3 - row 4 is -a throughout.
_CROSSED = {(0, 1): 1, (0, 2): 3, (0, 3): 1, (1, 2): 5, (1, 3): 3, (2, 3): 1}


def asked(P: np.ndarray, target: Any) -> tuple[tuple[int, int], ...]:
    """Pairs (i, j) in which i should be ranked above j; none where the target does not exist or requires nothing."""
    try:
        return preferences.ordered_pairs(P, target)
    except ValueError:
        return ()


def game_value(gaps: np.ndarray) -> tuple[float, np.ndarray]:
    """min over y in the simplex of max_k (y·gaps)_k, and the y that attains it: the dual of max_mu min gaps·mu."""
    from scipy.optimize import linprog

    rows, columns = gaps.shape
    scale = max(np.abs(gaps).max(), 1e-300)
    found = linprog(
        np.append(np.zeros(rows), 1.0),
        A_ub=np.column_stack([gaps.T / scale, -np.ones(columns)]),
        b_ub=np.zeros(columns),
        A_eq=np.append(np.ones(rows), 0.0)[None],
        b_eq=[1.0],
        bounds=[(0.0, None)] * rows + [(None, None)],
        options={"primal_feasibility_tolerance": 1e-10, "dual_feasibility_tolerance": 1e-10},
    )
    y = np.maximum(found.x[:rows], 0.0)
    y = y / y.sum()
    return float((y @ gaps).max()), y


def _interior(P: np.ndarray) -> bool:
    return bool(((P > 0) & (P < 1)).all())


def _dominated(source: Source) -> np.ndarray:
    """P in which one response, or three to five in a majority cycle, beat each of the one or two others."""
    size = source.choice((1, 3, 4, 5))
    inner = matrix(source, size, ("cyclic",)) if size > 1 else np.full((1, 1), 0.5)

    def pair(i: int, j: int) -> float:
        if j < size:
            return float(inner[i, j])
        return 0.5 + (source.number(1e-3, 0.49) if i < size else 0.49 * source.number(-1.0, 1.0))

    P = pairwise(size + source.integer(1, 2 if size < 5 else 1), pair)
    order = permutation(source, len(P))
    return mirrored(P[np.ix_(order, order)])


def lottery_on_top(P: ArrayLike) -> np.ndarray:
    """log mu, shape (K,), mu a maximal lottery on the Smith set S: (P mu)_i ≥ 1/2 for every i in S, no mass outside."""
    M = checked({"P": P})["P"]
    inside = list(preferences.classify(M).smith_set)
    # The value of a skew-symmetric game is 0: y A ≤ 0 in every column, that is A y ≥ 0 in every row.
    mass = game_value(al.skew(M)[np.ix_(inside, inside)])[1] if len(inside) > 1 else np.ones(1)
    mu = np.zeros(len(M))
    mu[inside] = np.where(mass > 1e-12, mass, 0.0)
    with np.errstate(divide="ignore"):
        return np.log(mu / mu.sum())


@theorem(
    number="1.5",
    source="[paper] Chen26, a sampler fitted to P restores Condorcet-top and Smith-top; the gap is [derived] (1.5)",
    statement="Sampling by a maximal lottery on the Smith set S (the Condorcet winner alone, where there is one) puts "
    "S on top: the least gap of i in S over j outside is at least gamma = min P_ij - 1/2 > 0 for IPO and 4 gamma for "
    "DPO, and at most min_j max_i P_ij - 1/2 for IPO.",
    quantity="least f_i - f_j over i in S, j outside, of IPO and of DPO, f = beta h at the witness sampler",
    strength="tight",
    build=lambda source: {"P": _dominated(source)},
    witness=lottery_on_top,
)
def top_sampler(P: np.ndarray) -> Claim:
    """(P mu)_i ≥ 1/2 on S and (P mu)_j ≤ 1/2 - gamma outside; both are equalities for a Condorcet winner."""
    pairs = asked(P, "smith")
    assumptions = {"the Smith set is not everything": bool(pairs), _INTERIOR: _interior(P)}
    if not pairs:
        return Claim(np.full(2, -np.inf), np.full(2, np.inf), assumptions)
    inside, outside = (sorted(set(side)) for side in zip(*pairs, strict=True))
    wins = P[np.ix_(inside, outside)] - 0.5
    gamma = float(wins.min())
    return Claim(np.array([gamma, 4 * gamma]), np.array([wins.max(axis=0).min(), np.inf]), assumptions)


def _targeted(source: Source) -> dict[str, Any]:
    target = source.choice(("order", "condorcet", "smith"))
    if target != "order":
        return {"P": _dominated(source), "target": target}
    K = source.integer(2, 6)
    return {"P": matrix(source, K, ("weakly transitive", "strongly transitive")), "target": target}


@theorem(
    number="1.5",
    source="[derived] statement 1.5, the linear program; that some sampler restores the tops is [paper] Chen26",
    statement="The largest t with (P mu)_i - (P mu)_j ≥ t over the pairs that a target orders is min_y max_k Σ y_ij "
    "(P_ik - P_jk), y in the simplex over these pairs. At that mu IPO's least gap is t and DPO's at least 4t (at most, "
    "if t < 0): the target can be restored iff t > 0.",
    quantity="(t of the fitted sampler, least f_i - f_j of IPO there, of DPO) over the pairs that the target orders",
    strength="tight",
    build=_targeted,
)
def fitted_sampler(P: np.ndarray, target: str) -> Claim:
    """Von Neumann's minimax: this is the dual of fitting the sampler. "order" compares each rank with the next."""
    pairs = asked(P, target)
    assumptions = {"the target exists and orders some pair": bool(pairs), _INTERIOR: _interior(P)}
    if not pairs:
        return Claim(np.full(3, -np.inf), np.full(3, np.inf), assumptions)
    above, below = np.array(pairs).T
    A = al.skew(P)
    value, _ = game_value(A[above] - A[below])
    lower, upper = al.one_sided(np.array([value]), 4.0)
    if abs(value) <= al.ROUNDING:
        lower, upper = np.array([-np.inf]), np.array([np.inf])
    return Claim(np.append([value, value], lower), np.append([value, value], upper), assumptions)


def sample_the_middle(P: ArrayLike) -> np.ndarray:
    """log e_2, shape (3,): all mass on the middle response of a majority order without ties, K = 3."""
    M = checked({"P": P})["P"]
    seen = preferences.classify(M)
    if len(M) != 3 or seen.transitivity == "none" or (M == 0.5).sum() > 3:
        raise ValueError("P has no majority order of three responses without ties; pass one that has.")
    return np.where(np.arange(3) == seen.order[1], 0.0, -np.inf)


@theorem(
    number="1.5",
    source="[derived] statement 1.5: at K = 3 an order can always be kept",
    statement="At K = 3 sampling only the middle response keeps a majority order without ties, 1 over 2 over 3: the "
    "gaps are P_12 - 1/2 and P_23 - 1/2 for IPO, logit P_12 and logit P_23 for DPO.",
    quantity="(f_1 - f_2, f_2 - f_3) of IPO and of DPO at the witness sampler, shape (2, 2)",
    strength="tight",
    build=lambda source: {"P": matrix(source, 3, ("weakly transitive", "strictly strongly transitive"))},
    witness=sample_the_middle,
)
def three_responses(P: np.ndarray) -> Claim:
    """At a vertex the optimum depends on one column of P."""
    seen = preferences.classify(P)
    exists = len(P) == 3 and seen.transitivity != "none" and (P == 0.5).sum() == len(P)
    assumptions = {"K = 3 with a majority order without ties": bool(exists), _INTERIOR: _interior(P)}
    if not all(assumptions.values()):
        return Claim(np.full((2, 2), -np.inf), np.full((2, 2), np.inf), assumptions)
    first, second, third = seen.order
    won = np.array([P[first, second], P[second, third]])
    gaps = np.stack([won - 0.5, np.log(won) - np.log([P[second, first], P[third, second]])])
    return Claim(gaps, gaps, assumptions)


def crossed(K: int, advantage: float) -> np.ndarray:
    """P_12, P_13, P_14, P_23, P_24, P_34 = 1/2 + a·(1, 3, 1, 5, 3, 1), and every other pair P_ij = 1/2 + a, i < j.

    Args:
        K: number of responses, K ≥ 4.
        advantage: a in (0, 1/10]; 1/10 and 1/14 give the transitive matrices of fractions with the smallest common
            denominator, 5 (where P_23 = 1) and 7, whose order no sampler keeps.

    Returns:
        P, shape (K, K): transitive, 1 over 2 over … over K without ties.

    Raises:
        ValueError: K < 4, or a outside (0, 1/10].
    """
    size, a = (checked({"K": K, "advantage": advantage})[name] for name in ("K", "advantage"))
    if size < 4 or a > 0.1:
        raise ValueError(
            f"K = {size}, advantage = {a:g} have no such matrix; pass K ≥ 4 and an advantage of at most 1/10."
        )
    return pairwise(size, lambda i, j: 0.5 + a * _CROSSED.get((i, j), 1))


def _any_sampler(source: Source) -> dict[str, Any]:
    return {"log_mu": log_sampler(source, source.integer(4, 6)), "advantage": source.number(1e-4, 0.0999)}


@theorem(
    number="1.5",
    source="[derived] statement 1.5: from K = 4 on no sampler keeps some orders",
    statement="For K ≥ 4 the witness P is transitive without ties, yet at every sampler [(f_1 - f_2) + (f_3 - f_4)]/2 = "
    "-a m/2 for IPO, m the mass of the first four: 2 is ranked above 1 or 4 above 3 wherever m > 0, and the lesser gap of "
    "DPO is at most -2 a m.",
    quantity="(mean of f_1 - f_2 and f_3 - f_4 of IPO, the lesser of the two of DPO) at the witness P",
    strength="tight",
    build=_any_sampler,
    witness=crossed,
)
def lost_order(log_mu: np.ndarray, advantage: float) -> Claim:
    """The certificate is y = (1/2, 0, 1/2, 0, …): row 1 - row 2 + row 3 - row 4 of P is -a in the first four columns."""
    assumptions = {"K ≥ 4": len(log_mu) >= 4, "a < 1/10, so that 0 < P < 1": advantage < 0.1}
    lost = advantage * float(np.exp(log_mu[:4]).sum())
    return Claim(np.array([-lost / 2, -np.inf]), np.array([-lost / 2, -2 * lost]), assumptions)
