"""Margins and rewards under a trained last layer, for training examples and unseen ones."""

from __future__ import annotations

from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.nn import logsumexp
from jaxtyping import Array, Float

from .._checks import as_numbers
from . import _tokens
from ._pairs import PairFeatures
from ._samples import as_features, different, token_ids


class ResponseRewards(NamedTuple):
    """Rewards beta (log p_t(y) - log p_0(y)) of each example's responses, ``(T, M)`` each."""

    chosen: Float[Array, "T M"]
    rejected: Float[Array, "T M"]


def _saved(pairs: PairFeatures, solution: Any) -> tuple[Array, bool]:
    """The saved coefficients or heads, and whether they are heads."""
    values = getattr(solution, "values", {})
    if pairs.is_batch:
        raise ValueError("this flow is a batch; pass one flow at a time.")
    for name, is_head in (("head", True), ("coefficient", False)):
        if name in values:
            wanted = pairs.head_shape if is_head else pairs.weights.shape
            if values[name].shape[1:] != wanted:
                raise ValueError(
                    f"the solution's {name} has shape {values[name].shape[1:]}, the flow's {wanted}; pass its own."
                )
            return values[name], is_head
    raise ValueError("the solution has no coefficients, which predictions need; save with a SaveAt without fn=.")


def _positions(pairs: PairFeatures, ids: np.ndarray) -> Array:
    """Positions among the trained tokens; one past the end for a token that does not move."""
    tokens = np.asarray(pairs.tokens)
    at = np.minimum(np.searchsorted(tokens, ids), len(tokens) - 1)
    return jnp.asarray(np.where(tokens[at] == ids, at, len(tokens)))


def _examples(pairs: PairFeatures, features: Any, chosen: Any, rejected: Any) -> tuple[Array, ...]:
    if isinstance(features, PairFeatures):
        return _given(pairs, features, chosen, rejected)
    if chosen is None or rejected is None:
        raise ValueError("features, chosen and rejected belong together; pass all three, or one PairFeatures.")
    g = as_features(features, pairs.features.shape[-1])
    if g.ndim != 2:
        raise ValueError(f"features have shape {g.shape}; pass one row per unseen example, shape (M, d).")
    w, l = token_ids(chosen, "chosen", g.shape[:1]), token_ids(rejected, "rejected", g.shape[:1])
    different(w, l)
    return g, _positions(pairs, w), _positions(pairs, l)


def _given(pairs: PairFeatures, other: PairFeatures, chosen: Any, rejected: Any) -> tuple[Array, ...]:
    if chosen is not None or rejected is not None:
        raise ValueError("chosen and rejected are part of the PairFeatures; pass only one of the two.")
    d = pairs.features.shape[-1]
    if other.is_batch or other.features.shape[-1] != d:
        raise ValueError(f"the PairFeatures hold features of shape {other.features.shape}; pass shape (M, {d}).")
    g, w, l, *factors = other.rows()
    ids = np.asarray(other.tokens)
    return (g, _positions(pairs, ids[np.asarray(w)]), _positions(pairs, ids[np.asarray(l)]), *factors)


def _extended(pairs: PairFeatures, beta: Array, saved: Array, is_head: bool) -> Float[Array, "rows d"]:
    head = saved if is_head else beta * pairs.combine(saved)
    return jnp.concatenate([head, jnp.zeros((1, head.shape[1]))])


@eqx.filter_jit
def _margins(pairs: PairFeatures, beta: Array, saved: Array, is_head: bool, examples: tuple[Array, ...]) -> Array:
    one = lambda row: beta * _tokens.apply(_extended(pairs, beta, row, is_head), *examples)
    return jax.lax.map(one, saved)


def predict(
    pairs: PairFeatures, beta: Array, solution: Any, features: Any, chosen: Any, rejected: Any
) -> Float[Array, "T M"]:
    """See ``MarginFlow.predict``."""
    saved, is_head = _saved(pairs, solution)
    return _margins(pairs, beta, saved, is_head, _examples(pairs, features, chosen, rejected))


@eqx.filter_jit
def _log_base(head: Array, tokens: Array, features: Array) -> tuple[Array, Array]:
    """log p_0 of the occurring tokens, ``(M, R)``, and of all others together, ``(M,)``."""
    own = jnp.zeros(head.shape[0], bool).at[tokens].set(True)

    def one(g: Array) -> tuple[Array, Array]:
        z = head @ g.astype(head.dtype)
        total = logsumexp(z)
        return z[tokens] - total, logsumexp(jnp.where(own, -jnp.inf, z)) - total

    return jax.lax.map(one, features, batch_size=64)


@eqx.filter_jit
def _rewards(
    pairs: PairFeatures,
    beta: Array,
    saved: Array,
    is_head: bool,
    examples: tuple[Array, ...],
    base: tuple[Array, Array],
) -> ResponseRewards:
    features, chosen, rejected, *factors = examples
    log_p, log_rest = base

    def one(row: Array) -> ResponseRewards:
        shift = features.astype(row.dtype) @ _extended(pairs, beta, row, is_head).T
        log_total = jnp.logaddexp(log_rest, logsumexp(log_p + shift[:, :-1], axis=-1))
        pick = lambda token: jnp.take_along_axis(shift, token[:, None], axis=1)[:, 0]
        own = [beta * (pick(token) - log_total) for token in (chosen, rejected)]
        return ResponseRewards(*([factor * r for factor, r in zip(factors, own, strict=True)] if factors else own))

    return jax.lax.map(one, saved)


def response_rewards(
    pairs: PairFeatures, beta: Array, solution: Any, head: Any, features: Any, chosen: Any, rejected: Any
) -> ResponseRewards:
    """See ``MarginFlow.response_rewards``."""
    saved, is_head = _saved(pairs, solution)
    W = as_numbers(head, "head")
    width, largest = pairs.features.shape[-1], int(pairs.tokens[-1])
    if W.ndim != 2 or W.shape[1] != width or W.shape[0] <= largest:
        raise ValueError(f"head has shape {W.shape}; pass W(0), shape (V, {width}) with V > {largest}, the largest id.")
    if not bool(jnp.all(jnp.isfinite(W))):
        raise ValueError("head has an entry that is not finite; pass the reference's last layer.")
    given = [x is not None for x in (features, chosen, rejected)]
    if any(given) and not all(given) and not isinstance(features, PairFeatures):
        raise ValueError("features, chosen and rejected belong together; pass all three or none.")
    if not any(given):
        return _rewards(pairs, beta, saved, is_head, pairs.rows(), _log_base(W, pairs.tokens, pairs.features))
    examples = _examples(pairs, features, chosen, rejected)
    if isinstance(features, PairFeatures):
        chosen, rejected = (np.asarray(features.tokens)[np.asarray(at)] for at in (features.chosen, features.rejected))
    for name, ids in (("chosen", chosen), ("rejected", rejected)):
        token_ids(ids, name, examples[0].shape[:1], W.shape[0])
    return _rewards(pairs, beta, saved, is_head, examples, _log_base(W, pairs.tokens, examples[0]))
