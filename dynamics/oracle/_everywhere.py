"""What holds whatever people prefer: the betas and entropies that suffice for every P, and the matrices that need them."""

from __future__ import annotations

import dataclasses
import math

import numpy as np

MOST_RESPONSES = 10_001  # of a tournament that is named as an example


@dataclasses.dataclass(frozen=True)
class Everywhere:
    """IPO's rounds at one alpha and lam, for every P, number of responses, reference and offline sampler.

    Attributes:
        alpha, lam: the setting.
        beta: the KL coefficient that was asked about, or None.
        proven: convergence from every start is proven at every beta above this one; inf at alpha = 1.
        local: the fixed point attracts at every beta above this one, and at no smaller beta for every P; inf at alpha = 1.
        verdict: of ``beta``: "converges" (proven for every P), "attracts" (near the fixed point, for every P), "depends" (some
            P are unstable), or "never" (alpha = 1: every cycle is); None without a beta.
        worst: number of responses of the smallest regular tournament that is unstable at ``beta``; None where none of up to
            10,001 responses is.
        enough_alpha, enough_lam: the largest alpha, and the largest lam, with which convergence is proven at ``beta``, the
            other kept; None without a beta, or where no value is enough.
        gamma: an entropy weight with which convergence is proven for every P at ``beta`` (reverse KL on win rates; at alpha = 1
            too); without a beta, one that suffices at every beta.
        needed_gamma: no smaller entropy weight is safe for every P at ``beta``.
    """

    alpha: float
    lam: float
    beta: float | None
    proven: float
    local: float
    verdict: str | None
    worst: int | None
    enough_alpha: float | None
    enough_lam: float | None
    gamma: float
    needed_gamma: float | None


def proven_everywhere(alpha: np.ndarray, lam: np.ndarray) -> np.ndarray:
    """lam/(2 √(1 - alpha)): above this beta IPO's rounds are proven to converge for every P; inf at alpha = 1.

    Source: [derived] statement 7.15.

    >>> proven_everywhere(np.array(0.99), np.array(1.0)).round(6).item()
    5.0
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(lam == 0, 0.0, lam / (2 * np.sqrt(1 - alpha)))


def stable_everywhere(alpha: np.ndarray, lam: np.ndarray) -> np.ndarray:
    """lam/(pi √(1 - alpha²)): above this beta IPO's fixed point attracts for every P, and no smaller beta is safe for all.

    Source: [derived] statement 7.14.

    >>> stable_everywhere(np.array(0.0), np.array(1.0)).round(6).item()
    0.31831
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(lam == 0, 0.0, lam / (np.pi * np.sqrt((1 - alpha) * (1 + alpha))))


def everywhere(alpha: float, lam: float, beta: float | None = None) -> Everywhere:
    """Whether IPO's rounds are stable for every P: alpha² + (lam/(pi beta))² < 1 near fixed points, beta > lam/(2 √(1-alpha))
    from every start, and what else would make them so.

    Args:
        alpha: share of the policy in the next reference, in [0, 1].
        lam: share of the policy in the next sampler, in [0, 1].
        beta: the KL coefficient, > 0; None to be told the thresholds only.

    Raises:
        ValueError: a value outside these ranges.

    Source: [derived] statements 2.1, 7.14, 7.15 and 7.16.

    >>> found = dyn.oracle.everywhere(alpha=0.5, lam=1.0, beta=0.3)
    >>> round(found.proven, 4), round(found.local, 4), found.verdict, found.worst
    (0.7071, 0.3676, 'depends', 3)
    """
    for name, value in (("alpha", alpha), ("lam", lam)):
        if not 0 <= value <= 1:
            raise ValueError(f"{name} = {value:g} is outside [0, 1]; pass a value inside.")
    if beta is not None and not 0 < beta < math.inf:
        raise ValueError(f"beta = {beta:g} is outside (0, inf); pass a positive KL coefficient.")
    proven = float(proven_everywhere(np.array(alpha), np.array(lam)))
    local = float(stable_everywhere(np.array(alpha), np.array(lam)))
    # At lam = 0 and alpha < 1 rounds are linear in log pi and contract by alpha.
    if alpha == 1:
        proven = local = math.inf
    gamma, needed = _entropy(alpha, lam, beta)
    if beta is None:
        return Everywhere(alpha, lam, None, proven, local, None, None, None, None, gamma, needed)
    verdict = "converges" if beta > proven else "attracts" if beta >= local else "never" if alpha == 1 else "depends"
    ratio = lam / (2 * beta)
    share = 1 - ratio * ratio  # a power would raise where the product is inf
    most = min(1.0, 2 * beta * math.sqrt(1 - alpha))
    return Everywhere(
        alpha,
        lam,
        beta,
        proven,
        local,
        verdict,
        _worst(alpha, lam, beta) if verdict in ("depends", "never") and lam > 0 else None,
        share if share > 0 else None,
        most if most > 0 else None,
        gamma,
        needed,
    )


def _entropy(alpha: float, lam: float, beta: float | None) -> tuple[float, float | None]:
    """gamma of (beta+gamma)(beta(1-alpha)+gamma) = (lam/2)² (D = 2), and √((alpha beta)² + (lam/pi)²) - beta; at least 0."""
    if beta is None:
        return lam / 2, None  # as beta tends to 0, where it is largest
    # The root, written so that no power of beta or lam over- or underflows.
    gamma = max(0.0, (math.hypot(alpha * beta, lam) - (2 - alpha) * beta) / 2)
    return gamma, max(0.0, math.hypot(alpha * beta, lam / math.pi) - beta)


def _worst(alpha: float, lam: float, beta: float) -> int | None:
    """The smallest odd K with alpha² + (lam cot(pi/2K)/(2K beta))² > 1 (statement 2.1); the middle of cycles of one size."""
    reach = beta * math.sqrt((1 - alpha) * (1 + alpha)) / lam  # the frequency from which uniform is unstable
    frequency = lambda K: 1 / (math.tan(math.pi / (2 * K)) * 2 * K)
    return next((K for K in range(3, MOST_RESPONSES + 1, 2) if frequency(K) > reach), None)
