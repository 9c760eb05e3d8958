"""What n comparisons are worth in a finite class: Yun25's guarantees (5.3) and statement 7.11, with every constant a number.

The class is ``log_policies`` (N, K), pi* its row ``member``; responses are drawn from mu, one context, no regulariser.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from . import _algebra as al
from . import _inputs
from ._bound import Claim, theorem
from ._coverage import Coverage, coverage, psi
from .source import Source, log_policy, positive

_QUANTILE = "(1 - failure)-quantile of KL(pi*||pihat), pihat the "


def _class(source: Source, sizes: tuple[int, int], spread: float) -> dict[str, Any]:
    """Policies around pi*, most of them near it: log pi = log pi* + s·noise, s over three decades."""
    K, N = source.integer(2, 4), source.integer(*sizes)
    rng = np.random.default_rng(source.integer(0, 10**6))
    target = log_policy(source, K, (1.0, 0.3))
    away = spread * 10 ** rng.uniform(-3, 0, (N, 1)) * rng.uniform(-1, 1, (N, K))
    away[0] = 0.0
    log_mu, gamma = log_policy(source, K, (0.0, 0.5)), source.number(0.3, 1.0)
    return {"log_policies": _inputs.normalise(target + away), "member": 0, "log_mu": log_mu, "gamma": gamma}


def _sampled(source: Source) -> dict[str, Any]:
    n = int(positive(source, 2e3, 1e5))
    return _class(source, (2, 40), 2.0) | {"comparisons": n, "failure": source.choice((0.05, 0.1, 0.3))}


def _wide(source: Source) -> dict[str, Any]:
    """B above .5, and few enough comparisons for a laboratory."""
    x = _class(source, (4, 20), 4.0) | {"comparisons": int(positive(source, 10.0, 4096.0)), "failure": 0.1}
    x["log_policies"] = np.concatenate([x["log_policies"], _far(x)])
    return x


def _far(x: dict[str, Any]) -> np.ndarray:
    K = len(x["log_mu"])
    return _inputs.normalise(x["log_policies"][:1] + 1.5 * (np.arange(K) == 0) - 1.5 * (np.arange(K) == 1))


def _with_rewards(source: Source) -> dict[str, Any]:
    x = _wide(source)
    rng = np.random.default_rng(source.integer(0, 10**6))
    true = x["gamma"] * x["log_policies"][0]
    return x | {"rewards": true + np.append(np.zeros((1, len(true))), rng.uniform(-1, 1, (3, len(true))), axis=0)}


def preferences_of(log_policies: np.ndarray, gamma: float) -> np.ndarray:
    """P_pi(a over b) = sigma(gamma log pi_a/pi_b), shape (N, K, K)."""
    return al.sigmoid(gamma * (log_policies[:, :, None] - log_policies[:, None, :]))


def divergences(log_policies: np.ndarray, target: np.ndarray) -> np.ndarray:
    """KL(pi*||pi) of each row, as E_* [e^d - 1 - d], d = log pi/pi*."""
    d = log_policies - target
    return np.maximum((np.expm1(d) - d) @ np.exp(target), 0.0)


def log_affinities(log_policies: np.ndarray, target: np.ndarray, gamma: float, log_mu: np.ndarray) -> np.ndarray:
    """log rho of each row, rho = E_{a, b~mu} Σ_y √(P_pi(y) P_*(y)): minus half the squared differences of √P."""
    mu = np.exp(log_mu)
    roots = np.sqrt(preferences_of(log_policies, gamma)) - np.sqrt(preferences_of(target[None], gamma))
    with np.errstate(divide="ignore"):
        return np.log1p(-np.minimum(np.einsum("nab,a,b->n", roots**2, mu, mu), 1.0))


def _members(log_policies: np.ndarray, member: int) -> np.ndarray:
    if member >= len(log_policies):
        raise ValueError(
            f"member = {member} is outside 0 … {len(log_policies) - 1}; pass the row of log_policies of pi*."
        )
    return log_policies[member]


def _disagreement(log_policies: np.ndarray, target: np.ndarray, gamma: float, log_mu: np.ndarray) -> np.ndarray:
    """E_{a, b~mu} (P_pi - P_*)² of each row."""
    gap = preferences_of(log_policies, gamma) - preferences_of(target[None], gamma)
    return np.einsum("nab,a,b->n", gap**2, np.exp(log_mu), np.exp(log_mu))


def _covered(x: dict[str, Any]) -> tuple[np.ndarray, Coverage]:
    target = _members(x["log_policies"], x["member"])
    rows = {"log_policies": x["log_policies"], "rewards": x.get("rewards")}
    return target, coverage(log_target=target, log_sampler=x["log_mu"], gamma=x["gamma"], **rows)


@theorem(
    number="5.3",
    source="[paper] Yun25, Proposition 12",
    statement="With probability at least 1 - delta E_{a,b~mu} (P_pihat - P_*)² ≤ 4 ln(|Pi|/delta)/n.",
    quantity="(1 - failure)-quantile of E_{a,b~mu} (P_pihat - P_*)², pihat the maximum-likelihood policy",
    strength="loose",
    build=_sampled,
)
def preference_error(
    log_policies: np.ndarray, member: int, log_mu: np.ndarray, gamma: float, comparisons: int, failure: float
) -> Claim:
    """``finite_class_error`` has 2 for 4."""
    worst = _disagreement(log_policies, _members(log_policies, member), gamma, log_mu).max()
    bound = 4 * math.log(len(log_policies) / failure) / comparisons
    return Claim(0.0, bound, vacuous=bool(bound >= worst))


def _guarantee(x: dict[str, Any], bound: Any) -> Claim:
    """The bound of one of Yun25's theorems; vacuous where no policy of the class is as far from pi*."""
    target, c = _covered(x)
    assumptions = {"C is finite": math.isfinite(max(c.policies, c.rewards or 0.0))}
    if "rewards" in x:
        gaps = x["rewards"] - x["gamma"] * target
        assumptions["gamma log pi* is among the rewards"] = bool(np.ptp(gaps, axis=1).min() <= al.ROUNDING)
    value = bound(c) if assumptions["C is finite"] else math.inf
    return Claim(0.0, value, assumptions, vacuous=bool(value >= divergences(x["log_policies"], target).max()))


