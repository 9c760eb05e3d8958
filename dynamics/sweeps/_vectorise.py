"""``vmap`` with the batch along the last axis throughout.

``jax.vmap(f, in_axes=-1, out_axes=-1)`` moves the batch to the front wherever a batched scalar is broadcast or an array
without a batch takes part, which costs transposes in every round. Here the runs of a block stay along the last axis, the one
that vector units process. Primitives without a rule here go through ``vmap``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.extend.core import ClosedJaxpr, Jaxpr, Literal
from jaxtyping import Array

from .._where_needed import NAME as WHERE_NEEDED
from ._linear_algebra import LAPACK, calls_lapack, one_by_one
from ._rules import ALONG_AXES, ENTRYWISE, RULES, grow, spread

_CALLS = {
    "jit": "jaxpr",
    "pjit": "jaxpr",
    "closed_call": "call_jaxpr",
    "core_call": "call_jaxpr",
    "custom_jvp_call": "call_jaxpr",
    "custom_vjp_call": "call_jaxpr",
    "custom_vjp_call_jaxpr": "fun_jaxpr",
    "checkpoint": "jaxpr",
    "remat": "jaxpr",
}


FEW = 16
"""Lanes for which what only some of them need is computed at once: a multiple of 8, as the number of lanes is."""


def vectorise(function: Callable[..., Any], batched: Any, lanes: int) -> Callable[..., tuple[Any, Any]]:
    """A function of arrays whose last axis is the batch; it returns ``(outputs, flags)``, where flags mark batched outputs.

    Args:
        function: a pure function of single runs.
        batched: whether each leaf of the arguments has the batch; same structure as the arguments.
        lanes: length of the batch.
    """

    def mapped(*args: Any) -> tuple[Any, Any]:
        flags = jax.tree.leaves(batched)
        leaves = jax.tree.leaves(args)
        single = [
            jax.ShapeDtypeStruct(x.shape[:-1] if flag else x.shape, x.dtype)
            for x, flag in zip(leaves, flags, strict=True)
        ]
        args_of = jax.tree.structure(args)
        jaxpr, shape = jax.make_jaxpr(function, return_shape=True)(*jax.tree.unflatten(args_of, single))
        values, found = _evaluate(jaxpr, leaves, flags, lanes)
        structure = jax.tree.structure(shape)
        return jax.tree.unflatten(structure, values), jax.tree.unflatten(structure, found)

    return mapped


def passed_on(function: Callable[..., Any], carry: Any, *rest: Any) -> Any:
    """For each leaf of ``carry``, whether ``function(carry, *rest)`` returns it unchanged."""
    jaxpr = jax.make_jaxpr(function)(carry, *rest).jaxpr
    leaves, structure = jax.tree.flatten(carry)
    return jax.tree.unflatten(
        structure, [a is b for a, b in zip(jaxpr.invars[: len(leaves)], jaxpr.outvars, strict=True)]
    )


def _evaluate(
    closed: ClosedJaxpr | Jaxpr, values: Sequence[Any], flags: Sequence[bool], lanes: int
) -> tuple[list[Any], list[bool]]:
    jaxpr, consts = (closed.jaxpr, closed.consts) if isinstance(closed, ClosedJaxpr) else (closed, ())
    known: dict[Any, tuple[Any, bool]] = {v: (c, False) for v, c in zip(jaxpr.constvars, consts, strict=True)}
    known |= {v: (x, f) for v, x, f in zip(jaxpr.invars, values, flags, strict=True)}
    constant = lambda v: (jnp.asarray(v.val, v.aval.dtype), False)
    read = lambda v: constant(v) if isinstance(v, Literal) else known[v]
    for eqn in jaxpr.eqns:
        inside = [read(atom) for atom in eqn.invars]
        done, marks = _apply(eqn, [x for x, _ in inside], [f for _, f in inside], lanes)
        known |= {v: (x, f) for v, x, f in zip(eqn.outvars, done, marks, strict=True)}
    out = [read(atom) for atom in jaxpr.outvars]
    return [x for x, _ in out], [f for _, f in out]


def _apply(eqn: Any, values: list[Any], flags: list[bool], lanes: int) -> tuple[list[Any], list[bool]]:
    name, params, ranks = eqn.primitive.name, eqn.params, [len(v.aval.shape) for v in eqn.invars]
    if params.get("name") == WHERE_NEEDED and (needed := _where_needed(params, values, flags, lanes)) is not None:
        return needed
    if name in _CALLS:
        return _evaluate(params[_CALLS[name]], values, flags, lanes)
    if name == "custom_linear_solve" and calls_lapack(
        eqn
    ):  # nothing is differentiated any more: the solution alone counts
        first, inside = len(values) - len(eqn.outvars), params["const_lengths"]
        begin = inside.matvec + inside.vecmat
        take = lambda of: [*of[begin : begin + inside.solve], *of[first:]]
        return _evaluate(params["jaxprs"].solve, take(values), take(flags), lanes)
    if name in LAPACK and calls_lapack(eqn):
        return one_by_one(eqn, values, flags, lanes)
    if name in ("scan", "cond") and calls_lapack(eqn):
        return (_scan if name == "scan" else _cond)(params, values, flags, lanes)
    if not any(flags) and not (name == "while" and calls_lapack(eqn)):
        done = _bind(eqn, values)
        return done, [False] * len(done)
    if name == "while":
        return _while(params, values, flags, lanes)
    if name in ENTRYWISE:
        # Scalars may be mixed with arrays, such as the condition of a select.
        rank = max(ranks)
        grown = [grow(x, f, r, rank, eqn, lanes) for x, f, r in zip(values, flags, ranks, strict=True)]
        done = _bind(eqn, grown)
    elif name in ALONG_AXES:
        done = _bind(eqn, [spread(x, f, lanes) for x, f in zip(values, flags, strict=True)])
    elif name in RULES and (found := RULES[name](params, values, flags, ranks, lanes)) is not None:
        done = [found]
    else:
        axes = [-1 if f else None for f in flags]
        done = jax.vmap(lambda *x: _bind(eqn, list(x)), in_axes=axes, out_axes=-1)(*values)
    return list(done), [True] * len(done)


def _bind(eqn: Any, values: list[Any]) -> list[Any]:
    done = eqn.primitive.bind(*values, **eqn.params)
    return list(done) if eqn.primitive.multiple_results else [done]


def _while(params: Any, values: list[Any], flags: list[bool], lanes: int) -> tuple[list[Any], list[bool]]:
    """A loop that ends with the last lane; finished lanes keep their values."""
    a, b = params["cond_nconsts"], params["body_nconsts"]
    rank = len(params["cond_jaxpr"].out_avals[0].shape)  # of a batch of loops, each of which ends by itself
    of_cond, of_body, start = values[:a], values[a : a + b], values[a + b :]
    f_cond, f_body, carried = flags[:a], flags[a : a + b], flags[a + b :]
    cond = lambda carry, marks: _evaluate(params["cond_jaxpr"], [*of_cond, *carry], [*f_cond, *marks], lanes)
    body = lambda carry, marks: _evaluate(params["body_jaxpr"], [*of_body, *carry], [*f_body, *marks], lanes)

    def marks_after(marks: list[bool]) -> list[bool]:
        found: list[bool] = []

        def look(carry: list[Any]) -> list[Any]:
            _, (stops,) = cond(carry, marks)
            out, after = body(carry, marks)
            found[:] = [old or new or stops for old, new in zip(marks, after, strict=True)]
            return out

        jax.eval_shape(
            look, [spread(x, not (m and not f), lanes) for x, m, f in zip(start, marks, carried, strict=True)]
        )
        return found

    marks = carried
    while (more := marks_after(marks)) != marks:
        marks = more
    carry = [spread(jnp.asarray(x), f or not m, lanes) for x, f, m in zip(start, carried, marks, strict=True)]

    def go_on(carry: list[Any]) -> Any:
        (going,), _ = cond(carry, marks)
        return jnp.any(going)

    def step(carry: list[Any]) -> list[Any]:
        (going,), (stops,) = cond(carry, marks)
        new, after = body(carry, marks)
        new = [spread(x, f or not m, lanes) for x, f, m in zip(new, after, marks, strict=True)]
        if not stops and rank == 0:
            return new
        return [jnp.where(_of_each(going, x, rank, stops), x, old) for x, old in zip(new, carry, strict=True)]

    return lax.while_loop(go_on, step, carry), marks


def _where_needed(params: Any, values: list[Any], flags: list[bool], lanes: int) -> tuple[list[Any], list[bool]] | None:
    """A computation that few lanes need, done for ``FEW`` neighbours at a time until no lane needs it; None if not such."""
    program = params["jaxpr"].jaxpr
    loop, given = program.eqns[0], dict(zip(program.invars, zip(values, flags, strict=True), strict=True))
    alone = len(program.eqns) == 1 and all(not isinstance(atom, Literal) and atom in given for atom in loop.invars)
    if not alone or loop.invars[-len(loop.outvars)].aval.shape or lanes % FEW:
        return None  # a batch of prompts in each lane, or constants beside the arguments
    full = [spread(x, f, lanes) for x, f in (given[atom] for atom in loop.invars)]
    split = len(full) - len(loop.outvars)
    body = loop.params["body_jaxpr"]

    def few(state: tuple[Array, list[Array]]) -> tuple[Array, list[Array]]:
        needed, done = state
        begin = jnp.argmax(needed) // FEW * FEW
        take = lambda x: lax.dynamic_slice_in_dim(x, begin, FEW, -1)
        here, old = take(needed), [take(x) for x in done]
        found, marks = _evaluate(body, [*map(take, full[:split]), here, *old], [True] * len(full), FEW)
        new = [jnp.where(here, spread(x, f, FEW), y) for x, f, y in zip(found[1:], marks[1:], old, strict=True)]
        put = lambda x, part: lax.dynamic_update_slice_in_dim(x, part, begin, -1)
        return put(needed, jnp.zeros_like(here)), [put(x, part) for x, part in zip(done, new, strict=True)]

    _, done = lax.while_loop(lambda state: jnp.any(state[0]), few, (full[split], full[split + 1 :]))
    return done, [True] * len(done)


def _scan(params: Any, values: list[Any], flags: list[bool], lanes: int) -> tuple[list[Any], list[bool]]:
    """A loop over the first axis, in whose body LAPACK is called; every value that is carried has the batch."""
    a, b = params["num_consts"], params["num_consts"] + params["num_carry"]
    carry = [spread(jnp.asarray(x), f, lanes) for x, f in zip(values[a:b], flags[a:b], strict=True)]

    def step(carry: list[Any], xs: list[Any]) -> tuple[list[Any], list[Any]]:
        marks = [*flags[:a], *[True] * len(carry), *flags[b:]]
        out, found = _evaluate(params["jaxpr"], [*values[:a], *carry, *xs], marks, lanes)
        full = [spread(jnp.asarray(x), f, lanes) for x, f in zip(out, found, strict=True)]
        return full[: b - a], full[b - a :]

    last, all_of = lax.scan(step, carry, list(values[b:]), length=params["length"], reverse=params["reverse"])
    return [*last, *all_of], [True] * (len(last) + len(all_of))


def _cond(params: Any, values: list[Any], flags: list[bool], lanes: int) -> tuple[list[Any], list[bool]]:
    """A choice of programs, in one of which LAPACK is called; where runs choose differently, all programs are run."""

    def branch(program: Any) -> Any:
        def run(*operands: Any) -> list[Any]:
            out, found = _evaluate(program, list(operands), flags[1:], lanes)
            return [spread(jnp.asarray(x), f, lanes) for x, f in zip(out, found, strict=True)]

        return run

    index, programs = values[0], [branch(program) for program in params["branches"]]
    if not flags[0]:
        done = lax.switch(index, programs, *values[1:])
    else:
        at = jnp.clip(index.astype(jnp.int32), 0, len(programs) - 1)
        pick = lambda *x: lax.select_n(jnp.broadcast_to(at, x[0].shape), *x)
        done = [pick(*x) for x in zip(*(program(*values[1:]) for program in programs), strict=True)]
    return list(done), [True] * len(done)


def _of_each(going: Array, value: Array, rank: int, has_lanes: bool) -> Array:
    """A condition with ``rank`` leading axes, and lanes last if it has any, reshaped to broadcast against ``value``."""
    lanes = going.shape[rank:] if has_lanes else (1,) if rank < value.ndim else ()
    between = value.ndim - rank - len(lanes)
    return going.reshape(*going.shape[:rank], *(1,) * between, *lanes) if rank else going
