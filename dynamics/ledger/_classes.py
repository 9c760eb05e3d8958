"""Trials of the statements on finite classes (Yun25's guarantees, 7.11), by maximum likelihood over many data sets."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from scipy.stats import beta

from ._distribution import each
from ._lanes import Instance
from ._likelihood import (
    FALSE_ALARM,
    chosen,
    distilled,
    draws,
    forward_kl,
    limit_of_quantile,
    log_preferences,
    runs_for,
    tilted_best,
)
from ._trial import Misread, Searched, Trial

TAIL_RUNS = 1000


def _target(x: Instance) -> np.ndarray:
    return x["log_policies"][x["member"]]


def _disagreement(x: Instance, log_pi: np.ndarray) -> np.ndarray:
    """E_{a,b~mu} (P_pi - P_*)² of each policy."""
    P, mu = np.exp(log_preferences(np.concatenate([log_pi, _target(x)[None]]), x["gamma"])), np.exp(x["log_mu"])
    return (((P[:-1] - P[-1]) ** 2) * np.outer(mu, mu)).sum(axis=(1, 2))


def _kl_quantile(estimator: Callable[[Instance, np.ndarray], np.ndarray]) -> Callable[[Instance], float]:
    def measured(x: Instance) -> float:
        found = estimator(x, draws(x, runs_for(x["failure"])))
        return limit_of_quantile(forward_kl(_target(x), found), x["failure"])

    return measured


def _preference_quantile(x: Instance) -> float:
    found = chosen(x, draws(x, runs_for(x["failure"])))
    return limit_of_quantile(_disagreement(x, found), x["failure"])


def _tail(x: Instance) -> np.ndarray:
    """Lower confidence limits (Clopper–Pearson) of the probabilities, with error probability 1e-6 in all."""
    others = np.delete(x["log_policies"], x["member"], axis=0)
    far = forward_kl(_target(x), chosen(x, draws(x, TAIL_RUNS)))
    level = forward_kl(_target(x), others)
    hits = (far[:, None] >= level * (1 - 1e-9)).sum(axis=0)
    limit = beta.ppf(FALSE_ALARM / len(others), np.maximum(hits, 1), TAIL_RUNS - np.maximum(hits, 1) + 1)
    return np.where(hits > 0, limit, 0.0)


def _constants(x: Instance) -> tuple[float, float, float]:
    """C_Pi, C_R and B by loops over the classes."""
    p, mu = np.exp(_target(x)), np.exp(x["log_mu"])
    induced = list(x["rewards"] / x["gamma"]) if "rewards" in x else []

    def cover(rows: Any) -> float:
        worst = 0.0
        for row in rows:
            d = row - _target(x)
            d = d - float(mu @ d)
            if np.abs(d).max() > 1e-9:
                worst = max(worst, float(p @ d**2) / float(mu @ d**2))
        return worst

    ranges = [float(np.abs(row - mu @ row).max()) for row in [*x["log_policies"], *induced]]
    return cover(x["log_policies"]), cover(induced), max(ranges)


def _psi(z: float) -> float:
    return (z - 1 - math.log(z)) / math.log(z) ** 2


def _likelihood(factor: float, log_term: Callable[[Instance], float]) -> Callable[..., tuple[float, float]]:
    """Theorems 4 and 6, e^(factor B) where the paper has e^(4B)."""

    def sides(**x: Any) -> tuple[float, float]:
        C, _, B = _constants(x)
        E = math.exp(factor * B)
        shape = 32 * B**2 * E + 48
        return 0.0, C * _psi(E) * shape * math.exp(2 * x["gamma"] * B) ** 2 / x["gamma"] ** 2 * log_term(x) / x[
            "comparisons"
        ]

    return sides


def _reverse(factor: float) -> Callable[..., tuple[float, float]]:
    def sides(**x: Any) -> tuple[float, float]:
        _, C, B = _constants(x)
        E, count = math.exp(factor * B), len(x["log_policies"])
        first = 16 * B**2 * (math.log(2 / x["failure"]) + 2 * math.log(count))
        second = 16 * C * (B**2 * E + 1) * math.exp(2 * x["gamma"] * B) ** 2 / x["gamma"] ** 2
        return 0.0, 2 * _psi(E) * (first + second * math.log(2 * len(x["rewards"]) / x["failure"])) / x["comparisons"]

    return sides


def _logs_of_policies(x: Instance) -> float:
    return math.log(len(x["log_policies"])) - math.log(x["failure"])


def _logs_of_both(x: Instance) -> float:
    return math.log(2) + _logs_of_policies(x) + 2 * math.log(2 * len(x["rewards"]) / x["failure"])


def _unseen() -> list[Instance]:
    """A policy that differs only at a response that 1,000 comparisons show once in ten data sets: hardly any slack."""
    log_policies = np.array([[0.0, 0.0, 0.0], [0.0, 0.0, -40.0]])
    log_policies = log_policies - np.logaddexp.reduce(log_policies, axis=1, keepdims=True)
    log_mu = np.log([0.5 * (1 - 5e-5), 0.5 * (1 - 5e-5), 5e-5])
    return [{"log_policies": log_policies, "member": 0, "log_mu": log_mu, "gamma": 1.0, "comparisons": 1000}]


_HALVED = "e^2B, the range of one policy, for e^4B, that of a difference of two"
_REALIZABLE = "the class is given with pi* as a member of it"
_SEARCH = Searched("upper", generations=4, lines=4)


def _vacuous(estimator: Any, mutant: Any, second: Any) -> Trial:
    return Trial(each(_kl_quantile(estimator)), _REALIZABLE, Misread(_HALVED, mutant, second))


TRIALS = {
    "preference_error": Trial(each(_preference_quantile), _REALIZABLE, _SEARCH),
    "likelihood_guarantee": _vacuous(chosen, _likelihood(2.0, _logs_of_policies), _likelihood(4.0, _logs_of_policies)),
    "distillation_guarantee": _vacuous(distilled, _likelihood(2.0, _logs_of_both), _likelihood(4.0, _logs_of_both)),
    "reverse_kl_guarantee": _vacuous(tilted_best, _reverse(2.0), _reverse(4.0)),
    "finite_class_tail": Trial(each(_tail), _REALIZABLE, _SEARCH, directed=_unseen),
    "finite_class_error": Trial(
        each(lambda x: np.array([_preference_quantile(x), _kl_quantile(chosen)(x)])), _REALIZABLE, _SEARCH
    ),
}
