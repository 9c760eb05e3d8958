"""Certificates: what theorems prove of all orbits of a process, withdrawn where a computed number contradicts them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..rounds import Process
from ._fixed_points import FixedPoint
from ._known import ContractionRate, contraction_rates, link_residual, matches_link, only_fixed_point
from ._local import boundary

PROVEN_STABLE = "proven stable"
PROVEN_UNSTABLE = "proven unstable"
UNSTABLE_FOUND = "unstable at every fixed point found"
NO_CERTIFICATE = "none"

__all__ = ["ContractionRate", "certify", "contraction_rates"]


def certify(
    process: Process[Any], fixed_points: Sequence[FixedPoint], rates: Sequence[ContractionRate]
) -> tuple[str, str]:
    """The certificate, and the sentence that says what it rests on."""
    certificate, reason = _claimed(process, fixed_points, rates)
    worst = max((p.spectral_radius for p in fixed_points if p.log_policy is not None), default=0.0)
    if certificate == PROVEN_STABLE and worst > 1 + boundary():
        return (
            NO_CERTIFICATE,
            f"{reason}, but a fixed point was found with spectral radius {worst:.6g}: the numbers are too close to rounding "
            f"to prove anything",
        )
    return certificate, reason


def _claimed(
    process: Process[Any], fixed_points: Sequence[FixedPoint], rates: Sequence[ContractionRate]
) -> tuple[str, str]:
    if rates:
        best = rates[0]
        return PROVEN_STABLE, f"{best.statement}: the {best.distance} contracts by {best.rate:.6f} every round"
    if matches_link(process):
        return (
            PROVEN_STABLE,
            f"[derived] statement 7.6: P matches the link of the loss (to {link_residual(process):.1g}, the rounding of P), so "
            f"rounds are linear and converge",
        )
    radii = [point.spectral_radius for point in fixed_points]
    if not radii or min(radii) <= 1 + boundary():
        return NO_CERTIFICATE, "no contraction theorem applies, and not every fixed point found is unstable"
    only = only_fixed_point(process)
    if only is not None and only.proves_instability:
        return PROVEN_UNSTABLE, f"{only.statement}: the only fixed point is unstable"
    if only is not None and len(radii) == 1:
        return UNSTABLE_FOUND, f"the fixed point found is unstable, and by {only.statement} it is the only one"
    return UNSTABLE_FOUND, "every fixed point found is unstable, but it is not proven that there are no others"
