"""What rounds accept as their parameters."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float

from .._checks import check_log_distribution, check_number, check_scalar
from .._numerics import as_array, concrete
from ..policies import LogLinear, Policy, Tabular
from ..preferences import MOST_DRAWS, MOST_DRAWS_SINGLE, check


def policy_of(policy: Policy | None, size: int) -> Policy:
    if policy is None:
        return Tabular(size)
    if not isinstance(policy, Tabular | LogLinear):
        raise ValueError(f"policy is {policy!r}; pass dyn.Tabular(K) or dyn.LogLinear(phi).")
    shape = (policy.size,) if isinstance(policy, Tabular) else policy.phi.shape[:-1]
    if len(shape) == 2:
        raise ValueError(f"phi has {shape[0]} contexts; rounds are of one prompt, pass features of shape (K, d).")
    if shape != (size,):
        raise ValueError(f"policy has {shape[0]} responses, preference {size}; let them match.")
    return policy


def share_of(value: ArrayLike, name: str) -> Float[Array, ""]:
    array = check_scalar(value, name, 0.0, 1.0)
    if array.ndim != 0:
        raise ValueError(f"{name} has shape {array.shape}; pass one number (use dyn.sweep or jax.vmap for many).")
    return array


def smoothing_of(value: ArrayLike | None, samples: ArrayLike | None) -> Float[Array, ""] | None:
    if samples is None:
        if value is not None:
            raise ValueError(f"smoothing = {value} is of samples; pass samples= too, or leave it out.")
        return None
    return check_number(0.5 if value is None else value, "smoothing", 0.0, np.inf)


def range_checks(size: int) -> dict[str, Callable[[np.ndarray], Any]]:
    """By path of a parameter what raises ``ValueError`` where stacked values are out of range; K is ``size``."""
    return {
        "alpha": lambda v: check_scalar(v, "alpha", 0.0, 1.0),
        "lam": lambda v: check_scalar(v, "lam", 0.0, 1.0),
        "objective.beta": lambda v: check_scalar(v, "objective.beta", 0.0, np.inf, open_low=True),
        "samples": lambda v: check_whole(v, "samples", 1),
        "smoothing": lambda v: check_scalar(v, "smoothing", 0.0, np.inf),
        "inner.steps": lambda v: check_whole(v, "steps", 1),
        "inner.batch": lambda v: check_whole(v, "batch", 1),
        "preference": lambda v: [check(P) for P in v],
        "log_reference": lambda v: [check_log_distribution(p, "log_reference", size) for p in v],
        "log_offline": lambda v: [check_log_distribution(p, "log_offline", size, zero_mass=True) for p in v],
    }


def whole(value: ArrayLike, name: str, least: int) -> Float[Array, ""]:
    """A whole number as a numeric parameter; ``ValueError`` names it where it is none in range."""
    array = check_scalar(value, name, -np.inf, np.inf)
    if array.ndim != 0:
        raise ValueError(f"{name} has shape {array.shape}; pass one number (use dyn.sweep for many).")
    check_whole(array, name, least)
    return as_array(array)


def check_whole(values: Any, name: str, least: int) -> None:
    """``ValueError`` unless concrete values are whole numbers of at least ``least`` that comparisons can be counted to."""
    if not concrete(values):
        return
    single = jnp.zeros(()).dtype == jnp.float32
    most = MOST_DRAWS_SINGLE if single else MOST_DRAWS
    more = " (or switch on jax_enable_x64)" if single else ""
    for value in np.ravel(values):
        if not least <= value <= most or value != np.floor(value):
            raise ValueError(f"{name} = {value:g}; pass a whole number from {least} to {most:g}{more}.")
