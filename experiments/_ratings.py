"""Generated scored responses in HelpSteer's layout, and the kinds of preference matrix that result."""

from __future__ import annotations

import jax
import numpy as np
from jaxtyping import Bool, Float

import dynamics as dyn

# Five attributes from 0 to 4: helpfulness and correctness follow quality, coherence less, complexity and verbosity length.
LOADINGS = np.array([[1.1, 0.1], [1.1, 0.1], [0.6, 0.1], [0.1, 0.6], [0.15, 0.7]])
LEVELS = np.array([2.7, 2.8, 3.3, 1.6, 1.6])
NOISE = 0.6
HIGHEST = 4
_BATCH = 2**15
_MOST_BATCHES = 2000


def rated(prompts: int, rng: np.random.Generator) -> Float[np.ndarray, "{prompts} 4 5"]:
    """Ratings of four responses to each prompt: a latent quality and length plus noise, rounded."""
    latent = rng.normal(size=(prompts, 4, 2))
    raw = LEVELS + latent @ LOADINGS.T + NOISE * rng.normal(size=(prompts, 4, 5))
    return np.clip(np.round(raw), 0, HIGHEST)


def drawn_until(cyclic: int, transitive: int, seed: int) -> tuple[np.ndarray, np.ndarray, int]:
    """``cyclic`` matrices with a majority cycle, ``transitive`` strictly strongly transitive ones, and the number of draws."""
    rng = np.random.default_rng(seed)
    found: tuple[list[np.ndarray], list[np.ndarray]] = [], []
    for batch in range(1, _MOST_BATCHES + 1):
        key = jax.random.key(int(rng.integers(2**31)))
        P = np.asarray(dyn.preferences.from_ratings(rated(_BATCH, rng), key=key))
        for kept, kind in zip(found, (has_cycle(P), strictly_strong(P)), strict=True):
            kept.extend(P[kind])
        if len(found[0]) >= cyclic and len(found[1]) >= transitive:
            return np.array(found[0][:cyclic]), np.array(found[1][:transitive]), batch * _BATCH
    raise ValueError(f"{_MOST_BATCHES * _BATCH} draws gave too few matrices of the two kinds; ask for fewer.")


def has_cycle(P: Float[np.ndarray, "n K K"]) -> Bool[np.ndarray, " n"]:
    """Whether P > 1/2 has a directed cycle: some power of its adjacency up to K has a diagonal entry."""
    beats = (P > 0.5).astype(np.float64)
    walk, found = beats, np.zeros(len(P), bool)
    for _ in range(P.shape[-1] - 1):
        walk = np.minimum(walk @ beats, 1.0)
        found |= np.trace(walk, axis1=1, axis2=2) > 0
    return found


def strictly_strong(P: Float[np.ndarray, "n K K"]) -> Bool[np.ndarray, " n"]:
    """Whether there are no ties and P_ij, P_jk > 1/2 imply P_ik > max(P_ij, P_jk)."""
    holds = (P != 0.5).sum(axis=(1, 2)) == P.shape[-1] * (P.shape[-1] - 1)
    Q = P[holds]
    first, second, both = Q[:, :, :, None], Q[:, None, :, :], Q[:, :, None, :]
    holds[holds] = np.all(~((first > 0.5) & (second > 0.5)) | (both > np.maximum(first, second)), axis=(1, 2, 3))
    return holds
