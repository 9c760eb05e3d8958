"""Equilibria of the win-rate game, with and without a temperature, and how far a policy is from them."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.optimize import linprog
from scipy.special import logsumexp

from .._checks import Numbers, check_number
from ..oracle import follow
from ..preferences import PreferenceSet, check_prompts
from ._base import Prompts, check_magnet

POLISHES = 4  # Newton steps from the followed equilibrium
MAX_RESIDUAL = 1e-12
RANK = 1e-9  # of singular values, below which they count as zero


class Nash(NamedTuple):
    """An equilibrium, or those of X prompts.

    Attributes:
        log_policy: its logarithm, in nats, ``(K,)`` or ``(X, K)``; ``-inf`` outside its support (tau = 0).
        gap: its duality gap, which is 0 but for rounding, a float or ``(X,)``.
        unique: whether it is the only one, a bool or ``(X,)``; always so at tau > 0.
    """

    log_policy: np.ndarray
    gap: float | np.ndarray
    unique: bool | np.ndarray


def nash(preference: Prompts, tau: float = 0.0, log_reference: Numbers | None = None) -> Nash:
    """The p with log p = log ref + P p/tau + const; at tau = 0 a p with (P p)_i ≤ ½ for all i, a maximal lottery.

    Args:
        preference: P, ``(K, K)``, or ``(X, K, K)`` of X prompts.
        tau: temperature, ≥ 0.
        log_reference: log ref, ``(K,)`` or ``(X, K)``, finite, in nats; uniform unless given. At tau = 0 it has no effect.

    Returns:
        Nash. At tau = 0 where there are several, one whose support is the largest, which is that of all of them together.

    Raises:
        ValueError: a bad argument.
        RuntimeError: the equilibrium was not found to 1e-12 (a tau so small that it is decided by rounding).

    Source: [derived] 7.1 (uniqueness at tau > 0); strict complementarity of linear programmes (tau = 0).

    >>> found = dyn.games.nash(dyn.preferences.cyclic(3, 0.4))
    >>> np.exp(found.log_policy).round(12).tolist(), found.unique
    ([0.333333333333, 0.333333333333, 0.333333333333], True)
    """
    check_prompts(preference)
    # In float64 whatever JAX's precision, and skew to the last bit.
    P = np.asarray(list(preference) if isinstance(preference, PreferenceSet) else preference, np.float64)
    P = (P + 1 - P.swapaxes(-1, -2)) / 2
    check_number(tau, "tau", 0.0, np.inf)
    tau = float(tau)
    check_magnet(log_reference, P.shape[:-1])
    log_ref = np.zeros(P.shape[-1]) if log_reference is None else np.asarray(log_reference, np.float64)
    log_ref = log_ref - logsumexp(log_ref, axis=-1, keepdims=True)
    if P.ndim == 2:
        return _nash(P, tau, log_ref)
    found = []
    for x, one in enumerate(P):
        try:
            found.append(_nash(one, tau, log_ref[x] if log_ref.ndim == 2 else log_ref))
        except RuntimeError as error:
            raise RuntimeError(f"prompt {x}: {error}") from None
    return Nash(*(np.stack(values) for values in zip(*found, strict=True)))


def _nash(P: np.ndarray, tau: float, log_ref: np.ndarray) -> Nash:
    if tau == 0:
        return _lottery(P)
    found = follow(P[None], "ipo", [0.0], 1.0, [tau], log_reference=log_ref)
    z = found.logits[0]
    for _ in range(POLISHES):
        p = np.exp(z - z.max())
        p /= p.sum()
        spread = np.diag(p) - np.outer(p, p)
        residual = log_ref + (P - 0.5) @ p / tau - z
        z = z + np.linalg.solve(np.eye(len(P)) - (P - 0.5) @ spread / tau, residual - residual.mean())
        z = z - z.mean()
    log_policy = z - z.max() - np.log(np.exp(z - z.max()).sum())
    left = log_ref + (P - 0.5) @ np.exp(log_policy) / tau - log_policy
    if not np.ptp(left) <= MAX_RESIDUAL * (1 + np.abs(z).max()):
        raise RuntimeError(f"the equilibrium at tau = {tau:g} was not found to {MAX_RESIDUAL:g}; pass a larger tau.")
    return Nash(log_policy, _gap(log_policy, P, tau, log_ref), True)


def _gap(log_policy: np.ndarray, P: np.ndarray, tau: float, log_ref: np.ndarray) -> float:
    """2 tau (log Σ p e^d - Σ p d), d = log ref + A p/tau - log p: `duality_gap` at a p where d is nearly constant."""
    p = np.exp(log_policy)
    d = log_ref + (P - 0.5) @ p / tau - log_policy
    d = d - p @ d
    return float(2 * tau * max(np.log1p(p @ np.expm1(d)) - p @ d, 0.0))


def _lottery(P: np.ndarray) -> Nash:
    """A maximal lottery of largest support: the linear programme max t, p ≥ 0, A p ≤ 0, p - A p ≥ t, polished on its support.

    A symmetric game has an equilibrium with p_i - (A p)_i > 0 for every i; its support is the largest.
    """
    K, A = len(P), P - 0.5
    rows = np.block([[A, np.zeros((K, 1))], [A - np.eye(K), np.ones((K, 1))]])
    objective = np.append(np.zeros(K), -1.0)
    found = linprog(
        objective, rows, np.zeros(2 * K), np.append(np.ones(K), 0.0)[None], [1.0], [(0, None)] * K + [(None, None)]
    )
    if not found.success:
        raise RuntimeError(f"the linear programme for the equilibrium failed ({found.message}).")
    p = np.maximum(found.x[:K], 0.0)
    support = p > -(A @ p)
    within = A[np.ix_(support, support)]
    _, sizes, right = np.linalg.svd(within)
    null = right[sizes <= RANK * max(1.0, sizes.max())]
    # The polished solution is the nearest point of the null space with total 1.
    inside = null.T @ (null @ p[support])
    exact = np.zeros(K)
    exact[support] = np.maximum(inside, 0.0) / np.maximum(inside, 0.0).sum()
    p = exact if (A @ exact).max() <= max((A @ p).max(), 1e-15) else p / p.sum()
    with np.errstate(divide="ignore"):
        log_policy = np.log(p)
    return Nash(log_policy, float(max(2 * (A @ p).max(), 0.0)), len(null) == 1)
