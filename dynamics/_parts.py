"""Checks common to the parts of a round: shares in [0, 1], distributions for one prompt or several, whole numbers."""

from __future__ import annotations

from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float

from ._checks import Numbers, as_numbers, check_log_distribution, check_log_rows, check_scalar
from ._numerics import as_array, concrete

Part = TypeVar("Part")


def uniform(size: int) -> Float[Array, " K"]:
    """Log of the uniform policy."""
    return jnp.full(size, -jnp.log(as_array(size)))


def share_of(value: ArrayLike, name: str) -> Float[Array, ""]:
    """One number in [0, 1]."""
    array = check_scalar(value, name, 0.0, 1.0)
    if array.ndim != 0:
        raise ValueError(f"{name} has shape {array.shape}; pass one number (use dyn.sweep or jax.vmap for many).")
    return array


def is_share(value: Float[Array, ""]) -> Array:
    """Whether a traced number lies in [0, 1]."""
    return (value >= 0) & (value <= 1)


def distributions(value: Numbers, name: str, *, zero_mass: bool = False) -> Float[Array, "*contexts K"]:
    """Checked log-distributions, ``(K,)`` or ``(X, K)``."""
    logs = as_numbers(value, name)
    if logs.ndim != 2 or len(logs) == 0:
        return check_log_distribution(logs, name, zero_mass=zero_mass)
    return check_log_rows(logs, name, zero_mass=zero_mass)


def check_fits(log_p: Array, shape: tuple[int, ...], name: str) -> None:
    """Raises ``ValueError`` unless a distribution fits logits of ``shape``."""
    if log_p.shape not in (shape, shape[-1:]):
        wanted = f"{shape[-1:]}" if len(shape) == 1 else f"{shape[-1:]} or {shape}"
        raise ValueError(f"{name} has shape {log_p.shape}, the policy {shape}; pass shape {wanted}.")


def check_rows(values: np.ndarray, name: str, *, zero_mass: bool = False) -> None:
    """Raises ``ValueError`` unless every row of stacked values is a log-distribution."""
    for row in values:
        check_log_distribution(row, name, values.shape[-1], zero_mass=zero_mass)


def other_size(log_p: Array, size: int, name: str) -> Float[Array, " K"]:
    """The uniform distribution on ``size`` responses where ``log_p`` is uniform; otherwise raises ``ValueError``."""
    if np.ptp(np.asarray(log_p)) != 0:
        raise ValueError(
            f"{name} is not uniform and fits only {log_p.shape[-1]} responses, not {size}; leave it uniform."
        )
    return uniform(size)


def whole(value: ArrayLike, name: str, least: int, most: int | float) -> Float[Array, ""]:
    """A whole number from ``least`` to ``most`` as a float parameter; raises ``ValueError`` with ``name``."""
    array = check_scalar(value, name, -np.inf, np.inf)
    if array.ndim != 0:
        raise ValueError(f"{name} has shape {array.shape}; pass one number (use dyn.sweep for many).")
    check_whole(array, name, least, most)
    return as_array(array)


def check_whole(values: Any, name: str, least: int, most: int | float) -> None:
    """Raises ``ValueError`` unless concrete values are whole numbers from ``least`` to ``most``."""
    if not concrete(values):
        return
    more = " (or switch on jax_enable_x64)" if jnp.zeros(()).dtype == jnp.float32 else ""
    for value in np.ravel(values):
        if not least <= value <= most or value != np.floor(value):
            raise ValueError(f"{name} = {value:g}; pass a whole number from {least} to {most:g}{more}.")


def of_any_size(part: Part) -> Part:
    """``part`` itself where all its leaves are scalars, so that any number of responses fits; else raises ``ValueError``."""
    if any(np.ndim(leaf) > 0 for leaf in jax.tree.leaves(part)):
        name = type(part).__name__
        raise ValueError(
            f"{name} holds arrays of one size; define {name}.resized(size), or sweep matrices of one size."
        )
    return part
