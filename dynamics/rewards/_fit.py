"""Rewards from comparisons by maximum likelihood: Bradley–Terry scores, one for each response or linear in features."""

from __future__ import annotations

from enum import IntEnum
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float, Int

from .._checks import Numbers, check_scalar, host_numbers
from .._numerics import as_array, concrete
from ..preferences import Comparisons
from . import _lanes
from ._groups import reason


class Outcome(IntEnum):
    """How the fit of one data set ended."""

    SUCCESSFUL = 0
    INFINITE = 1  # a group lost no comparison with the rest, so its rewards grow without bound (Ford 1957)
    DISCONNECTED = 2  # some responses were never compared with the rest, so the gap between them is undetermined
    NEVER_SAMPLED = 3  # no comparison of two different responses
    NOT_FOUND = 4  # Newton's method did not converge


class RewardFit(eqx.Module):
    """The result of ``bradley_terry``.

    Attributes:
        reward: Rhat, ``(*contexts, K)``, mean 0, in nats; NaN where ``result`` is not 0.
        result: ``Outcome`` of every data set, ``(*contexts,)``, 0 where it was successful; one for all contexts that share
            the weights of features.
        weights: of the features, ``(…, d)``; None where there are none.
    """

    reward: Float[Array, "*contexts K"]
    result: Int[Array, "*fits"]
    weights: Float[Array, "*fits d"] | None


def bradley_terry(
    data: Comparisons | Numbers, *, features: Numbers | None = None, ridge: ArrayLike = 0.0, throw: bool = True
) -> RewardFit:
    """Rhat = argmax_R Σ_ij wins_ij log sigma(R_i - R_j) - (ridge/2)||R||², Σ_i R_i = 0: Bradley–Terry by maximum likelihood.

    Every leading index is a data set of its own, so data sets, sizes and contexts are fitted in one call. Without a ridge a
    finite maximum exists iff every response is reached from every other one by a chain of wins (Ford 1957).

    Args:
        data: ``Comparisons``, or wins ``(*contexts, K, K)``, ≥ 0; pairs of equals (the diagonal) have no effect.
        features: phi, ``(K, d)`` or ``(X, K, d)``, concrete: R = phi w up to a constant in each context. With ``(X, K, d)``,
            the X contexts of wins ``(…, X, K, K)`` share w.
        ridge: in [0, ∞), broadcast over the data sets; the penalty is (ridge/2) ||w||² with features.
        throw: whether to raise where no finite maximum exists. ``throw=False`` gives NaN there, and ``result`` says why.
            Traced wins never raise.

    Raises:
        ValueError: wins that are no counts, features that do not fit; unless ``throw=False``, a group that never lost to the
            rest or was never compared with it, a context that was never sampled, or a fit that did not converge.

    Source: [paper] Yun25, the reward model of distillation, reverse KL and RLHF.

    >>> fit = dyn.rewards.bradley_terry([[0, 3], [1, 0]])
    >>> np.exp(fit.reward[0] - fit.reward[1]).round(9).tolist(), int(fit.result)
    (3.0, 0)
    """
    wins = (data if isinstance(data, Comparisons) else Comparisons(data)).wins
    ridged = not concrete(ridge) or bool(np.any(np.asarray(ridge) > 0))
    mixed = ridged and concrete(ridge) and not np.all(np.asarray(ridge) > 0)
    ridge = check_scalar(ridge, "ridge", 0.0, np.inf)
    if features is not None:
        from ._linear import fit_linear  # loads on use

        return fit_linear(wins, host_numbers(features, "features"), ridge, throw)
    contexts, K = wins.shape[:-2], wins.shape[-1]
    flat = jnp.broadcast_to(_fitting(ridge, contexts), contexts).reshape(-1)
    if mixed:
        raise ValueError("ridge is 0 for some data sets and positive for others; fit the two kinds in two calls.")
    f, found, linked, balanced = _lanes.fit_all(wins.reshape(-1, K, K), as_array(flat), ridged)
    result = jnp.where(found, int(Outcome.SUCCESSFUL), int(Outcome.NOT_FOUND))
    if not ridged:
        off = wins.reshape(-1, K, K) * (1.0 - jnp.eye(K))[None]
        result = jnp.where(linked, result, int(Outcome.DISCONNECTED))
        result = jnp.where(balanced, result, int(Outcome.INFINITE))
        result = jnp.where(jnp.any(off > 0, axis=(1, 2)), result, int(Outcome.NEVER_SAMPLED))
    reward = jnp.where((result == 0)[:, None], f, jnp.nan).reshape(*contexts, K)
    result = result.reshape(contexts)
    check_found(result, wins, throw)
    return RewardFit(reward, result, None)


def _fitting(ridge: Array, contexts: tuple[int, ...]) -> Array:
    try:
        np.broadcast_shapes(ridge.shape, contexts)
        fits = np.broadcast_shapes(ridge.shape, contexts) == contexts
    except ValueError:
        fits = False
    if not fits:
        raise ValueError(f"ridge has shape {ridge.shape}; pass one number, or one per data set, shape {contexts}.")
    return ridge


def check_found(result: Any, wins: Any, throw: bool) -> None:
    """Raises ``ValueError`` for the first tabular fit without a finite maximum."""
    if not throw or not concrete(result, wins):
        return
    codes = np.asarray(result)
    if codes.any():
        at = tuple(int(k) for k in np.argwhere(codes)[0]) if codes.ndim else ()
        more = (
            f" ({int(np.count_nonzero(codes))} of {codes.size} data sets have no finite fit)" if codes.size > 1 else ""
        )
        raise ValueError(f"{reason(np.asarray(wins)[at], int(codes[at]), at)}{more}.")
