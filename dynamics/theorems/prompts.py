"""Statements on prompts that share parameters."""

from __future__ import annotations

from typing import Any

import numpy as np

from ._bound import Claim, theorem
from .source import Source, positive


def _shared(source: Source) -> dict[str, Any]:
    X = source.integer(1, 4)
    return {
        "slopes": np.array([positive(source, 0.2, 5.0) * source.choice((1.0, -1.0)) for _ in range(X)]),
        "wins": np.array([source.number(0.01, 0.99) for _ in range(X)]),
        "shares": np.array([positive(source, 0.1, 10.0) for _ in range(X)]),
        "alpha": source.number(0.0, 1.0),
        "lam": source.number(0.0, 1.0),
        "beta": positive(source, 1e-2, 1e2),
        "theta": source.number(-10.0, 10.0),
    }


@theorem(
    number="9.2",
    source="[derived] statement 9.2",
    statement="X prompts with two answers each share one parameter theta: the first answer has log-odds k_x theta and is "
    "preferred with probability wins_x. With uniform reference and pi_0 a round of IPO is theta' = alpha theta + "
    "w(theta)/beta, w = Σ v s k c/Σ v s k², s = mu_1 mu_2, c = wins - 1/2, v the shares of the prompts, and has slope alpha + "
    "w'(theta)/beta, w' = Σ v s_theta k (c - k w)/Σ v s k², s_theta = lam (1 - 2 mu_1) pi_1 pi_2 k. For one prompt, and where "
    "all c/k are equal, w' = 0; otherwise the slope may be below -1, so that rounds oscillate though no prompt has a cycle.",
    quantity="theta' and its derivative by theta, shape (2,)",
    strength="tight",
    build=_shared,
    about="ipo",
)
def shared_parameter(
    slopes: np.ndarray,
    wins: np.ndarray,
    shares: np.ndarray,
    alpha: float,
    lam: float,
    beta: float,
    theta: float,
) -> Claim:
    """IPO's loss on pairs from mu is Σ v Var_mu(h - P mu/beta) plus a constant; with two answers, whose h differ by k w/beta
    and whose P mu differ by c, the variance is s (k w - c)²/beta². It is least at w, whose derivative follows from s alone.
    """
    assumptions = {
        "0 ≤ wins ≤ 1": bool(((wins >= 0) & (wins <= 1)).all()),
        "shares > 0": bool((shares > 0).all()),
        "some slope ≠ 0": bool((slopes != 0).any()),
    }
    if not all(assumptions.values()):
        return Claim(np.full(2, -np.inf), np.full(2, np.inf), assumptions)
    w, moved = pull(slopes, wins, shares, lam, np.asarray(theta))
    found = np.array([alpha * theta + w / beta, alpha + moved / beta])
    return Claim(found, found, assumptions)


def pull(
    slopes: np.ndarray, wins: np.ndarray, shares: np.ndarray, lam: float, theta: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """w(theta) and w'(theta) of ``shared_parameter``, for theta of any shape.

    >>> w, slope = pull(np.array([1.0, 3.0]), np.array([0.2, 0.9]), np.ones(2), 1.0, np.zeros(1))
    >>> w.round(6).tolist(), slope.round(6).tolist()  # (k·c)/(k·k), and 0 at even odds
    ([0.09], [0.0])
    """
    log_odds = np.multiply.outer(theta, slopes)
    log_first, log_second = -np.logaddexp(0.0, -log_odds), -np.logaddexp(0.0, log_odds)
    with np.errstate(divide="ignore"):
        log_mu = np.logaddexp(np.log(lam) + np.stack([log_first, log_second]), np.log1p(-lam) - np.log(2.0))
    # In units of the largest s, since only ratios count: at large log-odds all of them are tiny.
    log_s = log_mu.sum(axis=0)
    top = log_s.max(axis=-1, keepdims=True)
    mass = shares * np.exp(log_s - top)
    moved = -(lam**2) * shares * np.tanh(0.5 * log_odds) * np.exp(log_first + log_second - top) * slopes
    c, total = wins - 0.5, (mass * slopes**2).sum(axis=-1)
    w = (mass * slopes * c).sum(axis=-1) / total
    slope = (moved * slopes * (c - slopes * w[..., None])).sum(axis=-1) / total
    return np.asarray(w), np.asarray(slope)
