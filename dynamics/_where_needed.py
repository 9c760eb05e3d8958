"""A computation that few runs need: it costs nothing where no run does, and little where one run of a block does."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool

T = TypeVar("T")

NAME = "where_needed_of_dynamics"
"""The name of the jitted function below, by which ``sweeps`` recognises it and computes a few runs of a block at a time."""


def where_needed(needed: Bool[Array, ""], function: Callable[[Any], T], arguments: Any, otherwise: T) -> T:
    """``function(arguments)`` if ``needed``, else ``otherwise``, without computing the function.

    Not ``lax.cond``, of which both branches are computed under ``vmap``.

    Args:
        needed: whether the function's value is wanted.
        function: pure; it must not close over traced values.
        arguments: any pytree.
        otherwise: what is returned otherwise, of the same structure, shapes and dtypes as the function's value.

    >>> where_needed(jnp.array(False), jnp.log, jnp.array(2.0), jnp.array(7.0)).item()
    7.0
    """
    arrays, rest = eqx.partition(arguments, eqx.is_array)

    def repeat(needed: Array, arrays: Any, otherwise: T) -> T:
        go = lambda state: (jnp.zeros_like(needed), function(eqx.combine(arrays, rest)))
        return jax.lax.while_loop(lambda state: state[0], go, (needed, otherwise))[1]

    repeat.__name__ = NAME
    return jax.jit(repeat)(needed, arrays, otherwise)
