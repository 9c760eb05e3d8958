"""Generated preference data: value clusters and behaviours, and fresh samples of the same law."""

from __future__ import annotations

from typing import Literal, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float, Int, PRNGKeyArray

from ._checks import as_numbers, check_key, check_number

__all__ = ["Behaviours", "Samples", "ValueClusters", "behaviours", "value_clusters"]

TAILS = ("gaussian", "subexponential", "student")
STUDENT_DEGREES = 5.0  # of freedom: variance and kurtosis are finite, higher even moments are not


class Samples(NamedTuple):
    """Preference pairs with one-token responses, for ``MarginFlow(s.features, s.chosen, s.rejected, objective)``.

    Attributes:
        features: g, ``(N, d)``.
        chosen, rejected: token ids, ``(N,)``.
        group: index of the value pair or behaviour, ``(N,)``, from 0.
        sign: +1 or -1, the cluster or answer within the group, ``(N,)``.
    """

    features: Float[Array, "N d"]
    chosen: Int[Array, " N"]
    rejected: Int[Array, " N"]
    group: Int[Array, " N"]
    sign: Int[Array, " N"]


class ValueClusters(eqx.Module):
    """K pairs of clusters N(±c_k + b, v² I) with Q samples each; see ``value_clusters``.

    Attributes:
        centres: c, ``(K, d)``, of length 1.
        shared: b, ``(d,)``.
        noise: v.
        tokens: ``(K, 2)``: the answer chosen in the + cluster of each pair and the one chosen in the - cluster.
        samples: the training samples, N = 2 K Q.
    """

    centres: Float[Array, "K d"]
    shared: Float[Array, " d"]
    noise: Float[Array, ""]
    tokens: Int[Array, "K 2"]
    samples: Samples

    def fresh(self, per_cluster: int, *, key: PRNGKeyArray) -> Samples:
        """``per_cluster`` new samples of every cluster, ``2 K per_cluster`` in all."""
        _whole(per_cluster, "per_cluster", 1)
        check_key(key)
        return _draw_clusters(self.centres, self.shared, self.noise, self.tokens, per_cluster, key)


def value_clusters(
    K: int,
    Q: int,
    d: int,
    l_b: ArrayLike,
    v: ArrayLike,
    *,
    key: PRNGKeyArray,
    delta: float = 0.0,
    shared_tokens: bool = False,
) -> ValueClusters:
    """K value pairs: clusters N(+c_k + b, v² I) and N(-c_k + b, v² I), Q samples each, that prefer opposite answers.

    c_k are orthonormal and b ⟂ c_k; both clusters of a pair use the same two tokens, roles swapped.

    Args:
        K: number of pairs, int ≥ 1.
        Q: samples per cluster, int ≥ 1.
        d: dimension of the features, int ≥ K + 1.
        l_b: length of b, scalar ≥ 0.
        v: standard deviation of the noise in each coordinate, scalar ≥ 0.
        key: draws directions and noise.
        delta: |<c_k, c_l>| of every two centres, in [0, 1/(K-1)): 0 orthonormal.
        shared_tokens: whether all value pairs use the same two tokens (each an answer in 2K clusters) rather than two tokens
            of their own (each an answer in 2).

    Raises:
        ValueError: a bad argument.

    Source: [paper] ImLi25, the data of its theorems.

    >>> made = dyn.data.value_clusters(K=2, Q=5, d=4, l_b=0.3, v=0.1, key=jax.random.key(0))
    >>> made.samples.features.shape, made.fresh(3, key=jax.random.key(1)).features.shape
    ((20, 4), (12, 4))
    """
    for value, name, least in ((K, "K", 1), (Q, "Q", 1), (d, "d", 1)):
        _whole(value, name, least)
    if d < K + 1:
        raise ValueError(f"d = {d} is too small for {K} orthogonal centres and b; pass d ≥ {K + 1}.")
    check_key(key)
    l_b, v = check_number(l_b, "l_b", 0.0, np.inf), check_number(v, "v", 0.0, np.inf)
    delta = float(check_number(delta, "delta", 0.0, 1.0))
    if delta >= (1.0 if K == 1 else 1.0 / (K - 1)):
        raise ValueError(
            f"delta = {delta:g} is outside [0, 1/(K-1)); {K} unit centres cannot be that close to opposite."
        )
    directions, noise = jax.random.split(key)
    frame = jnp.linalg.qr(jax.random.normal(directions, (d, K + 1)))[0].T
    # The centres have cosine -delta: the root of their Gram matrix maps orthonormal directions to them.
    gram = (1 + delta) * np.eye(K) - delta * np.ones((K, K))
    values, vectors = np.linalg.eigh(gram)
    centres = jnp.asarray(vectors * np.sqrt(values) @ vectors.T) @ frame[:K]
    tokens = jnp.broadcast_to(jnp.arange(2), (K, 2)) if shared_tokens else jnp.arange(2 * K).reshape(K, 2)
    shared = l_b * frame[K]
    return ValueClusters(centres, shared, v, tokens, _draw_clusters(centres, shared, v, tokens, Q, noise))


def _draw_clusters(
    centres: Array, shared: Array, noise: Array, tokens: Array, per_cluster: int, key: PRNGKeyArray
) -> Samples:
    K, d = centres.shape
    group = jnp.repeat(jnp.arange(K), 2 * per_cluster)
    sign = jnp.tile(jnp.repeat(jnp.array([1, -1]), per_cluster), K)
    moved = sign[:, None].astype(centres.dtype) * centres[group] + shared[None, :]
    g = moved + noise * jax.random.normal(key, (group.shape[0], d))
    return Samples(g, *_answers(tokens[group], sign), group, sign)


