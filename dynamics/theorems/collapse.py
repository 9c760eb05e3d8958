"""Statements on how fast iterated alignment collapses onto one response (statement 2.4)."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np

from . import _algebra as al
from ._bound import Claim, theorem
from .source import Source, log_policy, log_sampler, matrix, positive

_ANY = ("any", "strongly transitive", "cyclic", "bradley-terry", "near-deterministic", "deterministic entries")
_MAX_CORNER_SIDES = 12


def _run(source: Source) -> dict[str, Any]:
    K = source.integer(2, 5)
    return {
        "P": matrix(source, K, _ANY[:-1]),
        "alpha": source.number(0.0, 1.0),
        "lam": source.number(0.0, 1.0),
        "beta": positive(source, 1e-2, 1e2),
        "log_reference": log_policy(source, K, (0.0, 1.0, 30.0)),
        "log_offline": log_sampler(source, K),
        "log_initial": log_policy(source, K, (0.0, 1.0, 30.0, 1e3)),
        "rounds": source.choice((0, 1, 2, 3, 10, 100)),
        "top": source.integer(0, K - 1),
        "objective": source.choice(("ipo", "dpo")),
    }


def _advantages(P: np.ndarray, top: int) -> tuple[np.ndarray, np.ndarray]:
    """delta_j = min_k (P_1k - P_jk) and Delta_j = max_k (P_1k - P_jk), shape (K,)."""
    difference = P[top][None, :] - P
    return difference.min(axis=1), difference.max(axis=1)


def _box(
    P: np.ndarray,
    alpha: float,
    beta: float,
    log_reference: np.ndarray,
    log_initial: np.ndarray,
    rounds: int,
    top: int,
    objective: str,
) -> tuple[np.ndarray, np.ndarray]:
    """The two sides of the bound on l_t(j) = log pi_t(1)/pi_t(j), shape (K,)."""
    delta, Delta = _advantages(P, top)
    if objective == "dpo":
        delta, Delta = np.where(delta >= 0, 4 * delta, -np.inf), np.full_like(Delta, np.inf)
        Delta[top] = 0.0
    left, gone, G = al.geometric(alpha, rounds)
    drift = left * (log_initial[top] - log_initial) + gone * (log_reference[top] - log_reference)
    with np.errstate(invalid="ignore"):
        lower, upper = (drift + (d * G / beta if G > 0 else 0.0) for d in (delta, Delta))
    return lower, upper


def _assumptions(P: np.ndarray, objective: str) -> dict[str, bool]:
    return {"0 < P < 1": bool(((P > 0) & (P < 1)).all())} if objective == "dpo" else {}


@theorem(
    number="2.4",
    source="[derived] statement 2.4, for any P",
    statement="alpha^t l_0 + (1-alpha^t) l_ref + delta_j G_t/beta ≤ l_t ≤ the same with Delta_j, delta_j = min_k "
    "(P_1k - P_jk), Delta_j = max_k, G_t = (1-alpha^t)/(1-alpha); for DPO the lower side with 4 delta_j where "
    "delta_j ≥ 0.",
    quantity="l_t(j) = log pi_t(top)/pi_t(j) after `rounds` rounds from log_initial, shape (K,), in nats",
    strength="tight",
    build=_run,
)
def collapse(
    P: np.ndarray,
    alpha: float,
    lam: float,
    beta: float,
    log_reference: np.ndarray,
    log_offline: np.ndarray,
    log_initial: np.ndarray,
    rounds: int,
    top: int = 0,
    objective: str = "ipo",
) -> Claim:
    """Holds for all samplers, so lam and log_offline do not enter; ``top`` is the response called 1."""
    lower, upper = _box(P, alpha, beta, log_reference, log_initial, rounds, top, objective)
    return Claim(lower, upper, _assumptions(P, objective))


@theorem(
    number="2.4",
    source="[derived] statement 2.4, entropy",
    statement="From m_j ≤ l_j ≤ M_j: H ≤ h2(p) + (1-p) log(K-1), p = 1/(1 + Σ e^-m_j), if p ≥ 1/K, else log K; H ≥ its "
    "least value at the corners of the box.",
    quantity="H(pi_t) after `rounds` rounds from log_initial, in nats",
    strength="tight",
    build=_run,
)
def collapse_entropy(
    P: np.ndarray,
    alpha: float,
    lam: float,
    beta: float,
    log_reference: np.ndarray,
    log_offline: np.ndarray,
    log_initial: np.ndarray,
    rounds: int,
    top: int = 0,
    objective: str = "ipo",
) -> Claim:
    """The box of ``collapse``, translated to the entropy; above K = 13 the lower side is 0."""
    lower, upper = _box(P, alpha, beta, log_reference, log_initial, rounds, top, objective)
    lower, upper = np.delete(lower, top), np.delete(upper, top)
    return Claim(_least_entropy(lower, upper), _largest_entropy(lower), _assumptions(P, objective))


def _largest_entropy(lower: np.ndarray) -> float:
    K = len(lower) + 1
    log_odds = float(np.logaddexp.reduce(-lower))
    if log_odds > np.log(K - 1):
        return float(np.log(K))
    if log_odds == -np.inf:
        return 0.0
    log_p, log_q = -np.logaddexp(0.0, log_odds), -np.logaddexp(0.0, -log_odds)
    return float(-np.exp(log_p) * log_p + np.exp(log_q) * (np.log(K - 1) - log_q))


def _least_entropy(lower: np.ndarray, upper: np.ndarray) -> float:
    if len(lower) > _MAX_CORNER_SIDES:
        return 0.0
    corners = np.array(list(itertools.product(*zip(lower, upper, strict=True))))
    # Where some l_j has no upper bound the entropy can come arbitrarily close to 0.
    if np.isinf(corners).any():
        return 0.0
    return float(_entropy(np.concatenate([np.zeros((len(corners), 1)), -corners], axis=1)).min())


def _entropy(z: np.ndarray) -> np.ndarray:
    """H(softmax z) = Σ p (log Σ e^z - z)."""
    shifted = z - z.max(axis=-1, keepdims=True)
    total = np.logaddexp.reduce(shifted, axis=-1, keepdims=True)
    return np.asarray(np.sum(np.exp(shifted - total) * (total - shifted), axis=-1))


def _leader_assumptions(P: np.ndarray, top: int) -> dict[str, bool]:
    others = np.arange(len(P)) != top
    return {
        "P_1k ≥ P_jk for all j, k": bool((P[top][None, :] >= P).all()),
        "P_1j > 1/2 for all j": bool((P[top, others] > 0.5).all()),
    }


def _with_leader(source: Source) -> dict[str, Any]:
    K = source.integer(2, 6)
    P = matrix(source, K, ("strictly strongly transitive", "strongly transitive", "bradley-terry"))
    logs = {"log_offline": log_sampler(source, K)}
    top = int(np.argmax(P.sum(axis=1)))
    shared = {"P": P, "lam": source.number(0.0, 1.0), "beta": positive(source, 1e-2, 1e2), **logs}
    return {**shared, "top": top, "objective": source.choice(("ipo", "dpo"))}


def _certain(source: Source) -> dict[str, Any]:
    inputs = _with_leader(source)
    log_initial = log_policy(source, len(inputs["P"]), (0.0, 1.0, 30.0))
    return {**inputs, "log_initial": log_initial, "rounds": source.choice((0, 1, 2, 10, 100))}


@theorem(
    number="2.4",
    source="[derived] statement 2.4 at alpha = 1, with an explicit rate",
    statement="At alpha = 1, if response 1 row-dominates all j with P_1j > 1/2, then l_t ≥ l_0 + t kappa q_j (P_1j - "
    "1/2)/beta, q_j = lam pi_start(1) + (1-lam)(pi_0(1) + pi_0(j)), kappa = 1 for IPO and 4 for DPO: where lam > 0 or "
    "pi_0 has full support, pi → e_1 and H → 0.",
    quantity="l_t(j) = log pi_t(top)/pi_t(j) after `rounds` rounds from log_initial at alpha = 1, shape (K,), in nats",
    strength="tight",
    build=_certain,
)
def certain_collapse(
    P: np.ndarray,
    lam: float,
    beta: float,
    log_offline: np.ndarray,
    log_initial: np.ndarray,
    rounds: int,
    top: int = 0,
    objective: str = "ipo",
) -> Claim:
    """Order preservation bounds the gain of each round; pi_t(1) never falls, so its mass at the start bounds later ones."""
    assumptions = {**_leader_assumptions(P, top), **_assumptions(P, objective)}
    offline = np.exp(log_offline)
    mass = lam * np.exp(log_initial[top]) + (1 - lam) * (offline[top] + offline)
    start, kappa = log_initial[top] - log_initial, 1.0 if objective == "ipo" else 4.0
    lower = start + rounds * kappa * mass * al.skew(P)[top] / beta
    upper = start + rounds * _advantages(P, top)[1] / beta
    if objective == "dpo" and rounds > 0:
        upper = np.where(np.arange(len(P)) == top, 0.0, np.inf)
    return Claim(lower, upper, assumptions)


def _collapsing(source: Source) -> dict[str, Any]:
    inputs = _with_leader(source)
    K = len(inputs["P"])
    floor = max(1.0, np.log(K - 1))
    lead = floor + source.choice((0.0, 1.0, 50.0)) * np.array([source.number(0.0, 1.0) for _ in range(K)])
    lead[inputs["top"]] = 0.0
    # Rounding in the normalisation must not move the closest response across the threshold.
    lead = np.where(lead > 0, lead * (1 + 1e-14) + 1e-14, 0.0)
    return {**inputs, "log_pi": -lead - np.logaddexp.reduce(-lead)}


@theorem(
    number="2.4",
    source="[derived] statement 2.4 at alpha = 1",
    statement="At alpha = 1, if response 1 row-dominates all j with P_1j > 1/2, and lam > 0 or pi_0 puts mass on 1, "
    "the entropy strictly decreases once min_j l_j ≥ max(1, log(K-1)); before, it can rise.",
    quantity="H(pi_{t+1}) - H(pi_t) at alpha = 1, in nats",
    strength="tight",
    build=_collapsing,
)
def entropy_decreases(
    P: np.ndarray,
    lam: float,
    beta: float,
    log_offline: np.ndarray,
    log_pi: np.ndarray,
    top: int = 0,
    objective: str = "ipo",
) -> Claim:
    """∂H/∂l_j < 0 iff l_j > Σ_k p_k l_k, and the right side is below min l once (K-1) e^{-min l} ≤ 1 ≤ min l."""
    lead = np.delete(log_pi[top] - log_pi, top)
    assumptions = {
        **_leader_assumptions(P, top),
        **_assumptions(P, objective),
        "min_j l_j ≥ max(1, log(K-1))": bool(lead.min() >= max(1.0, np.log(len(P) - 1))),
        "lam > 0 or pi_0 has mass on 1": bool(lam > 0 or log_offline[top] > -np.inf),
    }
    return Claim(-float(_entropy(log_pi)), 0.0, assumptions)
