"""The identity of a process: its values by path, readable and as exact digests, and the code that its numbers depend on."""

from __future__ import annotations

import dataclasses
import types
from collections.abc import Iterator
from typing import Any, NamedTuple

import equinox as eqx
import jax
import numpy as np

from ._identity_values import Walk, digest
from ._source_digest import imported

MAX_DESCRIBED_SIZE = 10_000  # entries of an array written out; larger ones, such as features, appear as a digest


class Identity(NamedTuple):
    """Everything about an object that its numbers depend on.

    Attributes:
        described: by path, class names, values and static fields as JSON; a digest where a value has no short text.
        exact: by path, a digest of the class or value there, including dtypes, closures and source code.
        sources: by name, a digest of each class and function that belongs neither to the library nor to an installed package.
        modules: the modules of the library that it uses.
        unread: classes and functions whose source cannot be read.
        unknown: in words, the values for which no digest is defined.
    """

    described: dict[str, Any]
    exact: dict[str, str]
    sources: dict[str, str]
    modules: frozenset[str]
    unread: tuple[str, ...]
    unknown: tuple[str, ...]

    @property
    def digest(self) -> str:
        """One digest of everything; equal for equal objects, also in another process."""
        return digest(self.exact)

    def check(self) -> None:
        """Raises ``ValueError`` where a part has no digest, so that two different objects could be taken for the same."""
        if self.unread:
            raise ValueError(
                f"the source of {self.unread[0]} cannot be read, so a stored result could be taken for that of other code; put "
                f"it in a file or a notebook cell."
            )
        if self.unknown:
            raise ValueError(
                f"{self.unknown[0]}, which has no digest, so a stored result could be taken for that of another value; use "
                f"numbers, text, containers, functions or equinox modules there."
            )


def identify(thing: Any, root: str = "process") -> Identity:
    """The identity of any tree of modules, arrays, containers, functions and plain values.

    ``root`` is the path under which the class of ``thing`` itself is listed.

    ```python
    from dynamics._identity import identify
    one, other = (identify(dyn.IPO(beta=beta)) for beta in (0.1, 0.2))
    assert one.described == {"process": "IPO", "beta": 0.1}
    assert one.digest != other.digest
    ```
    """
    walk = Walk()
    described: dict[str, Any] = {}
    exact: dict[str, str] = {}
    for path, value, static, parts in _nodes(thing, "", False):
        name = path or root
        exact[name] = walk.value(type(value) if parts else value, name, ordered=static)
        text = type(value).__name__ if parts else _readable(value, exact[name])
        if (text is not None or static) and not name.endswith("()"):
            described[name] = text
    unread, unknown = tuple(dict.fromkeys(walk.unread)), tuple(dict.fromkeys(walk.unknown))
    return Identity(described, exact, dict(sorted(walk.sources.items())), frozenset(walk.modules), unread, unknown)


def describe(process: Any) -> dict[str, Any]:
    """A process as JSON: class names, static fields and values of parameters by path, large arrays as digests.

    ``identity`` is a digest of everything; ``not_identified``, where present, lists what that digest does not cover.
    """
    found = identify(process)
    gaps = [*(f"the source of {name}" for name in found.unread), *found.unknown]
    return found.described | {"identity": found.digest} | ({"not_identified": gaps} if gaps else {})


def code_of(*parts: Identity, start: tuple[str, ...]) -> dict[str, str]:
    """A digest, by module, of the library's code that ``start`` and the modules of ``parts`` import."""
    return imported([*start, *sorted({module for part in parts for module in part.modules})])


def _nodes(value: Any, path: str, static: bool) -> Iterator[tuple[str, Any, bool, bool]]:
    """(path, value, static, whether its parts follow), starting at the root; paths are those of JAX."""
    parts = _parts(value)
    if parts is None:
        yield path, value, static, False
        return
    if dataclasses.is_dataclass(value):
        yield path, value, static, True
    else:
        yield f"{path}()", (type(value), *(name for name, _, _ in parts)), static, False
    for name, part, fixed in parts:
        yield from _nodes(part, f"{path}.{name}" if path else name, static or fixed)


def _parts(value: Any) -> list[tuple[str, Any, bool]] | None:
    """(name, part, static) for each part of a value that is split up; None for a value that is not."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = dataclasses.fields(value)
        return [(f.name, getattr(value, f.name, None), f.metadata.get("static", False)) for f in fields]
    node: Any = value
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        entries = node._asdict()
    elif type(value) is dict:
        entries = dict(sorted(node.items(), key=lambda entry: str(entry[0])))
    elif type(value) in (list, tuple):
        entries = dict(enumerate(node))
    else:
        return None
    spelt = all(isinstance(part, eqx.Module | jax.Array | np.ndarray) or _parts(part) for part in entries.values())
    return [(str(name), part, False) for name, part in entries.items()] if entries and spelt else None


def _readable(value: Any, exact: str) -> Any:
    """A value as JSON where that is short, otherwise its digest."""
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float | np.number | np.bool_ | np.ndarray) or _is_numbers(value):
        return _summary(np.asarray(value), exact)
    if type(value) in (list, tuple) and all(isinstance(v, bool | int | float | str | None) for v in value):
        return [_readable(v, exact) for v in value]
    if isinstance(value, types.FunctionType | type):
        return f"{value.__qualname__} {exact}"
    return exact


def _is_numbers(value: Any) -> bool:
    return isinstance(value, jax.Array) and not jax.numpy.issubdtype(value.dtype, jax.dtypes.prng_key)


def _summary(value: np.ndarray, exact: str) -> Any:
    if value.dtype.kind not in "biuf" and value.dtype.name != "bfloat16":
        return exact
    return (
        _json_ready(value.tolist())
        if value.size <= MAX_DESCRIBED_SIZE
        else {"shape": list(value.shape), "sha256": exact}
    )


def _json_ready(value: Any) -> Any:
    """``value`` with infinities and NaN, which JSON lacks, as strings that ``float`` reads back."""
    if isinstance(value, list):
        return [_json_ready(v) for v in value]
    return value if np.isfinite(value) else str(value)
