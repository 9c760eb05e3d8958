"""Trials of the statements on distribution learning in the tabular class (Yun25's lemmas, 7.9, 7.10, 7.12, 7.13).

Means over data are exact to second order: the variance of a table of frequencies is diagonal up to the direction of the table
itself, in which an estimate does not move, so that one fit per cell and sign gives the mean.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from scipy.optimize import minimize_scalar

from ..theorems import Bound
from ..theorems.certificate import sampled_wins
from ..theorems.distribution import root_rule
from ._lanes import Instance
from ._likelihood import cells, fitted, forward_kl, softmax_of
from ._trial import Searched, Tighter, Trial, uniform

STEP = 1e-4  # relative change of one cell
EPS = 1e-4  # scale of a nearly uniform pi* in the laws to leading order


def each(measure: Callable[[Instance], Any]) -> Callable[[list[Instance]], list[Any]]:
    return lambda instances: [measure(x) for x in instances]


def _moved(log_target: np.ndarray, log_mu: np.ndarray, gamma: float) -> tuple[np.ndarray, np.ndarray]:
    """The rewards fitted where each cell is STEP larger or smaller, (2, cells, K), and the probabilities of the cells."""
    q, K = cells(log_target, log_mu, gamma), len(log_mu)
    off = ~np.eye(K, dtype=bool)
    bump = (STEP * q)[off][:, None, None] * np.eye(K * K)[off.ravel()].reshape(-1, K, K)
    table = np.where(off, q, 0.0)
    return fitted(np.stack([table + bump, table - bump])), q[off]


def constant(log_target: np.ndarray, log_mu: np.ndarray, gamma: float) -> np.ndarray:
    """(w, V) of statement 7.9 from how the fitted policy moves with each cell."""
    R, q = _moved(log_target, log_mu, gamma)
    slope = (softmax_of(R[0], gamma) - softmax_of(R[1], gamma)) / (2 * STEP * q[:, None])
    p = np.exp(log_target)
    slope = (slope - slope @ p[:, None]) * np.sqrt(q)[:, None] * np.sqrt(p)
    w = np.sort(np.linalg.svd(slope, compute_uv=False) ** 2)[::-1][: len(p) - 1] / 2
    return np.append(w, w.sum())


def _law(x: Instance) -> np.ndarray:
    return constant(x["log_target"], x["log_mu"], x["gamma"])


def _samplers(x: Instance) -> np.ndarray:
    at = lambda log_mu: constant(x["log_target"], log_mu, x["gamma"])[-1]
    own = at(x["log_mu"])
    others = (root_rule(x["log_target"]), uniform(len(x["log_mu"])), x["log_target"])
    return np.array([own, own, *(at(log_mu) for log_mu in others)])


def _best(loss: Callable[[float], float], low: float, high: float) -> float:
    """Where ``loss`` of a number is least, by a grid and then Brent's method."""
    grid = np.linspace(low, high, 61)
    k = int(np.argmin([loss(t) for t in grid]))
    within = (grid[max(k - 1, 0)], grid[min(k + 1, 60)])
    found = minimize_scalar(loss, bounds=within, method="bounded", options={"xatol": 1e-10})
    return float(min((found.x, *within), key=loss))


def _rlhf(x: Instance) -> np.ndarray:
    """RLHF on the rewards fitted to the expected counts, over ln beta, and at beta = ∞."""
    q = cells(x["log_target"], uniform(len(x["log_target"])), x["gamma"])
    R = fitted(np.where(np.eye(len(q)) > 0, 0.0, q))
    loss = lambda log_beta: float(
        forward_kl(x["log_target"], softmax_of(x["log_reference"] + R / np.exp(log_beta), 1.0))
    )
    best = _best(loss, float(np.log(x["gamma"])) - 10.0, float(np.log(x["gamma"])) + 20.0)
    never = float(forward_kl(x["log_target"], x["log_reference"]))
    return np.array([0.0, never]) if never <= loss(best) else np.array([x["gamma"] / np.exp(best), loss(best)])


