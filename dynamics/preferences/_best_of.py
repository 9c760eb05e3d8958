"""The probability that i is best and j worst among n responses drawn independently from mu."""

from __future__ import annotations

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float, Num

from .._numerics import MAX_UNROLLED_COLUMNS

MAX_RANKED = 4  # responses whose tournament is enumerated
# The largest arguments at which a series is used, and its number of terms.
MAX_SERIES_EXPONENT, EXPONENT_TERMS = 0.5, 16
MAX_SERIES_SHARE, SHARE_TERMS = 0.1, 17
RARE_POWER = 0.25  # of the least float: the inverse of such a share, and its square, do not overflow


def by_tournament(P: Float[Array, "K K"], mu: Float[Array, " K"], n: int) -> Float[Array, "K K"]:
    """M_ij = Pr(best = i, worst = j) when every pair of n responses meets once and i beats j with probability P_ij.

    The response with most wins is best, the one with fewest worst, and ties are broken evenly. Of two copies of one
    response each wins with probability 1/2. Where all have equally many wins, each ordered pair of different draws is
    equally likely. The diagonal holds pairs of copies. At n = 2, M_ij = 2 mu_i mu_j P_ij off the diagonal and M_ii = mu_i².

    Args:
        P: P, ``(K, K)``, P_ij = Pr(i preferred to j).
        mu: mu, ``(K,)``, the sampler of every response, sum 1.
        n: responses drawn, 2, 3 or 4; not traced.

    Returns:
        M, ``(K, K)``, rows best, columns worst, sum 1; exact up to rounding, as a sum of products without subtractions.

    Raises:
        ValueError: another n.

    Source: [derived] by enumeration of the results of all n(n-1)/2 matches.

    >>> mu = jnp.array([0.5, 0.5])
    >>> by_tournament(jnp.array([[0.5, 1.0], [0.0, 0.5]]), mu, 3).round(4).tolist()
    [[0.125, 0.75], [0.0, 0.125]]
    """
    if not 2 <= n <= MAX_RANKED:
        raise ValueError(f"n = {n} responses cannot be ranked by matches; pass n = 2, 3 or 4, or rank them by scores.")
    P = jnp.where(jnp.eye(len(mu), dtype=bool), 0.5, P)
    won = (P, P.T)  # the first wins, the second wins
    pair = n * (n - 1) * mu[:, None] * mu[None, :]
    shares = _shares(n)
    if n == 2:
        return pair * _combined(shares, won)
    # Draws 0 and 1 are the best and the worst; a third meets both, in one of four ways.
    third = [won[a][:, None, :] * won[b][None, :, :] * mu[None, None, :] for a in (0, 1) for b in (0, 1)]
    if n == 3:
        rest = [_combined(row.ravel(), third) for row in shares]
        return pair * sum(won[a] * jnp.sum(rest[a], axis=-1) for a in (0, 1))
    # The third and the fourth are exchangeable: count the case in which the third beats the fourth, twice.
    fourth = [_product(each, P.T) for each in third]
    out = jnp.zeros_like(P)
    for a in (0, 1):
        table = shares[a, :, :, :, :, 0].transpose(0, 2, 1, 3).reshape(4, 4)
        met = sum(each * _combined(row, fourth) for each, row in zip(third, table, strict=True) if row.any())
        out += 2.0 * won[a] * jnp.sum(met, axis=-1)
    return pair * out


@functools.cache
def _shares(n: int) -> np.ndarray:
    """Pr(draw 0 is best and draw 1 worst) given the results; one axis for each pair of draws, index 0 where its first won."""
    matches = list(itertools.combinations(range(n), 2))
    table = np.zeros((2,) * len(matches))
    for results in np.ndindex(table.shape):
        wins = np.bincount([match[lost] for match, lost in zip(matches, results, strict=True)], minlength=n)
        best, worst = wins == wins.max(), wins == wins.min()
        among = n * (n - 1) if best.all() else best.sum() * worst.sum()
        table[results] = best[0] * worst[1] / among
    return table


def _combined(weights: np.ndarray, arrays: tuple[Array, ...] | list[Array]) -> Array:
    """Σ weight · array, skipping weights of 0."""
    terms = [float(w) * each for w, each in zip(weights, arrays, strict=True) if w]
    return sum(terms[1:], terms[0]) if terms else jnp.zeros_like(arrays[0])


def _product(a: Float[Array, "*rows K"], b: Float[Array, "K n"]) -> Float[Array, "*rows n"]:
    """a @ b; small matrices as a sum, which becomes plain vector arithmetic over a batch of runs."""
    if len(b) > MAX_UNROLLED_COLUMNS:
        return a @ b
    return jnp.sum(a[..., :, None] * jnp.expand_dims(b, range(a.ndim - 1)), axis=-2)


