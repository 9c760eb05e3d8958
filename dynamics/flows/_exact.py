"""Margins in closed form, for a loss that declares itself a parabola or a hinge."""

from __future__ import annotations

from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from .._numerics import concrete
from ..objectives import MarginLoss
from . import _hinge, _linear, _losses
from ._pairs import Form, PairFeatures

Start = tuple[Float[Array, " N"], Float[Array, " N"]]  # coefficients and margins
Row = Callable[[Array, Array, Array], dict[str, Array]]  # of coefficients, margins and W - W(0)


def goes_by_kinks(objective: MarginLoss) -> bool:
    """Whether the exact solution proceeds from kink to kink, on the host."""
    return objective.parabola() is None and objective.hinge() is not None


def solve(
    row: Row, pairs: PairFeatures, form: Form, objective: MarginLoss, start: Start, times: Array, span: Array
) -> tuple[dict[str, Array], Start] | None:
    """Rows at ``times`` after ``start``, and the coefficients and margins ``span`` after it; None without a closed form."""
    if objective.parabola() is not None:
        if not _linear.feasible(pairs, form):
            return None
        return _linear_rows(row, pairs, form, objective, start, times, span)
    if not goes_by_kinks(objective) or not concrete(pairs, objective, start, times):
        return None
    shape = tuple(np.asarray(x) for x in _losses.hinge(objective, pairs.scale) or ())
    a, r = (np.asarray(x) for x in start)
    kinks = _hinge.solution(pairs, float(objective.beta), shape, a, r, float(span))
    if kinks is None:
        return None
    ts, a, r = kinks
    at = lambda values: jnp.asarray(_hinge.between(times, ts, values))
    return _rows_of(row, pairs, objective.beta, (at(a), at(r))), (jnp.asarray(a[-1]), jnp.asarray(r[-1]))


@eqx.filter_jit
def _linear_rows(
    row: Row, pairs: PairFeatures, form: Form, objective: MarginLoss, start: Start, times: Array, span: Array
) -> tuple[dict[str, Array], Start]:
    parabola = _losses.parabola(objective, pairs.scale)
    assert parabola is not None
    at = _linear.solution(pairs, form, objective.beta, parabola, *start)
    return jax.lax.map(lambda s: row(*at(s)), times), at(span)[:2]


@eqx.filter_jit
def _rows_of(row: Row, pairs: PairFeatures, beta: Array, states: tuple[Array, Array]) -> dict[str, Array]:
    return jax.lax.map(lambda state: row(state[0], state[1], beta * pairs.combine(state[0])), states)


def advice(objective: MarginLoss, scale: Array | None) -> str | None:
    """Advice for a solver stuck at the kinks of a hinge; None for other losses."""
    shape = _losses.hinge(objective, scale)
    if shape is None:
        return None
    kinks = np.unique(np.asarray(shape[0]))
    where = f"{kinks[0]:g}" if len(kinks) == 1 else f"{kinks[0]:g} … {kinks[-1]:g}"
    return (
        f"margins slide along {type(objective).__name__}'s kink at {where}, where solvers take only short steps; omit "
        f"solver= and event= for the exact solution (up to {_hinge.MAX_EXAMPLES} examples), or use dyn.descend"
    )
