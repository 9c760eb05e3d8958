"""Parameters of a process by dotted path, ``"objective.beta"``, or by the last part alone where that is unique."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Any, TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from ._identity import describe
from ._numerics import as_array, concrete

__all__ = ["describe", "is_whole", "nearest", "parameters", "replace", "resolve", "whole_values"]

Process = TypeVar("Process", bound=eqx.Module)


def nearest(word: str, known: list[str]) -> str:
    """A clause that suggests the entry of ``known`` nearest to ``word``."""
    close = difflib.get_close_matches(word, known, n=1, cutoff=0.4)
    return f"did you mean {close[0]!r}? Known: {', '.join(known)}." if close else f"known: {', '.join(known)}."


def parameters(process: eqx.Module) -> dict[str, Any]:
    """Every leaf of a process that holds floats or whole numbers, by dotted path; not booleans and random keys."""
    leaves = jax.tree_util.tree_leaves_with_path(process)
    return {
        jax.tree_util.keystr(path, simple=True, separator="."): leaf
        for path, leaf in leaves
        if eqx.is_inexact_array_like(leaf) or is_whole(leaf)
    }


def is_whole(leaf: Any) -> bool:
    """Whether a leaf holds whole numbers; the two words of a raw random key do not count."""
    if not eqx.is_array_like(leaf):
        return False
    dtype, shape = jax.dtypes.result_type(leaf), np.shape(leaf)
    return jnp.issubdtype(dtype, jnp.integer) and not (dtype == jnp.uint32 and shape[-1:] == (2,))


def whole_values(values: Any, leaf: Any, name: str) -> Any:
    """``values`` in the dtype of an integer leaf; raises ``ValueError`` where they are not whole or beyond its range."""
    dtype = jax.dtypes.result_type(leaf)
    if not concrete(values):
        if jnp.issubdtype(values.dtype, jnp.integer):
            return jnp.asarray(values, dtype)
        raise ValueError(f"{name} takes whole numbers and cannot vary continuously; sweep it over whole numbers.")
    low, high = (int(bound) for bound in (jnp.iinfo(dtype).min, jnp.iinfo(dtype).max))
    for value in np.ravel(np.asarray(values)).tolist():
        if value != value or abs(value) == np.inf or value != int(value) or not low <= int(value) <= high:
            raise ValueError(
                f"{name} = {value:g}; pass whole numbers from {low} to {high}, as its dtype {dtype} holds."
            )
    return jnp.asarray(np.asarray(values).astype(dtype))


def resolve(process: eqx.Module, name: str) -> str:
    """The full path of a parameter from its path or its unique last part; a ``ValueError`` suggests the nearest name."""
    known = parameters(process)
    if not isinstance(name, str):
        raise ValueError(f"parameter {name!r} is not a name; known: {', '.join(known)}.")
    if name in known:
        return name
    tails = [path for path in known if path.rsplit(".", 1)[-1] == name]
    if len(tails) == 1:
        return tails[0]
    if tails:
        raise ValueError(f"parameter {name!r} is ambiguous: {', '.join(tails)}; pass the full path.")
    raise ValueError(f"{type(process).__name__} has no parameter {name!r}; {_nearest_path(name, list(known))}")


def _nearest_path(name: str, known: list[str]) -> str:
    tails = {path.rsplit(".", 1)[-1]: path for path in known}
    close = difflib.get_close_matches(name, [*known, *tails], n=1, cutoff=0.4)
    return nearest(tails.get(close[0], close[0]) if close else name, known)


def replace(process: Process, values: Mapping[str, Any]) -> Process:
    """``process`` with the leaves at full paths replaced; traceable, and checked only where a leaf holds whole numbers."""

    def put(path: Any, leaf: Any) -> Any:
        name = jax.tree_util.keystr(path, simple=True, separator=".")
        if name not in values:
            return leaf
        # The array type that construction gives: a weakly typed value would recompile everything.
        return whole_values(values[name], leaf, name) if is_whole(leaf) else as_array(values[name])

    return jax.tree_util.tree_map_with_path(put, process)
