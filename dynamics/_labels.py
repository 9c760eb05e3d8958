"""Labels of a Dataset: names of responses, numbers of prompts, and the words that flags such as verdicts count."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import xarray as xr


def shared_names(names: Sequence[Any] | None) -> tuple[str, ...] | None:
    """The names of K responses, where all prompts have the same; None without names, or where prompts have their own."""
    return tuple(names) if names and isinstance(names[0], str) else None


def response_labels(variables: Iterable[Any], num_responses: int, names: Sequence[Any] | None = None) -> dict[str, Any]:
    """Coords of the dims ``response``, by name where prompts share names, and ``pair``, "i>j", where some variable has them.

    Args:
        variables: those of the Dataset, each with its ``dims``.
        num_responses: K.
        names: K names, or a tuple of K for each prompt, which become the coord ``name`` over (``context``, ``response``).
    """
    dims = {dim for variable in variables for dim in variable.dims}
    shared = shared_names(names)
    labels = list(range(num_responses)) if shared is None else list(shared)
    coords: dict[str, Any] = {}
    if "response" in dims:
        coords["response"] = np.array(labels)
        if names is not None and shared is None:
            coords["name"] = (("context", "response"), np.array(names))
    if "pair" in dims:
        first, second = np.triu_indices(num_responses, 1)
        coords["pair"] = [f"{labels[i]}>{labels[j]}" for i, j in zip(first, second, strict=True)]
    return coords


def prompt_labels(weights: Any) -> dict[str, Any]:
    """The coords of prompts: their numbers and their ``weight``; none where ``weights`` is None, of one prompt."""
    if weights is None:
        return {}
    return {"context": np.arange(len(weights)), "weight": ("context", np.asarray(weights))}


def words(array: xr.DataArray) -> xr.DataArray:
    """A variable of flags, such as ``verdict``, in words; "" where its value is missing (-1).

    Args:
        array: integers that count from 0 the words in ``flag_meanings``, as in the Datasets of the library.

    Raises:
        ValueError: a variable without flags, or with a value that is none of them.

    >>> loop = dyn.SelfSampling(dyn.preferences.cyclic(3, 0.4), dyn.IPO(0.3), alpha=0.5, lam=1.0)
    >>> start = jnp.log(jnp.array([0.5, 0.3, 0.2]))
    >>> ds = dyn.sweep(loop, {"beta": [0.1, 0.5]}, rounds=500, measure="verdict", initial=start)
    >>> dyn.schema.words(ds.verdict).values.tolist()
    ['oscillating', 'converged']
    """
    flags = [str(flag) for flag in np.atleast_1d(array.attrs.get("flag_meanings", ()))]
    if not flags:
        raise ValueError(f"{array.name} has no flag_meanings; pass a variable of flags, such as ds.verdict.")
    values = np.asarray(array.values)
    if values.dtype.kind not in "iu" or not ((values >= -1) & (values < len(flags))).all():
        raise ValueError(
            f"{array.name} has values other than -1 to {len(flags) - 1}; pass the variable as it was stored."
        )
    told = array.copy(data=np.array([*flags, ""])[values])
    told.attrs = {key: value for key, value in array.attrs.items() if not key.startswith("flag_")}
    return told


def check_flags(name: str, array: xr.DataArray, flags: tuple[str, ...]) -> None:
    """Raises ``ValueError`` unless a variable holds whole numbers that count its flags from 0, or -1."""
    values = [int(v) for v in np.atleast_1d(array.attrs.get("flag_values", ()))]
    if values != list(range(len(flags))):
        raise ValueError(f"{name} has flag_values = {values}; count its {len(flags)} flag_meanings from 0.")
    if not np.issubdtype(array.dtype, np.integer):
        raise ValueError(f"{name} has dtype {array.dtype}; store flags as whole numbers.")
    if array.size and not (int(array.min()) >= -1 and int(array.max()) < len(flags)):
        worst = int(array.min()) if int(array.min()) < -1 else int(array.max())
        raise ValueError(f"{name} holds {worst}; its flags are 0 to {len(flags) - 1}, and -1 marks a missing value.")
