"""A digest of any value that is the same in every process: independent of addresses, of set order and of ``repr``."""

from __future__ import annotations

import builtins
import collections
import dataclasses
import enum
import functools
import hashlib
import importlib
import inspect
import json
import re
import sys
import types
import typing
from collections.abc import Iterable
from pathlib import PurePath
from typing import Any

import equinox as eqx
import jax
import numpy as np

from . import _identity_code as code
from ._source_digest import imported, origin, version

_PLAIN = (type(None), bool, int, float, complex, str, bytes, type(...), type(NotImplemented), slice, range)
_CHECKERS = {"jaxtyping", "beartype", "typeguard"}
_NO_STATE = ("object", "ABC", "Generic", "Protocol")
_DESCRIPTORS = (types.MethodDescriptorType, types.WrapperDescriptorType, types.ClassMethodDescriptorType)


def digest(parts: Any) -> str:
    """Of parts that JSON can hold."""
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]


def of_array(value: Any) -> str:
    """Of an array's dtype, shape and bytes."""
    array = np.ascontiguousarray(value)
    return digest([str(array.dtype), list(np.shape(value)), hashlib.sha256(array.tobytes()).hexdigest()])


class Walk:
    """Digests values and what they refer to, and records what it meets on the way.

    Attributes:
        sources: by name, a digest of every class and function of the user's own.
        modules: modules of the library.
        unread: classes and functions whose source cannot be read.
        unknown: in words, values for which no digest is defined.
    """

    def __init__(self) -> None:
        self.sources: dict[str, str] = {}
        self.modules: set[str] = set()
        self.unread: list[str] = []
        self.unknown: list[str] = []
        self._seen: dict[int, tuple[Any, str]] = {}  # holds the objects, so that no id is reused

    def value(self, x: Any, where: str, ordered: bool = True) -> str:
        """The digest of the value at ``where``; ``ordered`` says whether the order of a dict's entries counts."""
        if isinstance(x, _PLAIN) and type(x) in _PLAIN:
            return digest([type(x).__name__, repr(x)])
        if id(x) in self._seen:
            return self._seen[id(x)][1]
        self._seen[id(x)] = (x, digest(["on the way", type(x).__name__, getattr(x, "__qualname__", "")]))
        parts, beside = self._parts(x, where, ordered), self._beside(x, where)
        found = digest([*parts, beside] if beside else parts)
        self._seen[id(x)] = (x, found)
        return found

    def _parts(self, x: Any, where: str, ordered: bool) -> list[Any]:
        each = lambda values: [self.value(v, where, ordered) for v in values]
        if isinstance(x, jax.Array) and jax.numpy.issubdtype(x.dtype, jax.dtypes.prng_key):
            return ["key", str(jax.random.key_impl(x)), of_array(jax.random.key_data(x))]
        if isinstance(x, np.ndarray | np.generic | jax.Array):
            return self._object_array(x, where) if x.dtype == object else ["array", of_array(x)]
        if isinstance(x, types.ModuleType):
            return self.module(x, ())
        if isinstance(x, type):
            return self._class(x)
        if isinstance(x, types.FunctionType):
            return self._function(x, where)
        if isinstance(x, types.MethodType):
            return ["method", *each((x.__func__, x.__self__))]
        if isinstance(x, functools.partial):
            return ["partial", *each((x.func, x.args, x.keywords))]
        if isinstance(x, property):
            return ["property", *each((x.fget, x.fset, x.fdel))]
        if isinstance(x, staticmethod | classmethod):
            return [type(x).__name__, *each((x.__func__,))]
        if isinstance(x, enum.Enum):
            return ["enum", *each((type(x), x.name))]
        if isinstance(x, np.dtype | PurePath | re.Pattern | inspect.Signature | jax.sharding.PartitionSpec):
            return ["text", type(x).__name__, str(x)]
        return self._named(x) or self._collection(x, where, ordered) or self._object(x, where, ordered)

    def _collection(self, x: Any, where: str, ordered: bool) -> list[Any]:
        kind = [] if type(x).__module__ == "builtins" else [self.value(type(x), where)]
        if isinstance(x, set | frozenset):
            return ["set", kind, sorted(self.value(v, where) for v in x)]
        if isinstance(x, dict | types.MappingProxyType):
            entries = [[self.value(k, where), self.value(v, where, ordered)] for k, v in x.items()]
            return ["dict", kind, entries if ordered else sorted(entries)]
        if isinstance(x, list | tuple):
            return [type(x).__name__, kind, [self.value(v, where, ordered) for v in x]]
        return []

    def _beside(self, x: Any, where: str) -> dict[str, str]:
        """What containers, arrays and partial functions hold beside their entries: attributes, and a factory of entries."""
        if not isinstance(x, list | tuple | dict | set | frozenset | np.ndarray | functools.partial):
            return {}
        state = dict(getattr(x, "__dict__", {}))
        if isinstance(x, collections.defaultdict):
            state["default_factory"] = x.default_factory
        return {k: self.value(v, f"{where}.{k}") for k, v in sorted(state.items())}

    def _object_array(self, x: Any, where: str) -> list[Any]:
        return ["objects", list(x.shape), [self.value(v, where) for v in x.ravel().tolist()]]

    def _named(self, x: Any) -> list[Any]:
        """The name of an object that can be imported from the library or an installed package; empty for others."""
        module, name = getattr(x, "__module__", None), getattr(x, "__qualname__", None) or getattr(x, "__name__", None)
        if isinstance(x, types.BuiltinFunctionType) and not isinstance(x.__self__, types.ModuleType | None):
            return ["method", self.value(x.__self__, name or ""), name]
        module = module or type(x).__module__
        if not isinstance(name, str) or not isinstance(module, str) or origin(module) == "own":
            return []
        here: Any = sys.modules.get(module)
        for part in name.split("."):
            here = getattr(here, part, None)
        return self._installed(module, name) if here is x else []

    def _installed(self, module: str, name: str) -> list[Any]:
        if origin(module) == "library":
            self.modules.add(module)
            return ["library", module, name]
        return ["installed", module, name, version(module)]

    def module(self, x: types.ModuleType, chain: Iterable[str]) -> list[Any]:
        """A module as used in ``x.a.b``: an installed one by its version, one's own by its code and the value used."""
        names = list(chain)
        while names and isinstance(getattr(x, names[0], None), types.ModuleType):
            x = getattr(x, names.pop(0))
        name = x.__name__
        if origin(name) != "own":
            if names and origin(name) == "library":
                used = getattr(x, names[0], None)
                name = used.__module__ if isinstance(getattr(used, "__module__", None), str) else name
                name = name if origin(name) == "library" else x.__name__
            return self._installed(name, ".".join(names))
        if names and hasattr(x, names[0]):
            return ["of", name, names[0], self.value(getattr(x, names[0]), f"{name}.{names[0]}")]
        return ["module", name, self._code_of(name)]

    def _code_of(self, name: str) -> dict[str, str]:
        try:
            found = imported([name])
        except (OSError, SyntaxError):
            self.unread.append(f"module {name}")
            return {}
        self.modules |= {module for module in found if origin(module) == "library"}
        return {module: text for module, text in found.items() if origin(module) == "own"}

    def _class(self, x: type) -> list[Any]:
        home = x.__module__
        if origin(home) != "own" and (self._named(x) or home in _CHECKERS or not code.has_functions(x)):
            patched = {k: self.value(v, f"{x.__qualname__}.{k}") for k, v in sorted(code.patched(x).items())}
            return [*self._installed(home, x.__qualname__), *([patched] if patched else [])]
        name = f"{x.__module__}.{x.__name__}"  # a class sent to a worker keeps only this part of its name
        before, self.unread = self.unread, []
        bases = [self.value(base, name) for base in x.__bases__]
        above, self.unread = self.unread, []
        attributes = {key: self._attribute(x, key, v) for key, v in sorted(vars(x).items()) if code.written(key, v)}
        meta = [self.value(type(x), name)] if origin(type(x).__module__) == "own" else []
        found = ["class", x.__name__, bases, {k: v for k, v in attributes.items() if v}, meta]
        unread = any(entry.startswith(f"function {x.__qualname__}.") for entry in self.unread)
        others = [entry for entry in self.unread if not entry.startswith(f"function {x.__qualname__}.")]
        self.unread = [*before, *above, *others, *([f"class {x.__qualname__}"] if unread else [])]
        self.sources[name] = digest(found)
        return found

    def _attribute(self, owner: type, key: str, x: Any) -> str:
        where = f"{owner.__qualname__}.{key}"
        if isinstance(x, types.MemberDescriptorType | types.GetSetDescriptorType):
            return digest(["slot", key])
        if isinstance(x, functools.cached_property):
            return self.value(x.func, where)
        if type(x).__name__ == "_tuplegetter":
            return digest(["item", x.__reduce__()[1][0]])
        return self.value(x, where)

    def _function(self, x: Any, where: str) -> list[Any]:
        while hasattr(x, "__wrapped__") and code.only_checks(x, _CHECKERS):
            x = x.__wrapped__
        known = self._named(x)
        if known:
            return known
        home = x.__globals__.get("__name__") or "__main__"
        cells = dict(zip(x.__code__.co_freevars, x.__closure__ or (), strict=True))
        inside = {name: _content(cell) for name, cell in cells.items()}
        found = [
            "function",
            self.code(x.__code__),
            {
                k: self.value(v, f"{k} of {x.__qualname__}")
                for k, v in inside.items()
                if not isinstance(v, types.ModuleType)
            },
            self.value(x.__defaults__, f"a default of {x.__qualname__}"),
            self.value(x.__kwdefaults__, f"a default of {x.__qualname__}"),
            {
                k: self.value(v, x.__qualname__)
                for k, v in sorted(vars(x).items())
                if k == "__wrapped__" or k[:2] != "__"
            },
        ]
        if origin(home) != "own":
            return [*found, self._installed(home, x.__code__.co_qualname)]
        if not code.readable(x.__code__):
            self.unread.append(f"function {x.__qualname__}")
        found.append(self._outside(x, inside))
        self.sources[f"{home}.{x.__qualname__}"] = digest(found)
        return found

    def _outside(self, x: types.FunctionType, inside: dict[str, Any]) -> dict[str, Any]:
        """What a function of one's own refers to by name, and the modules that it imports when it runs."""
        found: dict[str, Any] = {}
        names = inside | {k: v for k, v in x.__globals__.items() if k not in inside}
        for name, *chain in code.references(x.__code__):
            if name in names and isinstance(names[name], types.ModuleType):
                found[".".join([name, *chain])] = self.module(names[name], chain)
            elif name in names and name not in inside:
                found[name] = self.value(names[name], f"{name} in {x.__qualname__}")
            elif name not in inside and not hasattr(builtins, name):
                found[name] = "not there"
        package = x.__globals__.get("__package__")
        for module, wanted in code.imports(x.__code__, package):
            found[f"import {module} {wanted}"] = self._import(module, wanted)
        return found

    def _import(self, module: str, wanted: str) -> list[Any]:
        if origin(module) == "installed":
            return self._installed(module, wanted)
        try:
            return self.module(importlib.import_module(module), [wanted] if wanted else [])
        except ImportError:  # running the function raises it
            return ["not there", module]

    def code(self, x: types.CodeType) -> str:
        """The digest of what a function computes, without file names, line numbers and docstrings."""
        constant = lambda v: self.code(v) if isinstance(v, types.CodeType) else self.value(v, "a constant")
        takes = [x.co_argcount, x.co_posonlyargcount, x.co_kwonlyargcount, x.co_flags & 0x2F, *x.co_varnames]
        return digest([takes, [[name, constant(v)] for name, v in code.instructions(x)], x.co_exceptiontable.hex()])

    def _object(self, x: Any, where: str, ordered: bool) -> list[Any]:
        kind = lambda: self.value(type(x), where)
        if isinstance(x, eqx.Module):
            fields = {
                f.name: (getattr(x, f.name, None), f.metadata.get("static", False)) for f in dataclasses.fields(x)
            }
            return ["module", kind(), {k: self.value(v, f"{where}.{k}", s or ordered) for k, (v, s) in fields.items()}]
        if type(x).__module__.split(".")[0] in ("jax", "jaxlib", "functools") and hasattr(x, "__wrapped__"):
            # Rules of differentiation count, compiler options do not.
            state = vars(x) if "custom_" in type(x).__name__ else {}
            rules = {k: self.value(v, where) for k, v in sorted(state.items()) if k[:2] != "__"}
            return ["wrapped", type(x).__name__, self.value(x.__wrapped__, where), rules]
        if type(x) is object:
            return ["a mark"]
        if type(x) is types.SimpleNamespace:
            return ["namespace", {k: self.value(v, f"{where}.{k}") for k, v in sorted(vars(x).items())}]
        if isinstance(x, typing.TypeVar) or type(x).__module__ in ("typing", "types"):
            return ["type", str(x)]
        if dataclasses.is_dataclass(x) or code.plain_state(type(x), _NO_STATE):
            state = dict(getattr(x, "__dict__", {})) | {k: _of_slot(x, k) for k in code.slots(type(x))}
            return ["object", kind(), {k: self.value(v, f"{where}.{k}") for k, v in sorted(state.items())}]
        if isinstance(x, _DESCRIPTORS):
            return ["of", self.value(x.__objclass__, where), x.__name__]
        if (node := jax.tree_util.default_registry.flatten_one_level(x)) is not None:
            children, rest = node
            return ["node", kind(), self.value(tuple(children), where, ordered), self.value(rest, where)]
        self.unknown.append(f"{where} is a {type(x).__module__}.{type(x).__qualname__}")
        return ["unknown", type(x).__module__, type(x).__qualname__]


def _of_slot(x: Any, name: str) -> Any:
    """The content of a slot, whose name its class mangles where it is private; None while it is empty."""
    private = name.startswith("__") and not name.endswith("__")
    names = [f"_{kind.__name__.lstrip('_')}{name}" for kind in type(x).__mro__] if private else [name]
    return next((getattr(x, each) for each in names if hasattr(x, each)), None)


def _content(cell: Any) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # the cell is still empty
        return "nothing yet"
