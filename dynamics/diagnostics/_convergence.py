"""The rate at which the steps of a run shrink, streamed in constant memory."""

from __future__ import annotations

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float, Int

from ..schema import VARIABLES, Variable
from ._measure import Measure, Snapshot, replay

_MAX_MEMORY = 64.0  # rounds: time constant of the averages in a long run
_FLOOR_POWER = 0.7  # steps below eps^0.7 |z| lack digits and are left out
_MAX_PLANAR_RESIDUAL = 1e-4  # relative and squared, up to which the steps count as one mode or one pair of modes


def convergence_rate(log_policy: Float[ArrayLike, "T K"]) -> Float[Array, ""]:
    """lim ‖d_{t+1}‖/‖d_t‖, d_t = z_{t+1} - z_t: the factor by which the steps in centred logits shrink per round.

    Near a fixed point the steps of a smooth map follow its slowest mode, d_{t+2} = a d_{t+1} - b d_t, and the rate is
    the larger root of x² = a x - b in modulus; (a, b) is fitted by least squares to the newest steps above the rounding
    floor. Where that recurrence does not hold (the run cycles, jumps or drifts) the rate is exp of the smoothed mean of
    log ‖d_{t+1}‖ - log ‖d_t‖. A rate near or above 1 means that the run does not converge. The rate is 0, converged at
    once, where fewer than 4 steps exceed the floor. On linear maps the measured error is 1e-3 from a rate of 0.5 on;
    below, a run has too few steps above the floor to tell close modes apart, and the error is about 1e-2.

    Args:
        log_policy: log pi_t, ``(T, K)``, in nats.

    Returns:
        the rate, scalar ≥ 0, per round.

    Source: [derived].

    >>> z = 0.5 ** jnp.arange(20.0)[:, None] * jnp.array([[1.0, -1.0]])
    >>> round(float(dyn.diagnostics.convergence_rate(jax.nn.log_softmax(z))), 3)
    0.5
    """
    return replay(ConvergenceRate(), log_policy)["convergence_rate"]


class _Steps(eqx.Module):
    logits: Float[Array, " K"]
    step: Float[Array, " K"]  # d_t
    before: Float[Array, " K"]  # d_{t-1}
    count: Int[Array, ""]  # steps above the floor so far
    streak: Int[Array, ""]  # length of the current run of such steps
    products: Float[Array, " 6"]  # averaged products of three successive steps, relative to the newest norm
    slopes: Float[Array, "2 3"]  # increments of log norm averaged three times; second row: the same averages of 1


class ConvergenceRate(Measure[_Steps]):
    """Streams `convergence_rate`."""

    name: str = eqx.field(static=True, kw_only=True, default="convergence_rate")

    def variables(self, num_responses: int) -> dict[str, Variable]:
        return {self.name: VARIABLES["convergence_rate"]}

    def init(self, snapshot: Snapshot, rounds: Int[Array, ""]) -> _Steps:
        z = snapshot.logits
        none, zero, dtype = jnp.zeros_like(z), jnp.zeros((), jnp.int32), z.dtype
        return _Steps(z, none, none, zero, zero, jnp.zeros(6, dtype), jnp.zeros((2, 3), dtype))

    def update(self, state: _Steps, snapshot: Snapshot) -> _Steps:
        step = snapshot.logits - state.logits
        size = jnp.sqrt(jnp.sum(step**2))
        floor = jnp.finfo(step.dtype).eps ** _FLOOR_POWER * (1.0 + jnp.sqrt(jnp.sum(snapshot.logits**2)))
        counts = size > floor
        count, streak = state.count + counts.astype(jnp.int32), jnp.where(counts, state.streak + 1, 0)
        unit = jnp.where(counts, size, 1.0)
        last = jnp.sqrt(jnp.sum(state.step**2))
        # The memory grows with the run, so that a short run forgets its transient and a long one averages over more.
        elapsed = count.astype(step.dtype)
        products = _step_products(step / unit, state.step / unit, state.before / unit)
        gain = 1.0 / jnp.minimum(1.0 + elapsed / 9.0, _MAX_MEMORY)
        products = state.products + jnp.where(streak > 2, gain * (products - state.products), 0.0)
        increment = jnp.log(unit / jnp.where(last > 0, last, 1.0))
        gain = 1.0 / jnp.minimum(1.0 + elapsed / 12.0, _MAX_MEMORY)
        slopes = _cascade(state.slopes, jnp.stack([increment, jnp.ones_like(increment)]), gain)
        return _Steps(
            snapshot.logits,
            step,
            state.step,
            count,
            streak,
            products,
            jnp.where(streak > 1, slopes, state.slopes),
        )

    def finalize(self, state: _Steps) -> Array:
        drift = jnp.exp(state.slopes[0, 2] / jnp.where(state.slopes[1, 2] > 0, state.slopes[1, 2], 1.0))
        modulus, residual = _planar_rate(state.products)
        return jnp.where(state.count < 4, 0.0, jnp.where(residual < _MAX_PLANAR_RESIDUAL, modulus, drift))


def _step_products(new: Array, mid: Array, old: Array) -> Array:
    pairs = ((mid, mid), (mid, old), (old, old), (new, mid), (new, old), (new, new))
    return jnp.stack([jnp.sum(u * v) for u, v in pairs])


def _cascade(levels: Float[Array, "2 3"], value: Float[Array, " 2"], gain: Array) -> Float[Array, "2 3"]:
    """Three averages, each of the previous one: a smooth kernel, under which oscillations cancel."""
    out = []
    for level in range(3):
        value = levels[:, level] + gain * (value - levels[:, level])
        out.append(value)
    return jnp.stack(out, axis=1)


def _planar_rate(products: Float[Array, " 6"]) -> tuple[Array, Array]:
    """The modulus of the larger root of the fitted recurrence, and the fit's residual relative to the steps."""
    mm, mo, oo, nm, no, nn = products
    # With one mode the steps are collinear, and the smaller eigenvalue of the Gram matrix is rounding: leave it out.
    half, cross = (mm - oo) / 2, mo
    radius = jnp.sqrt(half**2 + cross**2)
    large = (mm + oo) / 2 + radius
    small = jnp.where(large > 0, (mm * oo - mo**2) / jnp.where(large > 0, large, 1.0), 0.0)
    angle = 0.5 * jnp.arctan2(cross, half)
    c, s = jnp.cos(angle), jnp.sin(angle)
    along, across = c * nm + s * no, c * no - s * nm
    keep = small > jnp.sqrt(jnp.finfo(mm.dtype).eps) * large
    u = along / jnp.where(large > 0, large, 1.0)
    v = jnp.where(keep, across / jnp.where(keep, small, 1.0), 0.0)
    a, b = c * u - s * v, -(s * u + c * v)
    residual = nn - u * along - v * across
    discriminant = a**2 / 4 - b
    real = jnp.abs(a) / 2 + jnp.sqrt(jnp.maximum(discriminant, 0.0))
    return jnp.where(discriminant < 0, jnp.sqrt(jnp.abs(b)), real), residual / jnp.where(nn > 0, nn, 1.0)
