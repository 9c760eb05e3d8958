"""Trials of the statements on fitted samplers, orders that no sampler keeps (1.5) and finite samples (7.4)."""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
from scipy.stats import binom

from .. import samplers, theorems
from ..theorems import Bound
from ._lanes import Instance, grouped, rewards, run, stacked
from ._trial import Searched, Tighter, Trial, log_softmax

NO_OPTIMUM = "where P has entries 0 or 1, DPO may have no optimum at a sampler without full support"
EXCEEDING_RUNS = 60  # expected number of runs beyond a quantile
FALSE_ALARM = 1e-6  # probability that a quantile is overestimated
START_SCALE = 3.0  # of the logits from which half of the runs start


def _both(instances: list[Instance]) -> list[np.ndarray]:
    """f of IPO and of DPO at each instance's ``log_mu``, ``(2, K)``."""

    def measured(group: list[Instance]) -> np.ndarray:
        P, log_mu = np.stack([x["P"] for x in group]), np.stack([x["log_mu"] for x in group])
        return np.stack([rewards(objective, P, log_mu) for objective in ("ipo", "dpo")], axis=1)

    return grouped([{"P": x["P"], "log_mu": x["log_mu"]} for x in instances], measured)


def _dominating(P: np.ndarray) -> set[int]:
    """The smallest set whose members beat all others: the shortest such prefix, sorted by wins."""
    wins = (P > P.T).sum(axis=1) + 0.5 * ((P == P.T).sum(axis=1) - 1)
    order = np.argsort(-wins, kind="stable")
    cuts = range(1, len(P) + 1)
    size = next(n for n in cuts if (P[np.ix_(order[:n], order[n:])] > 0.5).all())
    return set(order[:size].tolist())


def _ordered(P: np.ndarray, target: str) -> list[tuple[int, int]]:
    everything = range(len(P))
    if target != "order":
        top = _dominating(P)
        return [(i, j) for i in top for j in everything if j not in top]
    wins = (P > P.T).sum(axis=1) - (P < P.T).sum(axis=1)
    ranks = sorted(set(wins.tolist()), reverse=True)
    pairs = itertools.pairwise(ranks)
    return [(i, j) for a, b in pairs for i in everything for j in everything if wins[i] == a and wins[j] == b]


def _least(f: np.ndarray, pairs: list[tuple[int, int]]) -> np.ndarray:
    """The least f_i - f_j over pairs, of each row of f."""
    above, below = np.array(pairs).T
    return (f[..., above] - f[..., below]).min(axis=-1)


def _witnessed(name: str) -> Callable[[Instance], np.ndarray]:
    witness = theorems.all()[name].witness
    assert witness is not None
    return lambda x: witness(x["P"])


def _at_the_top(instances: list[Instance]) -> list[np.ndarray]:
    sampler = _witnessed("top_sampler")
    f = _both([{"P": x["P"], "log_mu": sampler(x)} for x in instances])
    return [_least(rows, _ordered(x["P"], "smith")) for x, rows in zip(instances, f, strict=True)]


def _at_the_middle(instances: list[Instance]) -> list[np.ndarray]:
    sampler = _witnessed("three_responses")
    f = _both([{"P": x["P"], "log_mu": sampler(x)} for x in instances])
    orders = [np.argsort(-(x["P"] > 0.5).sum(axis=1)) for x in instances]
    return [-np.diff(rows[:, order], axis=1) for order, rows in zip(orders, f, strict=True)]


def _at_the_fit(instances: list[Instance]) -> list[np.ndarray]:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="no sampler keeps")  # the statement covers those orders too
        fits = [samplers.fitted(x["P"], x["target"]) for x in instances]
    f = _both([{"P": x["P"], "log_mu": np.asarray(found.log_mu)} for x, found in zip(instances, fits, strict=True)])
    return [
        np.append(found.margin, _least(rows, _ordered(x["P"], x["target"])))
        for x, found, rows in zip(instances, fits, f, strict=True)
    ]


