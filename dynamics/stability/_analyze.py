"""From a process to a verdict."""

from __future__ import annotations

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float

from .._numerics import centre, log_softmax
from ..diagnostics import Verdict
from ..objectives import IPO
from ..rounds import RoundMap, SelfSampling
from ..solve import State, _engine
from ..solve._iterate import as_state, check_count
from ..solve._solution import RESULT_MESSAGES, result_code
from ._certificate import certify, contraction_rates
from ._critical import fixed_point_near_start
from ._fixed_points import FixedPoint, interior, low_discrepancy_policies
from ._local import BOUNDARY, check_deterministic, eigenvalues, step
from ._report import Report

NUDGE = 1e-3  # nats, off an unstable fixed point
CHAOS = 0.01  # per round: a Lyapunov exponent above it rules a period out; over 2,000 rounds e^20


def analyze(
    process: RoundMap,
    initial: Float[ArrayLike, " K"] | None = None,
    *,
    rounds: int = 3000,
    max_rounds: int = 100_000,
    starts: int = 64,
    verdict: Verdict | None = None,
) -> Report:
    """Fixed points z* = F(z*), their spectra, and the fate of z_{t+1} = F(z_t) from log initial.

    Args:
        process: a deterministic ``RoundMap``.
        initial: log pi of round 0, ``(K,)``, in nats; by default the process's own start, and if that is an unstable
            fixed point, 1e-3 nats off it (an exact start would show rounding only).
        rounds: rounds before a verdict is tried; four times as many while it is undecided, up to ``max_rounds``.
        max_rounds: where to stop trying.
        starts: number of spread starts, for fixed points and (half of them) for basins.
        verdict: the thresholds, e.g. ``dyn.diagnostics.Verdict(entropy_floor=0.01)``.

    Returns:
        Report; ``str(report)`` reads well, ``report.to_dict()`` is JSON.

    Raises:
        ValueError: a bad argument, or a random process.

    Source: fixed points and spectra [derived]; certificates name their statement.
    """
    check_deterministic(process)
    rounds, starts = check_count(rounds, "rounds", 10), check_count(starts, "starts", 1)
    max_rounds = check_count(max_rounds, "max_rounds", rounds)
    judge = Verdict() if verdict is None else verdict
    points = find_fixed_points(process, starts)
    rates = contraction_rates(process)
    certificate, certificate_reason = certify(process, points, rates)
    state, nudged = _start(process, initial, points)
    numbers, label, ran, basins = _judge(process, state, judge, rounds, max_rounds, max(1, starts // 2))
    exponent = lyapunov_exponent(process, state, rounds)
    moving = label == "oscillating" or (label == "undecided" and numbers["tail_step"] > float(judge.min_amplitude))
    chaotic = moving and exponent > CHAOS
    label = "oscillating" if chaotic else label
    period = numbers["period"] if label == "oscillating" and not chaotic and np.isfinite(numbers["period"]) else None
    return Report(
        fixed_points=tuple(points),
        contraction_rate=rates[0] if rates else None,
        lyapunov_exponent=exponent,
        period=period,
        verdict=label,
        reason=_reason(label, numbers, judge, ran, points, nudged, chaotic),
        basins=basins,
        certificate=certificate,
        certificate_reason=certificate_reason,
        numbers=numbers,
        log_initial=np.asarray(state.log_policy),
        rounds=ran,
    )


def find_fixed_points(process: RoundMap, starts: int = 64) -> list[FixedPoint]:
    """Every fixed point that Newton's method reaches from fixed starts, most stable first; at alpha = 1 also vertices."""
    found = interior(process, starts)
    followed = None if found else fixed_point_near_start(process)
    if followed is not None:
        found = [followed]
    points = sorted((_fixed_point(process, z) for z in found), key=lambda p: p.spectral_radius)
    if isinstance(process, SelfSampling) and float(process.alpha) == 1:
        points += [_vertex(process, w) for w in range(process.num_responses)]
    return points


def _fixed_point(process: RoundMap, z: np.ndarray) -> FixedPoint:
    log_policy = log_softmax(jnp.asarray(z))
    values = np.asarray(eigenvalues(process, log_policy))
    residual = float(jnp.max(jnp.abs(_step(process, jnp.asarray(z)) - z)))
    turn = float(abs(np.angle(values[0])) / (2 * np.pi))
    return FixedPoint(np.asarray(log_policy), residual, values, float(abs(values[0])), turn)


_step = eqx.filter_jit(step)


def _vertex(process: SelfSampling, w: int) -> FixedPoint:
    """exp((f_j - f_w)/beta) for j ≠ w, f at the sampler lam e_w + (1-lam) pi_0 (statement 2.2 [derived])."""
    size = process.num_responses
    at = jnp.where(jnp.arange(size) == w, 0.0, -jnp.inf)
    log_mu = process.log_sampler(at)
    if isinstance(process.objective, IPO):
        f = np.asarray(process.preference @ jnp.exp(log_mu))
        gap = np.delete(f - f[w], w)
    else:
        gap = _vertex_gaps(process, log_mu, w)
    with np.errstate(over="ignore"):
        multipliers = np.exp(gap / float(process.objective.beta))
    return FixedPoint(None, 0.0, multipliers, float(multipliers.max()), 0.0, vertex=w)


def _vertex_gaps(process: SelfSampling, log_mu: Array, w: int) -> np.ndarray:
    """f_j - f_w of DPO; at the vertex itself logit P_jw, infinite where P_jw is 0 or 1."""
    P = np.asarray(process.preference)
    if not np.isfinite(np.delete(np.asarray(log_mu), w)).any():
        with np.errstate(divide="ignore"):
            return np.delete(np.log(P[:, w]) - np.log(P[w]), w)
    f = np.asarray(process.objective.solve(process.preference, log_mu)[0])
    return np.delete(f - f[w], w)


def _start(process: RoundMap, initial: Any, points: list[FixedPoint]) -> tuple[State, bool]:
    state = as_state(process, initial)
    if initial is not None:
        return state, False
    here = np.asarray(state.log_policy)
    for point in points:
        if point.log_policy is not None and np.abs(point.log_policy - here).max() < 1e-9 and point.spectral_radius > 1:
            off = NUDGE * np.cos(1.0 + np.arange(process.num_responses))  # no symmetry of a round map to stay on
            return _engine.jit_start(process, centre(state.logits + off)), True
    return state, False


@eqx.filter_jit
def _run(process: RoundMap, states: State, judge: Verdict, rounds: int) -> tuple[_engine.Run, dict[str, Array]]:
    """A batch of runs and what the verdict measure says of each."""

    def one(state: State) -> tuple[_engine.Run, dict[str, Array]]:
        run = _engine.go(process, (judge,), _engine.begin(process, (judge,), state, rounds), None, rounds)
        return run, _engine.finish((judge,), run)

    return jax.vmap(one)(states)


def _judge(
    process: RoundMap, state: State, judge: Verdict, rounds: int, max_rounds: int, others: int
) -> tuple[dict[str, float], str, int, dict[str, float]]:
    """The verdict's numbers and name, the rounds it took, and the shares of verdicts of ``others`` spread starts.

    All run in one batch; the orbit in question goes on alone while nothing is decided about it.
    """
    names = judge.variables(process.num_responses)[judge.name].flags
    spread = jnp.asarray(low_discrepancy_policies(process.num_responses, others))
    states = jax.tree.map(
        lambda first, rest: jnp.concatenate([jnp.asarray(first)[None], rest]),
        state,
        _start_all(process, spread),
    )
    ran, stretch = 0, rounds
    basins: dict[str, float] = {}
    while True:
        run, statistics = _run(process, states, judge, stretch)
        ran += stretch
        numbers = {name: float(value[0]) for name, value in statistics.items()}
        label = names[int(numbers[judge.name])]
        if not basins:
            codes = np.asarray(statistics[judge.name])[1:]
            basins = {name: float(np.mean(codes == i)) for i, name in enumerate(names) if (codes == i).any()}
        results, rounds_failed = np.asarray(result_code(run.result)), np.asarray(run.failed_round)
        if results[0]:
            raise RuntimeError(f"stopped at round {int(rounds_failed[0])}: {RESULT_MESSAGES[int(results[0])]}.")
        if label != "undecided" or ran >= max_rounds:
            return numbers, label, ran, basins
        states = jax.tree.map(lambda x: x[:1], run.state)
        stretch = min(3 * ran, max_rounds - ran)


@eqx.filter_jit
def _start_all(process: RoundMap, policies: Float[Array, "starts K"]) -> State:
    return jax.vmap(lambda log_policy: _engine.start(process, log_policy))(policies)


@eqx.filter_jit
def _growth(process: RoundMap, state: State, rounds: int) -> Array:
    direction = centre(jnp.cos(1.0 + jnp.arange(state.logits.shape[0])))

    def one(carry: tuple[State, Array], _: None) -> tuple[tuple[State, Array], Array]:
        state, v = carry

        def advance(z: Array) -> tuple[Array, Any]:
            out, memory, _ = process.advance(z, state.memory, None)
            return centre(out), memory

        z, dz, memory = jax.jvp(advance, (state.logits,), (v,), has_aux=True)
        size = jnp.linalg.norm(dz)
        # A round that forgets its start altogether (alpha = lam = 0) has no direction left to follow.
        v = jnp.where(size > 0, dz / jnp.where(size > 0, size, 1.0), v)
        return (State(z, memory, state.round + 1), v), jnp.log(jnp.maximum(size, jnp.finfo(z.dtype).tiny))

    _, logs = jax.lax.scan(one, (state, direction / jnp.linalg.norm(direction)), None, length=rounds)
    return jnp.mean(logs[rounds // 3 :])


def lyapunov_exponent(process: RoundMap, state: State, rounds: int) -> float:
    """lim (1/T) Σ log ‖J(z_t) v_t‖, v renormalised each round, over the last two thirds of ``rounds`` from a state."""
    return float(_growth(process, state, rounds))


def _reason(
    label: str,
    numbers: dict[str, float],
    judge: Verdict,
    ran: int,
    points: list[FixedPoint],
    nudged: bool,
    chaotic: bool,
) -> str:
    seen = {
        "collapsed": f"over the last tenth of {ran} rounds one response leads and the entropy stays below "
        f"{float(judge.entropy_floor):g} nats (largest {numbers['tail_entropy']:.3g})",
        "converged": f"over the last tenth of {ran} rounds no probability moves by more than "
        f"{float(judge.tolerance):g} a round (largest step {numbers['tail_step']:.3g})",
        "oscillating": f"after {ran} rounds the policy keeps moving with amplitude {numbers['amplitude']:.3g} (threshold "
        f"{float(judge.min_amplitude):g}) " + ("chaotically (positive Lyapunov exponent)" if chaotic else _motion(numbers)),
        "undecided": f"{ran} rounds neither settle (largest step in the last tenth {numbers['tail_step']:.3g}, threshold "
        f"{float(judge.tolerance):g}) nor show a period; allow more max_rounds",
    }[label]
    radii = [p.spectral_radius for p in points if p.log_policy is not None]
    local = ""
    if len(radii) == 1:
        attracts = "attracts" if radii[0] < 1 - BOUNDARY else "does not attract"
        local = f"; the one interior fixed point found {attracts} (spectral radius {radii[0]:.6f})"
    elif radii:
        stable = sum(r < 1 - BOUNDARY for r in radii)
        local = f"; of {len(radii)} interior fixed points found {stable} attract (smallest spectral radius {min(radii):.6f})"
    start = f" (started {NUDGE:g} nats off the unstable fixed point that is the default start)" if nudged else ""
    return f"{seen}{local}{start}."


def _motion(numbers: dict[str, float]) -> str:
    if np.isfinite(numbers["period"]):
        return f"and turns once in {numbers['period']:.4g} rounds"
    return f"without a single period; the top response changed {int(numbers['switches'])} times"
