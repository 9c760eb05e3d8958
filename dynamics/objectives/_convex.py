"""The optimum of any loss of margins, for pairs of any masses: Newton's method as a sequence of weighted fits.

A pair's mass may be e^1000 times another's, so the normal equations of a Newton step cannot be formed. Instead each step is a
weighted least-squares fit to the margins that the pairs ask for, which ``_projected.weighted_fit`` solves at any weights.
Along directions that no comparison determines, the reference's log-ratio stays.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from .._numerics import gauge_basis
from ..preferences import Masses, Pairs, Seen
from ._projected import pair_rows, weighted_fit
from ._vanishing import NEGLIGIBLE_GAP, held, vanishing

if TYPE_CHECKING:
    from ._margin_loss import MarginLoss

MAX_MARGIN_CHANGE = 30.0  # that one pair may ask for in one step
MAX_STEPS = 500
STEP_TOLERANCE = 500.0  # units of rounding; a smaller step is the last
OPTIMUM_EXPONENT = 0.575  # a last step below eps to this power is at an optimum: 1e-9 in float64, 1e-4 in float32


class _Rows(NamedTuple):
    """One row for each pair i < j: the features of i minus those of j, and the log-masses of "i beat j" and "j beat i"."""

    X: Float[Array, "pairs m"]
    log_win: Float[Array, " pairs"]
    log_lose: Float[Array, " pairs"]

    @property
    def log_mass(self) -> Float[Array, " pairs"]:
        return _logaddexp(self.log_win, self.log_lose)


def solve_convex(
    objective: MarginLoss, seen: Seen, basis: Float[Array, "*contexts K m"] | None
) -> tuple[Float[Array, "*contexts K"], Bool[Array, ""]]:
    """argmin_f Σ_ij W_ij loss(f_i - f_j) of least norm, in the span of ``basis`` if given, and whether it was found.

    For a loss that is not convex, f is a stationary point that descent reaches from the reference, f = 0.
    """
    columns = jnp.asarray(gauge_basis(_size(seen))) if basis is None else basis
    rows = _rows(columns, seen)
    u, found = _minimise(objective, rows)
    if isinstance(seen, Pairs):
        # A response without mass is given one of about e^-200; where only that mass balances the loss, there is no optimum.
        at_edge = jnp.any(seen.log_mu == -jnp.inf)
        found &= ~(at_edge & (jnp.max(jnp.abs(rows.X @ u)) > NEGLIGIBLE_GAP / 4))
    return columns @ u, found


def _size(seen: Seen) -> int:
    return (seen.preference if isinstance(seen, Pairs) else seen.wins).shape[-1]  # pyright: ignore


def _rows(basis: Float[Array, "*contexts K m"], seen: Seen) -> _Rows:
    i, j = np.triu_indices(basis.shape[-2], 1)
    X = pair_rows(basis)
    if isinstance(seen, Pairs):
        log_mu = vanishing(held(seen.log_mu))  # extends the optimum to the edge of the simplex, as for IPO and DPO
        log_pair = (log_mu[..., i] + log_mu[..., j]).ravel()
        wins = seen.preference
        return _Rows(X, log_pair + _log(wins[..., i, j].ravel()), log_pair + _log(wins[..., j, i].ravel()))
    assert isinstance(seen, Masses)
    return _Rows(X, _log(seen.wins[..., i, j].ravel()), _log(seen.wins[..., j, i].ravel()))


def _log(p: Array) -> Array:
    """log p, with derivative 0 where p is 0."""
    return jnp.where(p > 0, jnp.log(jnp.where(p > 0, p, 1.0)), -jnp.inf)


def _logaddexp(a: Array, b: Array) -> Array:
    top = jnp.maximum(a, b)
    safe = jnp.where(top == -jnp.inf, 0.0, top)
    return jnp.where(top == -jnp.inf, -jnp.inf, safe + jnp.log(jnp.exp(a - safe) + jnp.exp(b - safe)))


class _Asked(NamedTuple):
    """The force and curvature of each pair at its margin, per unit of its mass."""

    force: Float[Array, " pairs"]
    curve: Float[Array, " pairs"]


def _asked(objective: MarginLoss, rows: _Rows, margin: Float[Array, " pairs"]) -> _Asked:
    log_mass = rows.log_mass
    empty = log_mass == -jnp.inf
    share = lambda log_part: jnp.where(empty, 0.0, jnp.exp(log_part - jnp.where(empty, 0.0, log_mass)))
    p, q = share(rows.log_win), share(rows.log_lose)

    def force(r: Array) -> Array:
        return q * objective.slope(-r) - p * objective.slope(r)

    value, minus_curve = jax.jvp(force, (margin,), (jnp.ones_like(margin),))
    return _Asked(value, -minus_curve)


def _fit(rows: _Rows, log_weight: Array, target: Array) -> Array:
    """The weighted fit, where each coordinate is also fitted to 0 with a weight far below all others."""
    m = rows.X.shape[1]
    alive = jnp.isfinite(log_weight)
    low = jnp.min(jnp.where(alive, log_weight, jnp.inf))
    floor = jax.lax.stop_gradient(jnp.where(jnp.isfinite(low), low, 0.0) - NEGLIGIBLE_GAP)
    X = jnp.concatenate([jnp.where(alive[:, None], rows.X, 0.0), jnp.eye(m)])
    weight = jnp.concatenate([jnp.where(alive, log_weight, floor), jnp.full(m, floor)])
    return weighted_fit(X, weight, jnp.concatenate([jnp.where(alive, target, 0.0), jnp.zeros(m)]))


@eqx.filter_custom_jvp
def _minimise(objective: MarginLoss, rows: _Rows) -> tuple[Float[Array, " m"], Bool[Array, ""]]:
    eps = jnp.finfo(rows.X.dtype).eps
    m = rows.X.shape[1]

    def newton(u: Array) -> Array:
        asked = _asked(objective, rows, rows.X @ u)
        # Raising the curvature leaves the force, hence the solution, as it is; it limits the change a saturated pair asks for.
        curve = jnp.maximum(asked.curve, jnp.abs(asked.force) / MAX_MARGIN_CHANGE)
        good = curve > 0
        log_weight = jnp.where(good, rows.log_mass + jnp.log(jnp.where(good, curve, 1.0)), -jnp.inf)
        # The fit is of the position, not of the step, so that directions without data return to 0.
        target = rows.X @ u + asked.force / jnp.where(good, curve, 1.0)
        return _fit(rows, log_weight, target) - u

    def going(carry: tuple[Array, ...]) -> Array:
        u, last, _, _, count = carry
        return (last > STEP_TOLERANCE * eps * (1.0 + jnp.max(jnp.abs(u)))) & (count < MAX_STEPS)

    def step(carry: tuple[Array, ...]) -> tuple[Array, ...]:
        u, before, moved, trust, count = carry
        delta = newton(u)
        size = jnp.max(jnp.abs(delta))
        length = jnp.where(size > 1e-3, jnp.log1p(size), size)
        # A step back over most of the previous step means that that one was too long.
        turned = (jnp.sum(delta * moved) < 0) & (size > 0.5 * before)
        trust = jnp.where(turned, 0.5 * jnp.minimum(trust, jnp.max(jnp.abs(moved))), 2.0 * trust)
        share = jnp.minimum(length, trust) / jnp.where(size > 0, size, 1.0)
        # Steps that consist of rounding stop shrinking, and further ones bring no gain.
        last = jnp.where((size < eps**OPTIMUM_EXPONENT) & (size >= 0.5 * before), 0.0, size)
        change = jnp.where(jnp.isfinite(delta), jnp.minimum(share, 1.0) * delta, 0.0)
        return u + change, jnp.where(jnp.isfinite(size), last, 0.0), change, trust, count + 1

    zero, large = jnp.zeros(m, rows.X.dtype), jnp.asarray(1e3, rows.X.dtype)
    begun = (zero, jnp.asarray(jnp.inf, rows.X.dtype), zero, large, jnp.array(0))
    u, _, _, _, _ = jax.lax.while_loop(going, step, begun)
    left = jnp.max(jnp.abs(newton(u)))
    # A pair with mass but without curvature has overflowed on its way to infinity, or lies where the loss is flat.
    flat = jnp.any((rows.log_mass > -jnp.inf) & ~(_asked(objective, rows, rows.X @ u).curve > 0))
    found = (left <= eps**OPTIMUM_EXPONENT * (1.0 + jnp.max(jnp.abs(u)))) & ~flat
    return jnp.where(jnp.isfinite(u), u, 0.0), found


@_minimise.def_jvp
def _minimise_jvp(primals: Any, tangents: Any) -> tuple[Any, Any]:
    """The derivative of Σ mass · force · X = 0: the same fit with another target."""
    objective, rows = primals
    d_objective, d_rows = tangents
    if d_rows.X is not None:
        raise NotImplementedError(
            "a round cannot be differentiated with respect to the features phi; differentiate a flow instead."
        )
    u, found = _minimise(objective, rows)
    margin = rows.X @ u
    asked = _asked(objective, rows, margin)
    zero = lambda tangent, x: jnp.zeros_like(x) if tangent is None else tangent

    def pushed(objective: Any, log_win: Array, log_lose: Array) -> tuple[Array, Array]:
        moved = rows._replace(log_win=log_win, log_lose=log_lose)
        return _asked(objective, moved, margin).force, moved.log_mass

    arrays, rest = eqx.partition(objective, eqx.is_inexact_array)
    d_arrays = jax.tree.map(lambda x, t: zero(t, x), arrays, d_objective, is_leaf=lambda x: x is None)
    d_log = (zero(d_rows.log_win, rows.log_win), zero(d_rows.log_lose, rows.log_lose))
    _, (d_force, d_log_mass) = jax.jvp(
        lambda a, w, l: pushed(eqx.combine(a, rest), w, l), (arrays, rows.log_win, rows.log_lose), (d_arrays, *d_log)
    )
    empty = rows.log_mass == -jnp.inf
    good = ~empty & (asked.curve > 0)
    target = d_force + jnp.where(asked.force == 0.0, 0.0, d_log_mass * asked.force)
    target = jnp.where(good, target / jnp.where(good, asked.curve, 1.0), 0.0)
    log_weight = jnp.where(good, rows.log_mass + jnp.log(jnp.where(good, asked.curve, 1.0)), -jnp.inf)
    du = _fit(rows, log_weight, target)
    return (u, found), (du, None)
