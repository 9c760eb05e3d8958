"""How well comparisons cover a class of policies or rewards: the constants of Yun25's guarantees, as numbers."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from .._checks import host_numbers
from . import _inputs

NEWTON = 200  # steps
MAX_PAIRS = 3000  # policies whose pairs are enumerated
_EQUAL = 1e-12  # rewards that differ by no more are the same


@dataclasses.dataclass(frozen=True)
class Coverage:
    """Constants of a class of policies, exactly; infinite where the sampler misses what the class can change.

    Attributes:
        policies: C_Pi, the least C with E_{x, a~pi*} dR² ≤ C E_{x, a~mu} dR² for every policy of the class.
        variance: the same with variances under pi* and mu within each context, at most ``policies``.
        rewards: C_R, over the policies that rewards induce, pi ∝ exp(r/gamma); None without rewards.
        prior: C_0, with pi_0 for mu and dR_pi - dR_pi' of any two policies; None without a reference.
        B: largest |log pi - E_mu log pi| over class, target and induced policies; infinite for a linear class.
        w: largest range of log pi/pi* over the responses to one context; infinite for a linear class.
        g: largest gamma log pi_a/pi_b over the class and pi*; infinite for a linear class.
        distance: least E_x KL(pi*||pi) in the class, in nats; 0, or rounding of a linear class, where it contains pi*, as the
            guarantees assume.
    """

    policies: float
    variance: float
    rewards: float | None
    prior: float | None
    B: float
    w: float
    g: float
    distance: float


def coverage(
    *,
    log_target: ArrayLike,
    log_sampler: ArrayLike,
    gamma: float,
    log_policies: ArrayLike | None = None,
    features: ArrayLike | None = None,
    rewards: ArrayLike | None = None,
    log_reference: ArrayLike | None = None,
    weights: ArrayLike | None = None,
) -> Coverage:
    """max over the class of E_{pi*} dR² / E_mu dR², dR = gamma log pi/pi* less its mean under mu in each context.

    Args:
        log_target: log pi*, shape (K,) or (X, K).
        log_sampler: log mu of the responses compared, the same shape; may hold -inf.
        gamma: > 0, as in P(a over b) = sigma(gamma log pi*_a/pi*_b).
        log_policies: a finite class, shape (N, K) or (N, X, K); give either this or ``features``.
        features: a linear class, log pi = features · theta up to a constant, shape (K, d) or (X, K, d). Its constants are
            generalised eigenvalues over all differences in that span.
        rewards: a finite class of rewards, shape (M, K) or (M, X, K).
        log_reference: log pi_0, for C_0; allowed up to 3,000 policies, whose pairs are enumerated.
        weights: of the contexts, shape (X,), normalised; equal unless given.

    Raises:
        ValueError: a malformed input, both classes or neither, or more than 3,000 policies with a reference.

    Source: [paper] Yun25, assumptions on coverage; with variances [derived] statement 7.11.

    >>> mu, policies = np.log([0.5, 0.5]), np.log([[0.5, 0.5], [0.9, 0.1]])
    >>> dyn.theorems.coverage(log_target=mu, log_sampler=mu, gamma=0.5, log_policies=policies).policies
    1.0
    """
    factor = _inputs.checked({"gamma": gamma})["gamma"]
    target = _logs("log_target", log_target, None)
    shape, many = target.shape, target.ndim == 2
    log_p, p = np.atleast_2d(target), np.exp(np.atleast_2d(target))
    mu = np.exp(np.atleast_2d(_logs("log_sampler", log_sampler, shape)))
    weight = _weights(weights, len(log_p))
    if (log_policies is None) == (features is None):
        raise ValueError("coverage needs exactly one of log_policies and features; pass the class in one form.")
    induced = None if rewards is None else _class("rewards", rewards, shape, many) / factor
    of_rewards = None if induced is None else _largest(induced - log_p, p, mu, weight)
    prior = None if log_reference is None else np.exp(np.atleast_2d(_logs("log_reference", log_reference, shape)))
    if features is not None:
        X = host_numbers(features, "features")
        if X.shape[:-1] != shape or 0 in X.shape or not np.isfinite(X).all():
            raise ValueError(
                f"features has shape {X.shape} or is not finite; pass finite features, shape {(*shape, 'd')}."
            )
        of = lambda q, centred: _eigenvalue(X if many else X[None], p, q, weight, centred)
        none = math.inf
        of_prior = None if prior is None else of(prior, False)
        far = _least_divergence(X if many else X[None], p, weight)
        return Coverage(of(mu, False), of(mu, True), of_rewards, of_prior, none, none, none, far)
    log_pi = _inputs.normalise(_class("log_policies", log_policies, shape, many))
    if prior is not None and len(log_pi) > MAX_PAIRS:
        raise ValueError(
            f"C_0 takes every pair of policies, and the class has {len(log_pi)}; pass at most {MAX_PAIRS} policies, or "
            "leave out log_reference."
        )
    d = log_pi - log_p
    spans = [np.concatenate([log_pi, log_p[None]])] + ([] if induced is None else [induced])
    every = np.concatenate(spans)
    centred = every - (every * mu).sum(axis=-1, keepdims=True)
    return Coverage(
        policies=_largest(d, p, mu, weight),
        variance=_largest(d, p, mu, weight, centred=True),
        rewards=of_rewards,
        prior=None if prior is None else _over_pairs(d, p, prior, weight),
        B=float(np.abs(centred).max()),
        w=float(np.ptp(d, axis=-1).max()),
        g=factor * float(np.ptp(spans[0], axis=-1).max()),
        distance=float(max(np.min(-np.einsum("nxk,xk,x->n", d, p, weight)), 0.0)),
    )


def _logs(name: str, value: Any, shape: tuple[int, ...] | None) -> np.ndarray:
    """Log-probabilities of each context, normalised."""
    array = host_numbers(value, name)
    if array.ndim not in (1, 2) or 0 in array.shape or (shape is not None and array.shape != shape):
        raise ValueError(f"{name} has shape {array.shape}; pass log-probabilities, shape {shape or '(K,) or (X, K)'}.")
    rows = [_inputs.log_distribution(name, row, None) for row in np.atleast_2d(array)]
    return np.stack(rows).reshape(array.shape)


def _weights(weights: Any, contexts: int) -> np.ndarray:
    if weights is None:
        return np.full(contexts, 1 / contexts)
    array = host_numbers(weights, "weights")
    if array.shape != (contexts,) or not np.isfinite(array).all() or (array < 0).any() or array.sum() == 0:
        raise ValueError(f"weights are not {contexts} numbers ≥ 0 with a positive sum; pass one for each context.")
    return array / array.sum()


def _class(name: str, value: Any, shape: tuple[int, ...], many: bool) -> np.ndarray:
    """A finite class as (N, X, K)."""
    array = host_numbers(value, name)
    if array.ndim != len(shape) + 1 or array.shape[1:] != shape or len(array) == 0 or not np.isfinite(array).all():
        raise ValueError(f"{name} has shape {array.shape} or is not finite; pass finite rows, shape {('N', *shape)}.")
    return array if many else array[:, None]


def _moments(d: np.ndarray, q: np.ndarray, mu: np.ndarray, weight: np.ndarray, centred: bool) -> np.ndarray:
    """E_{x, a~q} of (d less its mean under mu, or with ``centred`` under q)²."""
    d = d - (d * (q if centred else mu)).sum(axis=-1, keepdims=True)
    return np.einsum("nxk,xk,x->n", d**2, q, weight)


def _ratio(above: np.ndarray, below: np.ndarray) -> float:
    """The largest quotient, 0 where both vanish."""
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.where(above <= _EQUAL**2, 0.0, above / np.where(below <= _EQUAL**2, 0.0, below))
    return float(ratio.max(initial=0.0))


def _largest(d: np.ndarray, p: np.ndarray, mu: np.ndarray, weight: np.ndarray, centred: bool = False) -> float:
    return _ratio(_moments(d, p, mu, weight, centred), _moments(d, mu, mu, weight, False))


def _over_pairs(d: np.ndarray, p: np.ndarray, prior: np.ndarray, weight: np.ndarray) -> float:
    return max((_largest(d[n + 1 :] - d[n], p, prior, weight) for n in range(len(d) - 1)), default=0.0)


def _eigenvalue(X: np.ndarray, p: np.ndarray, mu: np.ndarray, weight: np.ndarray, centred: bool) -> float:
    """max over theta of theta·S_p theta / theta·S_mu theta, S the second moments of features less their means."""
    above, below = _second(X, p, p if centred else mu, weight), _second(X, mu, mu, weight)
    values, vectors = np.linalg.eigh(below)
    kept = values > _EQUAL * max(values[-1], 1e-300)
    missed = vectors[:, ~kept]
    if np.trace(missed.T @ above @ missed) > _EQUAL * np.trace(above):
        return math.inf
    root = vectors[:, kept] / np.sqrt(values[kept])
    return float(np.linalg.eigvalsh(root.T @ above @ root)[-1]) if kept.any() else 0.0


def _second(X: np.ndarray, q: np.ndarray, about: np.ndarray, weight: np.ndarray) -> np.ndarray:
    Z = X - np.einsum("xki,xk->xi", X, about)[:, None]
    return np.einsum("xki,xkj,xk,x->ij", Z, Z, q, weight)


def _least_divergence(X: np.ndarray, p: np.ndarray, weight: np.ndarray) -> float:
    """min over theta of E_x KL(p||softmax X theta), a convex function, by Newton's method with halved steps."""

    def look(theta: np.ndarray) -> tuple[float, np.ndarray]:
        z = X @ theta
        log_pi = z - np.logaddexp.reduce(z, axis=-1, keepdims=True)
        told = np.where(p > 0, p * (np.log(np.where(p > 0, p, 1.0)) - log_pi), 0.0)
        return float(told.sum(axis=-1) @ weight), np.exp(log_pi)

    size = np.abs(X - X.mean(axis=1, keepdims=True)).max(axis=(0, 1))
    X = X / np.where(size > 0, size, 1.0)
    theta = np.zeros(X.shape[-1])
    value, pi = look(theta)
    for _ in range(NEWTON):
        force = np.einsum("xki,xk,x->i", X, p - pi, weight)
        step = np.linalg.lstsq(_second(X, pi, pi, weight), force, rcond=1e-14)[0]
        for length in 0.5 ** np.arange(30):
            trial, of_trial = look(theta + length * step)
            if trial <= value - 1e-4 * length * float(force @ step):
                break
        else:
            break
        small = value - trial <= 1e-16 * (1.0 + value)
        theta, value, pi = theta + length * step, trial, of_trial
        if small:
            break
    return max(value, 0.0)


def psi(log_ratio: float) -> float:
    """psi(z) = (z - 1 - ln z)/(ln z)², given ln z; 1/2 at z = 1, and increasing."""
    t = log_ratio
    if abs(t) < 1e-2:
        return 0.5 + t / 6 + t**2 / 24 + t**3 / 120 + t**4 / 720
    return (math.expm1(t) - t) / t**2
