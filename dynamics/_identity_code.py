"""What the code of a function says: its instructions, the names outside it that it uses, and whether its source can be read."""

from __future__ import annotations

import dis
import importlib.util
import inspect
import types
from collections.abc import Iterator
from typing import Any

from ._source_digest import origin

_NAMES = {
    "LOAD_GLOBAL",
    "LOAD_NAME",
    "LOAD_DEREF",
    "LOAD_CLASSDEREF",
    "LOAD_FROM_DICT_OR_GLOBALS",
    "LOAD_FROM_DICT_OR_DEREF",
}
_PARTS = {"LOAD_ATTR", "LOAD_METHOD"}
_SILENT = {"EXTENDED_ARG", "CACHE", "PUSH_NULL", "NOP"}


def instructions(code: types.CodeType) -> Iterator[tuple[str, Any]]:
    """(operation, argument) in order; constants as themselves, so that a docstring moves nothing."""
    for step in dis.get_instructions(code):
        if step.opname not in ("EXTENDED_ARG", "CACHE"):
            yield step.opname, _argument(code, step)


def _argument(code: types.CodeType, step: dis.Instruction) -> Any:
    if step.opname == "KW_NAMES":  # Python 3.11 and 3.12 leave it as a number
        return code.co_consts[step.arg or 0]
    return step.argval if step.opcode in dis.hasconst else f"{step.argval}"


def references(code: types.CodeType) -> list[tuple[str, ...]]:
    """Names from outside with the attributes taken of each: ``("jnp", "exp")``; of nested functions too; sorted."""
    found: set[tuple[str, ...]] = set()
    chain: tuple[str, ...] = ()
    for name, value in [*instructions(code), ("", None)]:
        if chain and name in _PARTS:
            chain = (*chain, str(value))
        elif name not in _SILENT:
            found |= {chain} if chain else set()
            chain = (str(value),) if name in _NAMES else ()
    for inner in code.co_consts:
        if isinstance(inner, types.CodeType):
            local = {*code.co_varnames, *code.co_cellvars}
            found |= {
                chain for chain in references(inner) if chain[0] not in local or chain[0] not in inner.co_freevars
            }
    return sorted(found)


def imports(code: types.CodeType, package: str | None) -> list[tuple[str, str]]:
    """(module, name or "") that a function imports when it runs; sorted."""
    found: set[tuple[str, str]] = set()
    steps = list(instructions(code))
    for i, (name, value) in enumerate(steps):
        if name == "IMPORT_NAME":
            level, names = (steps[i - 2][1], steps[i - 1][1])
            depth = int(level) if str(level).isdigit() else 0
            module = importlib.util.resolve_name("." * depth + str(value), package) if depth else str(value)
            found |= {(module, str(n)) for n in names} if isinstance(names, tuple) else {(module, "")}
    for inner in code.co_consts:
        if isinstance(inner, types.CodeType):
            found |= set(imports(inner, package))
    return sorted(found)


def readable(code: types.CodeType) -> bool:
    """Whether the source of a function can be read: in a file, or in a cell of a notebook."""
    if code.co_filename in ("<string>", "<stdin>"):
        return False
    try:
        inspect.findsource(code)
    except (OSError, TypeError, IndexError):
        return False
    return True


def only_checks(function: Any, checkers: set[str]) -> bool:
    """Whether a function wraps another only to check types."""
    home = str(function.__globals__.get("__name__")).split(".")[0]
    return home in checkers or function.__code__.co_filename.startswith("<@beartype(")


def written(key: str, value: Any) -> bool:
    """Whether an attribute of a class was written by its author, not made by dataclasses and the like."""
    function = inspect.unwrap(getattr(value, "__func__", value))
    if isinstance(function, types.FunctionType):
        made = function.__code__.co_qualname.startswith("__create_fn__")
        home = str(function.__globals__.get("__name__"))
        return not (made or home.startswith("namedtuple_") or key.startswith("__annotate"))
    dunder = key.startswith("__") and key.endswith("__")
    return key != "_abc_impl" and not (dunder and not isinstance(value, property | staticmethod | classmethod))


def has_functions(kind: type) -> bool:
    """Whether a class has methods written in Python."""
    return any(isinstance(getattr(value, "__func__", value), types.FunctionType) for value in vars(kind).values())


def patched(kind: type) -> dict[str, Any]:
    """Methods of one's own that were put into a class of the library."""
    if origin(kind.__module__) != "library":
        return {}
    found = {k: getattr(v, "__func__", v) for k, v in vars(kind).items() if written(k, v)}
    functions = {k: v for k, v in found.items() if isinstance(v, types.FunctionType)}
    return {k: v for k, v in functions.items() if origin(str(v.__globals__.get("__name__", "beartype"))) == "own"}


def slots(kind: type) -> list[str]:
    """Names of attributes that live in slots."""
    found = [k for base in kind.__mro__ for k in _names(vars(base).get("__slots__", ()))]
    return [k for k in found if k not in ("__dict__", "__weakref__")]


def _names(value: Any) -> tuple[str, ...]:
    return (value,) if isinstance(value, str) else tuple(value)


def plain_state(kind: type, harmless: tuple[str, ...]) -> bool:
    """Whether instances hold nothing but attributes: a class of one's own or the library's, on no other foundation."""
    others = [base for base in kind.__mro__ if origin(base.__module__) == "installed"]
    return kind not in others and all(base.__name__ in harmless for base in others)
