"""Statements on where iterated alignment ends from every start (statements 7.2, 7.3, 7.4, 7.6, 7.7 and 7.15)."""

from __future__ import annotations

from typing import Any

import numpy as np

from . import _algebra as al
from ._bound import Claim, theorem
from .iteration import contracting
from .source import Source, log_policy, log_sampler, matrix, positive

_PAIR = "C(log F(pi) - log F(pi')) and C(log pi - log pi') for any two policies, F one round of IPO; pi' may be pi*"


def _half_norm(P: np.ndarray) -> float:
    return al.norm(al.centred(al.skew(P))) / 2


@theorem(
    number="7.2",
    source="[derived] statement 7.2",
    statement="Under IPO with alpha < 1 and g² = alpha² + (lam ‖CAC‖₂/(2 beta))² < 1, KL(pi*‖pi_{t+1}) ≤ max(alpha, "
    "g²) KL(pi*‖pi_t) from every interior start.",
    quantity="KL(pi*‖pi_{t+1})/KL(pi*‖pi_t), pi* the fixed point, one round of IPO",
    strength="tight",
    build=lambda source: contracting(source, _half_norm, lambda alpha: np.sqrt((1 - alpha) * (1 + alpha))),
    about="ipo",
)
def global_convergence(P: np.ndarray, alpha: float, lam: float, beta: float) -> Claim:
    """Phi = KL(pi*‖pi) is convex and ½-smooth in the logits; attained at lam = 0 as the start tends to a vertex."""
    x = lam * _half_norm(P) / beta
    g2 = alpha**2 + x**2
    return Claim(0.0, max(alpha, g2), {"alpha < 1": alpha < 1, "g² < 1": g2 < 1})


@theorem(
    number="7.3",
    source="[derived] statement 7.3, 2-norm",
    statement="With x = lam ‖CAC‖₂/(2 beta) < 1 - alpha² rounds of IPO contract at rate x/2 + √(alpha² + x²/4) in "
    "the 2-norm.",
    quantity=f"ratio of the 2-norms of {_PAIR}",
    strength="tight",
    build=lambda source: contracting(source, _half_norm, lambda alpha: (1 - alpha) * (1 + alpha)),
    about="ipo",
)
def contraction(P: np.ndarray, alpha: float, lam: float, beta: float) -> Claim:
    """The norm of alpha I + (lam/beta) CAC Sigma, Sigma ≤ 1/2; attained on the 3-cycle near the middle of an edge."""
    rate, assumptions = _rate(P, alpha, lam, beta)
    return Claim(0.0, rate, assumptions)


def _rate(P: np.ndarray, alpha: float, lam: float, beta: float) -> tuple[float, dict[str, bool]]:
    x = lam * _half_norm(P) / beta
    return float(x / 2 + np.hypot(alpha, x / 2)), {"x < 1 - alpha²": bool(x < (1 - alpha) * (1 + alpha))}


def _sampled(source: Source) -> dict[str, Any]:
    return contracting(source, _half_norm, lambda alpha: (1 - alpha) * (1 + alpha)) | {
        "rounds": source.choice((1, 2, 5)),
        "comparisons": source.choice((1, 10, 1000)),
        "failure": positive(source, 3e-2, 0.5),
    }


@theorem(
    number="7.4",
    source="[derived] statement 7.4",
    statement="Where rounds of IPO contract at rate r < 1 in the 2-norm (7.3) and each (P mu_t)_i is the share of n fresh "
    "comparisons of i that it wins, then with probability at least 1 - delta ‖z_t - z*‖ ≤ r^t ‖z_0 - z*‖ + √(K ln(2KT/delta)"
    "/(2n))/(beta (1-r)) for all T rounds at once, z = C log pi.",
    quantity="the (1 - delta)-quantile over runs of max_{t ≤ T} (‖z_t - z*‖₂ - r^t ‖z_0 - z*‖₂), from any start; "
    "comparisons = n, failure = delta, rounds = T",
    strength="loose",
    build=_sampled,
    about="ipo",
)
def finite_samples(
    P: np.ndarray, alpha: float, lam: float, beta: float, rounds: int, comparisons: int, failure: float
) -> Claim:
    """Hoeffding's bound for each of the K T shares, and a geometric sum of the error that each round adds."""
    rate, assumptions = _rate(P, alpha, lam, beta)
    if rate >= 1:
        return Claim(0.0, np.inf, {"x < 1 - alpha²": False})
    K = len(P)
    error = np.sqrt(K * np.log(2 * K * rounds / failure) / (2 * comparisons)) if rounds else 0.0
    return Claim(0.0, error / (beta * (1 - rate)), assumptions)


