"""The curve of fixed points over s = 1/(beta (1-alpha)), followed downward from beta = ∞ for a batch of matrices at once.

It does what ``_branch`` does for one matrix, but with s as the coordinate instead of arclength. Steps adapt to each matrix,
every point is a root of the equation found by Newton's method, and a step may change the spectral radius only a little. The
radius may also rise above 1 and fall again within a step; the cubic through its values and slopes at both ends shows that,
and the step is halved. At a fold the curve turns back in s and an attracting fixed point disappears, so following ends there.
"""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from .._numerics import log_softmax
from ..objectives import Objective
from ._equations import EQUATIONS, Equation, Line, logits, solve

MAX_CORRECTIONS = 8
MAX_FREE_RADIUS = 0.6  # spectral radii below this may change by any amount in one step
MAX_LOG_RADIUS_CHANGE = 0.15  # of larger spectral radii, in one step
MAX_MASS_CHANGE = 0.1  # of the probability of a response, in one step
MAX_LOG_STEP, MIN_LOG_STEP = 0.5, 1e-7  # in log s
MAX_LOG_STEP_NEAR_ONE = 0.1  # once a radius is above NEAR_ONE
NEAR_ONE = 0.7
ROUNDING = 1e-9  # of a maximum of the radius inside a step
MARGIN = 1e-3  # a maximum of the radius this close to 1 is looked at with shorter steps
FINE_LOG_STEP = 1e-3  # in so short a step a maximum exceeds the ends by 1e-6 or so, and is not looked for
SLOPE_STEP = 1e-5  # in log s, of the difference that gives the slope of the radius
MAX_BISECTIONS = 60
MAX_START_REDUCTIONS = 60  # divisions of s by 4 until rounds contract


class Curve(NamedTuple):
    """A followed curve; arrays have a leading axis of matrices, then one of alphas where their type says so.

    Attributes:
        log_policy: the last point, ``(K,)``, in nats; it lies at the requested end unless ``lost``.
        radii: spectral radius there, by alpha.
        begun: whether there is an optimum at beta = ∞ and a fixed point near it.
        lost: whether following ended before the requested end.
        log_s: log s of the last point.
        crossed: by alpha, whether the radius reached 1 on the way.
        log_crossing: by alpha, log s of the first such place, or of the last point where there is none.
    """

    log_policy: Float[Array, " K"]
    radii: Float[Array, " alphas"]
    begun: Bool[Array, ""]
    lost: Bool[Array, ""]
    log_s: Float[Array, ""]
    crossed: Bool[Array, " alphas"]
    log_crossing: Float[Array, " alphas"]


class _Point(NamedTuple):
    f: Float[Array, " K"]
    tangent: Float[Array, " K"]  # df/dlog s
    log_s: Float[Array, ""]
    radii: Float[Array, " alphas"]
    slopes: Float[Array, " alphas"]  # d radius/d log s


class _State(NamedTuple):
    here: _Point
    step: Float[Array, ""]
    crossed: Bool[Array, " alphas"]
    before: _Point  # by alpha, the last point before the radius reached 1
    after: tuple[Float[Array, " alphas"], Float[Array, " alphas"]]  # log s and radius of the first point past it
    lost: Bool[Array, ""]


@partial(jax.jit, static_argnames=("kind", "to_the_end"))
def follow(
    kind: type[Objective], lines: Line, alphas: Float[Array, " alphas"], ends: Float[Array, " alphas"], to_the_end: bool
) -> Curve:
    """The curve of each of ``lines`` (leading axis) up to log s = ``ends``, or to where every alpha has lost stability.

    Args:
        kind: the objective's class.
        lines: matrices with their lam, reference and offline sampler, stacked.
        alphas: in [0, 1).
        ends: log s for each alpha, up to which its radius is followed.
        to_the_end: follow up to the largest of ``ends``, and do not compute crossings.
    """
    return jax.vmap(lambda line: _follow(EQUATIONS[kind], line, alphas, ends, to_the_end))(lines)


def _follow(equation: Equation, line: Line, alphas: Array, ends: Array, to_the_end: bool) -> Curve:
    last = jnp.max(ends)
    start, begun = _start(equation, line, alphas, last)
    count = alphas.shape[0]
    many = jax.tree.map(lambda x: jnp.broadcast_to(x, (count, *x.shape)), start)
    blank = jnp.zeros(count, bool)
    after = (jnp.broadcast_to(start.log_s, (count,)), start.radii)
    state = _State(start, jnp.asarray(0.1), blank, many, after, ~begun)

    def going(state: _State) -> Array:
        settled = state.crossed | (state.here.log_s >= ends)
        return ~state.lost & (state.here.log_s < last) & (True if to_the_end else ~jnp.all(settled))

    state = jax.lax.while_loop(going, lambda s: _step(equation, line, alphas, last, s), state)
    here = state.here
    log_policy = log_softmax(logits(line, here.f, jnp.exp(here.log_s)))
    crossing = here.log_s * jnp.ones(count)
    if not to_the_end:
        each = jnp.arange(count)
        refine = lambda n, before, after: _refine(equation, line, alphas[n], n, before, after)
        refined = jax.vmap(refine)(each, state.before, state.after)
        crossing = jnp.where(state.crossed, refined, crossing)
    return Curve(log_policy, here.radii, begun, state.lost & begun, here.log_s, state.crossed, crossing)