def by_scores(scores: Float[Array, " K"], mu: Float[Array, " K"], n: Num[ArrayLike, ""]) -> Float[Array, "K K"]:
    """M_ij = Pr(best = i, worst = j) when n responses are ranked by their scores.

    The best is drawn evenly from the responses with the highest score and the worst from those with the lowest. Where all n
    have the same score, each ordered pair of different draws is equally likely. With m_i the mass of i's score and S the
    mass of the scores from j's to i's:

        M_ij = mu_i mu_j/(m_i m_j) · (S^n - (S - m_i)^n - (S - m_j)^n + (S - m_i - m_j)^n)  for s_i > s_j,
        M_ij = mu_i mu_j m_i^(n-2)  for s_i = s_j,  0 otherwise.

    Args:
        scores: s, ``(K,)``, of any unit; only their order counts.
        mu: mu, ``(K,)``, the sampler of every response, sum 1.
        n: responses drawn, scalar in [2, ∞); may be traced.

    Returns:
        M, ``(K, K)``, rows best, columns worst, sum 1; every entry accurate in relative terms down to the least float.

    Source: [derived] inclusion–exclusion, written so that nothing cancels: with p = m_i/S, q = m_j/S and
    g(z) = (1 - (1-z)^n)/z, M_ij = mu_i mu_j S^(n-2) [g(p) g(q) - ((1-p)(1-q))^(n-1) g(pq/((1-p)(1-q)))], where the
    second term is at most 1/n of the first, since Pr(both occur) ≥ (1 - 1/n) Pr(one occurs) Pr(the other occurs).

    >>> np.asarray(by_scores(jnp.array([1.0, 0.0]), jnp.array([0.5, 0.5]), 3)).round(4).tolist()
    [[0.125, 0.75], [0.0, 0.125]]
    """
    n = jnp.asarray(n, mu.dtype)
    above = scores[:, None] > scores[None, :]
    equal = (scores[:, None] == scores[None, :]).astype(mu.dtype)
    mass = _product(equal, mu[:, None])[:, 0]
    higher = above.astype(mu.dtype)
    between = _product(higher * mu[None, :], higher)
    of_best, of_worst = jnp.broadcast_to(mass[:, None], above.shape), jnp.broadcast_to(mass[None, :], above.shape)
    total = of_best + of_worst + between
    scale = jnp.where(total > 0, total, 1.0)
    p, q, inside = _ratio(of_best, scale), _ratio(of_worst, scale), _ratio(between, scale)
    without_best = jnp.where(p <= 0.5, 1.0 - p, _ratio(between + of_worst, scale))
    without_worst = jnp.where(q <= 0.5, 1.0 - q, _ratio(between + of_best, scale))
    without = without_best * without_worst
    rare = without < jnp.finfo(mu.dtype).tiny ** RARE_POWER
    known = jnp.where(rare, 1.0, without)
    neither = _power(p, without_best, n - 1.0) * _power(q, without_worst, n - 1.0)
    neither = neither * _all_but_none(_ratio(p * q, known), _ratio(inside, known), n)
    # Where rare, the term is lost in rounding; only derivatives at n = 2 depend on it, and there this form is exact.
    neither = jnp.where(rare, (without + inside) * without ** (n - 2.0), neither)
    ends = _all_but_none(p, without_best, n) * _all_but_none(q, without_worst, n) - neither
    density = jnp.where(above, total ** (n - 2.0) * ends, equal * of_best ** (n - 2.0))
    return mu[:, None] * mu[None, :] * density


@jax.custom_jvp
def _ratio(x: Array, y: Array) -> Array:
    """x/y, with derivatives that do not square a tiny y."""
    return x / y


@_ratio.defjvp
def _ratio_jvp(primals: tuple[Array, Array], tangents: tuple[Array, Array]) -> tuple[Array, Array]:
    (x, y), (dx, dy) = primals, tangents
    out = _ratio(x, y)
    return out, _ratio(dx - out * dy, y)


def _power(z: Array, rest: Array, n: Array) -> Array:
    """(1-z)^n, with 1 - z given as ``rest`` where z > 1/2."""
    few = z <= 0.5
    return jnp.where(few, jnp.exp(n * jnp.log1p(-jnp.where(few, z, 0.0))), jnp.where(few, 0.5, rest) ** n)


def _all_but_none(z: Array, rest: Array, n: Array) -> Array:
    """(1 - (1-z)^n)/z, n at z = 0, with derivatives of every order; 1 - z is given as ``rest`` where z > 1/2."""
    few = z <= 0.5
    share = jnp.where(few, z, 0.0)
    tiny = share <= MAX_SERIES_SHARE
    # -log(1-z)/z and (1-e^-x)/x have removable singularities; series also give their derivatives.
    series = sum(jnp.where(tiny, share, 0.0) ** k / (k + 1.0) for k in range(SHARE_TERMS))
    per_share = jnp.where(tiny, series, -jnp.log1p(-share) / jnp.where(tiny, 1.0, share))
    x = n * share * per_share
    low = x <= MAX_SERIES_EXPONENT
    expansion, term = jnp.ones_like(x), jnp.ones_like(x)
    for k in range(2, EXPONENT_TERMS):
        term = term * -jnp.where(low, x, 0.0) / k
        expansion = expansion + term
    decay = jnp.where(low, expansion, -jnp.expm1(-x) / jnp.where(low, 1.0, x))
    return jnp.where(few, n * decay * per_share, (1.0 - jnp.where(few, 0.5, rest) ** n) / jnp.where(few, 1.0, z))
