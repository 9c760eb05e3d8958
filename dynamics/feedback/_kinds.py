"""Feedback: exact, with flipped labels, a finite number of comparisons, and comparisons that are given."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Bool, Float, PRNGKeyArray

from .._checks import Numbers, as_numbers, check_number, check_scalar
from .._noun import assemble
from .._numerics import concrete
from .._parts import check_whole, is_share, share_of, whole
from ..preferences import Masses, Pairs, draw_wins, most_comparisons
from ._base import Feedback, check_seen


class Population(Feedback):
    """Infinitely many comparisons: the law of pairs and labels itself."""

    @property
    def constant(self) -> bool:
        return True

    def observe(self, pairs: Pairs, key: PRNGKeyArray | None = None) -> Pairs:
        return pairs


class Noisy(Feedback):
    """Each label is flipped with probability ``rate``: P becomes (1-rate) P + rate Pᵀ, in the limit of many comparisons.

    Args:
        rate: scalar in [0, 1]; at 1/2 nothing is learned, beyond it the preferences are reversed.

    Source: [derived]; IPO's rounds are those of A (1-2 rate) in place of A.
    """

    rate: Float[Array, ""]

    def __init__(self, rate: ArrayLike):
        self.rate = share_of(rate, "rate")

    @property
    def constant(self) -> bool:
        return True

    def observe(self, pairs: Pairs, key: PRNGKeyArray | None = None) -> Pairs:
        return pairs.of(self.flipped(pairs.preference))

    def flipped(self, preference: Float[Array, "K K"]) -> Float[Array, "K K"]:
        """P with flipped labels."""
        return (1.0 - self.rate) * preference + self.rate * preference.T

    def check_parameter(self, path: str, values: np.ndarray) -> None:
        check_scalar(values, path, 0.0, 1.0)

    def in_range(self) -> Bool[Array, ""]:
        return is_share(self.rate)


class Samples(Feedback):
    """n pairs i.i.d. from mu and a label for each from P, drawn afresh in every round.

    Args:
        n: comparisons a round, int in [1, 1e8] (1e4 in float32).
        smoothing: pseudo-wins, scalar in [0, ∞), that DPO adds both ways to each pair that was compared; at 0 an optimum at
            infinity ends the run with a ``result``. IPO and optimizer steps use none.
    """

    n: Float[Array, ""]
    smoothing: Float[Array, ""]

    def __init__(self, n: ArrayLike, smoothing: ArrayLike = 0.5):
        self.n = whole(n, "samples", 1, most_comparisons())
        self.smoothing = check_number(smoothing, "smoothing", 0.0, np.inf)

    @property
    def stochastic(self) -> bool:
        return True

    def observe(self, pairs: Pairs, key: PRNGKeyArray | None = None) -> Masses:
        if key is None:
            raise ValueError("Samples draws comparisons; pass key=jax.random.key(seed).")
        # Pairs of equals teach nothing and are left out: the total says how many they were.
        return assemble_masses(draw_wins(key, self.n, pairs.rates()), self.n, self.smoothing)

    def check_parameter(self, path: str, values: np.ndarray) -> None:
        if path.endswith("smoothing"):
            check_scalar(values, path, 0.0, np.inf)
        else:
            check_whole(values, path, 1, most_comparisons())

    def in_range(self) -> Bool[Array, ""]:
        return (self.n >= 1) & (self.smoothing >= 0)


class Observed(Feedback):
    """Given comparisons, the same in every round, whatever is sampled: one round with a fixed reference is a fit to data.

    Args:
        wins: ``(K, K)``, or ``(X, K, K)`` of X prompts, ≥ 0, finite, ``wins[i, j]`` how often i beat j; zero diagonal.
        smoothing: pseudo-wins, scalar in [0, ∞), that DPO adds both ways to each pair that was compared; 0 unless given.

    Raises:
        ValueError: another shape, a negative or non-finite count, a pair of a response with itself, or no comparison.

    >>> import dynamics as dyn, jax.numpy as jnp
    >>> seen = dyn.feedback.Observed([[0, 3], [1, 0]]).observe(None)
    >>> float(seen.total)
    4.0
    """

    wins: Float[Array, "*contexts K K"]
    smoothing: Float[Array, ""]

    def __init__(self, wins: Numbers, smoothing: ArrayLike = 0.0):
        self.wins = as_numbers(wins, "wins")
        self.smoothing = check_number(smoothing, "smoothing", 0.0, np.inf)
        shape = self.wins.shape
        if self.wins.ndim not in (2, 3) or 0 in shape or shape[-1] != shape[-2] or shape[-1] < 2:
            raise ValueError(f"wins has shape {shape}; pass counts of shape (K, K), or (X, K, K) of X prompts, K ≥ 2.")
        if concrete(self.wins):
            for x, counts in enumerate(np.asarray(self.wins).reshape(-1, *shape[-2:])):
                _check_wins(counts, "wins" if len(shape) == 2 else f"wins[{x}]")

    @property
    def constant(self) -> bool:
        return True

    def observe(self, pairs: Pairs | None = None, key: PRNGKeyArray | None = None) -> Masses:
        return assemble_masses(self.wins, jnp.sum(self.wins), self.smoothing)

    def observe_prompts(self, pairs: Pairs | None, keys: Any) -> Masses:
        total = jnp.sum(self.wins, axis=(-2, -1))
        return assemble_masses(self.wins, total, jnp.full_like(total, self.smoothing))

    def check(self, shape: tuple[int, ...]) -> None:
        if self.wins.shape[:-1] != shape:
            raise ValueError(f"wins has shape {self.wins.shape}, preference {(*shape, shape[-1])}; let them match.")

    def resized(self, size: int) -> Observed:
        raise ValueError(
            f"the comparisons in wins are of {self.wins.shape[-1]} responses, not of {size}; build a new loop."
        )

    def check_parameter(self, path: str, values: np.ndarray) -> None:
        if path.endswith("smoothing"):
            check_scalar(values, path, 0.0, np.inf)
        else:
            for matrix in values:
                _check_wins(matrix, path)


def assemble_masses(wins: Array, total: Array, smoothing: Array) -> Masses:
    """Masses from arrays that are what they should be."""
    return assemble(Masses, wins=wins, total=total, smoothing=smoothing)


def _check_wins(wins: np.ndarray, name: str) -> None:
    if np.diagonal(wins).any():
        raise ValueError(f"{name} compares a response with itself, which teaches nothing; set the diagonal to 0.")
    if not wins.any():
        raise ValueError(f"{name} holds no comparison; pass some.")
    check_seen(Masses(jnp.asarray(wins), float(wins.sum())), len(wins), name)