def _pmle_factor(c: Coverage, gamma: float) -> float:
    tail = 16 * (2 * c.B**2 * math.exp(4 * c.B) + 3) * math.exp(4 * gamma * c.B) / gamma**2
    return psi(4 * c.B) * tail * c.policies


@theorem(
    number="5.3",
    source="[paper] Yun25, Theorem 4",
    statement="PMLE: with probability at least 1 - delta KL(pi*||pihat) ≤ psi(e^4B) 16 (2B² e^4B + 3) C_Pi e^(4 gamma B) "
    "ln(|Pi|/delta)/(gamma² n).",
    quantity=_QUANTILE + "maximum-likelihood policy of the class",
    strength="vacuous where affordable",
    build=_wide,
)
def likelihood_guarantee(
    log_policies: np.ndarray, member: int, log_mu: np.ndarray, gamma: float, comparisons: int, failure: float
) -> Claim:
    """Vacuous where the bound is at least the largest KL(pi*||pi) of the class; C_Pi and B as in ``coverage``."""
    x = {"log_policies": log_policies, "member": member, "log_mu": log_mu, "gamma": gamma}
    return _guarantee(x, lambda c: _pmle_factor(c, gamma) * math.log(len(log_policies) / failure) / comparisons)


@theorem(
    number="5.3",
    source="[paper] Yun25, Theorem 6",
    statement="Distillation: as Theorem 4 with ln(2|Pi|/delta) + 2 ln(2|R|/delta) for ln(|Pi|/delta).",
    quantity=_QUANTILE + "distillation on the same comparisons of the maximum-likelihood reward of R",
    strength="vacuous where affordable",
    build=_with_rewards,
)
def distillation_guarantee(
    log_policies: np.ndarray,
    member: int,
    log_mu: np.ndarray,
    gamma: float,
    rewards: np.ndarray,
    comparisons: int,
    failure: float,
) -> Claim:
    """B is the range over both classes, rewards as the policies that they induce."""
    x = {"log_policies": log_policies, "member": member, "log_mu": log_mu, "gamma": gamma, "rewards": rewards}
    logs = math.log(2 * len(log_policies) / failure) + 2 * math.log(2 * len(rewards) / failure)
    return _guarantee(x, lambda c: _pmle_factor(c, gamma) * logs / comparisons)