def _answers(pair: Int[Array, "N 2"], sign: Int[Array, " N"]) -> tuple[Int[Array, " N"], Int[Array, " N"]]:
    return jnp.where(sign > 0, pair[:, 0], pair[:, 1]), jnp.where(sign > 0, pair[:, 1], pair[:, 0])


class Behaviours(eqx.Module):
    """m behaviours with two answers each; see ``behaviours``.

    Attributes:
        differences: d_i, ``(m, d)``: mean features of the samples answered yes minus those answered no.
        root: a square root of the covariance of each class, ``(d, d)``.
        shared: b, ``(d,)``: mean of all features.
        tail: the law of the noise.
        samples: the training samples, 2 n of each behaviour.
    """

    differences: Float[Array, "m d"]
    root: Float[Array, "d d"]
    shared: Float[Array, " d"]
    tail: str = eqx.field(static=True)
    samples: Samples

    def fresh(self, n: int, *, key: PRNGKeyArray) -> Samples:
        """n new samples of each answer of each behaviour."""
        _whole(n, "n", 1)
        check_key(key)
        return _draw_behaviours(self.differences, self.root, self.shared, self.tail, n, key)


def behaviours(
    differences: Float[ArrayLike, "m d"],
    covariance: ArrayLike,
    n: int,
    *,
    key: PRNGKeyArray,
    tail: Literal["gaussian", "subexponential", "student"] = "gaussian",
    shared: Float[ArrayLike, " d"] | None = None,
) -> Behaviours:
    """Yes-or-no behaviours: features b ± d_i/2 + noise, where the sign is the chosen answer; tokens 0 (yes), 1 (no).

    Args:
        differences: d_i, ``(m, d)``; ||d_i|| is the distinguishability of behaviour i.
        covariance: of each class, ``(d, d)``, or a scalar variance; its largest eigenvalue is the concentration.
        n: samples per answer and behaviour, int ≥ 1.
        key: draws the noise.
        tail: "gaussian", "subexponential" (Laplace along the covariance's axes) or "student" (Student's t with 5 degrees of
            freedom, likewise), all with the same covariance.
        shared: b, ``(d,)``; 0 unless given.

    Raises:
        ValueError: a bad argument.

    Source: [paper] ImLi24, the setting of its theorems.

    >>> made = dyn.data.behaviours(np.array([[1.0, 0.0], [0.0, 2.0]]), 0.1, n=3, key=jax.random.key(0))
    >>> made.samples.features.shape
    (12, 2)
    """
    means = as_numbers(differences, "differences")
    if means.ndim != 2 or 0 in means.shape:
        raise ValueError(f"differences have shape {means.shape}; pass one row per behaviour, shape (m, d).")
    if not bool(jnp.all(jnp.isfinite(means))):
        raise ValueError("differences hold an entry that is not finite; pass finite vectors.")
    if tail not in TAILS:
        raise ValueError(f"tail = {tail!r} is unknown; pass one of {', '.join(TAILS)}.")
    _whole(n, "n", 1)
    check_key(key)
    d = means.shape[1]
    offset = jnp.zeros(d) if shared is None else as_numbers(shared, "shared")
    if offset.shape != (d,) or not bool(jnp.all(jnp.isfinite(offset))):
        raise ValueError(f"shared has shape {offset.shape} or is not finite; pass a vector, shape ({d},).")
    root = _root(as_numbers(covariance, "covariance"), d)
    return Behaviours(means, root, offset, tail, _draw_behaviours(means, root, offset, tail, n, key))


def _root(covariance: Array, d: int) -> Float[Array, "d d"]:
    matrix = np.asarray(covariance * jnp.eye(d) if covariance.ndim == 0 else covariance)
    if (
        matrix.shape != (d, d)
        or not np.isfinite(matrix).all()
        or np.abs(matrix - matrix.T).max() > 1e-9 * np.abs(matrix).max()
    ):
        raise ValueError(
            f"covariance has shape {covariance.shape}, or is not finite or not symmetric; pass a variance or a symmetric "
            f"matrix ({d}, {d})."
        )
    values, vectors = np.linalg.eigh(matrix)
    if values[0] < -1e-12 * max(values[-1], 1e-300):
        raise ValueError(f"covariance has the eigenvalue {values[0]:.3g}; pass a positive semidefinite matrix.")
    return jnp.asarray(vectors * np.sqrt(np.maximum(values, 0.0)))


def _draw_behaviours(means: Array, root: Array, shared: Array, tail: str, n: int, key: PRNGKeyArray) -> Samples:
    m, d = means.shape
    group = jnp.repeat(jnp.arange(m), 2 * n)
    sign = jnp.tile(jnp.repeat(jnp.array([1, -1]), n), m)
    shape = (group.shape[0], d)
    unit = {
        "gaussian": lambda: jax.random.normal(key, shape),
        "subexponential": lambda: jax.random.laplace(key, shape) / jnp.sqrt(2.0),
        "student": lambda: jax.random.t(key, STUDENT_DEGREES, shape) * jnp.sqrt(1 - 2 / STUDENT_DEGREES),
    }[tail]()
    g = shared[None, :] + 0.5 * sign[:, None].astype(means.dtype) * means[group] + unit @ root.T
    pair = jnp.broadcast_to(jnp.arange(2), (group.shape[0], 2))
    return Samples(g, *_answers(pair, sign), group, sign)


def _whole(value: int, name: str, least: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < least:
        raise ValueError(f"{name} = {value!r}; pass a whole number of at least {least}.")
