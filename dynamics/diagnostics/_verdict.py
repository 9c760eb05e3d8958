"""Whether a run collapsed, converged or oscillates, and the numbers that decide it."""

from __future__ import annotations

import dataclasses
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float, Int

from .._checks import check_scalar
from .._numerics import entropy
from ..schema import VARIABLES, Variable
from ._measure import Measure, Snapshot, replay
from ._period import Period, Window, _check_window, capacity
from ._recurrence import PERIODIC, QUASI_PERIODIC

_SEGMENTS = 6  # parts of a run whose amplitudes are compared; the first holds the transient
_MIN_FAR_MARGIN = 4.0  # nats below the top, for a response that is far from it but closing in
_MAX_RUNS_AHEAD = 10.0  # run lengths within which such a response must reach the top
_MIN_STEP_GROWTH = 1.001  # ratio of the steps in the newer half of the tail to the older, where steps grow


def verdict(log_policy: Float[ArrayLike, "T K"], **thresholds: Any) -> dict[str, jax.Array]:
    """The verdict on a saved trajectory and the numbers behind it: `Verdict` replayed on its rows.

    Args:
        log_policy: log pi_t, ``(T, K)``, in nats.
        thresholds: keyword arguments of `Verdict`.

    Returns:
        the variables that `Verdict` yields, by name.

    Source: [derived].

    >>> settled = jnp.tile(jnp.log(jnp.array([0.6, 0.4])), (50, 1))
    >>> dyn.diagnostics.VERDICTS[int(dyn.diagnostics.verdict(settled)["verdict"])]
    'converged'
    """
    return replay(Verdict(**thresholds), log_policy)


class _Orbit(eqx.Module):
    rounds: Int[Array, ""]
    tail: Int[Array, ""]  # length: a tenth of the run, at least 4 rounds
    window: Window
    log_policy: Float[Array, " K"]
    anchor: Float[Array, " K"]  # logits where the tail begins
    logits: Float[Array, " K"]
    top: Int[Array, ""]
    switches: Int[Array, ""]
    tail_switches: Int[Array, ""]
    last_switch: Int[Array, ""]
    tail_entropy: Float[Array, ""]
    tail_steps: Float[Array, " 2"]  # largest step in each half of the tail
    low: Float[Array, "segments K"]
    high: Float[Array, "segments K"]


