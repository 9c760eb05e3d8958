"""How a sweep uses the cores of a machine: loops compiled whole, and blocks of runs on several threads."""

from __future__ import annotations

import functools
import math
import os
import platform
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
from jax.extend.core import ClosedJaxpr, Jaxpr, jaxpr_as_fun
from jaxtyping import Array

from ._rules import ALONG_AXES, ENTRYWISE

T = TypeVar("T")

NEEDED = "needed"
"""The result that only keeps arguments in use; see ``compiled_whole``."""
KNOWN = ((0, 10), (0, 11))
"""Versions of JAX, from … to below …, with which ``compiled_whole`` was tried: it rests on what XLA does not document."""

# fmt: off
WHOLE = (ENTRYWISE | ALONG_AXES | {
    "bitcast_convert_type", "broadcast_in_dim", "complex", "concatenate", "dynamic_slice", "dynamic_update_slice",
    "expand_dims", "gather", "iota", "pad", "random_bits", "random_fold_in", "random_seed", "random_split", "random_unwrap",
    "random_wrap", "reshape", "reshard", "slice", "stack", "threefry2x32", "transpose",
}) - {"sort"}
# fmt: on
"""Operations that XLA compiles into a function of the machine without a call of a library."""


def compiled_whole(function: Callable[..., Any], *args: Any) -> tuple[Any, Array]:
    """``function(*args)``; on CPU, as one function of the machine instead of a list of calls of kernels.

    Passing from one kernel to the next takes longer than most operations on a block of runs. XLA cannot compile calls of
    libraries (products of matrices, LAPACK, sorting) in this way, so a program with operations beyond ``WHOLE`` is left as it
    is, and so is any program with a version of JAX that was not tried: the same numbers to rounding, more slowly.

    Returns:
        The function's value, and a number that has to become a part of what the compiled program returns: XLA ends the process
        at an argument that the function does not use, as simplification may make one, and this number depends on all of them.
    """
    if jax.default_backend() != "cpu" or not is_known(jax.__version__):
        return function(*args), jnp.zeros((), int)
    from jax.experimental.xla_metadata import set_xla_metadata

    program, shape = jax.make_jaxpr(function, return_shape=True)(*args)
    # What the function closes over is an argument, too.
    leaves = [*map(jnp.asarray, program.consts), *jax.tree.leaves(args)]
    structure, closed = jax.tree.structure(shape), len(program.consts)
    run = lambda leaves: jaxpr_as_fun(ClosedJaxpr(program.jaxpr, leaves[:closed]))(*leaves[closed:])
    if not is_whole(program.jaxpr):
        return jax.tree.unflatten(structure, run(leaves)), jnp.zeros((), int)
    packs = Packs.of(leaves)

    def used(packed: dict[str, Array]) -> tuple[list[Any], Array]:
        return run(packs.unpacked(packed)), sum((_count(x) for x in packed.values()), jnp.zeros((), int))

    # The barrier hides the values of arguments that are constants.
    given = jax.lax.optimization_barrier(packs.packed(leaves))
    whole: Any = set_xla_metadata(jax.jit(used)(given), xla_cpu_small_call="true", inlineable="false")
    return jax.tree.unflatten(structure, whole[0]), whole[1]


def _count(x: Array) -> Array:
    return jnp.sum(x > 0, dtype=int)


class Packs(NamedTuple):
    """Arrays one behind the other in a few long ones: the floats of each precision, and all others as integers."""

    shapes: list[tuple[int, ...]]
    types: list[Any]

    @classmethod
    def of(cls, leaves: Sequence[Array]) -> Packs:
        return cls([x.shape for x in leaves], [x.dtype for x in leaves])

    def packed(self, leaves: Sequence[Array]) -> dict[str, Array]:
        rows: dict[str, list[Array]] = {}
        for x in leaves:
            flat = _plain(x)
            rows.setdefault(str(flat.dtype), []).append(flat.ravel())
        return {kind: jnp.concatenate(parts) for kind, parts in rows.items()}

    def unpacked(self, packs: dict[str, Array]) -> list[Array]:
        begin, leaves = dict.fromkeys(packs, 0), []
        for shape, kind in zip(self.shapes, self.types, strict=True):
            like = jax.eval_shape(_plain, jax.ShapeDtypeStruct(shape, kind))
            name, size = str(like.dtype), math.prod(like.shape)
            part = packs[name][begin[name] : begin[name] + size].reshape(like.shape)
            begin[name] += size
            leaves.append(_as(part, kind))
        return leaves


