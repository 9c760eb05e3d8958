"""Fixed points and their spectral radii in all cells of a map at once: Newton's method, handed on from cell to cell."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from .._parameters import replace
from .._vectors import ravel, unravel
from ..rounds import Process
from ..stability import find_fixed_points

STEPS = 12  # of Newton's method in one pass
LONGEST = 2.0  # of a step, in nats
MAX_MODULUS = 1e4  # nats; beyond, a point is on its way to a vertex


def radii(
    process: Process[Any], cells: dict[str, np.ndarray], wanted: np.ndarray, advance: Callable[[int], None]
) -> tuple[np.ndarray, np.ndarray]:
    """rho(J(s*)) in every cell and log pi* there; NaN where no fixed point was found.

    Newton's method starts at the process's own start. What it finds in a cell is where its neighbours start again.

    Args:
        process: one prompt, deterministic.
        cells: values by path, ``(ny, nx)``.
        wanted: the cells to look at, ``(ny, nx)``.
        advance: told how many cells are done.

    Returns:
        the radii, ``(ny, nx)``, and the policies, ``(ny, nx, K)``.
    """
    shape = wanted.shape
    basis, template = process.state_basis(), process.centred_start()
    values = {path: jnp.asarray(array.ravel()) for path, array in cells.items()}
    first = np.asarray(basis.T @ ravel(process.centred_start(process.log_start())))
    m, open_, searched = len(first), wanted.copy(), False
    points = np.tile(first, (*shape, 1))
    slopes, logs = np.full((*shape, m, m), np.nan), np.full((*shape, process.num_responses), np.nan)
    advance(int((~wanted).sum()))
    while True:
        out = _newton(process, basis, template, values, jnp.asarray(points.reshape(-1, m)))
        y, good, J, log_policy = (np.asarray(a).reshape(*shape, *a.shape[1:]) for a in out)
        new = good & open_
        points[new], slopes[new], logs[new] = y[new], J[new], log_policy[new]
        open_ &= ~new
        advance(int(new.sum()))
        if not open_.any():
            break
        if new.any():
            if not _handed_on(points, wanted & ~open_, open_):
                break
        elif searched or not _from_search(process, cells, basis, points, open_):
            break
        else:
            searched = True
    rho = np.full(shape, np.nan)
    there = np.isfinite(slopes).all(axis=(2, 3))
    rho[there] = np.abs(np.linalg.eigvals(slopes[there])).max(axis=1) if there.any() else []
    return rho, logs


def _handed_on(points: np.ndarray, source: np.ndarray, open_: np.ndarray) -> bool:
    """Gives each open cell the fixed point of a neighbour as its start, and says whether there was one."""
    given, before = np.zeros_like(open_), points.copy()
    for axis, by in ((1, 1), (1, -1), (0, 1), (0, -1)):
        there = np.roll(source, by, axis)
        np.moveaxis(there, axis, 0)[0 if by == 1 else -1] = False  # what came round from the other end
        take = there & open_ & ~given
        points[take] = np.roll(before, by, axis)[take]
        given |= take
    return bool(given.any())


def _from_search(
    process: Process[Any], cells: dict[str, np.ndarray], basis: Any, points: np.ndarray, open_: np.ndarray
) -> bool:
    """Gives all open cells the fixed point that a search from many starts finds in the middle one."""
    left = np.argwhere(open_)
    at = tuple(left[len(left) // 2])
    one = replace(process, {path: jnp.asarray(values[at]) for path, values in cells.items()})
    inner = next((point.state for point in find_fixed_points(one, 32) if point.state is not None), None)
    if inner is None:
        return False
    points[open_] = np.asarray(basis.T @ ravel(process.centre(inner.carried)))
    return True


@eqx.filter_jit
def _newton(
    process: Process[Any],
    basis: Float[Array, "n m"],
    template: Any,
    values: dict[str, Float[Array, " cells"]],
    points: Float[Array, "cells m"],
) -> tuple[Array, Array, Array, Array]:
    """Where Newton's method gets from a point in each cell, whether it is a fixed point, ∂y'/∂y, and log pi there."""

    def one(cell: dict[str, Array], y: Array) -> tuple[Array, Array, Array, Array]:
        here = replace(process, cell)
        round_ = lambda x: basis.T @ ravel(here.centre(here.advance(unravel(basis @ x, template), None)[0]))

        def look(x: Array) -> tuple[Array, Array]:
            return jax.jacfwd(lambda u: (moved := round_(u), moved), has_aux=True)(x)

        def improve(_: Any, x: Array) -> Array:
            J, moved = look(x)
            step = jnp.linalg.solve(J - jnp.eye(len(x)), x - moved)
            step = jnp.where(jnp.all(jnp.isfinite(step)), step, moved - x)
            size = jnp.linalg.norm(step)
            return x + step * jnp.minimum(1.0, LONGEST / jnp.maximum(size, 1e-300))

        y = jax.lax.fori_loop(0, STEPS, improve, y)
        J, moved = look(y)
        scale, eps = 1.0 + jnp.max(jnp.abs(y)), jnp.finfo(y.dtype).eps
        left = jnp.linalg.solve(J - jnp.eye(len(y)), y - moved)
        # A small residual does not suffice, as in ``find_fixed_points``: Newton's next step has to be small too.
        good = (jnp.max(jnp.abs(moved - y)) <= 1e5 * eps * scale) & (jnp.max(jnp.abs(left)) <= jnp.sqrt(eps) * scale)
        good &= jnp.all(jnp.isfinite(J)) & (scale < MAX_MODULUS)
        return y, good, J, here.log_policy(unravel(basis @ y, template))

    return jax.vmap(one)(values, points)
