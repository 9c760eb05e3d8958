"""What to do: changes of beta, lam or alpha that make the rounds of one matrix stable, or keep its policy from collapsing."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from .. import theorems
from ..oracle import FLOOR, Objective, Rounds, follow, run
from ..stability import Share, share

CONFIDENCE = 0.95
# Values of alpha and lam that are tried: of two digits.
LATTICE = (0.0, *(m / 10**k for k in (4, 3, 2) for m in range(10, 100)), 1.0)
PAIR_ALPHA = 0.5  # of the pair of alpha and beta that is named where neither alone is enough
PAIR_PARTS = (0.0, 0.25, 0.5, 0.75, 1.0)  # of it, at which its beta has to be enough
FIRST = 75  # draws of each model that are looked at before the rest
KEPT_ENTROPY = 0.5  # of log K, below which a policy counts as collapsing
MAX_BETA = 1e6
FAR = 10**6  # rounds, in which alpha^t has died out
FADED = 1e-4  # alpha^t at the end of a simulated run
SHORTEST_RUN, LONGEST_RUN = 50, 2000  # its rounds
PROVEN = "proven: [derived] statement 2.4, for the P of the file"


@dataclasses.dataclass(frozen=True)
class Remedy:
    """Each number alone is enough; None where it is not known to be.

    Attributes:
        confidence: posterior probability with which it is enough; None where P is taken as exact.
        beta: rounds are stable at every beta above it; infinite where no beta is enough.
        alpha: the largest alpha tried, of two digits, for which, and for all smaller ones tried, the present beta is enough.
        lam: the same of lam.
        enough: whether the present setting already is.
        stable: posterior probability that the present setting is stable, by the model that gives the smaller one; None where
            P is taken as exact, and at alpha = 1.
        pair: an alpha and a beta that are enough together, where none of the above is.
        entropy: the entropy in nats that ``beta_entropy`` keeps.
        beta_entropy: above it, the entropy of the policy stays above ``entropy``.
        alpha_entropy: the alpha up to which that holds, where it is not the present one.
        basis_entropy: what that rests on, a proof or a simulation.
    """

    confidence: float | None
    beta: float | None
    alpha: float | None
    lam: float | None
    enough: bool
    stable: Share | None = None
    pair: tuple[float, float] | None = None
    entropy: float | None = None
    beta_entropy: float | None = None
    alpha_entropy: float | None = None
    basis_entropy: str | None = None

    def to_dict(self) -> dict[str, Any]:
        return dataclasses.asdict(self) | {"stable": None if self.stable is None else self.stable._asdict()}

    def __str__(self) -> str:
        kept = self.beta_entropy is not None
        if self.enough:
            text = f"nothing{'' if kept else ' for stability'}: rounds are stable {self._certain(self.stable)}"
            if self.beta is not None:
                level = ", as" if self.confidence is None else f", and with {self.confidence:g}"
                text += f"{level} at every beta ≥ {_up(self.beta)}"
        elif choices := self._choices():
            rest = f" (or {', or '.join(choices[1:])})" if len(choices) > 1 else ""
            text = f"{choices[0]}{rest}; rounds are then stable {self._certain(self.confidence)}"
        else:
            text = f"no beta, lam or alpha tried makes rounds stable {self._certain(self.confidence)}"
        if self.beta_entropy is None:
            return text
        with_alpha = "" if self.alpha_entropy is None else f"alpha ≤ {self.alpha_entropy:g} with "
        return (
            f"{with_alpha}beta ≥ {_up(self.beta_entropy)} keeps the entropy above {self.entropy:.3g} nats "
            f"({self.basis_entropy}). For stability {text}"
        )

    def _choices(self) -> list[str]:
        choices = [] if self.beta is None or not math.isfinite(self.beta) else [f"beta ≥ {_up(self.beta)}"]
        for name, value in (("lam", self.lam), ("alpha", self.alpha)):
            if value is not None:
                choices.append(f"{name} ≤ {value:g}" if value else f"{name} = 0")
        if not choices and self.pair is not None:
            choices.append(f"alpha ≤ {self.pair[0]:g} with beta ≥ {_up(self.pair[1])}")
        return choices

    def _certain(self, level: Share | float | None) -> str:
        if level is None:
            return "if P is exactly that of the file"
        shown = str(level) if isinstance(level, Share) else f"{level:g}"
        return f"with posterior probability {shown}"


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
    models = [P[None]] if not drawn else list(drawn)
    is_stable = lambda alpha, lam: _is_stable(models, objective, alpha, lam, beta)
    at_present = stable = less_alpha = less_lam = pair = None
    enough = False
    if followed:
        crossings = _crossings(models, objective, [alpha], lam, beta)
        at_present = float(_at_level(crossings)[0])
        enough = at_present < beta
        counts = [int((part[:, 0] < beta).sum()) for part in crossings]
        stable = share(min(counts), len(drawn[0])) if drawn else None
    if enough:
        at_present = max(float(_limits(models, objective, [alpha], lam, min(FLOOR, beta))[0]), FLOOR)
    else:
        less_alpha = _largest(alpha, lambda value: is_stable(value, lam))
        less_lam = _largest(lam, lambda value: is_stable(alpha, value)) if followed else None
        if less_alpha is None and less_lam is None and (at_present is None or not math.isfinite(at_present)):
            pair = _pair(models, objective, lam, beta)
    kept = _against_collapse(P, objective, alpha, lam, beta) if collapsed else {}
    return Remedy(CONFIDENCE if drawn else None, at_present, less_alpha, less_lam, enough, stable, pair, **kept)


def _crossings(
    models: Sequence[np.ndarray], objective: Objective, alphas: Sequence[float], lam: float, beta: float
) -> list[np.ndarray]:
    """For each model, draw and alpha the beta above which rounds are stable, 0 where they still are at ``beta``."""
    found = follow(np.concatenate(models), objective, alphas, lam, np.full(len(alphas), beta), until_lost=True)
    return np.split(found.crossing, np.cumsum([len(draws) for draws in models])[:-1])


def _at_level(crossings: Sequence[np.ndarray]) -> np.ndarray:
    """For each alpha the beta above which the share ``CONFIDENCE`` of a model's draws is stable, the larger of all models."""
    return np.max([np.sort(part, axis=0)[math.ceil(CONFIDENCE * len(part) - 1e-9) - 1] for part in crossings], axis=0)