class Verdict(Measure[_Orbit]):
    """The first of these verdicts that holds. The tail is the last tenth of the rounds.

    - *Collapsed*: H(pi_t) < entropy_floor throughout the tail, with one top response, and none closing in.
    - *Converged*: |pi_{t+1} - pi_t|∞ ≤ tolerance throughout the tail, not growing, and no response closing in.
    - *Oscillating*: the window is periodic or quasi-periodic (see `period`) with amplitude ≥ min_amplitude. Or the top
      response has changed 3 times or more, and either a response is closing in, or the top changed in the last half of the
      run and the amplitude does not shrink from each sixth of the run to the next.
    - *Undecided*: none of these.

    A response is closing in if it is 4 nats or more below the top and its mean rate over the tail brings it there within 10
    more run lengths. On a preference cycle at alpha = 1 the orbit dwells near a vertex, longer each time, and moves on.

    Yields ``verdict`` (flags `schema.VERDICTS`), ``tail_entropy`` (the largest), ``tail_step`` (the largest),
    ``tail_switches`` and ``switches`` of the top response, ``period``, ``period_kind`` and ``amplitude``.

    Args:
        entropy_floor: > 0, in nats.
        tolerance: change of a probability per round, > 0; at least 8 units of rounding are allowed.
        min_amplitude: of a probability, > 0.
        window: rounds used for the period, ≥ 2; static.

    Raises:
        ValueError: a value outside these ranges.

    Source: [derived].
    """

    entropy_floor: Float[Array, ""] = eqx.field(
        converter=lambda value: check_scalar(value, "entropy_floor", 0.0, np.inf, open_low=True), default=0.01
    )
    tolerance: Float[Array, ""] = eqx.field(
        converter=lambda value: check_scalar(value, "tolerance", 0.0, np.inf, open_low=True), default=1e-7
    )
    min_amplitude: Float[Array, ""] = eqx.field(
        converter=lambda value: check_scalar(value, "min_amplitude", 0.0, np.inf, open_low=True), default=1e-6
    )
    window: int = eqx.field(static=True, default=1024)
    name: str = eqx.field(static=True, kw_only=True, default="verdict")

    def __check_init__(self) -> None:
        _check_window(self.window)

    def variables(self, num_responses: int) -> dict[str, Variable]:
        others = ("tail_entropy", "tail_step", "tail_switches", "switches", "period", "period_kind", "amplitude")
        return {self.name: VARIABLES["verdict"]} | {name: VARIABLES[name] for name in others}

    def for_rounds(self, rounds: int) -> Measure:
        return dataclasses.replace(self, window=capacity(self.window, rounds + 1))

    def init(self, snapshot: Snapshot, rounds: Int[Array, ""]) -> _Orbit:
        log_policy = snapshot.log_policy
        none, zero = jnp.zeros((), jnp.int32), jnp.zeros((), log_policy.dtype)
        unseen = jnp.full((_SEGMENTS, log_policy.shape[0]), jnp.inf, log_policy.dtype)
        orbit = _Orbit(
            rounds=rounds,
            tail=jnp.maximum(rounds // 10, jnp.minimum(rounds, 4)),
            window=Window.open(self.window, snapshot, rounds),
            log_policy=log_policy,
            anchor=snapshot.logits,
            logits=snapshot.logits,
            top=jnp.argmax(log_policy).astype(jnp.int32),
            switches=none,
            tail_switches=none,
            last_switch=none,
            tail_entropy=zero,
            tail_steps=jnp.stack([zero, zero]),
            low=unseen,
            high=-unseen,
        )
        return self.update(orbit, snapshot)

    def update(self, state: _Orbit, snapshot: Snapshot) -> _Orbit:
        now, rounds, tail = snapshot.round, state.rounds, state.tail
        policy = jnp.exp(snapshot.log_policy)
        top = jnp.argmax(snapshot.log_policy).astype(jnp.int32)
        switched = (top != state.top).astype(jnp.int32)
        step = jnp.max(jnp.abs(policy - jnp.exp(state.log_policy)))
        after = now > rounds - tail
        late = now > rounds - tail + tail // 2
        steps = jnp.where(
            after & (jnp.array([False, True]) == late), jnp.maximum(state.tail_steps, step), state.tail_steps
        )
        # Multiplied out, because a division in every round would cost more than the rest of the update.
        bounds = (rounds + 1) * np.arange(_SEGMENTS + 1)
        segment = ((bounds[:-1] <= now * _SEGMENTS) & (now * _SEGMENTS < bounds[1:]))[:, None]
        return _Orbit(
            rounds=rounds,
            tail=tail,
            window=state.window.record(snapshot),
            log_policy=snapshot.log_policy,
            anchor=jnp.where(after, state.anchor, snapshot.logits),
            logits=snapshot.logits,
            top=top,
            switches=state.switches + switched,
            tail_switches=state.tail_switches + jnp.where(after, switched, 0),
            last_switch=jnp.where(switched > 0, jnp.asarray(now, jnp.int32), state.last_switch),
            tail_entropy=jnp.where(
                now >= rounds - tail, jnp.maximum(state.tail_entropy, entropy(snapshot.log_policy)), state.tail_entropy
            ),
            tail_steps=steps,
            low=jnp.where(segment, jnp.minimum(state.low, policy[None]), state.low),
            high=jnp.where(segment, jnp.maximum(state.high, policy[None]), state.high),
        )

    def finalize(self, state: _Orbit) -> dict[str, Array]:
        found = state.window.analyse()
        dtype = state.log_policy.dtype
        eps = jnp.finfo(dtype).eps
        closing = _closing_in(state)
        step = jnp.max(state.tail_steps)
        growing = (state.tail_steps[1] > _MIN_STEP_GROWTH * state.tail_steps[0]) & (step > 1e3 * eps)
        low = state.tail_entropy < self.entropy_floor.astype(dtype)
        collapsed = low & (state.tail_switches == 0) & ~closing
        converged = (step <= jnp.maximum(self.tolerance.astype(dtype), 8 * eps)) & ~growing & ~closing
        oscillating = _oscillates(state, found, closing, self.min_amplitude.astype(dtype))
        word = jnp.where(collapsed, 0, jnp.where(converged, 1, jnp.where(oscillating, 2, 3))).astype(jnp.int32)
        return {
            self.name: word,
            "tail_entropy": state.tail_entropy,
            "tail_step": step,
            "tail_switches": state.tail_switches,
            "switches": state.switches,
            "period": found.period,
            "period_kind": found.kind,
            "amplitude": found.amplitude,
        }


def _closing_in(state: _Orbit) -> Array:
    """Whether a response far below the top will reach it, by its mean rate over the tail."""
    margin = state.logits[state.top] - state.logits
    before = state.anchor[state.top] - state.anchor
    rate = (before - margin) / jnp.maximum(state.tail, 1).astype(margin.dtype)
    return jnp.any((margin > _MIN_FAR_MARGIN) & (margin < _MAX_RUNS_AHEAD * state.rounds.astype(margin.dtype) * rate))


def _oscillates(state: _Orbit, found: Period, closing: Array, min_amplitude: Array) -> Array:
    recurs = (found.kind == PERIODIC) | (found.kind == QUASI_PERIODIC)
    spans = jnp.max(state.high - state.low, axis=1)[1:]
    shrinking = jnp.all(spans[1:] < spans[:-1]) & (spans[-1] < 0.99 * spans[0])
    keeps_switching = (
        ((2 * state.last_switch).astype(state.rounds.dtype) >= state.rounds) & ~shrinking & (spans[-1] >= min_amplitude)
    )
    wanders = (state.switches >= 3) & (closing | keeps_switching)
    return (recurs & (found.amplitude >= min_amplitude)) | wanders
