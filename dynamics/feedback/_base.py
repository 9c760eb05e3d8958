"""What feedback is: from the law of pairs and labels to what a round has seen of it."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PRNGKeyArray

from .._noun import Noun
from .._numerics import concrete
from .._parts import of_any_size
from ..preferences import Masses, Pairs, Seen


class Feedback(Noun):
    """What is seen of P when both responses of a pair are drawn from mu.

    ``observe`` gets the exact law of comparisons, ``pairs`` (``pairs.preference`` is P, ``pairs.mu`` the sampler,
    ``pairs.rates()`` the mass of each "i beat j"), and returns it, or ``Masses``. A subclass writes ``observe``, and sets
    ``stochastic = True`` if it draws.

    >>> class Ties(dyn.feedback.Feedback):
    ...     share: float
    ...
    ...     def observe(self, pairs, key=None):
    ...         wins = pairs.rates()
    ...         return dyn.feedback.Masses((1 - self.share) * wins + self.share * (wins + wins.T) / 2, wins.sum())
    >>> P, mu = jnp.array([[0.5, 1.0], [0.0, 0.5]]), jnp.array([0.5, 0.5])
    >>> Ties(0.5).observe(dyn.feedback.Pairs(P, jnp.log(mu), mu)).wins.tolist()
    [[0.0, 0.375], [0.125, 0.0]]
    """

    @property
    def stochastic(self) -> bool:
        """Whether ``observe`` draws, and so needs a key."""
        return False

    @property
    def constant(self) -> bool:
        """Whether a finite optimum exists in all rounds alike, so that one look at construction decides it."""
        return False

    @abstractmethod
    def observe(self, pairs: Pairs, key: PRNGKeyArray | None = None) -> Seen:
        """What a round sees."""

    def observe_prompts(self, pairs: Pairs, keys: Any) -> Seen:
        """What a round sees of several prompts, each by itself; arrays of ``pairs`` and ``keys`` have a leading axis X."""
        return jax.vmap(self.observe)(pairs, keys)

    def check(self, shape: tuple[int, ...]) -> None:
        """Raises ``ValueError`` unless this feedback fits logits of ``shape``, ``(K,)`` or ``(X, K)``."""

    def resized(self, size: int) -> Feedback:
        """The same feedback for another number of responses; ``ValueError`` where it fits one number only."""
        return of_any_size(self)


def check_seen(seen: Any, size: int, name: str) -> None:
    """Raises ``ValueError`` unless what a feedback returned is ``Pairs``, or masses ≥ 0 that add up to their total.

    Args:
        seen: what ``observe`` returned; traced values pass.
        size: K.
        name: of the feedback, for the message.
    """
    if not isinstance(seen, Seen):
        raise ValueError(
            f"{name}.observe returned a {type(seen).__name__}; return the pairs, or dyn.feedback.Masses(wins)."
        )
    if not isinstance(seen, Masses):
        return
    if seen.wins.shape != (size, size):
        raise ValueError(f"{name}.observe gave masses of shape {seen.wins.shape}; pass shape {(size, size)}.")
    if not concrete(seen):
        return
    wins, total, smoothing = np.asarray(seen.wins), float(seen.total), float(seen.smoothing)
    bad = ~np.isfinite(wins) | (wins < 0)
    if bad.any():
        i, j = (int(x) for x in np.argwhere(bad)[0])
        raise ValueError(f"{name}.observe gave the mass {wins[i, j]:g} to ({i} beat {j}); masses are finite and ≥ 0.")
    if not total > 0 or abs(wins.sum() - total) > max(1e-6, 1e3 * float(jnp.finfo(seen.wins.dtype).eps)) * total:
        raise ValueError(
            f"{name}.observe gave masses that sum to {wins.sum():.9g}, not to the total of {total:.9g}; normalise "
            f"them (pairs of equals belong on the diagonal), or pass Masses(wins, total)."
        )
    if not smoothing >= 0:
        raise ValueError(f"{name}.observe gave smoothing = {smoothing:g}; pass a number ≥ 0.")
