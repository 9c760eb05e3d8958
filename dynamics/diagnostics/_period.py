"""Period, rotation number and amplitude of a run, from a window of its last policies."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float, Int

from ..schema import VARIABLES, Variable
from ._measure import Measure, Snapshot, as_trajectory
from ._recurrence import CONSTANT, NOT_DETERMINABLE, PERIODIC, QUASI_PERIODIC, SHORTEST, half_range, recurrence

REST = 1e-9
"""Amplitude below which a window is constant."""


class Period(NamedTuple):
    """What `period` says: rounds per turn, an index into `KINDS`, turns per round, half the largest peak-to-peak."""

    period: Float[Array, ""]
    kind: Int[Array, ""]
    rotation_number: Float[Array, ""]
    amplitude: Float[Array, ""]


def period(log_policy: Float[ArrayLike, "T K"], window: int = 1024) -> Period:
    """The smallest T > 0 with pi_{t+T} = pi_t throughout the window of the last policies, in rounds per turn.

    With x the centred window and d(q) = mean_t |x_{t+q} - x_t|²/(2 mean |x|²), an exact return is the smallest q with
    d(q) < 1e-10: the orbit is "periodic". On an invariant circle d only comes close to 0, between two rounds: the orbit
    is "quasi-periodic", and its period is the real-valued time of a turn. Two frequencies with no common turn, and a
    fast rotation with such sharp edges that none shows, are "quasi-periodic" with period NaN. Less than two periods in
    the window, drift, chirp, noise, growth and decay (more than 1% in half a window) are "not determinable", a
    peak-to-peak below 2e-9 is "constant", both with period NaN. Where the window still holds the transient and says
    less than its newer half, that decides, with a tenth of the tolerance for change. The return counts g turns, the
    largest g of whose multiples its Fourier lines consist up to 1% of the energy, so cos(2πt/2.5) has period 2.5.

    Right within 1% from 2 to half the window. The rotation number is the strongest line's frequency, in (0, 1/2].

    Arguments: ``log_policy`` log pi_t, shape (T, K); ``window`` rows looked at, ≥ 2, static. Source: [derived].
    """
    _check_window(window)
    rows = jnp.exp(as_trajectory(log_policy)[-window:])
    padding = capacity(window, len(rows)) - len(rows)
    return _analyse(jnp.pad(rows, ((0, padding), (0, 0))), jnp.asarray(len(rows)))


def amplitude(log_policy: Float[ArrayLike, "T K"], window: int = 1024) -> Float[Array, ""]:
    """½ max_k (max_t pi_t(k) - min_t pi_t(k)), in [0, 1/2], over the part of the window that `period` speaks of.

    It is the amplitude of an oscillation only where `period` finds one: a drift has it too.

    Arguments: ``log_policy`` log pi_t, shape (T, K); ``window`` rows looked at, ≥ 2, static. Source: [derived].
    """
    return period(log_policy, window).amplitude


def rotation_number(log_policy: Float[ArrayLike, "T K"], window: int = 1024) -> Float[Array, ""]:
    """k/q turns per round, in (0, 1/2]: the strongest Fourier line k on the return of q rounds that `period` finds.

    NaN where `period` finds the window constant or not determinable.

    Arguments: ``log_policy`` log pi_t, shape (T, K); ``window`` rows looked at, ≥ 2, static. Source: [derived].
    """
    return period(log_policy, window).rotation_number


@functools.partial(jax.jit, inline=True)
def _analyse(rows: Float[Array, "N K"], n: Int[Array, ""]) -> Period:
    """What the window, the first n rows, says, or its newer half where only that is free of the transient."""
    whole = _judge(rows, n, 1.0)
    if rows.shape[0] < 2 * SHORTEST:
        return whole
    # The half must be steadier than the whole has to be: a slow change looks smaller in it.
    half = jax.lax.dynamic_slice_in_dim(rows, n - n // 2, rows.shape[0] // 2)
    newer = _judge(half, n // 2, 0.1)
    better = (n >= 2 * SHORTEST) & (_rank(newer) < _rank(whole))
    return jax.tree.map(functools.partial(jnp.where, better), newer, whole)


def _judge(rows: Float[Array, "N K"], n: Int[Array, ""], slack: float) -> Period:
    found = recurrence(rows, n, REST, slack)
    return Period(found.period, found.kind, found.rotation_number, half_range(rows, n))


def _rank(found: Period) -> Int[Array, ""]:
    """Exact returns first, then recurrence, then rest: the half decides only where the whole says less."""
    return jnp.asarray(np.argsort([PERIODIC, QUASI_PERIODIC, CONSTANT, NOT_DETERMINABLE]))[found.kind]


def _check_window(window: int) -> None:
    if window < 2:
        raise ValueError(f"window = {window} cannot hold an orbit; pass at least 2 rounds (1024 by default).")


def capacity(window: int, rows: int) -> int:
    """Rows to make room for: a power of two that holds ``rows``, so that few lengths compile, but at most the window."""
    return min(window, 1 << max(rows - 1, 1).bit_length())


class Window(eqx.Module):
    """The last policies of a run in order: which rounds they are is known at the start, so nothing is rotated.

    The first ``n`` rows count; beyond them is room that a run shorter than the window leaves.
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
        # Rounds before the window overwrite its first row, so that nothing depends on the data.
        row = jnp.maximum(snapshot.round - self.start, 0)
        rows = jax.lax.dynamic_update_index_in_dim(self.rows, snapshot.policy, row, 0)
        return Window(self.start, self.n, rows)

    def analyse(self) -> Period:
        return _analyse(self.rows, self.n)


class _OfWindow(Measure):
    """A measure that yields what it needs of a `Period` at the end, always with ``period_kind``."""

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

    def finalize(self, state: Any) -> dict[str, Array]:
        found = state.analyse()
        return {self.name: getattr(found, type(self).name), "period_kind": found.kind}


class OrbitPeriod(_OfWindow):
    """Streams `period`: yields ``period`` and ``period_kind``."""

    name: str = eqx.field(static=True, kw_only=True, default="period")


class Amplitude(_OfWindow):
    """Streams `amplitude`: yields ``amplitude`` and ``period_kind``, which says whether anything oscillates."""

    name: str = eqx.field(static=True, kw_only=True, default="amplitude")


class RotationNumber(_OfWindow):
    """Streams `rotation_number`: yields ``rotation_number`` and ``period_kind``."""

    name: str = eqx.field(static=True, kw_only=True, default="rotation_number")