def _start(equation: Equation, line: Line, alphas: Array, last: Array) -> tuple[_Point, Array]:
    """A fixed point at a beta so large that rounds contract at every alpha, and whether there is one."""
    mu = log_softmax(line.log_reference)
    f, exists = equation.reward(line, mu)
    begin = jnp.minimum(last, -jnp.log1p(jnp.max(f) - jnp.min(f)))

    def attempt(log_s: Array) -> tuple[_Point, Array]:
        point, found, size = _point(equation, line, alphas, f, log_s)
        return point, found & (size < 0.5)

    def retry(carry: tuple[_Point, Array, Array]) -> tuple[_Point, Array, Array]:
        point, _, tries = carry
        again, good = attempt(point.log_s - jnp.log(4.0))
        return again, good, tries + 1

    point, good = attempt(begin)
    keep_trying = lambda carry: exists & ~carry[1] & (carry[2] < MAX_START_REDUCTIONS)
    point, good, _ = jax.lax.while_loop(keep_trying, retry, (point, good, jnp.array(0)))
    return point, exists & good


def _point(equation: Equation, line: Line, alphas: Array, guess: Array, log_s: Array) -> tuple[_Point, Array, Array]:
    """The fixed point near ``guess``, whether it was found, and the largest modulus of the eigenvalues of M there."""
    f, tangent, found = _newton(equation, line, guess, jnp.exp(log_s))
    # One batch for both, because batched LAPACK calls share one pool of threads, and two of them at once can deadlock.
    ahead = jnp.array([0.0, SLOPE_STEP])
    (radii, radii_ahead), sizes = jax.vmap(lambda h: _radii(equation, line, alphas, f + h * tangent, log_s + h))(ahead)
    point = _Point(f, tangent, log_s, radii, (radii_ahead - radii) / SLOPE_STEP)
    return point, found & jnp.all(jnp.isfinite(radii)), sizes[0]


def _radii(equation: Equation, line: Line, alphas: Array, f: Array, log_s: Array) -> tuple[Array, Array]:
    """The spectral radius of the round for each alpha, and the largest modulus of the eigenvalues of M."""
    values = equation.spectrum(line, f, jnp.exp(log_s))
    kept, moved = (x[:, None].astype(values.dtype) for x in (alphas, 1 - alphas))
    return jnp.max(jnp.abs(kept + moved * values[None, :]), axis=1), jnp.max(jnp.abs(values))


def _hidden_maximum(here: _Point, there: _Point, step: Array) -> Float[Array, " alphas"]:
    """The largest radius inside the step, on the cubic Hermite interpolant of its values and slopes at both ends."""
    low, high = here.radii, there.radii
    at_low, at_high = step * here.slopes, step * there.slopes
    cubic, square = 2 * (low - high) + at_low + at_high, 3 * (high - low) - 2 * at_low - at_high
    t = jnp.linspace(0.0, 1.0, 17)[:, None]
    low, at_low, square, cubic = (x[None] for x in (low, at_low, square, cubic))
    return jnp.max(low + t * (at_low + t * (square + t * cubic)), axis=0)


def _newton(equation: Equation, line: Line, guess: Array, s: Array) -> tuple[Array, Array, Array]:
    """The root near ``guess``, df/dlog s there, and whether Newton's method converged."""
    tolerance = jnp.finfo(guess.dtype).eps ** 0.6  # the next step would be about the square of that

    def improve(carry: tuple[Array, Array, Array, Array]) -> tuple[Array, Array, Array, Array]:
        f, _, _, count = carry
        linear = equation.at(line, f, s)
        both = solve(linear, s, jnp.stack([-linear.residual, -linear.by_z @ (s * f)], axis=1))
        change = s * jnp.max(jnp.abs(both[:, 0])) / (1 + s * jnp.max(jnp.abs(f)))
        return f + both[:, 0], both[:, 1], jnp.where(jnp.isnan(change), jnp.inf, change), count + 1

    going = lambda carry: (carry[2] > tolerance) & jnp.isfinite(carry[2]) & (carry[3] < MAX_CORRECTIONS)
    begun = improve((guess, guess, jnp.asarray(0.0), jnp.array(0)))
    f, tangent, change, _ = jax.lax.while_loop(going, improve, begun)
    return f, tangent, change <= tolerance


