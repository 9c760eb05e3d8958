"""Equal optimizers as one object: JAX compares functions by identity, and would compile anew for each of them.

Only what is made of functions of optax and JAX, of plain numbers and text, and of JAX's arrays is told apart by its content.
Whatever else an optimizer holds, a function of the user's own or something that may be changed later, makes it equal to itself
alone.
"""

from __future__ import annotations

import functools
import types
from typing import Any, TypeVar, cast

import jax
import jax.core
import numpy as np

T = TypeVar("T")

MAX_INTERNED = 256  # things that are remembered
PACKAGES = ("optax.", "jax.", "jax._src.")
PLAIN = (int, float, bool, complex, str, bytes, type(None))

_first: dict[Any, Any] = {}


class _NoKeyError(Exception):
    """Something whose content is not known to be told by what can be read of it."""


def interned(thing: T) -> T:
    """The first of all things of the same content; the thing itself where its content cannot be told for certain.

    ```python
    import optax
    from dynamics._interned import interned
    assert interned(optax.sgd(0.1)) is interned(optax.sgd(0.1))
    assert interned(optax.sgd(0.1)) is not interned(optax.sgd(0.2))
    ```
    """
    try:
        key = _key(thing)
    except (_NoKeyError, RecursionError):
        return thing
    if len(_first) >= MAX_INTERNED:
        _first.clear()
    return _first.setdefault(key, thing)


def _key(x: Any) -> Any:
    """A hashable value, equal for things of equal content only. Types are exact: a subclass may hold more."""
    kind, held = type(x), cast(Any, x)
    if kind in PLAIN:
        return kind.__name__, repr(x)
    if isinstance(x, jax.core.Tracer):
        raise _NoKeyError
    if isinstance(x, jax.Array) and not jax.numpy.issubdtype(x.dtype, jax.dtypes.prng_key):
        return "jax", x.weak_type, *_of_array(np.asarray(x))
    if isinstance(x, np.generic) and kind.__module__ == "numpy" and x.dtype.names is None:
        return "scalar", *_of_array(np.asarray(x))
    if kind is tuple:
        return "tuple", tuple(map(_key, held))
    if isinstance(x, tuple) and _is_known(kind.__module__) and hasattr(kind, "_fields"):
        return kind, tuple(map(_key, x))
    # Not ``__module__``, which ``functools.wraps`` copies to a function of another module.
    if kind is types.FunctionType and _is_known(held.__globals__.get("__name__")) and not x.__dict__:
        cells = tuple(_key(cell.cell_contents) for cell in held.__closure__ or ())
        return (
            "function",
            held.__module__,
            held.__code__,
            cells,
            _key(held.__defaults__),
            _key(_sorted(held.__kwdefaults__)),
        )
    if kind is functools.partial and not x.__dict__:
        return "partial", _key(held.func), _key(held.args), _key(_sorted(held.keywords))
    raise _NoKeyError


def _is_known(module: Any) -> bool:
    return f"{module}.".startswith(PACKAGES)


def _sorted(items: dict[str, Any] | None) -> tuple[Any, ...] | None:
    return None if items is None else tuple(sorted(items.items()))


def _of_array(x: np.ndarray) -> tuple[str, tuple[int, ...], bytes]:
    return str(x.dtype), x.shape, np.ascontiguousarray(x).tobytes()
