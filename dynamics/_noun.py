"""The base class of the library's objects: each class is an equinox Module and either abstract or final."""

from __future__ import annotations

import inspect
import sys
from typing import Any, ClassVar, TypeVar

import equinox as eqx
import numpy as np
from jaxtyping import Array, Bool

Made = TypeVar("Made", bound=eqx.Module)


class Noun(eqx.Module):
    """A frozen Module whose concrete subclasses cannot be subclassed further.

    Exact solvers and proofs rely on how a concrete class behaves, so they would ignore a method that a subclass overrides.
    Such a subclass is refused when it is defined, and the error names what to subclass instead.
    """

    shorter_way: ClassVar[str] = ""
    """What to subclass and write instead in the common case, for the message of a refused subclass."""

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        for base in cls.__bases__:
            if issubclass(base, Noun) and base is not Noun and not is_abstract(base):
                raise TypeError(_refusal(cls, base))

    def check_parameter(self, path: str, values: np.ndarray) -> None:
        """Raises ``ValueError`` where the parameter at ``path`` may not take one of the values stacked along the first axis.

        The last part of ``path`` is the name of the field; errors name the whole path.
        """
        check_finite(path, values)

    def in_range(self) -> Bool[Array, ""] | bool:
        """Whether traced parameters have values that construction would accept."""
        return True


def check_finite(name: str, values: np.ndarray) -> None:
    """Raises ``ValueError`` where a value is not finite."""
    if not np.isfinite(values).all():
        raise ValueError(f"{name} has a value that is not finite; pass finite numbers.")


def is_own(thing: Any) -> bool:
    """Whether a thing is of a class from outside the library."""
    return not type(thing).__module__.startswith("dynamics.")


def is_abstract(kind: type) -> bool:
    """Whether a class leaves methods or attributes to be written."""
    return inspect.isabstract(kind) or bool(getattr(kind, "__abstractvars__", ()))


def _refusal(cls: type, base: type) -> str:
    nouns = (k for k in base.__mro__ if issubclass(k, Noun) and k is not Noun)
    parent = next((k for k in nouns if is_abstract(k) and _is_public(k)), None)
    if parent is None:
        return (
            f"{base.__name__} is final, so {cls.__name__} cannot subclass it; hold an instance of it in your own class."
        )
    asked = ", ".join(sorted(parent.__abstractmethods__))  # pyright: ignore[reportAttributeAccessIssue]
    other = parent.shorter_way and not parent.shorter_way.startswith(f"{parent.__name__} ")
    shorter = f"{parent.shorter_way}, or " if other else ""
    return (
        f"{base.__name__} is final, so {cls.__name__} cannot subclass it (exact solvers and proofs would ignore what it "
        f"overrides); subclass {shorter}{parent.__name__} and write {asked}."
    )


def _is_public(kind: type) -> bool:
    """Whether the room of a class exports it."""
    room = sys.modules.get(kind.__module__.rpartition(".")[0])
    return getattr(room, kind.__name__, None) is kind


def assemble(kind: type[Made], **fields: Any) -> Made:
    """An instance from its fields without checks: they may be traced, and were checked when they were first given."""
    made = object.__new__(kind)
    for name, value in fields.items():
        object.__setattr__(made, name, value)
    return made
