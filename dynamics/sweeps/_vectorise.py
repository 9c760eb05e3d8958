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

from ._linear_algebra import LAPACK, calls_lapack, one_by_one

# Entry by entry, with equal shapes in and out.
# fmt: off
_ENTRYWISE = {
    "abs", "acos", "acosh", "add", "add_any", "and", "asin", "asinh", "atan", "atan2", "atanh", "cbrt", "ceil",
    "clamp", "convert_element_type", "copy", "cos", "cosh", "digamma", "div", "eq", "erf", "erf_inv", "erfc", "exp",
    "exp2", "expm1", "floor", "ge", "gt", "imag", "integer_pow", "is_finite", "le", "lgamma", "log", "log1p",
    "logistic", "lt", "max", "min", "mul", "ne", "neg", "nextafter", "not", "or", "population_count", "pow", "real",
    "reduce_precision", "regularized_incomplete_beta", "rem", "round", "rsqrt", "select_n", "shift_left",
    "shift_right_arithmetic", "shift_right_logical", "sign", "sin", "sinh", "sqrt", "square", "stop_gradient",
    "sub", "tan", "tanh", "xor",
}
# fmt: on
# Parameters count axes from the front, so one more axis at the end does not change their meaning.
# fmt: off
_ALONG_AXES = {
    "argmax", "argmin", "cumlogsumexp", "cummax", "cummin", "cumprod", "cumsum", "reduce_and", "reduce_max",
    "reduce_min", "reduce_or", "reduce_prod", "reduce_sum", "reduce_xor", "rev", "sort", "split", "squeeze",
}
# fmt: on
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


def spread(value: Array, flag: bool, lanes: int) -> Array:
    """``value`` with the batch, broadcast to every lane if it has none."""
    return value if flag else jnp.broadcast_to(value[..., None], (*value.shape, lanes))


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
    if name in _ENTRYWISE:
        # Scalars may be mixed with arrays, such as the condition of a select.
        rank = max(ranks)
        grown = [_grow(x, f, r, rank, eqn, lanes) for x, f, r in zip(values, flags, ranks, strict=True)]
        done = _bind(eqn, grown)
    elif name in _ALONG_AXES:
        done = _bind(eqn, [spread(x, f, lanes) for x, f in zip(values, flags, strict=True)])
    elif name in _RULES and (found := _RULES[name](params, values, flags, ranks, lanes)) is not None:
        done = [found]
    else:
        axes = [-1 if f else None for f in flags]
        done = jax.vmap(lambda *x: _bind(eqn, list(x)), in_axes=axes, out_axes=-1)(*values)
    return list(done), [True] * len(done)


def _bind(eqn: Any, values: list[Any]) -> list[Any]:
    done = eqn.primitive.bind(*values, **eqn.params)
    return list(done) if eqn.primitive.multiple_results else [done]


def _grow(value: Any, flag: bool, rank: int, most: int, eqn: Any, lanes: int) -> Any:
    if rank == most:
        return spread(jnp.asarray(value), flag, lanes)
    shape = eqn.outvars[0].aval.shape
    axes = (most,) if flag else ()
    return lax.broadcast_in_dim(value, (*shape, lanes), axes)


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


def _broadcast_in_dim(params: Any, values: list[Any], flags: list[bool], ranks: list[int], lanes: int) -> Any:
    shape, dims = params["shape"], params["broadcast_dimensions"]
    return lax.broadcast_in_dim(values[0], (*shape, lanes), (*dims, len(shape))) if len(values) == 1 else None


def _reshape(params: Any, values: list[Any], flags: list[bool], ranks: list[int], lanes: int) -> Any:
    plain = params.get("dimensions") is None and len(values) == 1
    return lax.reshape(values[0], (*params["new_sizes"], lanes)) if plain else None


def _transpose(params: Any, values: list[Any], flags: list[bool], ranks: list[int], lanes: int) -> Any:
    return lax.transpose(values[0], (*params["permutation"], ranks[0]))


def _concatenate(params: Any, values: list[Any], flags: list[bool], ranks: list[int], lanes: int) -> Any:
    return lax.concatenate([spread(x, f, lanes) for x, f in zip(values, flags, strict=True)], params["dimension"])


def _slice(params: Any, values: list[Any], flags: list[bool], ranks: list[int], lanes: int) -> Any:
    strides = params["strides"] or (1,) * ranks[0]
    return lax.slice(values[0], (*params["start_indices"], 0), (*params["limit_indices"], lanes), (*strides, 1))


def _dynamic_slice(params: Any, values: list[Any], flags: list[bool], ranks: list[int], lanes: int) -> Any:
    if any(flags[1:]):
        return None
    return lax.dynamic_slice(values[0], [*values[1:], 0 * values[1]], (*params["slice_sizes"], lanes))


def _dynamic_update_slice(params: Any, values: list[Any], flags: list[bool], ranks: list[int], lanes: int) -> Any:
    if any(flags[2:]) or len(values) < 3:
        return None
    table, rows = (spread(x, f, lanes) for x, f in zip(values[:2], flags[:2], strict=True))
    return lax.dynamic_update_slice(table, rows, [*values[2:], 0 * values[2]])


def _dot_general(params: Any, values: list[Any], flags: list[bool], ranks: list[int], lanes: int) -> Any:
    (left, _), (outer_left, outer_right) = params["dimension_numbers"]
    a, b = values
    if outer_left or outer_right or len(left) != 1:
        return None
    if flags == [False, True]:
        return lax.dot_general(a, b, params["dimension_numbers"], params["precision"])
    if flags == [True, True] and ranks == [2, 1] and left == (1,):
        return jnp.sum(a * b[None], axis=1)
    if flags == [True, False] and ranks[1] == 1:
        return lax.dot_general(a, b, params["dimension_numbers"], params["precision"])
    return None


_RULES: dict[str, Callable[..., Any]] = {
    "broadcast_in_dim": _broadcast_in_dim,
    "reshape": _reshape,
    "transpose": _transpose,
    "concatenate": _concatenate,
    "slice": _slice,
    "dynamic_slice": _dynamic_slice,
    "dynamic_update_slice": _dynamic_update_slice,
    "dot_general": _dot_general,
}