def _at_any_sampler(instances: list[Instance]) -> list[np.ndarray]:
    witness = theorems.lost_order.witness
    assert witness is not None
    f = _both([{"P": witness(len(x["log_mu"]), x["advantage"]), "log_mu": x["log_mu"]} for x in instances])
    out = []
    for rows in f:
        gaps = rows[:, [0, 2]] - rows[:, [1, 3]]
        out.append(np.array([gaps[0].mean(), gaps[1].min()]))
    return out


def sampled_excess(x: Instance) -> float:
    """A lower confidence limit, with error probability 1e-6, of the quantile that 7.4 bounds.

    Runs start at the fixed point and far from it. Each step is a round of the library plus C (p - P mu)/beta, with p_i the
    share of n comparisons that i wins. Any pi* is the fixed point of the reference log ref = log pi* - f(mu*)/(beta (1-alpha)).
    """
    K, rng = len(x["P"]), np.random.default_rng(0)
    runs = int(np.ceil(EXCEEDING_RUNS / x["failure"]))
    rate = theorems.contraction.claim(**{name: x[name] for name in ("P", "alpha", "lam", "beta")}).upper
    target = log_softmax(rng.standard_normal(K))
    log_mu = lambda log_pi: np.logaddexp(np.log(max(x["lam"], 1e-300)) + log_pi, np.log1p(-x["lam"]) - np.log(K))
    with np.errstate(divide="ignore"):
        reward = rewards("ipo", x["P"][None], log_mu(target)[None])[0]
    reference = log_softmax(target - reward / (x["beta"] * (1 - x["alpha"])))
    values = stacked([{**x, "log_reference": reference}])
    lanes = {name: np.repeat(a, 2 * runs, axis=0) for name, a in values.items()}
    goal = target - target.mean()
    far = log_softmax(goal + START_SCALE * rng.standard_normal(K))
    z = np.repeat([goal, far - far.mean()], runs, axis=0)
    start = np.linalg.norm(z - goal, axis=1)
    excess = np.zeros(2 * runs)
    for t in range(1, x["rounds"] + 1):
        with np.errstate(divide="ignore"):
            chance = np.clip(np.exp(log_mu(log_softmax(z))) @ x["P"].T, 0.0, 1.0)
        error = (rng.binomial(x["comparisons"], chance) / x["comparisons"] - chance) / x["beta"]
        z = run("ipo", lanes, z)["logits"] + error - error.mean(axis=1, keepdims=True)
        excess = np.maximum(excess, np.linalg.norm(z - goal, axis=1) - rate**t * start)
    least = int(binom.isf(FALSE_ALARM, runs, x["failure"])) + 1
    return max(float(np.sort(half)[runs - least]) if least <= runs else 0.0 for half in np.split(excess, 2))


def _gaussian() -> list[Instance]:
    """Two equally preferred responses and many comparisons: errors are Gaussian, and the slack is smallest."""
    calm = {"P": np.full((2, 2), 0.5), "alpha": 0.0, "lam": 0.0, "beta": 1.0}
    return [calm | {"rounds": 1, "comparisons": 1000, "failure": 1e-3}]


def _programmes(x: Instance, bound: Bound) -> tuple[float, Any]:
    return 1e-9, 1e-9


_PROGRAMME = "linear programs are solved to 1e-10"

TRIALS = {
    "top_sampler": Trial(_at_the_top, NO_OPTIMUM, Tighter(), tolerance=_programmes, reason=_PROGRAMME),
    "fitted_sampler": Trial(_at_the_fit, NO_OPTIMUM, Tighter(), tolerance=_programmes, reason=_PROGRAMME),
    "three_responses": Trial(_at_the_middle, "an order with ties, or of more responses, has another witness"),
    "lost_order": Trial(_at_any_sampler, "no such matrix exists beyond a = 1/10 or below K = 4"),
    "finite_samples": Trial(
        measure=lambda instances: [sampled_excess(x) for x in instances],
        outside="where rounds need not contract the bound is infinite",
        mutant=Searched("upper", generations=4, lines=4),
        directed=_gaussian,
    ),
}