def _step(equation: Equation, line: Line, alphas: Array, last: Array, state: _State) -> _State:
    here = state.here
    wanted = ~state.crossed & (here.radii > NEAR_ONE)
    longest = jnp.where(jnp.any(wanted), MAX_LOG_STEP_NEAR_ONE, MAX_LOG_STEP)
    state = state._replace(step=jnp.minimum(state.step, longest))
    step = jnp.minimum(state.step, last - here.log_s)
    # The last step ends exactly at ``last``, without rounding.
    log_s = jnp.where(state.step >= last - here.log_s, last, here.log_s + step)
    s = jnp.exp(log_s)
    guess = here.f + step * here.tangent
    there, found, _ = _point(equation, line, alphas, guess, log_s)
    # A root far from where the tangent points would lie on another curve.
    length = step * s * jnp.max(jnp.abs(here.f + here.tangent))
    rounding = 1e-6 * (1 + s * jnp.max(jnp.abs(here.f)))
    near = s * jnp.max(jnp.abs(there.f - guess)) <= 0.5 * length + rounding
    # A jump of the policy would mean another curve too: f is a function of the sampler, so curves differ in their policies.
    policy = lambda f, log_s: jax.nn.softmax(logits(line, f, jnp.exp(log_s)))
    near &= jnp.max(jnp.abs(policy(there.f, log_s) - policy(here.f, here.log_s))) <= MAX_MASS_CHANGE
    change = jnp.abs(jnp.log(there.radii) - jnp.log(here.radii))
    calm = jnp.all((jnp.maximum(there.radii, here.radii) < MAX_FREE_RADIUS) | (change < MAX_LOG_RADIUS_CHANGE))
    smallest = step <= 2 * MIN_LOG_STEP
    # A radius that may pass 1 inside the step, though it is below 1 at both ends: a window of instability.
    inside = _hidden_maximum(here, there, step)
    hidden = (inside > 1 - MARGIN) & (inside > jnp.maximum(here.radii, there.radii) + ROUNDING)
    window = hidden & (here.radii < 1) & (there.radii < 1) & ~state.crossed
    clear = ~jnp.any(window) | (step <= FINE_LOG_STEP)
    accepted = found & near & ((calm & clear) | smallest)
    crossing = accepted & ~state.crossed & (here.radii < 1) & (there.radii >= 1)
    put = lambda new, old: jnp.where(crossing.reshape(-1, *([1] * jnp.ndim(new))), new, old)
    return _State(
        jax.tree.map(lambda new, old: jnp.where(accepted, new, old), there, here),
        jnp.where(accepted, jnp.minimum(1.5 * state.step, MAX_LOG_STEP), 0.5 * step),
        state.crossed | crossing,
        jax.tree.map(put, here, state.before),
        (jnp.where(crossing, log_s, state.after[0]), jnp.where(crossing, there.radii, state.after[1])),
        ~accepted & smallest,
    )


def _refine(
    equation: Equation, line: Line, alpha: Array, n: Array, before: _Point, after: tuple[Array, Array]
) -> Array:
    """log s between ``before`` and ``after`` at which the radius of ``alpha``, the n-th, is 1, by secants of the logarithm of
    the radius safeguarded by bisection.
    """
    eps = jnp.finfo(alpha.dtype).eps

    # One point at a time, with the radii of the ends taken from the walk: batched LAPACK calls share one pool of threads, and
    # two of them at once can deadlock.
    def excess(log_s: Array) -> Array:
        guess = before.f + (log_s - before.log_s) * before.tangent
        f, _, found = _newton(equation, line, guess, jnp.exp(log_s))
        radius = _radii(equation, line, alpha[None], f, log_s)[0][0]
        # A point that is not found counts as unstable.
        return jnp.where(found & jnp.isfinite(radius), jnp.log(radius), jnp.inf)

    def halve(carry: Any) -> Any:
        low, high, at_low, at_high, _, count = carry
        secant = low - at_low * (high - low) / (at_high - at_low)
        middle = 0.5 * (low + high)
        inside = jnp.isfinite(secant) & (secant > low) & (secant < high) & (count % 3 != 2)
        now = jnp.where(inside, secant, middle)
        value = excess(now)
        above = value >= 0
        return (
            jnp.where(above, low, now),
            jnp.where(above, now, high),
            jnp.where(above, at_low, value),
            jnp.where(above, value, at_high),
            value,
            count + 1,
        )

    def going(carry: Any) -> Array:
        low, high, _, _, value, count = carry
        return (jnp.abs(value) > 8 * eps) & (high - low > 8 * eps * (1 + jnp.abs(high))) & (count < MAX_BISECTIONS)

    at_low, at_high = jnp.log(before.radii[n]), jnp.log(after[1])
    found = jax.lax.while_loop(going, halve, (before.log_s, after[0], at_low, at_high, at_high, jnp.array(0)))
    return jnp.where(jnp.abs(found[2]) < jnp.abs(found[3]), found[0], found[1])
