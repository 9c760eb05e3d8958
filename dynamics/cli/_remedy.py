"""What to do: changes of beta, lam or alpha that make the rounds of one matrix stable, or keep its policy from collapsing."""

from __future__ import annotations

import dataclasses
import math
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import theorems
from ..objectives import IPO
from ..stability import SafeBeta, known_beta, safe_beta

if TYPE_CHECKING:
    from ..preferences import PreferenceSet

CONFIDENCE = 0.95
DRAWS = 300  # of each model
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
    matrices: PreferenceSet, m: int, kind: Any, alpha: float, lam: float, beta: float, *, collapsed: bool
) -> Remedy:
    """The remedy for one matrix, by its counts where it has them."""
    followed = alpha < 1  # at 1 no beta is enough, whatever lam is
    shares = np.array(SHARES)
    alphas = np.unique(alpha * (shares if followed else shares[:-1]))
    lams = np.unique(lam * shares) if followed else np.array([lam])
    limits = _limits(matrices, m, kind, alphas, lams)
    at_present = float(limits.beta[-1, -1]) if followed else None
    enough = at_present is not None and at_present < beta
    # The last of each list is the present value, but for alpha = 1, which is not in its list.
    less_alpha = None if enough else _largest(alphas, limits.beta[:, -1] < beta)
    less_lam = None if enough or not followed else _largest(lams, limits.beta[-1] < beta)
    entropy = KEPT_ENTROPY * math.log(len(matrices[m])) if collapsed and kind is IPO and alpha < 1 else None
    kept = None if entropy is None else _beta_that_keeps(matrices[m], alpha, entropy)
    return Remedy(limits.confidence, at_present, less_alpha, less_lam, enough, None if kept is None else entropy, kept)


def _limits(matrices: PreferenceSet, m: int, kind: Any, alphas: np.ndarray, lams: np.ndarray) -> SafeBeta:
    if matrices.counts[m] is None:
        return known_beta(matrices[m], kind, alphas, lams)
    import jax

    options: dict[str, Any] = {"confidence": CONFIDENCE, "draws": DRAWS, "one_sided": True}
    return safe_beta(matrices.wins(m), kind, alphas, lams, key=jax.random.key(0), **options)


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
