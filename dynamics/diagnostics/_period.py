"""Period, rotation number and amplitude of a run, from a window of its last policies."""

from __future__ import annotations

import dataclasses
import functools
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float, Int

from ..schema import VARIABLES, Variable
from ._measure import Measure, Snapshot, as_trajectory
from ._recurrence import CONSTANT, MIN_ROWS, NOT_DETERMINABLE, PERIODIC, QUASI_PERIODIC, half_range, recurrence

REST_AMPLITUDE = 1e-9
"""Amplitude below which a window is constant."""


class Period(NamedTuple):
    """The result of `period`.

    Attributes:
        period: rounds per turn, NaN where there is none.
        kind: an index into `KINDS`.
        rotation_number: turns per round, NaN where there is none.
        amplitude: half the largest peak-to-peak of a probability.
    """

    period: Float[Array, ""]
    kind: Int[Array, ""]
    rotation_number: Float[Array, ""]
    amplitude: Float[Array, ""]


def period(log_policy: Float[ArrayLike, "T K"], window: int = 1024) -> Period:
    """The smallest T > 0 with pi_{t+T} = pi_t throughout the window of the last policies, in rounds per turn.

    With x the centred window and d(q) = mean_t |x_{t+q} - x_t|²/(2 mean |x|²), the kind is

    - "periodic" where d(q) < 1e-10 for some q, the smallest of which is an exact return;
    - "quasi-periodic" where d only comes close to 0, between two rounds, as on an invariant circle: the period is then
      real-valued. It is NaN for two frequencies without a common turn, and for a fast rotation whose edges are too sharp;
    - "constant" where the peak-to-peak is below 2e-9, with period NaN;
    - "not determinable" for fewer than two periods in the window, drift, chirp, noise, and growth or decay by more than 1%
      in half a window, with period NaN.

    A return takes g turns, where g is the largest number whose multiples hold 99% of the energy of the Fourier lines; so
    cos(2πt/2.5) has period 2.5. Where the newer half of the window gives a more definite kind than the whole, which may
    hold the transient, the half decides, with a tenth of the tolerance for change. The relative error is at most 1% for
    periods from 2 to half the window.

    Args:
        log_policy: log pi_t, ``(T, K)``, in nats.
        window: how many of the last rows are used, ≥ 2; static.

    Returns:
        `Period`.

    Raises:
        ValueError: another shape of ``log_policy``, or a window below 2.

    Source: [derived].

    >>> policy = 0.5 + 0.1 * jnp.cos(2 * jnp.pi * jnp.arange(200.0) / 2.5)[:, None] * jnp.array([[1.0, -1.0]])
    >>> found = dyn.diagnostics.period(jnp.log(policy))
    >>> round(float(found.period), 3), dyn.diagnostics.KINDS[int(found.kind)]
    (2.5, 'periodic')
    """
    _check_window(window)
    rows = jnp.exp(as_trajectory(log_policy)[-window:])
    padding = capacity(window, len(rows)) - len(rows)
    return _analyse(jnp.pad(rows, ((0, padding), (0, 0))), jnp.asarray(len(rows)))


def amplitude(log_policy: Float[ArrayLike, "T K"], window: int = 1024) -> Float[Array, ""]:
    """½ max_k (max_t pi_t(k) - min_t pi_t(k)), in [0, 1/2], over the part of the window that `period` uses.

    It is the amplitude of an oscillation only where `period` finds one; for a drift it is half the distance covered.

    Args:
        log_policy: log pi_t, ``(T, K)``, in nats.
        window: how many of the last rows are used, ≥ 2; static.

    Source: [derived].

    >>> round(float(dyn.diagnostics.amplitude(jnp.log(jnp.array([[0.5, 0.5], [0.7, 0.3]])))), 3)
    0.1
    """
    return period(log_policy, window).amplitude


def rotation_number(log_policy: Float[ArrayLike, "T K"], window: int = 1024) -> Float[Array, ""]:
    """k/q turns per round, in (0, 1/2]: the strongest Fourier line k on the return of q rounds that `period` finds.

    It is NaN where `period` finds the window constant or not determinable.

    Args:
        log_policy: log pi_t, ``(T, K)``, in nats.
        window: how many of the last rows are used, ≥ 2; static.

    Source: [derived].

    >>> policy = 0.5 + 0.1 * jnp.cos(2 * jnp.pi * jnp.arange(200.0) / 2.5)[:, None] * jnp.array([[1.0, -1.0]])
    >>> round(float(dyn.diagnostics.rotation_number(jnp.log(policy))), 3)
    0.4
    """
    return period(log_policy, window).rotation_number


