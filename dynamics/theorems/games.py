"""Statements on Nash learning from the same preferences (statements 8.1 and 8.2)."""

from __future__ import annotations

from typing import Any

import numpy as np

from . import _algebra as al
from ._bound import Claim, theorem
from .source import Source, log_policy, matrix, positive

_ANY = ("any", "cyclic", "regular", "strongly transitive", "bradley-terry", "near-deterministic")


def _step(source: Source) -> dict[str, Any]:
    K = source.integer(2, 6)
    return {
        "P": matrix(source, K, _ANY),
        "alpha": source.number(0.0, 1.0),
        "beta": positive(source, 1e-2, 1e2),
        "log_reference": log_policy(source, K, (0.0, 1.0, 30.0)),
        "log_initial": log_policy(source, K, (0.0, 1.0, 30.0)),
    }


@theorem(
    source="[derived] statement 8.1",
    statement="A round of IPO on the policy's own pairs is a step of magnetic mirror descent, z' = (z + eta tau log ref + eta "
    "P p)/(1 + eta tau), with eta = 1/(alpha beta) and tau = (1-alpha) beta.",
    quantity="C log pi after one round from log_initial at lam = 1, shape (K,)",
    strength="tight",
    build=_step,
)
def magnetic_step(
    P: np.ndarray, alpha: float, beta: float, log_reference: np.ndarray, log_initial: np.ndarray
) -> Claim:
    """z' = (z/eta + tau log ref + P p)/(1/eta + tau) with 1/eta = alpha beta, which is 0 at alpha = 0."""
    slowness, tau = alpha * beta, (1 - alpha) * beta
    pull = slowness * log_initial + tau * log_reference
    z = al.centre(pull + P @ np.exp(log_initial)) / (slowness + tau)
    return Claim(z, z)


def _mixed(source: Source) -> dict[str, Any]:
    K = source.integer(2, 5)
    tau = positive(source, 0.3, 1e1)
    return {
        "P": matrix(source, K, _ANY),
        "eta": source.number(0.05, 0.9) / tau,
        "tau": tau,
        "log_reference": log_policy(source, K, (0.0, 1.0, 10.0)),
    }


@theorem(
    source="[derived] statement 8.2",
    statement="Nash-MD at a constant step eta does not reach the equilibrium regularised at tau: its mixture m tends to the "
    "one at temperature tau/(1 - eta tau), and z to log ref + P softmax(m)/tau.",
    quantity="C z of the fixed point of Nash-MD, z' = m + eta P softmax(m), m = (1 - eta tau) z + eta tau log ref, shape (K,)",
    strength="tight",
    build=_mixed,
)
def nash_md_limit(P: np.ndarray, eta: float, tau: float, log_reference: np.ndarray) -> Claim:
    """z = m + eta P p(m) in m gives m = log ref + (1 - eta tau) P p(m)/tau, of which there is one solution (7.1)."""
    unknown = Claim(np.full(len(P), -np.inf), np.inf, {"eta tau < 1": bool(eta * tau < 1)})
    if eta * tau >= 1:
        return unknown
    A, temperature = al.skew(P), tau / (1 - eta * tau)
    m = al.centre(log_reference)
    for share in np.linspace(0.0, 1.0, 21)[1:]:  # of A, from no preferences to all
        for _ in range(50):
            p = np.exp(m - m.max())
            p /= p.sum()
            residual = al.centre(log_reference + share * A @ p / temperature - m)
            if np.abs(residual).max() < 1e-14:
                break
            slope = np.eye(len(P)) - share * al.centred(A) @ al.covariance(p) / temperature
            m = al.centre(m + np.linalg.solve(slope, residual))
    p = np.exp(m - m.max())
    z = al.centre(log_reference + A @ p / p.sum() / tau)
    return Claim(z, z, {"eta tau < 1": True})
