"""Responses of several tokens: the rate at which training moves the reward of one token at one feature."""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Bool, Float, Int

from ._checks import as_numbers, check_number, token_numbers

__all__ = ["Responses", "multi_token_rate"]


class Responses(eqx.Module):
    """Chosen and rejected responses of several tokens, with the feature that each token was predicted from.

    Args:
        chosen_features, rejected_features: g_ij, ``(N, L, d)``; the two lengths L may differ.
        chosen_tokens, rejected_tokens: token ids y_ij, ``(N, L)``; -1 marks positions beyond a response's end.

    Raises:
        ValueError: shapes that do not fit or are empty, features that are not finite, ids that are not whole numbers.
    """

    chosen_features: Float[Array, "N L d"]
    rejected_features: Float[Array, "N M d"]
    chosen_tokens: Int[Array, "N L"]
    rejected_tokens: Int[Array, "N M"]

    def __init__(
        self,
        chosen_features: Float[ArrayLike, "N L d"],
        rejected_features: Float[ArrayLike, "N M d"],
        chosen_tokens: Int[ArrayLike, "N L"],
        rejected_tokens: Int[ArrayLike, "N M"],
    ):
        self.chosen_features, self.chosen_tokens = _side(chosen_features, chosen_tokens, "chosen")
        self.rejected_features, self.rejected_tokens = _side(rejected_features, rejected_tokens, "rejected")
        a, b = self.chosen_features.shape, self.rejected_features.shape
        if a[0] != b[0] or a[2] != b[2]:
            raise ValueError(f"chosen features have shape {a}, rejected {b}; pass the same N and d.")


def _side(features: ArrayLike, tokens: ArrayLike, name: str) -> tuple[Array, Array]:
    g, y = as_numbers(features, f"{name}_features"), token_numbers(tokens, f"{name}_tokens")
    if g.ndim != 3 or g.shape[:2] != y.shape:
        raise ValueError(f"{name}_features have shape {g.shape}, {name}_tokens {y.shape}; pass (N, L, d) and (N, L).")
    if 0 in g.shape:
        raise ValueError(f"{name}_features have shape {g.shape}; pass at least one example, one token and one feature.")
    if not bool(jnp.all(jnp.isfinite(g))):
        raise ValueError(f"{name}_features hold an entry that is not finite; drop the example or fix it.")
    return g, jnp.asarray(y)


def multi_token_rate(
    W: Float[ArrayLike, "V d"],
    W0: Float[ArrayLike, "V d"],
    responses: Responses,
    g_star: Float[ArrayLike, " d"],
    token: int,
    beta: ArrayLike,
) -> Float[Array, ""]:
    """tau dr(y)/dt = (beta²/N) Σ_i sigma(-r_i) Σ_positions ± (e_y - p*)·(e_ij - p_ij) <g_ij, g*>,  p = softmax(W g).

    The current rate at which DPO's gradient flow on the last layer moves r(y) = beta (log p(y|g*) - log p_0(y|g*)). r_i is
    example i's reward margin, summed over its responses' tokens; the sign is + for chosen and - for rejected responses.

    Args:
        W: the current last layer, ``(V, d)``; finite.
        W0: the last layer of the reference, ``(V, d)``.
        responses: the training pairs.
        g_star: g*, ``(d,)``.
        token: y, int in 0 … V-1.
        beta: scalar > 0.

    Returns:
        the rate, scalar, per tau.

    Raises:
        ValueError: a bad entry.

    Source: [paper] ImLi25, section 4.3.

    >>> g, W = np.ones((1, 1, 1)), np.zeros((2, 1))
    >>> pairs = dyn.margins.Responses(g, g, np.array([[0]]), np.array([[1]]))
    >>> round(float(dyn.margins.multi_token_rate(W, W, pairs, np.ones(1), token=0, beta=0.1)), 6)
    0.005
    """
    if not isinstance(responses, Responses):
        raise ValueError(f"responses is a {type(responses).__name__}; pass dyn.margins.Responses(...).")
    beta = check_number(beta, "beta", 0.0, np.inf, open_low=True)
    W, W0, g_star = as_numbers(W, "W"), as_numbers(W0, "W0"), as_numbers(g_star, "g_star")
    V, d = W.shape if W.ndim == 2 else (0, 0)
    if W.ndim != 2 or W0.shape != W.shape or g_star.shape != (d,) or responses.chosen_features.shape[2] != d:
        shapes = f"W {W.shape}, W0 {W0.shape}, g_star {g_star.shape}, features {responses.chosen_features.shape}"
        raise ValueError(f"shapes do not fit: {shapes}; pass (V, d), (V, d), (d,) and (N, L, d).")
    if not all(bool(jnp.all(jnp.isfinite(x))) for x in (W, W0, g_star)):
        raise ValueError("W, W0 or g_star has an entry that is not finite; pass finite numbers.")
    if isinstance(token, bool) or not isinstance(token, int | np.integer) or not 0 <= token < V:
        raise ValueError(f"token = {token!r} is not a token id; pass a whole number in 0 … {V - 1}.")
    for name in ("chosen_tokens", "rejected_tokens"):
        ids = getattr(responses, name)
        if bool(jnp.any((ids < -1) | (ids >= V))):
            raise ValueError(f"{name} hold an id outside 0 … {V - 1} (-1 marks padding); pass ids of W's rows.")
    return _rate(W, W0, responses, g_star, jnp.asarray(token), beta)


@eqx.filter_jit
def _rate(W: Array, W0: Array, responses: Responses, g_star: Array, token: Array, beta: Array) -> Float[Array, ""]:
    star = jax.nn.one_hot(token, W.shape[0]) - jax.nn.softmax(W @ g_star)

    def example(g_w: Array, g_l: Array, y_w: Array, y_l: Array) -> Array:
        reward_w, push_w = _response(W, W0, star, g_star, g_w, y_w)
        reward_l, push_l = _response(W, W0, star, g_star, g_l, y_l)
        return jax.nn.sigmoid(-beta * (reward_w - reward_l)) * (push_w - push_l)

    each = (responses.chosen_features, responses.rejected_features, responses.chosen_tokens, responses.rejected_tokens)
    return beta**2 * jnp.mean(jax.lax.map(lambda one: example(*one), each))


def _response(
    W: Array, W0: Array, star: Array, g_star: Array, g: Float[Array, "L d"], tokens: Int[Array, " L"]
) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """A response's log-ratio log p/p_0, and Σ over its positions of (e_y - p*)·(e_ij - p_ij) <g_ij, g*>."""
    there: Bool[Array, " L"] = tokens >= 0
    y = jnp.where(there, tokens, 0)
    log_p, log_p0 = jax.nn.log_softmax(g @ W.T, axis=-1), jax.nn.log_softmax(g @ W0.T, axis=-1)
    pick = lambda x: jnp.take_along_axis(x, y[:, None], axis=1)[:, 0]
    overlap = (star[y] - jnp.exp(log_p) @ star) * (g @ g_star)
    total = lambda x: jnp.sum(jnp.where(there, x, 0.0))
    return total(pick(log_p) - pick(log_p0)), total(overlap)
