"""Log-simplex helpers shared by the whole library.

The state is logits in the centred gauge (``sum_k z_k = 0``); distributions are log-probabilities. Near a vertex the
information is in the tails, so nothing here forms ``1 - p`` or ``log(p)`` from a rounded ``p``.
"""

from __future__ import annotations

import functools
import warnings
from typing import Any

import jax
import jax.core
import jax.numpy as jnp
import numpy as np
from jax.nn import logsumexp
from jaxtyping import Array, Float, Int

# Small sizes are unrolled into scalar operations, which was measured to be faster.
MAX_UNROLLED_COLUMNS = 12  # of a matrix in a product
MAX_UNROLLED_UNKNOWNS = 6  # of a linear system, whose unrolled size grows with their third power

_warned_single_precision = False


def as_array(value: Any) -> Array:
    """``value`` as an array in JAX's default float type; warns once when that is float32."""
    global _warned_single_precision
    if not jax.config.read("jax_enable_x64") and not _warned_single_precision:
        _warned_single_precision = True
        warnings.warn(
            "JAX runs in float32: results carry about 7 digits. For the precision at which the theorems are tested, call "
            "jax.config.update('jax_enable_x64', True) before anything else.",
            stacklevel=3,
        )
    return jnp.asarray(value, dtype=float)


def concrete(*values: Any) -> bool:
    """Whether no leaf of ``values`` is traced, so that the host can read them."""
    return not any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves(values))


def centre(z: Float[Array, "*batch K"]) -> Float[Array, "*batch K"]:
    """C z with C = I - 11ᵀ/K: z shifted by a constant so that its entries sum to 0.

    The mean is subtracted twice: one pass at |z| ~ 1e5 leaves a mean of 1e-11, which would drift from round to round.
    """
    z = z - jnp.mean(z, axis=-1, keepdims=True)
    return z - jnp.mean(z, axis=-1, keepdims=True)


@functools.lru_cache(maxsize=64)
def gauge_basis(size: int) -> np.ndarray:
    """B, ``(K, K-1)``: orthonormal columns that span the centred logits."""
    # Helmert's contrasts: column k compares response k+1 with the mean of those before it.
    basis = np.triu(np.ones((size, size - 1)), 0)
    basis[np.arange(1, size), np.arange(size - 1)] = -np.arange(1, size)
    return basis / np.sqrt(np.arange(1, size) * np.arange(2, size + 1))


def softmax(z: Float[Array, "*batch K"]) -> Float[Array, "*batch K"]:
    """exp z_i / Σ_j exp z_j, every entry accurate in relative terms."""
    mass = jnp.exp(z - jax.lax.stop_gradient(jnp.max(z, axis=-1, keepdims=True)))
    return mass * (1.0 / jnp.sum(mass, axis=-1, keepdims=True))


def matvec(M: Float[Array, "n K"], x: Float[Array, " K"]) -> Float[Array, " n"]:
    """M x; small matrices are unrolled into sums of products, which become plain vector arithmetic over a batch of runs."""
    n, size = M.shape
    if size > MAX_UNROLLED_COLUMNS:
        return M @ x
    return jnp.stack([sum(M[i, j] * x[j] for j in range(1, size)) + M[i, 0] * x[0] for i in range(n)])


def solve(A: Float[Array, "K K"], b: Float[Array, " K"]) -> Float[Array, " K"]:
    """x with A x = b; small systems by unrolled elimination with pivoting, which becomes vector code over a batch of runs."""
    size = A.shape[0]
    if size > MAX_UNROLLED_UNKNOWNS:
        return jnp.linalg.solve(A, b)
    # The sides are kept apart from the rows, so that the result is visibly linear in them, as reverse mode asks for.
    rows, sides = list(A), list(b)
    for k in range(size):
        for i in range(k + 1, size):
            larger = jnp.abs(rows[i][k]) > jnp.abs(rows[k][k])
            rows[k], rows[i] = jnp.where(larger, rows[i], rows[k]), jnp.where(larger, rows[k], rows[i])
            sides[k], sides[i] = jnp.where(larger, sides[i], sides[k]), jnp.where(larger, sides[k], sides[i])
        for i in range(k + 1, size):
            share = rows[i][k] / rows[k][k]
            rows[i], sides[i] = rows[i] - share * rows[k], sides[i] - share * sides[k]
    x: list[Array] = []
    for k in reversed(range(size)):
        left = sides[k] - sum(rows[k][k + 1 + j] * v for j, v in enumerate(reversed(x)))
        x.append(left / rows[k][k])
    return jnp.stack(x[::-1])


def log_softmax(z: Float[Array, "*batch K"]) -> Float[Array, "*batch K"]:
    """log softmax(z), the largest entry as -log1p(Σ of the other ratios), so that 1 - p keeps its relative precision."""
    top = _columns(z) == jnp.argmax(z, axis=-1, keepdims=True)
    # Not max(z), whose derivative at a tie is split among the tied entries.
    shifted = z - jnp.sum(jnp.where(top, z, 0.0), axis=-1, keepdims=True)
    others = jnp.where(top, 0.0, jnp.exp(shifted))
    return shifted - jnp.log1p(jnp.sum(others, axis=-1, keepdims=True))


def _columns(z: Float[Array, "*batch K"]) -> Int[Array, "*ones K"]:
    """0 … K-1 along the last axis."""
    return jnp.expand_dims(jnp.arange(z.shape[-1]), range(z.ndim - 1))


