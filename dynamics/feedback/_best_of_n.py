"""Best-of-n pairs: of n responses the best is preferred to the worst."""

from __future__ import annotations

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Bool, Float, PRNGKeyArray

from .._checks import Numbers, as_numbers
from .._numerics import concrete
from .._parts import check_whole, whole
from ..preferences import Masses, Pairs, best_of_scores, best_of_tournament
from ._base import Feedback

ENUMERATED = 4  # responses up to which all outcomes of their matches are enumerated
MOST = 10**6


class BestOfN(Feedback):
    """n responses i.i.d. from mu; the best is preferred to the worst with certainty.

    Without scores every two of the n meet once, with a coin by P (copies of one response: a fair coin); most wins is best,
    fewest is worst, and ties are shared equally: exact, by enumeration, for n ≤ 4; n = 2 is ``Population``. With scores they
    are ranked by these, as by a reward model, in closed form for any n; P is not asked.

    Args:
        n: responses a pair is taken from, int in [2, 1e6]; in [2, 4] without scores.
        scores: ``(K,)``, or ``(X, K)`` for X prompts, finite, a score for each response, higher is better; equal scores are
            ranked at random.

    Raises:
        ValueError: n out of range (above 4 without scores), or scores of another shape or not finite.

    Source: [derived].
    """

    n: Float[Array, ""] | None
    scores: Float[Array, "*contexts K"] | None
    enumerated: int | None = eqx.field(static=True)

    def __init__(self, n: ArrayLike, scores: Numbers | None = None):
        number = whole(n, "n", 2, MOST)
        if scores is None:
            if not concrete(number):
                raise ValueError("n is traced; without scores outcomes are enumerated, so pass a plain number.")
            if float(number) > ENUMERATED:
                raise ValueError(
                    f"n = {float(number):g} without scores: the outcomes of all matches are enumerated up to n = "
                    f"{ENUMERATED}; pass scores=, or a smaller n."
                )
            self.n, self.scores, self.enumerated = None, None, int(number)
            return
        self.scores = as_numbers(scores, "scores")
        if self.scores.ndim not in (1, 2) or 0 in self.scores.shape or self.scores.shape[-1] < 2:
            raise ValueError(
                f"scores has shape {self.scores.shape}; pass one score per response, shape (K,) or (X, K)."
            )
        if concrete(self.scores) and not np.isfinite(np.asarray(self.scores)).all():
            raise ValueError("scores has an entry that is not finite; pass finite scores.")
        self.n, self.enumerated = number, None

    @property
    def constant(self) -> bool:
        return True

    def observe(self, pairs: Pairs, key: PRNGKeyArray | None = None) -> Masses | Pairs:
        if self.enumerated == 2:
            return pairs
        if self.enumerated is not None:
            return Masses(best_of_tournament(pairs.preference, pairs.mu, self.enumerated))
        assert self.n is not None
        assert self.scores is not None
        return Masses(best_of_scores(self.scores, pairs.mu, self.n))

    def check(self, shape: tuple[int, ...]) -> None:
        if self.scores is not None and self.scores.shape != shape:
            raise ValueError(f"scores has shape {self.scores.shape}, the responses {shape}; let them match.")

    def observe_prompts(self, pairs: Pairs, keys: Any) -> Masses | Pairs:
        if self.scores is None:
            return jax.vmap(self.observe)(pairs, keys)
        assert self.n is not None
        wins = jax.vmap(best_of_scores, in_axes=(0, 0, None))(self.scores, pairs.mu, self.n)
        return Masses(wins, jnp.ones(len(wins)), jnp.zeros(len(wins)))

    def resized(self, size: int) -> BestOfN:
        if self.scores is not None:
            raise ValueError(f"scores is of {self.scores.shape[-1]} responses, not of {size}; build a new loop.")
        return self

    def check_parameter(self, path: str, values: np.ndarray) -> None:
        if path.endswith("scores"):
            super().check_parameter(path, values)
        else:
            check_whole(values, path, 2, MOST)

    def in_range(self) -> Bool[Array, ""]:
        if self.n is None or self.scores is None:
            return jnp.asarray(True)
        return (self.n >= 2) & jnp.all(jnp.isfinite(self.scores))
