"""Whether a window of rows returns to itself, and after how many rounds: the arithmetic of `period`."""

from __future__ import annotations

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from ..schema import KINDS

CONSTANT, PERIODIC, QUASI_PERIODIC, NOT_DETERMINABLE = range(len(KINDS))

_MAX_EXACT = 1e-10  # d(q) at an exact return: a phase error of 1e-5 rad
_MAX_RECURRENT = 0.06  # d(q) at a return; independent draws stay near 1
_MAX_CIRCLE = 4e-3  # d(q) at a return that one frequency explains
_MAX_EARLY = 5e-5  # the same for an early return, which tests a shorter time
_MAX_LAG_CHANGE = 2e-3  # relative change of the return lag between the halves of a steady frequency
_MIN_DEPARTURE = 0.05  # d(q) that a window must have exceeded before a return counts
_MAX_GROWTH = 0.01  # relative change of a steady amplitude over half a window
MIN_ROWS = 5  # two turns of period 2 and one more row
_MIN_LINE_SHARE = 0.99  # of the energy, in the lines of one oscillation


class Recurrence(NamedTuple):
    """The period of a window in rounds per turn, its kind, and its turns per round; NaN where there is none."""

    period: Float[Array, ""]
    kind: Int[Array, ""]
    rotation_number: Float[Array, ""]


class _Return(NamedTuple):
    lag: Float[Array, ""]  # rounds, real-valued
    found: Bool[Array, ""]
    miss: Float[Array, ""]  # d there, between rounds


