"""Counts of comparisons: how often each response beat each other one, context by context."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from .._checks import Numbers, as_numbers, host_numbers
from .._noun import Noun
from .._numerics import concrete


class Comparisons(Noun):
    """wins[…, i, j] = how often response i beat response j.

    A pair of equals, that is a response compared with itself, tells nothing about preferences. Such pairs are on the
    diagonal: they count in ``n``, and ``of_equals`` says how many there are.

    Args:
        wins: ``(K, K)``, or ``(X, K, K)`` for X contexts, or more leading axes for several data sets, K ≥ 2; whole numbers
            from 0 to below 2^53 (2^24 where JAX runs in float32), halves where a tie counts half to each, or expected numbers.

    Raises:
        ValueError: not square, negative, not finite, or too large to be exact: the entry is named.

    >>> data = dyn.Comparisons([[2, 3], [1, 0]])
    >>> data.n, data.of_equals
    (6.0, 2.0)
    """

    wins: Float[Array, "*contexts K K"]

    def __init__(self, wins: Numbers):
        self.wins = _counts(wins)

    @property
    def n(self) -> float:
        """The number of comparisons, pairs of equals included, over all contexts."""
        return float(np.asarray(self.wins, np.float64).sum())

    @property
    def of_equals(self) -> float:
        """The number of pairs of equals among ``n``."""
        return float(np.einsum("...ii->...", np.asarray(self.wins, np.float64)).sum())

    @property
    def per_context(self) -> np.ndarray:
        """The number of comparisons in each context, pairs of equals included, ``(*contexts,)``."""
        return np.asarray(self.wins, np.float64).sum((-2, -1))

    @property
    def total(self) -> Float[Array, "*contexts K K"]:
        """How often each pair was compared, symmetric, with pairs of equals left out."""
        both = self.wins + jnp.swapaxes(self.wins, -1, -2)
        return jnp.where(jnp.eye(both.shape[-1], dtype=bool), 0.0, both)


def _counts(wins: Any) -> Float[Array, "*contexts K K"]:
    exact = host_numbers(wins, "wins") if concrete(wins) else None
    array = as_numbers(wins if exact is None else exact, "wins")
    if array.ndim < 2 or array.shape[-1] != array.shape[-2] or array.shape[-1] < 2 or array.size == 0:
        raise ValueError(
            f"wins has shape {array.shape}; pass a square matrix of counts, (K, K) or (X, K, K), with K ≥ 2."
        )
    if exact is None:
        return array
    most = 2.0 ** (jnp.finfo(array.dtype).nmant + 1)
    for bad, what in (
        (~np.isfinite(exact), "is not finite; pass a count ≥ 0"),
        (exact < 0, "is negative; pass a count ≥ 0 (a negative one may be an integer that overflowed)"),
        (exact >= most, f"is not below {most:.0f}, from where on counts are not exact; pass a smaller count"),
    ):
        if bad.any():
            at = tuple(int(k) for k in np.argwhere(bad)[0])
            raise ValueError(f"wins[{', '.join(map(str, at))}] = {exact[at]:g} {what}.")
    return array