def log_entropy(log_p: Float[Array, "*batch K"]) -> Float[Array, "*batch"]:
    """log H(p), finite however close p is to a vertex, where H itself underflows below e^-745."""
    top = jnp.argmax(log_p, axis=-1, keepdims=True)
    is_top = _columns(log_p) == top
    log_rest = logsumexp(jnp.where(is_top, -jnp.inf, log_p), axis=-1, keepdims=True)
    # -log p_top = log1p(rest/top), which is close to rest/top where that is tiny and the direct form would give log 0.
    ratio = log_rest - jnp.take_along_axis(log_p, top, axis=-1)
    tiny = ratio < -30.0
    log_surprise_top = jnp.where(tiny, ratio, jnp.log(jnp.log1p(jnp.exp(jnp.where(tiny, 0.0, ratio)))))
    surprise = jnp.where(is_top | (log_p == -jnp.inf), 1.0, -log_p)
    log_surprise = jnp.where(is_top, log_surprise_top, jnp.log(surprise))
    return logsumexp(log_p + log_surprise, axis=-1)


def entropy(log_p: Float[Array, "*batch K"]) -> Float[Array, "*batch"]:
    """H(p) = -Σ p log p, in nats, accurate in relative terms up to the vertices; 0·log 0 = 0."""
    return jnp.exp(log_entropy(log_p))


def kl_divergence(log_p: Float[Array, "*batch K"], log_q: Float[Array, "*batch K"]) -> Float[Array, "*batch"]:
    """KL(p‖q) = Σ p (log p - log q), in nats; infinite where q is 0 and p is not."""
    # Σ p d = Σ (q - p + p d) with d = log p - log q; each term of the latter is ≥ 0, so close distributions do not cancel.
    empty = log_p == -jnp.inf
    p, q = jnp.exp(log_p), jnp.exp(log_q)
    d = jnp.where(empty, 0.0, log_p - log_q)
    small = jnp.abs(d) < 1e-2
    ds = jnp.where(small, d, 0.0)
    series = ds**2 * (0.5 - ds * (1 / 6 - ds * (1 / 24 - ds * (1 / 120 - ds * (1 / 720 - ds / 5040)))))
    return jnp.sum(jnp.where(empty, q, jnp.where(small, p * series, q - p + p * d)), axis=-1)


LOG_EMPTY_MASS = {8: -600.0, 4: -60.0}  # log of the mass that derivatives give to a response without any, by bytes


def log_mass_or_empty(log_mass: Float[Array, "*batch K"]) -> Float[Array, "*batch K"]:
    """Log-masses, with a finite value instead of ``-inf``, at which derivatives by the logarithm are taken."""
    return jnp.where(log_mass == -jnp.inf, LOG_EMPTY_MASS[log_mass.dtype.itemsize], log_mass)


@jax.custom_jvp
def mass(log_mass: Float[Array, "*batch K"]) -> Float[Array, "*batch K"]:
    """exp(log_mass), whose derivative is right where the mass is 0 if ``log_mass`` comes from ``log_mixture``."""
    return jnp.exp(log_mass)


@mass.defjvp
def _mass_jvp(primals, tangents):
    return mass(*primals), jnp.exp(log_mass_or_empty(primals[0])) * tangents[0]


@jax.custom_jvp
def log_mixture(
    weight: Float[Array, ""], log_p: Float[Array, "*batch K"], log_q: Float[Array, "*batch K"]
) -> Float[Array, "*batch K"]:
    """log(w p + (1-w) q), with derivatives that stay finite at w = 0, at w = 1 and where p or q has no mass.

    Where both have no mass, the logarithm has no derivative, though its mass has. There the derivative is that of the mass
    divided by the mass of ``LOG_EMPTY_MASS``, which ``mass`` and DPO's derivative multiply back, so what depends on the
    mass is right.
    """
    return jnp.logaddexp(jnp.log(weight) + log_p, jnp.log1p(-weight) + log_q)


@log_mixture.defjvp
def _log_mixture_jvp(primals, tangents):
    weight, log_p, log_q = primals
    d_weight, d_log_p, d_log_q = tangents
    out = log_mixture(weight, log_p, log_q)
    safe = log_mass_or_empty(out)
    # The derivative by the weight overflows where only one part has weight and the other is e^700 times as large. The
    # shares of the mixture never overflow.
    ratio = lambda log_part: jnp.exp(jnp.minimum(log_part - safe, 700.0))
    share_p, share_q = ratio(jnp.log(weight) + log_p), ratio(jnp.log1p(-weight) + log_q)
    part = lambda share, d: jnp.where(share == 0.0, 0.0, share * d)
    return out, (ratio(log_p) - ratio(log_q)) * d_weight + part(share_p, d_log_p) + part(share_q, d_log_q)


def low_discrepancy_policies(size: int, count: int) -> np.ndarray:
    """``(count, K)`` log-policies from Sobol points, half of them spread over the simplex and half near its edges."""
    from scipy.stats import qmc  # SciPy loads on use

    # Sobol points come in powers of two; a prefix of them is nearly as even.
    unit = qmc.Sobol(size, scramble=True, rng=np.random.default_rng(0)).random_base2((count - 1).bit_length())[:count]
    weights = -np.log(np.clip(unit, 1e-12, 1 - 1e-12))
    weights[1::2] **= 4
    return np.log(weights / weights.sum(axis=1, keepdims=True))
