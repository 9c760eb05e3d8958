"""Calls of LAPACK in a vectorised program: one matrix after the other.

Batches of matrices share one pool of threads on CPU, and a batch waits, on a thread of this pool, for parts of it that the
pool has not begun. Batches in flight together, of several devices or in one program, can so wait for each other for ever.
A call with one matrix has no parts. Hence no program of a sweep passes a batch to LAPACK.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

# fmt: off
LAPACK = {
    "cholesky", "eig", "eigh", "geqp3", "geqrf", "hessenberg", "householder_product", "lu", "ormqr", "qr", "schur", "svd",
    "triangular_solve", "tridiagonal",
}
# fmt: on
"""Primitives that call LAPACK on CPU: matrices last, behind any axes of a batch that all operands share."""


def calls_lapack(eqn: Any) -> bool:
    """Whether an equation, or a program inside it, calls LAPACK, which only CPU does."""
    if jax.default_backend() != "cpu":
        return False
    if eqn.primitive.name in LAPACK:
        return True
    parts = jax.tree.leaves(eqn.params, is_leaf=lambda x: hasattr(x, "eqns") or hasattr(x, "jaxpr"))
    programs = [getattr(part, "jaxpr", part) for part in parts]
    return any(calls_lapack(inner) for program in programs for inner in getattr(program, "eqns", ()))


def one_by_one(eqn: Any, values: Sequence[Any], flags: Sequence[bool], lanes: int) -> tuple[list[Any], list[bool]]:
    """The outputs of an equation in ``LAPACK``, a matrix at a time; a batch of runs is the last axis, before and after.

    Args:
        eqn: the equation as traced for a single run.
        values: its operands, those with a flag with the runs last.
        flags: which operands depend on the run.
        lanes: the number of runs.
    """
    batch = eqn.invars[0].aval.shape[:-2]
    several = any(flags)
    whole = (lanes, *batch) if several else batch
    front = lambda x, f: jnp.moveaxis(x, -1, 0) if f else jnp.broadcast_to(x, (lanes, *jnp.shape(x))) if several else x
    flat = [
        jnp.reshape(y, (math.prod(whole), *y.shape[len(whole) :]))
        for y in (front(x, f) for x, f in zip(values, flags, strict=True))
    ]
    found = lax.map(lambda one: eqn.primitive.bind(*one, **eqn.params), flat)
    done = [jnp.reshape(y, (*whole, *y.shape[1:])) for y in jax.tree.leaves(found)]
    return [jnp.moveaxis(y, 0, -1) if several else y for y in done], [several] * len(done)
