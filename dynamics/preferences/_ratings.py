"""From ratings of responses by several attributes to preference matrices."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PRNGKeyArray, UInt32

from .._checks import Numbers, check_key, check_number, host_array
from .._numerics import as_array
from ._wins import check_missing

Key = PRNGKeyArray | UInt32[Array, "2"]

_BLOCK = 2**16  # pairs compared at a time


def from_ratings(
    ratings: Numbers, *, key: Key | None, scale: float = 1.0, missing: float | None = None
) -> Float[Array, "*batch K K"]:
    """P_ij = σ(s (r_ia - r_ja)), with a drawn uniformly for each pair {i, j} from the attributes rated for both.

    With ``key=None`` it is the mean over those attributes, which is the expectation of the draw. P + Pᵀ = 1 and P_ij = 1/2
    at r_ia = r_ja hold exactly; where s |r_ia - r_ja| is above 37, P_ij is 0 or 1.

    Args:
        ratings: r, shape (K, A), K ≥ 2 responses by A ≥ 1 attributes; or (M, K, A), M sets of ratings with independent
            draws. NaN marks a missing rating.
        key: JAX random key of the draws, or None for the mean.
        scale: s > 0, scalar, in units of 1 / rating.
        missing: P_ij of a pair without a common attribute: None refuses such pairs; 0.5 is the only other value.

    Returns:
        P, shape (K, K) or (M, K, K).

    Raises:
        ValueError: a rating is infinite; a pair has no attribute in common and ``missing`` is None; another bad argument.

    Source: [paper] Chen26, the protocol of its experiments; the mean is [derived] from it.

    >>> dyn.preferences.from_ratings([[4.0, 3.0], [3.0, 4.0]], key=None).tolist()
    [[0.5, 0.5], [0.5, 0.5]]
    """
    check_missing(missing, 0.5)
    r = host_array(ratings, "ratings").astype(np.float64)
    if r.ndim not in (2, 3) or r.shape[-2] < 2 or 0 in r.shape:
        raise ValueError(f"ratings have shape {r.shape}; pass (K, A) or (M, K, A) with K ≥ 2 responses.")
    if np.isinf(r).any():
        at = [int(k) for k in np.argwhere(np.isinf(r))[0]]
        raise ValueError(f"ratings{at} = {r[tuple(at)]}; pass a finite number, or nan for a missing rating.")
    K, A = r.shape[-2:]
    i, j = np.triu_indices(K, 1)
    offset = np.arange(r.size // (K * A))[:, None] * K
    shares = compare(r.reshape(-1, A), (offset + i).ravel(), (offset + j).ravel(), scale, key).reshape(-1, len(i))
    if missing is None and np.isnan(shares).any():
        m, pair = np.argwhere(np.isnan(shares))[0]
        which = f"ratings[{m}]" if r.ndim == 3 else "ratings"
        raise ValueError(
            f"{which}: responses {i[pair]} and {j[pair]} have no attribute in common ({int(np.isnan(shares).sum())} such "
            f"pairs in all); drop one or pass missing=0.5."
        )
    P = np.full((len(shares), K, K), 0.5)
    P[:, i, j] = np.where(np.isnan(shares), 0.5, shares)
    P[:, j, i] = 1.0 - P[:, i, j]
    return as_array(P.reshape(*r.shape[:-1], K))


def compare(
    ratings: Float[np.ndarray, "R A"],
    first: Int[np.ndarray, " n"],
    second: Int[np.ndarray, " n"],
    scale: Any,
    key: Any,
) -> Float[np.ndarray, " n"]:
    """P of row ``first`` over row ``second``, as in `from_ratings`; nan where no attribute is rated for both.

    Exchanging the two gives exactly 1 - P.
    """
    scale = float(check_number(scale, "scale", 0.0, np.inf, open_low=True))
    blocks = [slice(start, start + _BLOCK) for start in range(0, len(first), _BLOCK)]
    common = [_both(ratings, first[b], second[b]).sum(axis=1) for b in blocks]
    if key is not None:
        check_key(key)
        drawn = np.asarray(jax.random.randint(key, first.shape, 0, np.maximum(np.concatenate(common), 1), jnp.int32))
    shares = np.empty(len(first))
    for b, count in zip(blocks, common, strict=True):
        both = _both(ratings, first[b], second[b])
        with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
            # tanh is odd to the last bit, and 1 - x is exact for x in [1/2, 1].
            margin = np.tanh(scale * (ratings[first[b]] - ratings[second[b]]) / 2) / 2
            if key is None:
                margin = np.where(both, margin, 0.0).sum(axis=1) / count
            else:
                which = (np.cumsum(both, axis=1) > drawn[b, None]).argmax(axis=1)
                margin = np.where(count > 0, margin[np.arange(len(which)), which], np.nan)
        better = 0.5 + np.abs(margin)
        shares[b] = np.where(margin < 0, 1.0 - better, better)
    return shares


def _both(ratings: np.ndarray, first: np.ndarray, second: np.ndarray) -> np.ndarray:
    return ~(np.isnan(ratings[first]) | np.isnan(ratings[second]))
