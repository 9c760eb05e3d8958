"""What to do: changes of beta, lam or alpha that make the rounds of one matrix stable, or keep its policy from collapsing."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from .. import theorems
from ..oracle import FLOOR, Objective, follow

CONFIDENCE = 0.95
SHARES = (0.0, 0.25, 0.5, 0.75, 1.0)  # of the present alpha and lam that are tried
KEPT_ENTROPY = 0.5  # of log K, below which a policy counts as collapsing
MAX_BETA = 1e6
FAR = 10**6  # rounds, in which alpha^t has died out


@dataclasses.dataclass(frozen=True)
class Remedy:
    """Each number alone is enough; None where it is not known to be.

    Attributes:
        confidence: posterior probability with which it is enough; None where P is taken as exact.
        beta: rounds are stable at every beta above it; infinite where no beta is enough.
        alpha: the largest alpha tried for which, and for all smaller ones tried, the present beta is enough.
        lam: the same of lam.
        enough: whether the present setting already is.
        entropy: the entropy in nats that ``beta_entropy`` keeps.
        beta_entropy: above it, statement 2.4 bounds the entropy of the policy from below by ``entropy`` for ever.
    """

    confidence: float | None
    beta: float | None
    alpha: float | None
    lam: float | None
    enough: bool
    entropy: float | None = None
    beta_entropy: float | None = None

    def to_dict(self) -> dict[str, Any]:
        return dataclasses.asdict(self)

    def __str__(self) -> str:
        certain = (
            "if P is exactly that of the file"
            if self.confidence is None
            else f"with posterior probability {self.confidence:g}"
        )
        choices = [] if self.beta is None or not math.isfinite(self.beta) else [f"beta ≥ {_up(self.beta)}"]
        choices += [] if self.lam is None else [f"lam ≤ {self.lam:.3g}"]
        choices += [] if self.alpha is None else [f"alpha ≤ {self.alpha:.3g}"]
        if self.enough:
            text = f"nothing for stability: rounds are stable {certain}"
            text += "" if self.beta is None else f", as at every beta ≥ {_up(self.beta)}"
        elif choices:
            rest = f" (or {', or '.join(choices[1:])})" if len(choices) > 1 else ""
            text = f"{choices[0]}{rest}; rounds are then stable {certain}"
        else:
            text = f"no beta, lam or alpha tried makes rounds stable {certain}"
        if self.beta_entropy is not None:
            text += (
                f". To keep the entropy above {self.entropy:.3g} nats for ever, beta ≥ {_up(self.beta_entropy)} is enough "
                f"([derived] statement 2.4, for the P of the file)"
            )
        return text


def _up(beta: float) -> str:
    """beta rounded up to three digits, so that the printed number is enough too."""
    digits = 2 - math.floor(math.log10(beta))
    return f"{math.ceil(beta * 10**digits - 1e-9) / 10**digits:.3g}"


def remedy(
    P: np.ndarray,
    drawn: Sequence[np.ndarray],
    objective: Objective,
    alpha: float,
    lam: float,
    beta: float,
    *,
    collapsed: bool,
) -> Remedy:
    """The remedy for one matrix.

    Args:
        P: the rates of the file, ``(K, K)``.
        drawn: draws of P from each model, of which the larger beta counts, ``(draws, K, K)`` each; none: P is exact.
        objective: "ipo" or "dpo".
        alpha, lam, beta: the present setting.
        collapsed: whether the policy collapses, so that the beta that keeps its entropy is wanted.
    """
    followed = alpha < 1  # at 1 no beta is enough, whatever lam is
    shares = np.array(SHARES)
    alphas = np.unique(alpha * (shares if followed else shares[:-1]))
    lams = np.unique(lam * shares) if followed else np.array([lam])
    models = [P[None]] if not drawn else list(drawn)
    level = 1.0 if not drawn else CONFIDENCE
    by_alpha = _limits(models, level, objective, alphas, lam, beta)
    # The last of each list is the present value, but for alpha = 1, which is not in its list.
    at_present = float(by_alpha[-1]) if followed else None
    enough = at_present is not None and at_present < beta
    if enough:
        at_present = max(float(_limits(models, level, objective, alphas[-1:], lam, min(FLOOR, beta))[0]), FLOOR)
    less_alpha = None if enough else _largest(alphas, by_alpha < beta)
    less_lam = None
    if followed and not enough:
        by_lam = [_limits(models, level, objective, alphas[-1:], value, beta)[0] for value in lams[:-1]]
        less_lam = _largest(lams, np.array([*by_lam, at_present]) < beta)
    entropy = KEPT_ENTROPY * math.log(len(P)) if collapsed and objective == "ipo" and alpha < 1 else None
    kept = None if entropy is None else _beta_that_keeps(P, alpha, entropy)
    confidence = CONFIDENCE if drawn else None
    return Remedy(confidence, at_present, less_alpha, less_lam, enough, None if kept is None else entropy, kept)


def _limits(
    models: Sequence[np.ndarray], level: float, objective: Objective, alphas: np.ndarray, lam: float, beta: float
) -> np.ndarray:
    """For each alpha the beta above which a share ``level`` of a model's draws is stable, the larger of all models; 0 where
    they still are at ``beta``.
    """
    found = follow(np.concatenate(models), objective, alphas, lam, np.full(len(alphas), beta), until_lost=True)
    parts = np.split(found.crossing, np.cumsum([len(draws) for draws in models])[:-1])
    return np.max([np.sort(part, axis=0)[math.ceil(level * len(part) - 1e-9) - 1] for part in parts], axis=0)


def _largest(values: np.ndarray, enough: np.ndarray) -> float | None:
    """The largest of ascending values up to which every one is enough."""
    count = int(np.argmin([*enough, False]))
    return float(values[count - 1]) if count else None


def _beta_that_keeps(P: Any, alpha: float, entropy: float) -> float | None:
    """The least beta at which the bound of statement 2.4 keeps the entropy, by bisection: its box shrinks as beta grows."""
    P = np.asarray(P, np.float64)
    K = len(P)
    even = np.full(K, -math.log(K))
    same = {"log_reference": even, "log_offline": even, "log_initial": even, "rounds": FAR}

    def least(beta: float) -> float:
        claims = (
            theorems.collapse_entropy(P=P, alpha=alpha, lam=1.0, beta=beta, top=top, **same).lower for top in range(K)
        )
        return max(float(claim) for claim in claims)

    low, high = 1e-6, MAX_BETA
    if least(high) < entropy:
        return None
    while high > low * (1 + 1e-6):
        middle = math.sqrt(low * high)
        low, high = (low, middle) if least(middle) >= entropy else (middle, high)
    return high
