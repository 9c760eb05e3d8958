"""The roster: preference matrices and loops that tests share, each with what makes it worth testing."""

from __future__ import annotations

import jax
import numpy as np

import dynamics as dyn


def matrix(K: int, seed: int, low: float = 0.01, high: float = 0.99) -> np.ndarray:
    """A preference matrix with uniform entries in [low, high] above the diagonal."""
    P = np.full((K, K), 0.5)
    upper = np.triu_indices(K, 1)
    P[upper] = np.random.default_rng(seed).uniform(low, high, len(upper[0]))
    P[upper[1], upper[0]] = 1 - P[upper]
    return P


def from_upper(*rows: list[float]) -> np.ndarray:
    """A preference matrix from its entries above the diagonal, row by row."""
    K = len(rows) + 1
    P = np.full((K, K), 0.5)
    for i, row in enumerate(rows):
        P[i, i + 1 :] = row
        P[i + 1 :, i] = 1 - np.asarray(row)
    return P


def log_policy(K: int, seed: int, scale: float = 1.0) -> np.ndarray:
    """A log-policy with Gaussian logits of a given scale."""
    return np.array(jax.nn.log_softmax(scale * np.random.default_rng(seed).normal(size=K)))


def relabelled(loop, order: np.ndarray):
    """The same SelfSampling with responses renamed: new response i is old ``order[i]``."""
    return type(loop)(
        loop.preference[np.ix_(order, order)],
        loop.objective,
        loop.alpha,
        loop.lam,
        loop.log_reference[order],
        loop.log_offline[order],
    )


def loop_of(objective: str, K: int = 4, seed: int = 0, alpha: float = 0.6, lam: float = 0.7, beta: float = 0.2):
    """Self-sampling on a random matrix, with a random reference and a random offline sampler."""
    kind = dyn.IPO if objective == "ipo" else dyn.DPO
    return dyn.SelfSampling(
        matrix(K, seed),
        kind(beta),
        alpha,
        lam,
        log_policy(K, seed + 1),
        log_policy(K, seed + 2),
    )


def oracle_inputs(loop: dyn.SelfSampling) -> dict:
    """What the oracles take of a loop."""
    return {
        "P": np.asarray(loop.preference),
        "alpha": float(loop.alpha),
        "lam": float(loop.lam),
        "beta": float(loop.objective.beta),
        "log_reference": np.asarray(loop.log_reference),
        "log_offline": np.asarray(loop.log_offline),
        "objective": "ipo" if isinstance(loop.objective, dyn.IPO) else "dpo",
    }


# Statement 7.2: locally stable (rho² = .866), yet two thirds of the starts oscillate for ever.
LOCAL_NOT_GLOBAL = {
    "P": from_upper([0.82, 0.65, 0.45], [0.22, 0.19], [0.11]),
    "alpha": 0.0,
    "lam": 1.0,
    "beta": 0.0175,
    "log_reference": np.asarray(jax.nn.log_softmax(np.array([-4.47, 11.66, 1.9, -9.1]))),
}

# Statement 7.1: DPO at lam < 1 with several attracting fixed points.
TWO_ATTRACTORS = {
    "P": from_upper([0.124, 0.1954], [0.9938]),
    "alpha": 0.272218,
    "lam": 0.371459,
    "beta": 0.0273321,
    "log_reference": np.asarray(jax.nn.log_softmax(np.array([75.643, -103.58, 27.937]))),
    "log_offline": np.log(np.array([0.00093, 0.55943, 0.43964])),
}