@functools.partial(jax.jit, inline=True)
def _analyse(rows: Float[Array, "N K"], n: Int[Array, ""]) -> Period:
    """`Period` of the first n rows, or of their newer half where that gives a more definite kind."""
    whole = _judge(rows, n, 1.0)
    if rows.shape[0] < 2 * MIN_ROWS:
        return whole
    # The half must be steadier than the whole, since a slow change is smaller in it.
    half = jax.lax.dynamic_slice_in_dim(rows, n - n // 2, rows.shape[0] // 2)
    newer = _judge(half, n // 2, 0.1)
    better = (n >= 2 * MIN_ROWS) & (_rank(newer) < _rank(whole))
    return jax.tree.map(functools.partial(jnp.where, better), newer, whole)


def _judge(rows: Float[Array, "N K"], n: Int[Array, ""], slack: float) -> Period:
    found = recurrence(rows, n, REST_AMPLITUDE, slack)
    return Period(found.period, found.kind, found.rotation_number, half_range(rows, n))


def _rank(found: Period) -> Int[Array, ""]:
    """Kinds from the most to the least definite: periodic, quasi-periodic, constant, not determinable."""
    return jnp.asarray(np.argsort([PERIODIC, QUASI_PERIODIC, CONSTANT, NOT_DETERMINABLE]))[found.kind]


def _check_window(window: int) -> None:
    if window < 2:
        raise ValueError(f"window = {window} is too short for an orbit; pass at least 2 rounds (1024 by default).")


def capacity(window: int, rows: int) -> int:
    """Rows to allocate: the next power of two from ``rows`` on, so that few lengths are compiled, at most the window."""
    return min(window, 1 << max(rows - 1, 1).bit_length())


class Window(eqx.Module):
    """The last policies of a run in order; the rounds they cover are known from the start.

    Attributes:
        start: the first round of the window.
        n: how many rows are used; a run shorter than the window leaves the others empty.
        rows: pi_t, ``(N, K)``.
    """

    start: Int[Array, ""]
    n: Int[Array, ""]
    rows: Float[Array, "N K"]

    @classmethod
    def open(cls, size: int, snapshot: Snapshot, rounds: Int[Array, ""]) -> Window:
        policy = snapshot.policy
        n = jnp.minimum(size, rounds + 1)
        return cls(rounds + 1 - n, n, jnp.zeros((size, policy.shape[0]), policy.dtype)).record(snapshot)

    def record(self, snapshot: Snapshot) -> Window:
        # Rounds before the window overwrite its first row, so that no branch is needed.
        row = jnp.maximum(snapshot.round - self.start, 0)
        rows = jax.lax.dynamic_update_index_in_dim(self.rows, snapshot.policy, row, 0)
        return Window(self.start, self.n, rows)

    def analyse(self) -> Period:
        return _analyse(self.rows, self.n)


class _OfWindow(Measure[Window]):
    """A measure that yields one field of a `Period` at the end, and ``period_kind``."""

    window: int = eqx.field(static=True, default=1024)

    def __check_init__(self) -> None:
        _check_window(self.window)

    def variables(self, num_responses: int) -> dict[str, Variable]:
        label = VARIABLES[type(self).name]
        return {self.name: label, "period_kind": VARIABLES["period_kind"]}

    def for_rounds(self, rounds: int) -> Measure:
        return dataclasses.replace(self, window=capacity(self.window, rounds + 1))

    def init(self, snapshot: Snapshot, rounds: Int[Array, ""]) -> Window:
        return Window.open(self.window, snapshot, rounds)

    def update(self, state: Window, snapshot: Snapshot) -> Window:
        return state.record(snapshot)

    def finalize(self, state: Window) -> dict[str, Array]:
        found = state.analyse()
        return {self.name: getattr(found, type(self).name), "period_kind": found.kind}


class OrbitPeriod(_OfWindow):
    """Streams `period`: yields ``period`` and ``period_kind``."""

    name: str = eqx.field(static=True, kw_only=True, default="period")


class Amplitude(_OfWindow):
    """Streams `amplitude`: yields ``amplitude`` and ``period_kind``, which shows whether the run oscillates."""

    name: str = eqx.field(static=True, kw_only=True, default="amplitude")


class RotationNumber(_OfWindow):
    """Streams `rotation_number`: yields ``rotation_number`` and ``period_kind``."""

    name: str = eqx.field(static=True, kw_only=True, default="rotation_number")