def _tuned(x: Instance) -> np.ndarray:
    log_target = softmax_of(EPS * x["scores"], 1.0)
    prior, gamma = softmax_of(EPS * (x["scores"] - x["offsets"]), 1.0), x["gamma"]
    R, q = _moved(log_target, x["log_mu"], gamma)
    # Second-order means: cells that move by STEP q, rescaled so that the errors of rewards are of the size of n comparisons.
    exact = gamma * (log_target - log_target.mean())
    size = EPS / np.sqrt(q * x["comparisons"])
    errors = (R - exact) / (STEP * q[:, None]) * (size * q)[:, None]
    at = np.concatenate([exact[None], (exact + errors).reshape(-1, len(prior))])

    def mean(log_pi: np.ndarray) -> float:
        kl = forward_kl(log_target, softmax_of(log_pi, 1.0)) / EPS**2
        return float(kl[0] + (kl[1:] - kl[0]).sum() / 2)

    reverse = lambda s: mean(s * prior + (1 - s) * at / gamma)  # s = beta/(beta + gamma)
    rlhf = lambda t: mean(prior + t / (1 - t) * at / gamma)  # t/(1 - t) = gamma/beta
    return np.array([reverse(_best(reverse, 0.0, 1.0)), rlhf(_best(rlhf, 0.0, 1 - 1e-4))])


def _sigmoids(x: Instance) -> float:
    # A difference of tangents as sinh over cosh, which does not cancel.
    a, b = x["first"] / 2, x["second"] / 2
    return float(abs(np.sinh(a - b)) / (2 * np.cosh(a) * np.cosh(b)))


def _excess(x: Instance) -> float:
    """r - 1 - ln r as the integral of 1 - 1/s from 1 to r, by Gauss–Legendre in ln s."""
    nodes, weights = np.polynomial.legendre.leggauss(60)
    t = np.log(x["ratio"])
    return float(t / 2 * (weights * np.expm1(t * (nodes + 1) / 2)).sum())


def _reversed(x: Instance) -> float:
    return float(forward_kl(x["log_pi"], x["log_target"]) / forward_kl(x["log_target"], x["log_pi"]))


def _attained() -> list[Instance]:
    """pihat/pi* = e^M on a response of small mass."""
    target = np.log([1e-6, 1 - 1e-6])
    moved = np.log([1e-6 * np.e, 1 - 1e-6 * np.e])
    return [{"log_target": target, "log_pi": moved}, {"log_target": moved, "log_pi": target}]


def _certified(x: Instance) -> float:
    wins = sampled_wins(x["log_target"], x["log_mu"], x["gamma"], x["comparisons"], x["seed"])
    return float(forward_kl(x["log_target"], softmax_of(fitted(wins), x["gamma"])))


def _to(rtol: float) -> Callable[[Instance, Bound], tuple[float, Any]]:
    return lambda x, bound: (rtol, 1e-12)


_ALL = "it assumes nothing that a drawn instance could break"
_UNSEEN = "a response that is never sampled has no finite estimate"
_DIFFERENCES = "differences of fits to 1e-13, by steps of 1e-4"

TRIALS = {
    "sigmoid_difference": Trial(each(_sigmoids), _ALL, Tighter(telling=lambda x: x["first"] != x["second"])),
    "logarithm_above": Trial(
        each(_excess),
        lambda rng, x: {**x, "ratio": x["ratio_bound"] * float(rng.uniform(1.5, 3.0))},
        Tighter(("upper",)),
    ),
    "logarithm_below": Trial(
        each(_excess),
        lambda rng, x: {**x, "ratio": x["ratio_bound"] * float(rng.uniform(0.1, 0.9))},
        Tighter(("lower",)),
    ),
    "reversed_divergence": Trial(
        each(_reversed), "M is a number of the two policies", tolerance=_to(1e-8), directed=_attained
    ),
    "error_constant": Trial(each(_law), _UNSEEN, tolerance=_to(1e-5), reason=_DIFFERENCES),
    "sampler_errors": Trial(each(_samplers), _UNSEEN, tolerance=_to(1e-5), reason=_DIFFERENCES),
    "rlhf_limit": Trial(
        each(_rlhf),
        "under a uniform pi* every beta is the same",
        tolerance=lambda x, bound: (1e-5, 1e-6),
        reason="a minimum is found to the square root of float64's precision",
    ),
    "tuned_errors": Trial(
        each(_tuned), _UNSEEN, tolerance=_to(2e-3), reason="terms beyond leading order at eps = 1e-4"
    ),
    "certificate": Trial(
        each(_certified),
        "without a finite estimate there is nothing to measure",
        Searched("upper", generations=4, lines=4),
    ),
}