@theorem(
    number="5.3",
    source="[paper] Yun25, Theorem 7",
    statement="Reverse KL: with probability at least 1 - delta KL(pi*||pihat) ≤ 2 psi(e^4B) (16 B² ln(2|Pi|²/delta) + "
    "16 C_R (B² e^4B + 1) e^(4 gamma B) ln(2|R|/delta)/gamma²)/n.",
    quantity=_QUANTILE + "maximiser of E Rhat + gamma H over the class, Rhat the maximum-likelihood reward of R",
    strength="vacuous where affordable",
    build=_with_rewards,
)
def reverse_kl_guarantee(
    log_policies: np.ndarray,
    member: int,
    log_mu: np.ndarray,
    gamma: float,
    rewards: np.ndarray,
    comparisons: int,
    failure: float,
) -> Claim:
    """The quantity maximises over pi exactly; the term in |Pi|² is the price of the paper's sampled expectation."""
    x = {"log_policies": log_policies, "member": member, "log_mu": log_mu, "gamma": gamma, "rewards": rewards}
    of_pi = math.log(2 * len(log_policies) ** 2 / failure)
    of_rewards = math.log(2 * len(rewards) / failure) / gamma**2

    def bound(c: Coverage) -> float:
        tail = (c.B**2 * math.exp(4 * c.B) + 1) * math.exp(4 * gamma * c.B) * of_rewards
        return 2 * psi(4 * c.B) * 16 * (c.B**2 * of_pi + (c.rewards or 0.0) * tail) / comparisons

    return _guarantee(x, bound)


def prior_sampling_order(
    *, constants: Coverage, policies: int, rewards: int, gamma: float, n: int, failure: float
) -> float:
    """(C_0 ln(|Pi|/delta) + C_R ln(|R|/delta))/(gamma² n): the order in Yun25's Theorem 14, whose constants are unpublished.

    Error times n over this expression may be reported; nothing is claimed about it.

    Args:
        constants: ``coverage`` of the classes, with ``rewards`` and ``log_reference``.
        policies, rewards: |Pi| and |R|, ints ≥ 1.
        gamma: > 0.
        n: number of comparisons of responses drawn from pi_0, int ≥ 1.
        failure: delta, in (0, 1].

    Raises:
        ValueError: an argument outside, or constants without C_0 or C_R.

    Source: [paper] Yun25, Theorem 14, up to constants.
    """
    x = _inputs.checked({"gamma": gamma, "comparisons": n, "failure": failure})
    sizes = [_inputs.whole(name, value, 1) for name, value in (("policies", policies), ("rewards", rewards))]
    if constants.prior is None or constants.rewards is None:
        raise ValueError("constants have no C_0 or C_R; pass coverage(…, rewards=…, log_reference=…).")
    logs = [math.log(size / x["failure"]) for size in sizes]
    return (constants.prior * logs[0] + constants.rewards * logs[1]) / (x["gamma"] ** 2 * x["comparisons"])


