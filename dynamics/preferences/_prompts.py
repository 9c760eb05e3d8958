"""Preferences over the responses to several prompts, and the shares of the prompts."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from .._checks import as_numbers
from .._numerics import as_array, concrete
from ._check import check, host_matrix
from ._sets import PreferenceSet

Names = tuple[str, ...] | tuple[tuple[str, ...], ...]
"""The names of K responses, or those of each prompt's."""


def check_prompts(preference: Any) -> Float[Array, "*contexts K K"]:
    """P of one prompt, ``(K, K)``, or of several, ``(X, K, K)``; a ``PreferenceSet`` of one size is of several.

    Raises:
        ValueError: a bad entry, named, matrices of several sizes, or none.
    """
    if isinstance(preference, PreferenceSet):
        sizes = sorted({len(P) for P in preference})
        if len(sizes) > 1:
            raise ValueError(
                f"preference holds matrices of sizes {', '.join(map(str, sizes))}; the prompts of one process have equally "
                f"many responses: select one size, or sweep over={{'preference': set}}."
            )
        preference = np.stack([np.asarray(P) for P in preference])
    shape = as_numbers(preference, "preference").shape
    if len(shape) != 3:
        return check(preference)
    if shape[0] == 0:
        raise ValueError(f"preference has shape {shape}; pass a matrix for each prompt, (X, K, K) with X ≥ 1.")
    if not concrete(preference):
        return jnp.stack([check(P) for P in preference])
    return as_array(np.stack([_of_prompt(x, P) for x, P in enumerate(np.asarray(preference))]))


def response_names(names: Any, preference: Any, shape: tuple[int, ...]) -> Names | None:
    """The names of the responses: those given, or those of a ``PreferenceSet``; one tuple for prompts that have the same.

    Args:
        names: K names, or X times K for X prompts; None for those that the preferences have.
        preference: as given, of one prompt or several.
        shape: of the logits, (K,) or (X, K).

    Raises:
        ValueError: another number of names, or two responses of one prompt with the same name.
    """
    if names is None:
        known = preference.names if isinstance(preference, PreferenceSet) else ()
        if not any(row is not None for row in known):
            return None
        numbers = tuple(map(str, range(shape[-1])))
        names = [numbers if row is None else row for row in known]
    rows = [names] if all(isinstance(name, str) for name in names) else list(names)
    if isinstance(names, str) or any(isinstance(row, str) for row in rows) or len(rows) not in (1, *shape[:-1]):
        raise ValueError(f"names is {names!r}; pass a list of {shape[-1]} names, or one list for each prompt.")
    found = tuple(tuple(map(str, row)) for row in rows)
    for row in found:
        if len(row) != shape[-1]:
            raise ValueError(f"names has {len(row)} entries for {shape[-1]} responses; pass one name per response.")
        if repeated := [name for name in row if row.count(name) > 1]:
            raise ValueError(f"names has {repeated[0]!r} twice; give every response a name of its own.")
    return found[0] if len(set(found)) == 1 else found


def check_like(preference: Any, before: Array) -> Float[Array, "*contexts K K"]:
    """``check_prompts`` of preferences that take the place of others, with as many prompts.

    Raises:
        ValueError: as there, and another number of prompts.
    """
    P = check_prompts(preference)
    if P.shape[:-2] != before.shape[:-2]:
        raise ValueError(
            f"preference has shape {P.shape}, that of the process {before.shape}; pass the same number of prompts, or build "
            f"a new process."
        )
    return P


def _of_prompt(x: int, matrix: Any) -> np.ndarray:
    try:
        return host_matrix(matrix)
    except ValueError as error:
        raise ValueError(f"preference[{x}] as P: {error}") from None


def prompt_shares(weights: Any, contexts: tuple[int, ...], data: str = "preference") -> Float[Array, " X"] | None:
    """The shares of X prompts, ``(X,)``; None of one prompt, which has none.

    Raises:
        ValueError: as ``check_weights``, and weights of one prompt.
    """
    if contexts:
        return check_weights(weights, contexts)
    if weights is not None:
        raise ValueError(f"weights are for several prompts; pass {data} of shape (X, K, K), or no weights.")
    return None


def check_weights(weights: Any, contexts: tuple[int, ...]) -> Float[Array, "*contexts"]:
    """Shares of the prompts that sum to 1, ``(X,)``; equal ones for None.

    Raises:
        ValueError: another shape, a negative or non-finite weight, or none above 0.
    """
    if weights is None:
        return jnp.full(contexts, as_array(1.0 / (contexts[0] if contexts else 1)))
    w = as_numbers(weights, "weights")
    if w.shape != contexts:
        raise ValueError(f"weights have shape {w.shape}; pass one share per context, shape {contexts}.")
    if concrete(w) and (not bool(jnp.all(jnp.isfinite(w) & (w >= 0))) or float(jnp.sum(w)) <= 0):
        raise ValueError("weights hold a negative or non-finite number, or sum to 0; pass shares ≥ 0, some > 0.")
    return w / jnp.sum(w)
