"""A sampler skewed towards the top of an order."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float

from .._checks import Numbers, check_log_distribution, check_number, in_short
from .._numerics import log_softmax


def skew(log_mu: Numbers, order: Numbers, amount: ArrayLike) -> Float[Array, " K"]:
    """mu'_k ∝ mu_k exp(-amount · r_k/(K-1)), r_k = 0 … K-1 the rank of k in ``order``.

    mu' first-order dominates mu towards the top of the order: for every r the best r responses have at least their mass
    under mu, and more for a larger amount, because likelihood ratios fall with rank. Responses without mass under mu stay
    without mass.

    Args:
        log_mu: log mu, shape (K,), in nats; ``-inf`` where mu has no mass. May be traced.
        order: all responses, best first, such as ``classify(P).order``; the reverse order skews towards the bottom.
        amount: ≥ 0, in nats between the top and the bottom; 0 returns mu. May be traced.

    Returns:
        log mu', shape (K,).

    Raises:
        ValueError: log_mu is not a distribution, the order does not list its responses once each, or the amount is negative.

    Source: [derived] statement 1.7, which holds for any mu' with that dominance.

    >>> jnp.exp(dyn.samplers.skew(jnp.log(jnp.array([0.5, 0.5])), [1, 0], jnp.log(3.0))).round(4).tolist()
    [0.25, 0.75]
    """
    logs = check_log_distribution(log_mu, "log_mu", zero_mass=True)
    K = logs.shape[0]
    steps = check_number(amount, "amount", 0.0, np.inf) / max(K - 1, 1)
    return log_softmax(logs - steps * jnp.asarray(_ranks(order, K), logs.dtype))


def _ranks(order: Any, K: int) -> np.ndarray:
    try:
        places = np.asarray(order)
    except (TypeError, ValueError):
        places = np.empty(0)
    if places.shape != (K,) or sorted(places.tolist()) != list(range(K)):
        raise ValueError(f"order is {in_short(order)}; pass each of the {K} responses 0 … {K - 1} once, best first.")
    ranks = np.empty(K)
    ranks[places.astype(int)] = np.arange(K)
    return ranks