def row_span(P: np.ndarray) -> float:
    """D = max_ij span_k (A_ik - A_jk)."""
    A = al.skew(P)
    return float(np.ptp(A[:, None, :] - A[None, :, :], axis=2).max())


@theorem(
    number="7.3",
    source="[derived] statement 7.3, span norm",
    statement="With D = max_ij span_k(A_ik - A_jk), alpha + (lam/(4 beta)) D < 1 contracts rounds of IPO at that "
    "rate in the span.",
    quantity=f"ratio of the spans (max - min) of {_PAIR}",
    strength="tight",
    build=lambda source: contracting(source, lambda P: row_span(P) / 4, lambda alpha: 1 - alpha),
    about="ipo",
)
def span_contraction(P: np.ndarray, alpha: float, lam: float, beta: float) -> Claim:
    """‖Sigma d‖₁ ≤ span(d)/2, and a difference of rows of A maps it to at most D/2 times that norm."""
    rate = alpha + lam / (4 * beta) * row_span(P)
    return Claim(0.0, rate, {"rate < 1": rate < 1})


@theorem(
    number="7.3",
    source="[derived] statement 7.3, for every P and K",
    statement="alpha + lam/(2 beta) < 1 makes rounds of IPO converge for every P and K, at that rate in the span.",
    quantity=f"ratio of the spans (max - min) of {_PAIR}",
    strength="tight",
    build=lambda source: contracting(source, lambda P: 0.5, lambda alpha: 1 - alpha),
    about="ipo",
)
def universal_contraction(P: np.ndarray, alpha: float, lam: float, beta: float) -> Claim:
    """D ≤ 2; approached where two rows of P differ by 1 in one column and by -1 in another."""
    rate = alpha + lam / (2 * beta)
    return Claim(0.0, rate, {"rate < 1": rate < 1})


_DIVERGENCES = "KL(pi*‖pi_{t+1})/KL(pi*‖pi_t), pi* the fixed point, one round of IPO"


@theorem(
    number="7.15",
    source="[derived] statement 7.15",
    statement="Under IPO with alpha < 1 and x = lam D/(4 beta) < √(1-alpha), D = max_ij span_k(A_ik - A_jk), "
    "KL(pi*‖pi_{t+1}) ≤ max(alpha, x²/(1-alpha)) KL(pi*‖pi_t) from every interior start, whatever K.",
    quantity=_DIVERGENCES,
    strength="tight",
    build=lambda source: contracting(source, lambda P: row_span(P) / 4, lambda alpha: np.sqrt(1 - alpha)),
    about="ipo",
)
def dimension_free_convergence(P: np.ndarray, alpha: float, lam: float, beta: float) -> Claim:
    """KL(pi*‖p') = alpha KL(pi*‖p) - alpha KL(p'‖p) - (1-alpha) KL(p'‖pi*) + (lam/beta) v'ᵀA v, v = p - pi*; Pinsker."""
    return divergence_claim(alpha, lam * row_span(P) / (4 * beta))


@theorem(
    number="7.15",
    source="[derived] statement 7.15, for every P and K",
    statement="beta > lam/(2 √(1-alpha)) makes rounds of IPO converge for every P and K: KL(pi*‖pi_{t+1}) ≤ max(alpha, "
    "(lam/(2 beta))²/(1-alpha)) KL(pi*‖pi_t) from every interior start.",
    quantity=_DIVERGENCES,
    strength="tight",
    build=lambda source: contracting(source, lambda P: 0.5, lambda alpha: np.sqrt(1 - alpha)),
    about="ipo",
)
def universal_convergence(P: np.ndarray, alpha: float, lam: float, beta: float) -> Claim:
    """Statement 7.15 with D ≤ 2."""
    return divergence_claim(alpha, lam / (2 * beta))


def divergence_claim(alpha: float, x: float) -> Claim:
    """max(alpha, x²/(1-alpha)) where x < √(1-alpha)."""
    inside = alpha < 1 and x < np.sqrt(1 - alpha)
    rate = max(alpha, x**2 / (1 - alpha)) if inside else np.inf
    return Claim(0.0, rate, {"x < √(1-alpha)": bool(inside)})


