"""The posterior of P given counted comparisons: independent Beta posteriors, draws from them, and Monte Carlo intervals."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, PRNGKeyArray

from .._checks import Numbers, check_count, check_key, check_number
from ..preferences import from_wins

INTERVAL_LEVEL = 0.95  # of the Monte Carlo intervals, which reflect the finite number of draws


class Share(NamedTuple):
    """A share of the draws and its 95% Monte Carlo interval (Clopper and Pearson), in [0, 1]."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.3g} ({self.low:.3g}–{self.high:.3g})"


def share(count: int, draws: int) -> Share:
    """``count`` of ``draws`` with its interval."""
    from scipy.stats import beta

    tail = (1 - INTERVAL_LEVEL) / 2
    low = 0.0 if count == 0 else float(beta.ppf(tail, count, draws - count + 1))
    high = 1.0 if count == draws else float(beta.ppf(1 - tail, count + 1, draws - count))
    return Share(count / draws, low, high)


class Posterior(NamedTuple):
    """A posterior of P.

    Attributes:
        mean: the posterior mean of P, ``(K, K)``.
        draws: draws of P, ``(draws, K, K)``.
        comparisons: the number of comparisons.
    """

    mean: np.ndarray
    draws: np.ndarray
    comparisons: float


def posterior(
    counts: Numbers, *, key: PRNGKeyArray, draws: int = 1000, prior: float = 0.5, one_sided: bool = False
) -> Posterior:
    """P_ij ~ Beta(c_ij + prior, c_ji + prior), independently for each pair i < j.

    Args:
        counts: win counts c, ``(K, K)``; a pair that was never compared keeps the prior.
        key: one key of ``jax.random``.
        draws: number of draws, int ≥ 1.
        prior: pseudo-wins on each side of each pair, > 0.
        one_sided: accept counts with only zeros on one side of the diagonal, which are refused by default (K ≥ 3) because
            they are usually a mistake.

    Raises:
        ValueError: a bad argument, or counts with only zeros on one side of the diagonal.

    >>> found = posterior(np.array([[0, 3], [1, 0]]), key=jax.random.key(0), draws=10)
    >>> found.mean.tolist(), found.draws.shape, found.comparisons
    ([[0.5, 0.7], [0.30000000000000004, 0.5]], (10, 2, 2), 4.0)
    """
    c = check_counts(counts, one_sided)
    prior = float(check_number(prior, "prior", 0.0, np.inf, open_low=True))
    draws = check_count(draws, "draws", 1)
    if key is None:
        raise ValueError("draws from the posterior are random; pass key=jax.random.key(seed).")
    check_key(key)
    i, j = np.triu_indices(len(c), 1)
    mean = np.full(c.shape, 0.5)
    mean[i, j] = (c[i, j] + prior) / (c[i, j] + c[j, i] + 2 * prior)
    mean[j, i] = 1 - mean[i, j]
    stack = np.full((draws, *c.shape), 0.5)
    log_odds = np.asarray(_log_odds(key, jnp.asarray(c[i, j] + prior), jnp.asarray(c[j, i] + prior), draws), np.float64)
    # Both sides are computed from the log-odds, because 1 - p would round to 0 for p near 1.
    stack[:, i, j], stack[:, j, i] = _sigmoid(log_odds), _sigmoid(-log_odds)
    return Posterior(mean, stack, float(c.sum()))


def _log_odds(key: PRNGKeyArray, a: Array, b: Array, draws: int) -> Array:
    """log p/(1-p) for p ~ Beta(a, b), as the difference of the logarithms of two Gamma variables."""
    first, second = jax.random.split(key)
    shape = (draws, len(a))
    return jax.random.loggamma(first, a, shape) - jax.random.loggamma(second, b, shape)


def _sigmoid(x: np.ndarray) -> np.ndarray:
    ratio = np.exp(-np.abs(x))
    return np.where(x >= 0, 1.0, ratio) / (1.0 + ratio)


def check_counts(counts: Any, one_sided: bool) -> np.ndarray:
    """Win counts as ``from_wins`` takes them, in which pairs may be missing."""
    from_wins(counts, missing=0.5)
    c = np.asarray(counts, dtype=np.float64)
    above, below = np.triu(c, 1).any(), np.tril(c, -1).any()
    if len(c) >= 3 and above != below and not one_sided:
        side = "below" if above else "above"
        raise ValueError(
            f"counts has only zeros {side} the diagonal, as if one direction had been left out; pass counts[i, j], how often i "
            f"beat j, and counts[j, i], how often j beat i. If the {'first' if above else 'last'} response of every pair "
            f"really won each time, number the responses in another order."
        )
    return c