def _limits(
    models: Sequence[np.ndarray], objective: Objective, alphas: Sequence[float], lam: float, beta: float
) -> np.ndarray:
    return _at_level(_crossings(models, objective, alphas, lam, beta))


def _is_stable(models: Sequence[np.ndarray], objective: Objective, alpha: float, lam: float, beta: float) -> bool:
    """Whether the share ``CONFIDENCE`` of each model's draws is stable at and above ``beta``. The first draws alone often show
    that it is not.
    """
    allowed = [len(draws) - math.ceil(CONFIDENCE * len(draws) - 1e-9) for draws in models]
    for some in ([draws[:FIRST] for draws in models], [draws[FIRST:] for draws in models]):
        if not len(some[0]):
            break
        crossings = _crossings(some, objective, [alpha], lam, beta)
        allowed = [left - int((part >= beta).sum()) for left, part in zip(allowed, crossings, strict=True)]
        if min(allowed) < 0:
            return False
    return True


def _largest(present: float, is_enough: Callable[[float], bool]) -> float | None:
    """The largest value of two digits below the present one that is enough, by bisection; None where 0 is not."""
    values = [value for value in LATTICE if value < present]
    if not values or not is_enough(values[0]):
        return None
    if is_enough(values[-1]):
        return values[-1]
    low, high = 0, len(values) - 1
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if is_enough(values[middle]) else (low, middle)
    return values[low]


def _pair(models: Sequence[np.ndarray], objective: Objective, lam: float, beta: float) -> tuple[float, float] | None:
    """An alpha, and the beta that is enough at it and at smaller ones."""
    alphas = [PAIR_ALPHA * part for part in PAIR_PARTS]
    least = float(_limits(models, objective, alphas, lam, beta).max())
    return (PAIR_ALPHA, least) if math.isfinite(least) and least > 0 else None


def _against_collapse(P: np.ndarray, objective: Objective, alpha: float, lam: float, beta: float) -> dict[str, Any]:
    """What keeps half of the largest entropy: for IPO by statement 2.4; for DPO, of which it says nothing, by simulation."""
    entropy, at = KEPT_ENTROPY * math.log(len(P)), min(alpha, PAIR_ALPHA) if alpha == 1 else alpha
    kept, basis = _beta_that_keeps(P, at, entropy) if objective == "ipo" else None, f"for ever; {PROVEN}"
    if kept is None:
        kept, rounds = _simulated_beta(P, objective, at, lam, entropy)
        basis = f"simulated, {rounds} rounds on the P of the file"
    if kept is None:
        return {}
    other = at if at != alpha else None
    return {"entropy": entropy, "beta_entropy": kept, "alpha_entropy": other, "basis_entropy": basis}


def _simulated_beta(
    P: np.ndarray, objective: Objective, alpha: float, lam: float, entropy: float
) -> tuple[float | None, int]:
    """The least beta, to 1%, whose fixed point has the entropy; raised until a run from the uniform policy keeps it."""
    rounds = min(max(math.ceil(math.log(FADED) / math.log(alpha)) if alpha > 0 else 0, SHORTEST_RUN), LONGEST_RUN)

    def rests(beta: float) -> bool:
        found = follow(P[None], objective, [alpha], lam, [beta])
        return bool(not found.lost[0] and _entropy(found.logits) >= entropy)

    def keeps(beta: float) -> bool:
        z = run(Rounds(P[None], objective, alpha, lam, beta), np.zeros((1, len(P))), rounds)
        return bool(np.isfinite(z).all() and _entropy(z[:, 0]) >= entropy)

    low, high = 1e-6, MAX_BETA
    if not rests(high):
        return None, rounds
    while high > low * 1.01:
        middle = math.sqrt(low * high)
        low, high = (low, middle) if rests(middle) else (middle, high)
    while high < MAX_BETA:
        if keeps(high):
            return high, rounds
        high *= 1.2
    return None, rounds


def _entropy(logits: np.ndarray) -> float:
    """The least entropy of the rows, in nats."""
    z = logits - logits.max(axis=1, keepdims=True)
    log_policy = z - np.log(np.exp(z).sum(axis=1, keepdims=True))
    entropies = -(np.exp(log_policy) * log_policy).sum(axis=1)
    return float(entropies.min())


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
