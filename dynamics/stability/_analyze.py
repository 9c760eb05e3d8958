"""``analyze``: fixed points, certificates and the fate of an orbit, in one report."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import ArrayLike, Float

from .. import engine as _engine
from .._checks import check_count
from .._progress import progress
from ..diagnostics import Verdict
from ..engine import State, as_state, check_initial
from ..oracle import START_OFFSET, beside
from ..rounds import Process
from ._certificate import PROVEN_STABLE, certify, contraction_rates
from ._find import find_fixed_points
from ._fixed_points import FixedPoint
from ._local import boundary, check_analysable
from ._orbit import Judged, judge_orbit, lyapunov_exponent
from ._prompts import of_independent
from ._report import Report, named
from ._space import nearest

MAX_LOGITS_LONG_RUN = 64  # of prompts that share features; with more, the first verdict is tried after fewer rounds
MAX_START_NUMBERS = 4096  # logits in all starts together, for prompts that share features
MIN_CHAOS_EXPONENT = (
    0.01  # per round; a larger Lyapunov exponent, a growth by e^20 over 2,000 rounds, excludes a period
)


def analyze(
    process: Process[Any],
    initial: Float[ArrayLike, "*contexts K"] | None = None,
    *,
    rounds: int | None = None,
    max_rounds: int = 100_000,
    starts: int = 64,
    verdict: Verdict | None = None,
) -> Report:
    """Fixed points s* = F(s*), their spectra, and the fate of s_{t+1} = F(s_t) from log initial.

    Args:
        process: a deterministic ``Process``.
        initial: log pi at round 0, in nats, ``(K,)``, or ``(X, K)`` for X prompts; by default the process's own start, or, if
            that is an unstable fixed point, a policy 1e-3 nats away from it (at the point itself only rounding would move it).
        rounds: rounds after which a verdict is first tried, int ≥ 10; while it is undecided, the orbit is made four times as
            long, up to ``max_rounds``. 3000 unless given, or 300 for prompts that share features and have more than 64 logits.
        max_rounds: the greatest length of the orbit, int ≥ ``rounds``.
        starts: number of spread starts for the search of fixed points, int ≥ 1; half of them are also run for basins. For
            prompts that share features at most 4096 divided by the number of logits, but at least 2.
        verdict: thresholds, e.g. ``dyn.diagnostics.Verdict(entropy_floor=0.01)``.

    Returns:
        Report; ``print(report)`` shows it, ``report.to_dict()`` is ready for JSON.

    Raises:
        ValueError: a bad argument, or a random process.

    Source: fixed points and spectra [derived]; certificates name their statement.
    """
    check_analysable(process)
    options: dict[str, Any] = {"rounds": rounds, "max_rounds": max_rounds, "starts": starts, "verdict": verdict}
    names = process.response_names()
    if names is not None:
        return named(analyze(process.unnamed(), initial, **options), names)
    alone = process.prompts()
    if alone is not None:
        given = [None] * len(alone) if initial is None else np.asarray(check_initial(process, initial))
        reports = []
        with progress("prompts", len(alone)) as advance:
            for one, start in zip(alone, given, strict=True):
                reports.append(analyze(one, start, **options))
                advance(1)
        return of_independent(process, reports)
    logits, shared = int(np.prod(process.shape)), len(process.shape) > 1
    rounds = (
        check_count(rounds, "rounds", 10)
        if rounds is not None
        else 300
        if shared and logits > MAX_LOGITS_LONG_RUN
        else 3000
    )
    max_rounds = check_count(max_rounds, "max_rounds", rounds)
    starts = check_count(starts, "starts", 1)
    starts = min(starts, max(2, MAX_START_NUMBERS // logits)) if shared else starts
    judge = Verdict() if verdict is None else verdict
    points = find_fixed_points(process, starts)
    rates = contraction_rates(process)
    certificate, certificate_reason = certify(process, points, rates)
    state, nudged = _start(process, initial, points)
    orbit = judge_orbit(process, state, judge, rounds, max_rounds, max(1, starts // 2), _slowest(points))
    numbers, label, basins = orbit.numbers, orbit.label, orbit.basins
    if certificate == PROVEN_STABLE:
        # Convergence is proven, so an orbit that still moves has only not run long enough.
        label = "undecided" if label == "oscillating" else label
        basins = _merged(basins, "oscillating", "undecided")
    exponent = lyapunov_exponent(process, state, rounds)
    moving = label == "oscillating" or (label == "undecided" and numbers["tail_step"] > float(judge.min_amplitude))
    chaotic = moving and exponent > MIN_CHAOS_EXPONENT and certificate != PROVEN_STABLE
    label = "oscillating" if chaotic else label
    period = numbers["period"] if label == "oscillating" and not chaotic and np.isfinite(numbers["period"]) else None
    return Report(
        fixed_points=tuple(points),
        contraction_rate=rates[0] if rates else None,
        lyapunov_exponent=exponent,
        period=period,
        verdict=label,
        reason=_reason(label, orbit, judge, points, nudged, chaotic),
        basins=basins,
        certificate=certificate,
        certificate_reason=certificate_reason,
        numbers=numbers | {"lyapunov_rounds": float(rounds - rounds // 3)},
        log_initial=np.asarray(state.log_policy),
        rounds=orbit.ran,
        verdicts=orbit.prompts,
    )


def _start(process: Process[Any], initial: Any, points: list[FixedPoint]) -> tuple[State, bool]:
    state = as_state(process, initial)
    if initial is not None:
        return state, False
    here = np.asarray(state.log_policy)
    for point in points:
        if point.log_policy is not None and np.abs(point.log_policy - here).max() < 1e-9 and point.spectral_radius > 1:
            off = beside(np.zeros(here.size)).reshape(here.shape)
            return _engine.jit_start(process, state.logits + nearest(process, jnp.asarray(off))), True
    return state, False


def _slowest(points: list[FixedPoint]) -> float | None:
    """The spectral radius of the most weakly attracting interior fixed point."""
    return max((p.spectral_radius for p in points if p.log_policy is not None and p.spectral_radius < 1), default=None)


def _merged(shares: dict[str, float], source: str, target: str) -> dict[str, float]:
    rest = {name: share for name, share in shares.items() if name != source}
    return rest if source not in shares else rest | {target: rest.get(target, 0.0) + shares[source]}


def _reason(label: str, orbit: Judged, judge: Verdict, points: list[FixedPoint], nudged: bool, chaotic: bool) -> str:
    numbers, ran = orbit.numbers, orbit.ran
    tail = f"the last {orbit.stretch // 10} of {ran} rounds"
    seen = {
        "collapsed": f"over {tail} one response leads and the entropy stays below "
        f"{float(judge.entropy_floor):g} nats (largest {numbers['tail_entropy']:.3g})",
        "converged": f"over {tail} no probability moves by more than "
        f"{float(judge.tolerance):g} a round (largest step {numbers['tail_step']:.3g})",
        "oscillating": f"after {ran} rounds the policy keeps moving with amplitude {numbers['amplitude']:.3g} (threshold "
        f"{float(judge.min_amplitude):g}) "
        + ("chaotically (positive Lyapunov exponent)" if chaotic else _motion(numbers)),
        "undecided": f"{ran} rounds neither settle (largest step over {tail} {numbers['tail_step']:.3g}, threshold "
        f"{float(judge.tolerance):g}) nor show a period; pass a larger max_rounds",
    }[label]
    radii = [p.spectral_radius for p in points if p.log_policy is not None]
    local = ""
    if len(radii) == 1:
        local = f"; the one interior fixed point found {_local_fate(radii[0])} (spectral radius {radii[0]:.6f})"
    elif radii:
        stable = sum(r < 1 - boundary() for r in radii)
        neutral = sum(abs(r - 1) <= boundary() for r in radii)
        also = f" and {neutral} are neutral" if neutral else ""
        least = f"smallest spectral radius {min(radii):.6f}"
        local = f"; of {len(radii)} interior fixed points found {stable} attract{also} ({least})"
    start = (
        f" (started {START_OFFSET:g} nats away from the default start, which is an unstable fixed point)"
        if nudged
        else ""
    )
    return f"{seen}{local}{start}."


def _local_fate(radius: float) -> str:
    """What a fixed point of a spectral radius does to first order."""
    if abs(radius - 1) <= boundary():
        return "is neutral, so that first-order theory decides nothing"
    return "attracts" if radius < 1 else "does not attract"


def _motion(numbers: dict[str, float]) -> str:
    if np.isfinite(numbers["period"]):
        return f"and turns once in {numbers['period']:.4g} rounds"
    return f"without a single period; the top response changed {int(numbers['switches'])} times"