def _plain(x: Array) -> Array:
    """Integers of the default size in place of keys, booleans and other integers."""
    if jnp.issubdtype(x.dtype, jax.dtypes.prng_key):
        x = jax.random.key_data(x)
    if x.dtype == jnp.uint32:
        x = jax.lax.bitcast_convert_type(x, jnp.int32)
    return x if jnp.issubdtype(x.dtype, jnp.inexact) else x.astype(int)


def _as(x: Array, kind: Any) -> Array:
    """What ``_plain`` was given, of dtype ``kind``."""
    if jnp.issubdtype(kind, jax.dtypes.prng_key):
        return jax.random.wrap_key_data(_as(x, jnp.dtype("uint32")), impl=kind._impl.name)
    if kind == jnp.uint32:
        return jax.lax.bitcast_convert_type(x.astype(jnp.int32), jnp.uint32)
    return x.astype(kind)


def is_known(version: str) -> bool:
    """Whether ``compiled_whole`` was tried with this version of JAX."""
    return KNOWN[0] <= tuple(map(int, version.split(".")[:2])) < KNOWN[1]


def is_whole(program: Jaxpr) -> bool:
    """Whether every operation of a program, and of those inside it, can be compiled as a part of one function."""
    for eqn in program.eqns:
        parts = jax.tree.leaves(eqn.params, is_leaf=lambda x: isinstance(x, Jaxpr | ClosedJaxpr))
        programs: list[Any] = [getattr(x, "jaxpr", x) for x in parts if isinstance(x, Jaxpr | ClosedJaxpr)]
        if not (eqn.primitive.name in WHOLE or programs) or not all(map(is_whole, programs)):
            return False
    return True


def processor() -> str:
    """The kind of device that computes: the model of the CPU, or of the GPU."""
    if jax.default_backend() != "cpu":
        return jax.devices()[0].device_kind
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    models = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.processor() or platform.machine()


def available_cores() -> int:
    """How many cores this process may run on.

    >>> dyn.sweeps.available_cores() >= 1
    True
    """
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def on_threads(function: Callable[[int], T], count: int, threads: int) -> Iterator[T]:
    """``function(0)``, … in order, several at a time; the rest is dropped where one raises or the caller stops asking.

    A compiled function of JAX runs on one device in several threads at once. The threads compute in the precision of the
    caller, which ``jax.enable_x64`` sets for one thread only. Within any other such setting there is one thread.
    """
    x64 = bool(jnp.result_type(float) == jnp.float64)

    def in_thread(call: Callable[[], T]) -> T:
        with jax.enable_x64(x64):
            return call()

    if threads == 1 or count == 1:
        yield from map(function, range(count))
        return
    pool = ThreadPoolExecutor(threads, thread_name_prefix="sweep")
    try:
        if _settings() is None or pool.submit(in_thread, _settings).result() != _settings():
            yield from map(function, range(count))
        else:
            yield from pool.map(in_thread, (functools.partial(function, i) for i in range(count)))
    finally:
        pool.shutdown(cancel_futures=True)


def _settings() -> Any:
    """The settings of JAX under which this thread traces; None where they cannot be read."""
    try:
        from jax._src import config

        return config.trace_context()
    except (ImportError, AttributeError):
        return None


def use_machine(cores: int | None = None) -> None:
    """Does nothing any more: every sweep uses all cores that this process may run on.

    Args:
        cores: how many to use, ≥ 1; pass it to ``dyn.sweep`` instead.

    Raises:
        ValueError: cores is not a whole number of at least 1.
    """
    if cores is not None and (isinstance(cores, bool) or not isinstance(cores, int) or cores < 1):
        raise ValueError(f"cores = {cores!r}; pass a whole number of at least 1.")
    instead = "" if cores is None else f"; pass cores={cores} to dyn.sweep to use fewer"
    warnings.warn(
        f"use_machine() does nothing any more: sweeps use all cores by themselves{instead}.",
        DeprecationWarning,
        stacklevel=2,
    )
