"""How well features separate answers, behaviours and values, and how training changes each response's probability."""

from __future__ import annotations

import warnings
from typing import NamedTuple

import numpy as np
from jaxtyping import ArrayLike, Float, Int

from .._checks import host_numbers


def _classes(features: ArrayLike, answer: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    g, s = host_numbers(features, "features"), host_numbers(answer, "answer")
    if g.ndim != 2 or s.shape != g.shape[:1]:
        raise ValueError(
            f"features have shape {g.shape}, answer {s.shape}; pass (N, d) and +1 or -1 per example, (N,)."
        )
    if not np.isfinite(g).all():
        raise ValueError(f"features[{int(np.argmax(~np.isfinite(g).all(axis=1)))}] is not finite; drop the example.")
    if not np.isin(s, (-1, 1)).all() or not ((s == 1).any() and (s == -1).any()):
        raise ValueError("answer must hold +1 and -1, each at least once; pass the preferred answer of each example.")
    return g[s == 1], g[s == -1]


def distinguishability(features: Float[ArrayLike, "N d"], answer: Int[ArrayLike, " N"]) -> float:
    """delta = ||mu_+ - mu_-||: distance of the two answers' mean features.

    Args:
        features: g, ``(N, d)``.
        answer: ±1, ``(N,)``, the preferred answer.

    Returns:
        delta ≥ 0, in the features' unit; 0 with a warning where the means agree.

    Raises:
        ValueError: other shapes, entries that are not finite, or an answer that never occurs.

    Source: [paper] ImLi24.

    >>> dyn.diagnostics.distinguishability(np.array([[3.0, 0.0], [0.0, 4.0]]), np.array([1, -1]))
    5.0
    """
    plus, minus = _classes(features, answer)
    found = float(np.linalg.norm(plus.mean(axis=0) - minus.mean(axis=0)))
    if found == 0.0:
        warnings.warn("the two answers have the same mean features (distinguishability 0).", stacklevel=2)
    return found


def concentration(features: Float[ArrayLike, "N d"], answer: Int[ArrayLike, " N"]) -> float:
    """The larger operator norm of the two answers' covariances, normalised by 1/n.

    Args:
        features: g, ``(N, d)``.
        answer: ±1, ``(N,)``, the preferred answer.

    >>> dyn.diagnostics.concentration(np.array([[1.0], [3.0], [5.0]]), np.array([1, 1, -1]))
    1.0
    """
    return max(float(np.linalg.norm(_covariance(g), 2)) for g in _classes(features, answer))


def trace(features: Float[ArrayLike, "N d"], answer: Int[ArrayLike, " N"]) -> float:
    """The larger trace of the two answers' covariances, normalised by 1/n.

    Args:
        features: g, ``(N, d)``.
        answer: ±1, ``(N,)``, the preferred answer.

    >>> dyn.diagnostics.trace(np.array([[1.0, 1.0], [3.0, 3.0], [5.0, 5.0]]), np.array([1, 1, -1]))
    2.0
    """
    return max(float(np.trace(_covariance(g))) for g in _classes(features, answer))


def _covariance(g: np.ndarray) -> np.ndarray:
    centred = g - g.mean(axis=0)
    return centred.T @ centred / len(g)


def priority_matrix(differences: Float[ArrayLike, "m d"]) -> np.ndarray:
    """(<dbar, d_i> - <dbar, d_j>)/(||dbar|| max ||d||), dbar the mean of d: how much earlier behaviour i is learned than j.

    Args:
        differences: d_i, ``(m, d)``: class-mean differences of m behaviours of equal weight, trained together.

    Returns:
        ``(m, m)``, skew-symmetric, in [-2, 2]; all 0 where dbar = 0.

    Source: [derived] statement 3.6, after ImLi24.

    >>> dyn.diagnostics.priority_matrix(np.array([[1.0], [0.5]])).tolist()
    [[0.0, 0.5], [-0.5, 0.0]]
    """
    d = host_numbers(differences, "differences")
    if d.ndim != 2 or 0 in d.shape or not np.isfinite(d).all():
        raise ValueError(f"differences have shape {d.shape} or are not finite; pass one row per behaviour, (m, d).")
    mean = d.mean(axis=0)
    speed, size = d @ mean, np.linalg.norm(mean) * np.linalg.norm(d, axis=1).max()
    return (speed[:, None] - speed[None, :]) / size if size > 0 else np.zeros((len(d), len(d)))


def class_mean_cosine(
    features: Float[ArrayLike, "N d"], labels: Int[ArrayLike, " N"], *, remove_mean: bool = False
) -> np.ndarray:
    """Cosines between the mean features of classes.

    Args:
        features: g, ``(N, d)``.
        labels: class of each example, ``(N,)``.
        remove_mean: whether to subtract the mean of the class means first.

    Returns:
        ``(C, C)``, in [-1, 1], classes in ascending order of their labels.

    Raises:
        ValueError: other shapes, entries that are not finite, or a class with mean 0.

    Source: [paper] ImLi25, class-mean cosines before and after removing the shared mean.

    >>> dyn.diagnostics.class_mean_cosine(np.array([[1.0, 0.0], [0.0, 2.0]]), np.array([0, 1])).tolist()
    [[1.0, 0.0], [0.0, 1.0]]
    """
    g, y = host_numbers(features, "features"), np.asarray(labels)
    if g.ndim != 2 or y.shape != g.shape[:1] or not np.isfinite(g).all():
        raise ValueError(f"features have shape {g.shape}, labels {y.shape}; pass finite (N, d) and (N,).")
    means = np.stack([g[y == c].mean(axis=0) for c in np.unique(y)])
    means = means - means.mean(axis=0) if remove_mean else means
    length = np.linalg.norm(means, axis=1)
    if (length <= 1e-12 * np.abs(g).max(initial=1e-300)).any():
        which = np.unique(y)[int(np.argmin(length))]
        raise ValueError(f"class {which} has mean 0, so its direction is not defined; leave it out.")
    return (means @ means.T) / (length[:, None] * length[None, :])


class Displacement(NamedTuple):
    """Mean rewards of chosen and rejected responses, and the share of chosen ones that lost probability, each ``(T,)``."""

    chosen: np.ndarray
    rejected: np.ndarray
    displaced: np.ndarray


def displacement(chosen: Float[ArrayLike, "T N"], rejected: Float[ArrayLike, "T N"]) -> Displacement:
    """Likelihood displacement: training raises margins but may lower log-probabilities of chosen responses.

    Args:
        chosen, rejected: the reward of each response, ``(T, N)``, for example from ``MarginFlow.response_rewards``.

    >>> dyn.diagnostics.displacement(np.array([[-1.0, 1.0]]), np.array([[-2.0, -3.0]])).displaced.tolist()
    [0.5]
    """
    w, l = host_numbers(chosen, "chosen"), host_numbers(rejected, "rejected")
    if w.ndim != 2 or w.shape != l.shape:
        raise ValueError(f"chosen has shape {w.shape}, rejected {l.shape}; pass two arrays (T, N).")
    return Displacement(w.mean(axis=1), l.mean(axis=1), (w < 0).mean(axis=1))
