"""The fits of many data sets, of which some have no finite optimum."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from .._progress import progress

SUCCESS = "successful"


class Wins(NamedTuple):
    """Comparisons of one data set, whose diagonal holds pairs of equals."""

    wins: np.ndarray


def one_by_one(fit: Callable[..., Any], data: Any, log_reference: Array, batch: tuple[int, ...]) -> Any:
    """The ``Fitted`` of many data sets: NaN where one has no optimum, and the others as they are.

    Args:
        fit: of one data set, ``fit(data, log_reference=...)``, which tells a failure in its ``result``.
        data: of all, an array ``(*batch, X, K, K)`` or an object with such ``wins``.
        log_reference: log ref of every problem, in the order of the data.
        batch: the leading axes.
    """
    wins, count = np.asarray(getattr(data, "wins", data)), int(np.prod(batch))
    wins = wins.reshape(count, *wins.shape[len(batch) :])
    log_ref = np.asarray(log_reference).reshape(count, *wins.shape[1:-1])
    found = []
    with progress("fits", count) as advance:
        for one, reference in zip(wins, log_ref, strict=True):
            found.append(fit(Wins(one) if hasattr(data, "wins") else one, log_reference=reference))
            advance(1)
    good = next((one for one in found if one.result == SUCCESS), found[0])

    def together(name: str) -> Any:
        like = getattr(good, name)
        if like is None:
            return None
        blank = np.full_like(like, np.nan if jnp.issubdtype(np.asarray(like).dtype, jnp.floating) else 0)
        rows = [np.asarray(getattr(one, name)) if one.result == SUCCESS else blank for one in found]
        stacked = np.stack(rows).reshape(*batch, *np.shape(like))
        return stacked if name == "minima" else jnp.asarray(stacked)

    lost = [n for n, one in enumerate(found) if one.result != SUCCESS]
    at = [int(i) for i in np.unravel_index(lost[0], batch)]
    told = f"{len(lost)} of {count} data sets have no finite optimum; the first, {at}: {found[lost[0]].result}"
    values = {field.name: together(field.name) for field in dataclasses.fields(good) if field.name != "result"}
    return type(good)(**values, result=told)
