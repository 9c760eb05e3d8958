"""The axes of a sweep: named parameters, zipped groups and stacks of matrices, checked before anything is compiled."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Array

from .._parameters import is_whole, parameters, resolve, whole_values
from ..engine import check_initial
from ..preferences import PreferenceSet, check_prompts
from ..rounds import Process

START_AXIS = "initial"  # log pi at round 0, the only axis that is not a parameter of the process


class Axis(NamedTuple):
    """One dimension of a sweep: the names of its parameters as passed, their full paths, and the stacked values of each."""

    dim: str
    names: tuple[str, ...]
    paths: tuple[str, ...]
    values: tuple[Any, ...]
    length: int

    def take(self, positions: np.ndarray) -> dict[str, np.ndarray]:
        """The values at some positions, stacked, by full path."""
        stack = lambda values: (
            values[positions]
            if isinstance(values, np.ndarray)
            else np.stack([np.asarray(values[i]) for i in positions])
        )
        return {path: stack(values) for path, values in zip(self.paths, self.values, strict=True)}

    def column(self, path: str) -> Any:
        """All values of one parameter."""
        return self.values[self.paths.index(path)]


def axes_of(process: Process[Any], over: Mapping[str | tuple[str, ...], Any]) -> tuple[Axis, ...]:
    """The axes in the given order; raises ``ValueError`` for an entry that is unknown, empty, repeated or out of range."""
    if not isinstance(over, Mapping) or not over:
        what = "empty" if isinstance(over, Mapping) else f"a {type(over).__name__}"
        raise ValueError(f"over is {what}; pass a mapping such as {{'alpha': jnp.linspace(0, 1, 41)}}.")
    axes = tuple(_axis(process, key, values) for key, values in over.items())
    paths = [path for axis in axes for path in axis.paths]
    for path in paths:
        if paths.count(path) > 1:
            raise ValueError(f"over varies {path!r} on two axes; zip them, over={{('a', 'b'): (values_a, values_b)}}.")
    return axes


def _axis(process: Process[Any], key: str | tuple[str, ...], values: Any) -> Axis:
    if not isinstance(key, str | tuple) or not all(isinstance(name, str) for name in key):
        raise ValueError(f"over has the key {key!r}; pass a parameter's name, or a tuple of names to zip.")
    names = (key,) if isinstance(key, str) else key
    if not isinstance(key, str) and not isinstance(values, Sequence) and np.ndim(values) < 1:
        raise ValueError(f"over[{key!r}] is {values!r}; pass a tuple with one sequence for each name.")
    columns = (values,) if isinstance(key, str) else tuple(values)
    if len(names) != len(columns):
        raise ValueError(
            f"over[{key!r}] zips {len(names)} names with {len(columns)} sequences; pass one for each name."
        )
    paths = tuple(START_AXIS if name == START_AXIS else resolve(process, name) for name in names)
    columns = tuple(
        _column(process, name, path, column) for name, path, column in zip(names, paths, columns, strict=True)
    )
    lengths = {len(column) for column in columns}
    if len(lengths) > 1:
        raise ValueError(f"over[{key!r}] zips sequences of lengths {sorted(lengths)}; make them equally long.")
    if lengths == {0}:
        raise ValueError(f"over[{key!r}] is empty; pass at least one value.")
    return Axis("_".join(names), names, paths, columns, lengths.pop())


def _column(process: Process[Any], name: str, path: str, values: Any) -> Sequence[Any] | np.ndarray:
    if path == "preference":
        return [np.asarray(_fitting(process, name, P)) for P in _matrices(process, name, values)]
    try:
        array = np.asarray(values, dtype=float)
    except (TypeError, ValueError):
        raise ValueError(f"over[{name!r}] is {values!r}; pass numbers, stacked along the first axis.") from None
    if path == START_AXIS:
        if array.ndim != 1 + len(process.shape):
            want = "(M, K)" if len(process.shape) == 1 else "(M, X, K)"
            raise ValueError(f"over['initial'] has shape {array.shape}; pass log-policies stacked as {want}.")
        return [np.asarray(check_initial(process, log_policy)) for log_policy in array]
    leaf = parameters(process)[path]
    shape = np.shape(leaf)
    if array.shape[1:] != shape or array.ndim == 0:
        want = "a 1-d sequence of numbers" if not shape else f"values stacked as {('M', *shape)}".replace("'", "")
        raise ValueError(f"over[{name!r}] has shape {array.shape}; pass {want}.")
    process.check_parameter(path, array)
    return np.asarray(whole_values(values, leaf, name)) if is_whole(leaf) else array


def _matrices(process: Process[Any], name: str, values: Any) -> Sequence[Any] | np.ndarray:
    if isinstance(values, PreferenceSet):
        return list(values)
    if isinstance(values, Sequence):
        return values
    if np.ndim(values) != 2 + len(process.shape):
        want = "(M, K, K)" if len(process.shape) == 1 else "(M, X, K, K)"
        raise ValueError(
            f"over[{name!r}] has shape {np.shape(values)}; pass a stack {want}, a list or a PreferenceSet."
        )
    return values


def _fitting(process: Process[Any], name: str, P: Any) -> Array:
    """One checked value of the axis of preferences, with as many prompts as the process has."""
    checked = check_prompts(P)
    if checked.shape[:-2] != process.shape[:-1]:
        raise ValueError(
            f"over[{name!r}] holds preferences of shape {checked.shape}, the process has {process.shape[:-1] or 'one prompt'}; "
            f"pass preferences with the same number of prompts."
        )
    return checked
