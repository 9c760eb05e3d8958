"""Parameters of a process by dotted path: ``"alpha"``, ``"objective.beta"``; the last part alone where it is unique."""

from __future__ import annotations

import difflib
import hashlib
from collections.abc import Mapping
from typing import Any, TypeVar

import equinox as eqx
import jax
import numpy as np

from ._numerics import as_array

SPELT_OUT = 10_000  # numbers; features of a data set do not belong into the attributes of another

Process = TypeVar("Process", bound=eqx.Module)


def nearest(word: str, known: list[str]) -> str:
    """A sentence that suggests what ``word`` may have meant among ``known``."""
    close = difflib.get_close_matches(word, known, n=1, cutoff=0.4)
    return f"did you mean {close[0]!r}? Known: {', '.join(known)}." if close else f"known: {', '.join(known)}."


def parameters(process: eqx.Module) -> dict[str, Any]:
    """Every numeric leaf of a process by dotted path."""
    leaves = jax.tree_util.tree_leaves_with_path(process)
    return {
        jax.tree_util.keystr(path, simple=True, separator="."): leaf
        for path, leaf in leaves
        if eqx.is_inexact_array_like(leaf)
    }


def resolve(process: eqx.Module, name: str) -> str:
    """The full path of a parameter from its path or its unique last part; ``ValueError`` names the nearest."""
    known = parameters(process)
    if not isinstance(name, str):
        raise ValueError(f"parameter {name!r} is no name; known: {', '.join(known)}.")
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
    """``process`` with the leaves at full paths replaced; unchecked and traceable."""

    def put(path: Any, leaf: Any) -> Any:
        name = jax.tree_util.keystr(path, simple=True, separator=".")
        # The same array type as construction gives: a weakly typed value would compile everything anew.
        return as_array(values[name]) if name in values else leaf

    return jax.tree_util.tree_map_with_path(put, process)


def _json_ready(value: Any) -> Any:
    """JSON knows no infinities: they become the strings that ``float`` reads back."""
    if isinstance(value, list):
        return [_json_ready(v) for v in value]
    return value if np.isfinite(value) else str(value)


def _summary(value: np.ndarray) -> Any:
    if value.size <= SPELT_OUT:
        return _json_ready(value.tolist())
    return {"shape": list(value.shape), "sha256": hashlib.sha256(np.ascontiguousarray(value).data).hexdigest()}


def describe(process: eqx.Module) -> dict[str, Any]:
    """What a process is, as JSON: class names and the values of its parameters; of large ones, shape and digest."""
    values = {path: _summary(np.asarray(leaf)) for path, leaf in parameters(process).items()}
    kinds = {"process": type(process).__name__}
    objective = getattr(process, "objective", None)
    inner = getattr(process, "inner", None)
    kinds |= {} if objective is None else {"objective": type(objective).__name__}
    return kinds | ({} if inner is None else inner.description()) | values
