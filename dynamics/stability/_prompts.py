"""The report on several independent prompts, put together from the report on each."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ..engine import State
from ..rounds import Process
from ..schema import SEVERITY, VERDICTS
from ._certificate import NO_CERTIFICATE, PROVEN_STABLE, PROVEN_UNSTABLE, UNSTABLE_FOUND
from ._fixed_points import FixedPoint
from ._report import Report

SEVERITY_RANK: dict[str, int] = dict(zip(VERDICTS, SEVERITY, strict=True))


def of_independent(process: Process[Any], reports: list[Report]) -> Report:
    """The report on all prompts together: stable if every prompt is stable, unstable if some prompt is."""
    verdicts = tuple(report.verdict for report in reports)
    worst = max(range(len(reports)), key=lambda x: SEVERITY_RANK[verdicts[x]])
    certificate, decides = _certificate(reports)
    rates = [report.contraction_rate for report in reports]
    slowest = max((rate for rate in rates if rate is not None), key=lambda rate: rate.rate, default=None)
    return Report(
        fixed_points=_together(process, reports),
        contraction_rate=None if None in rates else slowest,
        lyapunov_exponent=max(report.lyapunov_exponent for report in reports),
        period=reports[worst].period,
        verdict=verdicts[worst],
        reason=f"prompt {worst}: {reports[worst].reason}",
        basins=_basins(reports),
        certificate=certificate,
        certificate_reason=f"prompt {decides}: {reports[decides].certificate_reason}",
        numbers=reports[worst].numbers,
        log_initial=np.stack([report.log_initial for report in reports]),
        rounds=max(report.rounds for report in reports),
        verdicts=verdicts,
        prompts=tuple(reports),
    )


def _certificate(reports: list[Report]) -> tuple[str, int]:
    """The weakest certificate and the first prompt that has it; if all are proven stable, the prompt that contracts slowest."""
    for name in (PROVEN_UNSTABLE, UNSTABLE_FOUND, NO_CERTIFICATE):
        for x, report in enumerate(reports):
            if report.certificate == name:
                return name, x
    return PROVEN_STABLE, max(range(len(reports)), key=lambda x: getattr(reports[x].contraction_rate, "rate", 0.0))


def _together(process: Process[Any], reports: list[Report]) -> tuple[FixedPoint, ...]:
    """The most stable interior fixed point of every prompt, joined into one; empty where some prompt has none."""
    inside = [[p for p in report.fixed_points if p.log_policy is not None] for report in reports]
    if not all(inside):
        return ()
    best = [min(points, key=lambda p: p.spectral_radius) for points in inside]
    values = np.concatenate([point.eigenvalues for point in best])
    values = values[np.argsort(-np.abs(values))]
    log_policy = np.stack([np.asarray(point.log_policy) for point in best])
    slowest = max(best, key=lambda p: p.spectral_radius)
    residual = max(point.residual for point in best)
    carried = jax.tree.map(lambda *parts: jnp.stack(parts), *(p.state.carried for p in best if p.state is not None))
    state = State(process.logits(carried), carried, jnp.array(0))
    return (FixedPoint(log_policy, residual, values, slowest.spectral_radius, slowest.rotation_number, state=state),)


def _basins(reports: list[Report]) -> dict[str, float]:
    """The shares of the worst verdict over prompts that start independently, from Pr(no prompt is worse than v)."""
    ordered = sorted(VERDICTS, key=SEVERITY_RANK.__getitem__)
    shares, before = {}, 0.0
    for n, verdict in enumerate(ordered):
        below = float(np.prod([sum(r.basins.get(v, 0.0) for v in ordered[: n + 1]) for r in reports]))
        shares[verdict], before = below - before, below
    return {verdict: share for verdict, share in shares.items() if share > 0}
