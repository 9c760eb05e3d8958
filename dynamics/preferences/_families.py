"""Families of preference matrices: named ones, and random ones by their kind of transitivity."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Bool, Float, PRNGKeyArray, UInt32

from .._checks import Numbers, check_scalar, host_array
from .._numerics import as_array, concrete

Key = PRNGKeyArray | UInt32[Array, "2"]


def cyclic(K: int, advantage: ArrayLike) -> Float[Array, "{K} {K}"]:
    """P_ij = 1/2 + a if i beats j, 1/2 - a if j beats i: on a circle, i beats the next ⌊(K-1)/2⌋ responses.

    At odd K this is the regular tournament; at even K a response ties with its opposite, so that K = 2 is all ties.

    Args:
        K: number of responses, K ≥ 2.
        advantage: a, the margin of every win, scalar, 0 < a ≤ 1/2. May be traced.

    Returns:
        P, shape (K, K).

    Raises:
        ValueError: K < 2, or a concrete advantage outside (0, 1/2].

    >>> dyn.preferences.cyclic(3, advantage=0.25).tolist()
    [[0.5, 0.75, 0.25], [0.25, 0.5, 0.75], [0.75, 0.25, 0.5]]
    """
    _check_size(K, 2)
    margin = check_scalar(advantage, "advantage", 0.0, 0.5, open_low=True)
    if margin.ndim:
        raise ValueError(f"advantage has shape {margin.shape}; pass one number.")
    ahead = (np.arange(K)[None, :] - np.arange(K)[:, None]) % K
    reach = (K - 1) // 2
    sign = ((ahead >= 1) & (ahead <= reach)).astype(float) - (ahead >= K - reach).astype(float)
    return 0.5 + margin * sign


def bradley_terry(scores: Numbers) -> Float[Array, "K K"]:
    """P_ij = σ(s_i - s_j), σ(x) = 1/(1 + e^-x).

    Small entries keep their relative precision however large the gap, down to the smallest normal float.

    Args:
        scores: s, shape (K,), K ≥ 2, in nats; only differences matter. May be traced.

    Returns:
        P, shape (K, K).

    Raises:
        ValueError: scores are not a vector of at least two, or a concrete score is not finite.

    Source: [paper] Bradley and Terry 1952.

    >>> np.asarray(dyn.preferences.bradley_terry([1.0, 0.0])).round(4).tolist()
    [[0.5, 0.7311], [0.2689, 0.5]]
    """
    s = as_array(host_array(scores, "scores") if concrete(scores) else jnp.asarray(scores))
    if s.ndim != 1 or s.shape[0] < 2:
        raise ValueError(f"scores have shape {s.shape}; pass one score per response, shape (K,) with K ≥ 2.")
    if concrete(s) and not np.isfinite(s).all():
        k = int(np.argmin(np.isfinite(s)))
        raise ValueError(f"scores[{k}] = {float(s[k])} is not finite; pass finite scores.")
    return jax.nn.sigmoid(s[:, None] - s[None, :])


def random(K: int, *, key: Key) -> Float[Array, "{K} {K}"]:
    """P_ij uniform on [0, 1] for i < j, independently, and P_ji = 1 - P_ij.

    Args:
        K: number of responses, K ≥ 2.
        key: JAX random key.

    Returns:
        P, shape (K, K).

    Raises:
        ValueError: K < 2.

    >>> dyn.preferences.random(4, key=jax.random.key(0)).shape
    (4, 4)
    """
    _check_size(K, 2)
    return _from_upper(jax.random.uniform(key, (K, K), dtype=float) - 0.5)


def transitive(K: int, *, key: Key) -> Float[Array, "{K} {K}"]:
    """P_ij uniform on (1/2, 1] for i above j in a uniform order, given that P is not strongly transitive.

    The entries are independent apart from that condition. P is weakly transitive (P_ij, P_jk ≥ 1/2 ⇒ P_ik ≥ 1/2), while
    P_ik < max(P_ij, P_jk) for some such triple.

    Args:
        K: number of responses, K ≥ 3 (at K = 2 every P is strongly transitive).
        key: JAX random key.

    Returns:
        P, shape (K, K).

    Raises:
        ValueError: K < 3.

    >>> dyn.preferences.classify(dyn.preferences.transitive(4, key=jax.random.key(0))).transitivity
    'weak'
    """
    _check_size(K, 3)
    return _transitive(K, key)


def strongly_transitive(K: int, *, key: Key, strict: bool = True) -> Float[Array, "{K} {K}"]:
    """P_ik = 1/2 + c S_ik for i above k in a uniform order, such that P_ij, P_jk > 1/2 ⇒ P_ik > max(P_ij, P_jk).

    S_ik = max(S_i,k-1, S_i+1,k) + E_ik, S_ii = 0, with E log-uniform on [1e-3, 1], so margins rise by steps that
    differ by up to a factor of 1000, and P is in general neither Bradley–Terry nor of the form 1/2 + x_i - x_j. The largest
    margin is uniform on [0.1, 0.5].

    Args:
        K: number of responses, K ≥ 2.
        key: JAX random key.
        strict: with False, neighbours in the order tie with probability 1/4, and E_ik = 0 with probability 1/3 for
            k > i + 1; P then satisfies P_ij, P_jk ≥ 1/2 ⇒ P_ik ≥ max(P_ij, P_jk).

    Returns:
        P, shape (K, K).

    Raises:
        ValueError: K < 2.

    >>> dyn.preferences.classify(dyn.preferences.strongly_transitive(4, key=jax.random.key(0))).transitivity
    'strict strong'
    """
    _check_size(K, 2)
    return _strongly_transitive(K, key, strict)


# Compiled once per K; without jit, the loops inside would be recompiled at every call.
@partial(jax.jit, static_argnames="K")
def _transitive(K: int, key: Key) -> Float[Array, "{K} {K}"]:
    key, relabel = jax.random.split(key)

    def draw(key: Key) -> Float[Array, "K K"]:
        # An exact tie above the diagonal would break weak transitivity, so no margin may round to 0.
        tiny = 4.0 * float(jnp.finfo(jax.dtypes.canonicalize_dtype(float)).eps)
        return _from_upper(jax.random.uniform(key, (K, K), dtype=float, minval=tiny, maxval=0.5))

    def again(state: tuple[Key, Float[Array, "K K"]]) -> tuple[Key, Float[Array, "K K"]]:
        key, fresh = jax.random.split(state[0])
        return key, draw(fresh)

    key, fresh = jax.random.split(key)
    _, P = jax.lax.while_loop(lambda state: _rows_ordered(state[1]), again, (key, draw(fresh)))
    return _relabelled(P, relabel)


@partial(jax.jit, static_argnames=("K", "strict"))
def _strongly_transitive(K: int, key: Key, strict: bool) -> Float[Array, "{K} {K}"]:
    steps, equal, ties, top, relabel = jax.random.split(key, 5)
    E = 10.0 ** jax.random.uniform(steps, (K - 1, K), dtype=float, minval=-3.0, maxval=0.0)
    level = jnp.arange(K)
    if not strict:
        E = E.at[1:].multiply((~jax.random.bernoulli(equal, 1 / 3, (K - 2, K))).astype(E.dtype))
        level = jnp.cumsum(jax.random.bernoulli(ties, 3 / 4, (K,)).at[0].set(False))

    def next_diagonal(s: Float[Array, " K"], e: Float[Array, " K"]) -> tuple[Float[Array, " K"], Float[Array, " K"]]:
        s = jnp.maximum(s, jnp.roll(s, -1)) + e
        return s, s

    _, diagonals = jax.lax.scan(next_diagonal, jnp.zeros(K, dtype=float), E)
    i, k = jnp.minimum(level[:, None], level[None, :]), jnp.maximum(level[:, None], level[None, :])
    S = jnp.where(i == k, 0.0, diagonals[jnp.maximum(k - i - 1, 0), i])
    largest = jax.random.uniform(top, dtype=float, minval=0.1, maxval=0.5)
    # Where all tie, S = 0 throughout, and the divisor must not be 0.
    margin = S * (largest / jnp.maximum(jnp.max(S), 1e-3))
    return _relabelled(_from_upper(margin), relabel)


def _from_upper(margin: Float[Array, "K K"]) -> Float[Array, "K K"]:
    upper = jnp.triu(margin, 1)
    return 0.5 + (upper - upper.T)


def _rows_ordered(P: Float[Array, "K K"]) -> Bool[Array, ""]:
    """Whether no entry of row i is below row i + 1, which is strong transitivity in the order 0, 1, 2, … (statement 1.6)."""
    return jnp.all(P[:-1] >= P[1:])


def _relabelled(P: Float[Array, "K K"], key: Key) -> Float[Array, "K K"]:
    order = jax.random.permutation(key, P.shape[0])
    return P[order][:, order]


def _check_size(size: int, least: int) -> None:
    if not isinstance(size, int | np.integer) or size < least:
        raise ValueError(f"K = {size} is not a valid number of responses; pass a whole number, K ≥ {least}.")