@theorem(
    number="7.11",
    source="[derived] statement 7.11 (Chernoff)",
    statement="P(pihat = pi') ≤ rho(pi')^n, rho = E_{a,b~mu} Σ_y √(P_pi'(y) P_*(y)); hence P(KL(pi*||pihat) ≥ t) is at most "
    "the sum of rho(pi')^n over the policies with KL(pi*||pi') ≥ t.",
    quantity="P(KL(pi*||pihat) ≥ KL(pi*||pi')) for each pi' of the class but pi*, shape (N-1,), pihat of maximum likelihood",
    strength="loose",
    build=lambda source: {name: value for name, value in _sampled(source).items() if name != "failure"},
)
def finite_class_tail(
    log_policies: np.ndarray, member: int, log_mu: np.ndarray, gamma: float, comparisons: int
) -> Claim:
    """No constants and no coverage: an enumeration. Above 1 the bound of an entry says nothing."""
    target = _members(log_policies, member)
    others = np.delete(log_policies, member, axis=0)
    far = divergences(others, target)
    chance = np.exp(comparisons * log_affinities(others, target, gamma, log_mu))
    tail = (far[None, :] >= far[:, None]) @ chance
    distinct = {"some other policy": len(others) > 0}
    return Claim(np.zeros(len(others)), tail, distinct, vacuous=bool((tail >= 1).all()))


def finite_class_quantile(
    *, log_policies: ArrayLike, member: int, log_mu: ArrayLike, gamma: float, comparisons: int, failure: float
) -> float:
    """inf{t: Σ_{KL(pi*||pi') > t} rho(pi')^n ≤ delta}: KL(pi*||pihat) is at most this with probability 1 - delta.

    Args:
        log_policies: the class, shape (N, K).
        member: the row of pi*.
        log_mu: sampler of the responses, shape (K,); may hold -inf.
        gamma: > 0.
        comparisons: n, int ≥ 1.
        failure: delta, in (0, 1].

    Raises:
        ValueError: a malformed input.

    Source: [derived] statement 7.11.

    >>> policies = np.log([[0.5, 0.5], [0.9, 0.1]])
    >>> x = dict(log_policies=policies, member=0, log_mu=policies[0], gamma=1.0, failure=0.05)
    >>> [round(dyn.theorems.finite_class_quantile(**x, comparisons=n), 3) for n in (10, 100)]
    [0.511, 0.0]
    """
    given = {"log_policies": log_policies, "member": member, "log_mu": log_mu, "gamma": gamma}
    x = _inputs.checked(given | {"comparisons": comparisons, "failure": failure})
    target = _members(x["log_policies"], x["member"])
    far = divergences(x["log_policies"], target)
    chance = np.exp(x["comparisons"] * log_affinities(x["log_policies"], target, x["gamma"], x["log_mu"]))
    levels = np.unique(np.append(far, 0.0))
    return float(next(t for t in levels if chance[far > t].sum() <= x["failure"]))


@theorem(
    number="7.11",
    source="[derived] statement 7.11, corollaries: Proposition 12 with 2 for 4, Theorem 4 without its factor (2B² e^4B + 3)",
    statement="With probability at least 1 - delta E_{a,b~mu} (P_pihat - P_*)² ≤ 2 ln(|Pi|/delta)/n and KL(pi*||pihat) ≤ "
    "16 psi(e^w) e^2g C^V_Pi ln(|Pi|/delta)/(gamma² n).",
    quantity="(1 - failure)-quantiles of E_{a,b~mu} (P_pihat - P_*)² and of KL(pi*||pihat), pihat of maximum likelihood",
    strength="loose",
    build=_sampled,
)
def finite_class_error(
    log_policies: np.ndarray, member: int, log_mu: np.ndarray, gamma: float, comparisons: int, failure: float
) -> Claim:
    """(p - q)² is at most the squared Hellinger distance; then the logistic lemma and Bennett's inequality."""
    x = {"log_policies": log_policies, "member": member, "log_mu": log_mu, "gamma": gamma}
    target, c = _covered(x)
    rate = math.log(len(log_policies) / failure) / comparisons
    finite = math.isfinite(c.variance)
    kl = 16 * psi(c.w) * math.exp(2 * c.g) * c.variance / gamma**2 * rate if finite else math.inf
    most = (_disagreement(log_policies, target, gamma, log_mu).max(), divergences(log_policies, target).max())
    return Claim(np.zeros(2), np.array([2 * rate, kl]), vacuous=bool(2 * rate >= most[0] and kl >= most[1]))