def _matched(source: Source) -> dict[str, Any]:
    K = source.integer(2, 6)
    objective = source.choice(("ipo", "dpo"))
    return {
        "P": matrix(source, K, ("linear",) if objective == "ipo" else ("bradley-terry",)),
        "alpha": source.number(0.0, 1.0),
        "lam": source.number(0.0, 1.0),
        "beta": positive(source, 1e-2, 1e2),
        "log_reference": log_policy(source, K, (0.0, 1.0, 30.0)),
        "log_offline": log_sampler(source, K),
        "log_initial": log_policy(source, K, (0.0, 1.0, 30.0)),
        "rounds": source.choice((0, 1, 2, 20, 200)),
        "objective": objective,
    }


@theorem(
    number="7.6",
    source="[derived] statement 7.6",
    statement="Where the loss matches the link, P_ij = 1/2 + x_i - x_j under IPO or logit P_ij = x_i - x_j under "
    "DPO, rounds are linear in logs: z_t = C[alpha^t z_0 + (1-alpha^t) log ref + G_t x/beta], and converge for every "
    "alpha < 1.",
    quantity="C log pi_t after `rounds` rounds from log_initial, shape (K,)",
    strength="tight",
    build=_matched,
)
def matched_link(
    P: np.ndarray,
    alpha: float,
    lam: float,
    beta: float,
    log_reference: np.ndarray,
    log_offline: np.ndarray,
    log_initial: np.ndarray,
    rounds: int,
    objective: str = "ipo",
) -> Claim:
    """The reward x is the same under every sampler, so lam and log_offline do not enter."""
    if objective == "dpo" and not ((P > 0) & (P < 1)).all():
        return Claim(np.full(len(P), -np.inf), np.inf, {"P matches the objective's link": False})
    link = al.skew(P) if objective == "ipo" else al.logit(P)
    x = link.mean(axis=1)
    matches = bool(np.abs(link - al.pairwise_difference(x)).max() <= al.ROUNDING)
    left, gone, G = al.geometric(alpha, rounds)
    z = al.centre(left * log_initial + gone * log_reference + G * x / beta)
    return Claim(z, z, {"P matches the objective's link": matches})


def _stationary(source: Source) -> dict[str, Any]:
    """A skew A with A p = 0: any skew form on the complement of p, at K = 3 the cross product with p."""
    K = source.integer(2, 5)
    log_stationary = log_policy(source, K, (0.0, 1.0, 3.0))
    free = al.null_space(np.exp(log_stationary)[None, :])
    B = np.array([[source.number(-1.0, 1.0) for _ in range(K - 1)] for _ in range(K - 1)])
    A = free @ (B - B.T) @ free.T
    A = A * source.number(1e-3, 0.499) / max(np.abs(A).max(), 1e-12)
    near = source.choice((False, True))
    log_pi = log_stationary if near else log_policy(source, K, (1.0, 0.0, 5.0))
    P = 0.5 + (A - A.T) / 2
    return {"P": P, "beta": positive(source, 1e-1, 1e2), "log_pi": log_pi, "log_stationary": log_stationary}


@theorem(
    number="7.7",
    source="[derived] statement 7.7",
    statement="At alpha = lam = 1 under IPO, with an interior p such that A p = 0, KL(p‖pi_{t+1}) - KL(p‖pi_t) = log "
    "Σ pi e^u lies in [0, span(u)²/8], u = A pi/beta: it never decreases, and unless A = 0 no beta stabilises p.",
    quantity="KL(p‖pi_{t+1}) - KL(p‖pi_t), p = exp(log_stationary), one round at alpha = lam = 1, in nats",
    strength="tight",
    build=_stationary,
    about="ipo",
)
def divergence_on_policy(P: np.ndarray, beta: float, log_pi: np.ndarray, log_stationary: np.ndarray) -> Claim:
    """u has mean 0 under pi (A is skew) and p (A p = 0); Jensen gives the lower side, Hoeffding's lemma the upper."""
    A = al.skew(P)
    u = A @ np.exp(log_pi) / beta
    balanced = bool(np.abs(A @ np.exp(log_stationary)).max() <= al.ROUNDING)
    return Claim(0.0, np.ptp(u) ** 2 / 8, {"A p = 0": balanced})
