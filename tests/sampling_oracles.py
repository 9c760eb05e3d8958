"""Fitted samplers, lost orders and finite samples by NumPy/SciPy alone: what the theorems on samplers bound."""

from __future__ import annotations

import itertools
from fractions import Fraction

import numpy as np
import oracles
import scipy.optimize
from scipy.stats import binom

from dynamics import theorems


def beaten_first(P):
    """Ranks of a transitive majority relation, best first, tied responses together."""
    wins = np.array([sum(P[i] > 0.5) - sum(P[i] < 0.5) for i in range(len(P))])
    return [[int(i) for i in np.flatnonzero(wins == w)] for w in sorted(set(wins.tolist()), reverse=True)]


def ordered_pairs(P, target):
    if target == "order":
        return [pair for a, b in itertools.pairwise(beaten_first(P)) for pair in itertools.product(a, b)]
    top = {oracles.condorcet_winner(P)} if target == "condorcet" else oracles.smith_set(P)
    return [(i, j) for i in top for j in range(len(P)) if j not in top]


def row_gaps(P, pairs):
    return np.array([P[i] - P[j] for i, j in pairs])


def best_sampler(gaps):
    """argmax over mu of min gaps·mu by an interior-point method, and the value."""
    m, K = gaps.shape
    found = scipy.optimize.linprog(
        np.append(np.zeros(K), -1.0),
        A_ub=np.hstack([-gaps, np.ones((m, 1))]),
        b_ub=np.zeros(m),
        A_eq=np.append(np.ones(K), 0.0)[None],
        b_eq=[1.0],
        bounds=[(0, None)] * K + [(None, None)],
        method="highs-ipm",
    )
    mu = np.maximum(found.x[:K], 0)
    return mu / mu.sum(), -found.fun


def least(f, pairs):
    return min(f[i] - f[j] for i, j in pairs)


def rewards_at(P, log_mu):
    return [oracles.reward(P, log_mu, objective) for objective in ("ipo", "dpo")]


def log_of(mu):
    with np.errstate(divide="ignore"):
        return np.log(mu)


def fitted(x):
    pairs = ordered_pairs(x["P"], x["target"])
    mu, value = best_sampler(row_gaps(x["P"], pairs))
    return [value] + [least(f, pairs) for f in rewards_at(x["P"], log_of(mu))]


def topped(x):
    pairs = ordered_pairs(x["P"], "smith")
    return [least(f, pairs) for f in rewards_at(x["P"], theorems.top_sampler.witness(x["P"]))]


def middle(x):
    order = [i for rank in beaten_first(x["P"]) for i in rank]
    return [-np.diff(f[order]) for f in rewards_at(x["P"], theorems.three_responses.witness(x["P"]))]


def lost(x):
    P = theorems.lost_order.witness(len(x["log_mu"]), x["advantage"])
    ipo, dpo = ([f[0] - f[1], f[2] - f[3]] for f in rewards_at(P, x["log_mu"]))
    return [sum(ipo) / 2, min(dpo)]


def sampled(x, seed=1, exceeding=60):
    """A lower limit, wrong once in a million, of the (1 - failure)-quantile of a run's distance beyond r^t of its start."""
    rng, K, runs = np.random.default_rng(seed), len(x["P"]), int(exceeding / x["failure"]) + 1
    uniform = np.full(K, -np.log(K))
    A = oracles.centre(oracles.centre(x["P"] - 0.5).T).T
    drift = x["lam"] * np.linalg.norm(A, 2) / (2 * x["beta"])
    rate = drift / 2 + np.sqrt(x["alpha"] ** 2 + drift**2 / 4)
    goal, residual = oracles.fixed_point(x["P"], x["alpha"], x["lam"], x["beta"], uniform, uniform)
    assert residual < 1e-9
    goal = oracles.centre(goal)
    worst = 0.0
    for start in (goal, oracles.centre(goal + 2 * rng.standard_normal(K))):
        z, excess = np.tile(start, (runs, 1)), np.zeros(runs)
        for t in range(1, x["rounds"] + 1):
            mu = x["lam"] * np.exp(oracles.log_softmax(z)) + (1 - x["lam"]) / K
            share = rng.binomial(x["comparisons"], np.clip(mu @ x["P"].T, 0, 1)) / x["comparisons"]
            z = x["alpha"] * z + oracles.centre(share) / x["beta"]
            far = np.linalg.norm(z - goal, axis=1) - rate**t * np.linalg.norm(start - goal)
            excess = np.maximum(excess, far)
        rank = int(binom.isf(1e-6, runs, x["failure"])) + 1
        worst = max(worst, np.sort(excess)[runs - rank] if rank <= runs else 0.0)
    return worst


MEASURED = {
    "top_sampler": topped,
    "fitted_sampler": fitted,
    "three_responses": middle,
    "lost_order": lost,
    "finite_samples": sampled,
}


def exact_value(gaps):
    """max over mu of min gaps·mu in fractions, with an optimal y: a corner of the polytope of y by its tight columns."""
    rows, columns = len(gaps), len(gaps[0])
    best = None
    for support in itertools.chain.from_iterable(itertools.combinations(range(rows), n) for n in range(1, rows + 1)):
        for tight in itertools.combinations(range(columns), len(support)):
            system = [[gaps[i][k] for i in support] + [Fraction(-1)] for k in tight]
            system.append([Fraction(1)] * len(support) + [Fraction(0)])
            solved = exact_solve(system, [Fraction(0)] * len(tight) + [Fraction(1)])
            if solved is None or min(solved[:-1]) < 0:
                continue
            y = [Fraction(0)] * rows
            for i, mass in zip(support, solved[:-1], strict=True):
                y[i] = mass
            value = max(sum(y[i] * gaps[i][k] for i in range(rows)) for k in range(columns))
            if best is None or value < best[0]:
                best = value, y
    return best


def exact_solve(matrix, rhs):
    """The solution of a square system in fractions, or None where it is singular."""
    rows = [[*row, b] for row, b in zip(matrix, rhs, strict=True)]
    size = len(rows)
    for k in range(size):
        pivot = next((i for i in range(k, size) if rows[i][k] != 0), None)
        if pivot is None:
            return None
        rows[k], rows[pivot] = rows[pivot], rows[k]
        rows[k] = [x / rows[k][k] for x in rows[k]]
        for i in range(size):
            if i != k:
                rows[i] = [x - rows[i][k] * y for x, y in zip(rows[i], rows[k], strict=True)]
    return [row[-1] for row in rows]


def fractions_of(numerators, n):
    """P in fractions from the numerators k of k/n above the diagonal, row by row."""
    K = int((1 + (1 + 8 * len(numerators)) ** 0.5) / 2)
    P = [[Fraction(1, 2)] * K for _ in range(K)]
    for (i, j), k in zip(itertools.combinations(range(K), 2), numerators, strict=True):
        P[i][j], P[j][i] = Fraction(k, n), 1 - Fraction(k, n)
    return P


def consecutive(P):
    """P_r - P_{r+1} of each response and the next."""
    return [[a - b for a, b in zip(upper, lower, strict=True)] for upper, lower in itertools.pairwise(P)]


def lost_orders(n, certain):
    """All (numerators, t*, y) at denominator n of the 4x4 majority orders 1 > 2 > 3 > 4 without ties that have t* ≤ 0."""
    entries = range(n // 2 + 1, n + certain)
    candidates = ((k, consecutive(fractions_of(k, n))) for k in itertools.product(entries, repeat=6))
    solved = ((k, *exact_value(gaps)) for k, gaps in candidates)
    return [(k, value, y) for k, value, y in solved if value <= 0]
