"""What is proven of a process: contraction rates and certificates, from the theorems of the house."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from .. import theorems
from ..objectives import DPO, IPO
from ..rounds import RoundMap
from ._fixed_points import FixedPoint
from ._local import boundary, is_exact

PROVEN_STABLE = "proven stable"
PROVEN_UNSTABLE = "proven unstable"
UNSTABLE_FOUND = "unstable at every fixed point found"
NO_CERTIFICATE = "none"


@dataclasses.dataclass(frozen=True)
class ContractionRate:
    """A proven bound on the factor by which a distance to the fixed point shrinks in every round.

    Attributes:
        rate: in [0, 1).
        statement: the theorem that gives it.
        distance: the distance that shrinks.
    """

    rate: float
    statement: str
    distance: str


def contraction_rates(process: RoundMap) -> list[ContractionRate]:
    """Every rate that the contraction theorems give for iterated IPO, the smallest first; empty where none applies.

    Statement 7.2 bounds KL(pi*‖pi_t), which is quadratic in the distance, so its rate counts by its square root.
    """
    if not (is_exact(process) and process.is_tabular and isinstance(process.objective, IPO)):
        return []
    inputs = {
        "P": np.asarray(process.preference),
        "alpha": float(process.alpha),
        "lam": float(process.lam),
        "beta": float(process.objective.beta),
    }
    table = (
        (theorems.published_contraction, "centred-logit 2-norm", False),
        (theorems.centred_contraction, "centred-logit 2-norm", False),
        (theorems.contraction, "centred-logit 2-norm", False),
        (theorems.span_contraction, "span of the logits", False),
        (theorems.global_convergence, "square root of KL(pi*‖pi)", True),
    )
    rates = []
    for theorem, distance, squared in table:
        bound = theorem(**inputs)
        if bound.applicable:
            rate = float(bound.upper)
            rates.append(ContractionRate(np.sqrt(rate) if squared else rate, theorem.source, distance))
    return sorted((r for r in rates if r.rate < 1 - boundary()), key=lambda r: r.rate)


def matches_link(process: RoundMap) -> bool:
    """Whether P lies in the family in which the objective's rounds are linear: statement 7.6."""
    if not (is_exact(process) and process.is_tabular):
        return False
    P = np.asarray(process.preference)
    if isinstance(process.objective, IPO):
        link = P - 0.5
    elif isinstance(process.objective, DPO) and ((P > 0) & (P < 1)).all():
        link = np.log(P) - np.log(P.T)
    else:
        return False
    scores = link.mean(axis=1)
    return bool(np.abs(link - (scores[:, None] - scores[None, :])).max() <= 1e-12 * max(1.0, np.abs(link).max()))


def certify(process: RoundMap, fixed_points: Sequence[FixedPoint], rates: Sequence[ContractionRate]) -> tuple[str, str]:
    """The certificate and the sentence that says what it rests on."""
    if rates:
        best = rates[0]
        return PROVEN_STABLE, f"{best.statement}: the {best.distance} contracts by {best.rate:.6f} every round"
    if is_exact(process) and float(process.alpha) < 1 - boundary() and matches_link(process):
        return PROVEN_STABLE, "[derived] statement 7.6: the loss matches the link, rounds are linear and converge"
    radii = [point.spectral_radius for point in fixed_points]
    if not radii or min(radii) <= 1 + boundary():
        return NO_CERTIFICATE, "no contraction theorem applies, and not every fixed point found is unstable"
    if _unique_ipo(process):
        return PROVEN_UNSTABLE, "[derived] statement 7.1: the only fixed point is unstable"
    if len(radii) == 1 and _unique_dpo(process):
        return (
            UNSTABLE_FOUND,
            "the fixed point found is unstable, and by [derived] statement 7.1 (lam = 1) it is the only one",
        )
    return UNSTABLE_FOUND, "every fixed point found is unstable; that there are no others is not proven"


def _unique_ipo(process: RoundMap) -> bool:
    if not is_exact(process):
        return False
    return process.is_tabular and isinstance(process.objective, IPO) and float(process.alpha) < 1


def _unique_dpo(process: RoundMap) -> bool:
    return (
        is_exact(process)
        and process.is_tabular
        and isinstance(process.objective, DPO)
        and float(process.alpha) < 1
        and float(process.lam) == 1
    )