def recurrence(rows: Float[Array, "N K"], n: Int[Array, ""], rest_below: float, slack: float = 1.0) -> Recurrence:
    """The kind of a window, its period and its rotation number.

    Args:
        rows: the window, ``(N, K)``.
        n: how many rows count; the others are padding, so that another n does not recompile.
        rest_below: amplitude below which a window is constant.
        slack: factor on the allowed change of frequency and amplitude.
    """
    dtype = rows.dtype
    nan = jnp.asarray(jnp.nan, dtype)
    rest = half_range(rows, n) < jnp.maximum(rest_below, 8 * jnp.finfo(dtype).eps)
    short = Recurrence(nan, jnp.where(rest, CONSTANT, NOT_DETERMINABLE).astype(jnp.int32), nan)
    if rows.shape[0] < MIN_ROWS:
        return short
    counts, total = valid(rows, n), n.astype(dtype)
    x = jnp.where(counts, rows - jnp.sum(jnp.where(counts, rows, 0.0), axis=0, keepdims=True) / total, 0.0)
    x = x / jnp.where(rest, 1.0, jnp.sqrt(jnp.sum(x**2) / total))
    halves, gain = _differences(x, n)
    d, lags = jnp.mean(halves, axis=0), n // 2 + 2
    lag, exact = _exact_return(d, lags)
    near = _near_return(d, halves, gain, lags, slack)
    length = jnp.where(exact, lag, near.lag)
    energy = _line_energy(x, n // 4, length)
    strongest = (jnp.argmax(energy) + 1).astype(dtype)
    turns, single = _turns(energy, n // 4, length, exact)
    circle = ~exact & near.found & single & _is_circle(d, lags, near.miss, length / turns)
    kind = jnp.where(exact, PERIODIC, jnp.where(near.found, QUASI_PERIODIC, NOT_DETERMINABLE))
    period = jnp.where(exact | circle, length / turns, nan)
    rotation = jnp.where(exact | near.found, jnp.minimum(strongest / length, 0.5), nan)
    found = Recurrence(
        jnp.where(rest, nan, period).astype(dtype),
        jnp.where(rest, CONSTANT, kind).astype(jnp.int32),
        jnp.where(rest, nan, rotation).astype(dtype),
    )
    return jax.tree.map(lambda one, other: jnp.where(n < MIN_ROWS, one, other), short, found)


def valid(rows: Float[Array, "N K"], n: Int[Array, ""]) -> Bool[Array, "N 1"]:
    """Mask of the first ``n`` rows."""
    return (jnp.arange(rows.shape[0]) < n)[:, None]


def half_range(rows: Float[Array, "N K"], n: Int[Array, ""]) -> Float[Array, ""]:
    """Half the largest peak-to-peak of a column over the first ``n`` rows."""
    counts = valid(rows, n)
    high = jnp.max(jnp.where(counts, rows, -jnp.inf), axis=0)
    return jnp.max(high - jnp.min(jnp.where(counts, rows, jnp.inf), axis=0)) / 2


def _differences(x: Float[Array, "N K"], n: Int[Array, ""]) -> tuple[Float[Array, "2 lags"], Float[Array, " lags"]]:
    """d(q) = mean_t |x_{t+q} - x_t|²/2 over the older and the newer half of one base of t, lags 0..L+1, and the gain.

    x has unit variance over its first n rows and is 0 beyond; d is 0 beyond the lags of n rows. Every lag uses the same
    base, so d is small only if the whole base returns. The gain is the ratio of amplitudes sqrt(Σ|x_{t+q}|²/Σ|x_t|²)
    of the shifted base to the base.
    """
    size = x.shape[0]
    lags, most = n // 2 + 2, size // 2 + 2
    base = n - lags + 1
    split = (base + 1) // 2
    power = jnp.concatenate([jnp.zeros((1,), x.dtype), jnp.cumsum(jnp.sum(x**2, axis=1))])
    t = np.arange(size)
    masks = jnp.stack([t < split, (t >= split) & (t < base)]).astype(x.dtype)

    def add(total: Array, column: Array) -> tuple[Array, None]:
        spectrum = jnp.fft.rfft(column)
        return total + jnp.conj(jnp.fft.rfft(masks * column[None, :])) * spectrum[None, :], None

    cross, _ = jax.lax.scan(add, jnp.zeros((2, size // 2 + 1), _complex(x)), x.T)
    correlation = jnp.fft.irfft(cross, size)[:, :most]
    at_split, at_base = (jax.lax.dynamic_slice(power, (begin,), (most,)) for begin in (split, base))
    moved = jnp.stack([at_split - power[:most], at_base - at_split])
    terms = jnp.maximum(jnp.stack([split, base - split]), 1).astype(x.dtype)[:, None]
    d = (moved[:, :1] + moved - 2 * correlation) / (2 * terms)
    total = jnp.sum(moved, axis=0)
    d = jnp.where(np.arange(most) < lags, jnp.maximum(d, 0.0), 0.0)
    return d.astype(x.dtype), jnp.sqrt(total / jnp.where(total[0] > 0, total[0], 1.0))


def _exact_return(d: Float[Array, " lags"], lags: Int[Array, ""]) -> tuple[Float[Array, ""], Bool[Array, ""]]:
    """The smallest lag at which the window repeats itself up to rounding."""
    returns = (d < jnp.maximum(_MAX_EXACT, 64 * jnp.finfo(d.dtype).eps)) & _risen(d)
    returns = returns & (np.arange(d.shape[0]) < lags - 1)
    return jnp.argmax(returns).astype(d.dtype), jnp.any(returns)


def _risen(d: Float[Array, " lags"]) -> Bool[Array, " lags"]:
    risen = d > _MIN_DEPARTURE
    return jnp.any(risen) & (np.arange(d.shape[0]) >= jnp.argmax(risen))


def _vertex(left: Array, mid: Array, right: Array) -> tuple[Array, Array]:
    """Offset and value at the minimum of the parabola through three neighbours; an infinite offset where it has none."""
    curvature = left - 2 * mid + right
    safe = jnp.where(curvature > 0, curvature, 1.0)
    offset = jnp.where(curvature > 0, (left - right) / (2 * safe), jnp.inf)
    inside = jnp.abs(offset) <= 0.5
    return offset, jnp.where(inside, jnp.maximum(mid - (left - right) ** 2 / (8 * safe), 0.0), mid)


def _near_return(
    d: Float[Array, " lags"],
    halves: Float[Array, "2 lags"],
    gain: Float[Array, " lags"],
    lags: Int[Array, ""],
    slack: float,
) -> _Return:
    """The best return among the longer lags, which reveal a chirp or a drift, or else a very close early one.

    The lag and the amplitude must agree between the two halves of the base.
    """
    offset, value = _vertex(d[:-2], d[1:-1], d[2:])
    inner = np.arange(1, d.shape[0] - 1)
    minimum = (jnp.abs(offset) <= 0.5) & _risen(d)[1:-1] & (inner < lags - 1)
    early = inner < lags // 4
    score = jnp.where(minimum[None, :] & jnp.stack([~early, early]), value, jnp.inf)
    at = jnp.argmin(score, axis=1)
    each_offset, each_value = _vertex(halves[:, at], halves[:, at + 1], halves[:, at + 2])
    miss = jnp.maximum(jnp.min(score, axis=1), jnp.max(each_value, axis=0))
    shift = jnp.abs(each_offset[0] - each_offset[1])
    lag = (at + 1).astype(d.dtype)
    steady = jnp.abs(gain[at + 1] - 1.0) < slack * _MAX_GROWTH * lag / lags.astype(d.dtype)
    steady = steady & (shift < slack * _MAX_LAG_CHANGE * lag)
    found = (miss < _MAX_RECURRENT) & steady
    # A rotation near a simple fraction returns early and then not for long: period 4.994 at 5 and 10, but not near 500.
    use = jnp.where(found[1] & (miss[1] < _MAX_EARLY) & ~(found[0] & (miss[0] < _MAX_CIRCLE)), 1, 0)
    return _Return(jnp.where(found, lag + offset[at], 2.0)[use], found[use], miss[use])


def _is_circle(
    d: Float[Array, " lags"], lags: Int[Array, ""], miss: Float[Array, ""], period: Float[Array, ""]
) -> Bool[Array, ""]:
    """Whether the window returns closely enough for one frequency, by ``miss`` and at the last multiple of ``period``."""
    # A return between two rounds misses by up to half a round of motion, most at sharp edges. A fast rotation returns only
    # as closely as one part in the number of lags.
    allowed = jnp.clip(0.6 * d[1], jnp.clip(80.0 / lags.astype(d.dtype) ** 2, 1e-3, _MAX_CIRCLE), _MAX_CIRCLE)
    last = jnp.round(jnp.floor((lags - 2).astype(d.dtype) / period) * period).astype(lags.dtype)
    around = jnp.clip(last + np.arange(-1, 2), 1, lags - 2)
    again = jnp.min(_vertex(d[around - 1], d[around], d[around + 1])[1])
    # A fast rotation cannot be interpolated between rounds; `_near_return` has compared its multiples.
    return (miss < allowed) & ((period < 16) | (again < allowed))


def _line_energy(x: Float[Array, "N K"], most: Int[Array, ""], length: Float[Array, ""]) -> Float[Array, " lines"]:
    """Shares of energy at k/length turns per round, of the first ``length`` rounds (chirp z-transform).

    k = 1 … L/2, at most ``most``; entries beyond are 0.
    """
    rounds, lines = x.shape[0] // 2 + 1, x.shape[0] // 4 + 1
    size, kind = 1 << int(np.ceil(np.log2(rounds + lines))), _complex(x)
    length = jnp.maximum(length, 2.0)

    def chirp(index: np.ndarray) -> Array:
        # kt = (k² + t² - (k-t)²)/2; the phase is reduced before it is scaled, which keeps its digits.
        turns = jnp.mod(jnp.asarray(index**2, x.dtype), 2 * length)
        return jnp.exp(-1j * jnp.pi * turns.astype(kind) / length.astype(kind))

    t, k = np.arange(rounds), np.arange(lines)
    kernel = (
        jnp.zeros(size, chirp(t).dtype).at[: max(rounds, lines)].set(jnp.conj(chirp(np.arange(max(rounds, lines)))))
    )
    kernel = kernel.at[size - rounds + 1 :].set(jnp.conj(chirp(np.arange(rounds - 1, 0, -1))))
    kernel, start = jnp.fft.fft(kernel), chirp(t) * (t.astype(x.dtype) < jnp.round(length)).astype(kind)

    def add(total: Array, column: Array) -> tuple[Array, None]:
        transform = jnp.fft.ifft(jnp.fft.fft(start * column[:rounds].astype(kind), size) * kernel)[:lines]
        return total + jnp.abs(transform) ** 2, None

    energy, _ = jax.lax.scan(add, jnp.zeros(lines, x.dtype), x.T)
    energy = jnp.where((k >= 1) & (k.astype(x.dtype) <= jnp.round(length) / 2) & (k <= most), energy, 0.0)[1:]
    return energy / jnp.maximum(jnp.sum(energy), jnp.finfo(x.dtype).tiny)


def _complex(x: Float[Array, "N K"]) -> np.dtype:
    """The complex type with as many digits as x."""
    return np.result_type(x.dtype, np.complex64)


@functools.cache
def _divides(lines: int) -> np.ndarray:
    """[g, k] = 1 where g+1 divides k+1."""
    index = np.arange(1, lines + 1)
    return (index[None, :] % index[:, None] == 0).astype(np.float32)


def _turns(
    energy: Float[Array, " lines"], most: Int[Array, ""], length: Float[Array, ""], exact: Bool[Array, ""]
) -> tuple[Float[Array, ""], Bool[Array, ""]]:
    """The turns in a return, the largest g whose multiples hold the lines, and whether g itself is a line.

    A slow subharmonic of an exact return is real however weak, so there g must be coprime to the lag. Harmonics of a fast
    rotation fold back at half a turn per round, so they are sought at the folded multiples of the strongest line.
    """
    lines = energy.shape[0]
    g = np.arange(1, lines + 1)
    held = jnp.asarray(_divides(lines), energy.dtype) @ energy
    whole = jnp.round(length).astype(jnp.int32)
    fits = (held > _MIN_LINE_SHARE) & (~exact | (jnp.gcd(g.astype(np.int32), whole) == 1))
    turns = jnp.where(jnp.any(fits), lines - jnp.argmax(fits[::-1]), most)
    strongest = jnp.argmax(energy) + 1
    order = np.arange(1, 9)
    whole, ratio = whole.astype(strongest.dtype), whole.astype(energy.dtype) / turns.astype(energy.dtype)
    folded = jnp.mod(order * strongest, whole)
    folded = jnp.minimum(folded, whole - folded)
    used = (order.astype(energy.dtype) <= ratio / 8) & (folded >= 1)
    harmonics = jnp.zeros(lines + 1, bool).at[jnp.where(used, folded, 0)].set(True)[1:]
    rotates = jnp.sum(jnp.where(harmonics, energy, 0.0)) > _MIN_LINE_SHARE
    turns = jnp.where(rotates, strongest, turns)
    return turns.astype(energy.dtype), energy[turns - 1] > 1.0 - _MIN_LINE_SHARE
