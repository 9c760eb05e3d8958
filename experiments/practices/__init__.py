"""What engineers do to a loop, and what that does to stability: best-of-n pairs, averages, few steps, momentum, samples."""

from __future__ import annotations

import dataclasses
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import xarray as xr

import dynamics as dyn
from dynamics.feedback import BestOfN, Samples
from dynamics.references import Ema, Fixed, Geometric
from dynamics.rounds import Rounds
from dynamics.theorems.games import frequencies
from dynamics.theorems.references import averaged_moduli

from .._framework import KAPPA, KIND_OF, OBJECTIVES, Tick, described, require, root, silent
from .._matrices import random_matrix
from .checks import AVERAGES, BASES, PRACTICES, check

__all__ = ["Config", "check", "run"]

MOMENTUM = 0.9
NEWTON = 30
NUDGE = 0.1  # nats, of the differences that estimate the Jacobian of the mean round
BATCHES = 8  # of draws, whose spread gives the standard error


@dataclasses.dataclass(frozen=True)
class Config:
    """A regular tournament and generated cyclic matrices whose equilibrium gives every response some mass."""

    size: int = 5
    """K, odd, so that the equilibrium is the only one."""
    matrices: int = 8
    best_of: int = 4
    comparisons: tuple[int, ...] = (30, 300)
    """Comparisons a round, n."""
    sampled: int = 2
    """How many of the matrices are also run on samples."""
    draws: int = 8_192
    """Rounds over which each entry of a mean round is averaged."""
    seed: int = 0

    def __post_init__(self) -> None:
        require(self, "size", 3, 7)
        require(self, "matrices", 1, 10_000)
        require(self, "best_of", 3, 4)
        require(self, "comparisons", 2, 10**6)
        require(self, "sampled", 1, self.matrices)
        require(self, "draws", 8 * BATCHES, 10**8)
        if self.size % 2 == 0:
            raise ValueError(f"size = {self.size} is even; pass an odd number.")

    @classmethod
    def full(cls) -> Config:
        return cls(matrices=60, comparisons=(10, 30, 100, 300, 1000), sampled=6, draws=131_072)


@dataclasses.dataclass(frozen=True)
class Place:
    """A plain loop at its fixed point.

    Attributes:
        loop: the plain rounds.
        at: their fixed point, log pi*, ``(K,)``.
        radius: their spectral radius there.
        curvature: the largest one of the loss there.
    """

    loop: Rounds
    at: np.ndarray
    radius: float
    curvature: float


def run(config: Config, tick: Tick = silent) -> xr.Dataset:
    """Spectral radii of every practice over those of the plain loop, and of mean rounds on samples."""
    matrices = _matrices(config)
    M = len(matrices)
    nash = [dyn.games.nash(P).log_policy for P in matrices]
    omega = np.array([frequencies(P, log_p) for P, log_p in zip(matrices, nash, strict=True)])
    radius = np.full((len(OBJECTIVES), len(BASES), len(PRACTICES), M), np.nan)
    beta, plain = np.zeros((len(OBJECTIVES), len(BASES), M)), np.zeros((len(OBJECTIVES), len(BASES), M))
    ratio = np.full((len(OBJECTIVES), M), np.nan)
    sampled = np.zeros((len(OBJECTIVES), config.sampled, len(config.comparisons)))
    error = np.zeros_like(sampled)
    done, total = 0, len(OBJECTIVES) * len(BASES) * (len(PRACTICES) + 1)
    for o, objective in enumerate(OBJECTIVES):
        tick(done / total, f"{objective}: plain loops")
        of_base = {base: _places(objective, base, matrices, nash, KAPPA[objective] * omega[:, 0]) for base in BASES}
        # One optimizer for both references.
        rate = 1 / max(place.curvature for places in of_base.values() for place in places)
        for b, (base, places) in enumerate(of_base.items()):
            beta[o, b] = [float(place.loop.objective.beta) for place in places]  # pyright: ignore
            plain[o, b] = [place.radius for place in places]
            done += 1
            for p, practice in enumerate(PRACTICES):
                tick(done / total, f"{objective}, {base}: {practice}")
                radius[o, b, p] = [_radius(practice, base, place, rate, config.best_of) for place in places]
                done += 1
            if base == BASES[0]:
                ratio[o] = [_critical(place, config.best_of) / beta[o, b, m] for m, place in enumerate(places)]
                tick(done / total, f"{objective}, {base}: samples")
                for m in range(config.sampled):
                    for n, count in enumerate(config.comparisons):
                        sampled[o, m, n], error[o, m, n] = _mean_radius(places[m], count, config)
    # In units of beta, which is twice the largest.
    expected = np.array([[averaged_moduli(w / (2 * w[0]), rate)[0] for rate in AVERAGES.values()] for w in omega])
    ds = xr.Dataset(
        {
            "radius": (("objective", "base", "practice", "matrix"), radius),
            "plain": (("objective", "base", "matrix"), plain),
            "beta": (("objective", "base", "matrix"), beta),
            "critical_ratio": (("objective", "matrix"), ratio),
            "expected": (("matrix", "average"), expected),
            "sampled": (("objective", "sampled_matrix", "comparisons"), sampled),
            "sampled_error": (("objective", "sampled_matrix", "comparisons"), error),
        },
        {
            "objective": list(OBJECTIVES),
            "base": list(BASES),
            "practice": list(PRACTICES),
            "average": list(AVERAGES),
            "comparisons": list(config.comparisons),
        },
    )
    units = {
        "radius": ("1", "spectral radius of a round with this practice at its fixed point"),
        "plain": ("1", "spectral radius of the plain round at its fixed point"),
        "beta": ("1", "KL coefficient of both"),
        "critical_ratio": ("1", f"critical beta on best-of-{config.best_of} pairs over that of the plain loop"),
        "expected": ("1", "radius of IPO against a moving average, from the eigenvalues of ema_spectrum"),
        "sampled": ("1", "spectral radius of the mean round on n comparisons, at the plain fixed point"),
        "sampled_error": ("1", "its standard error"),
        "comparisons": ("1", "comparisons a round"),
    }
    return described(ds, "practices", config, units)


def _matrices(config: Config) -> list[np.ndarray]:
    """The regular tournament, then random matrices with one equilibrium, which gives every response some mass."""
    rng, K = np.random.default_rng(config.seed), config.size
    found = [np.asarray(dyn.preferences.cyclic(K, 0.3))]
    while len(found) < config.matrices:
        P = random_matrix(K, rng)
        at = dyn.games.nash(P)
        if at.unique and np.isfinite(at.log_policy).all():
            found.append(P)
    return found


def _loop(P: Any, objective: str, beta: float, alpha: float, **parts: Any) -> Rounds:
    even = np.full(len(P), -np.log(len(P)))
    given = {"sampler": dyn.samplers.OnPolicy(), "reference": Geometric(alpha, even)} | parts
    return Rounds(P, KIND_OF[objective](beta), **given)


def _places(
    objective: str, base: str, matrices: list[np.ndarray], nash: list[np.ndarray], scale: np.ndarray
) -> list[Place]:
    """The plain loops: at alpha = 1/2 with the beta at which they lose stability, at alpha = 1 with one twice ``scale``."""
    stack, kind = np.stack(matrices), objective.lower()
    loops, points = [], []
    if base == BASES[0]:
        critical = dyn.oracle.follow(stack, kind, [0.5], 1.0, [1e-3], until_lost=True).crossing[:, 0]  # pyright: ignore
        for P, beta in zip(matrices, critical, strict=True):
            loops.append(_loop(P, objective, float(beta), 0.5))
            z = dyn.oracle.follow(P[None], kind, [0.5], 1.0, [float(beta)]).logits[0]  # pyright: ignore
            points.append(np.asarray(jax.nn.log_softmax(z)))
    else:
        loops = [_loop(P, objective, float(2 * s), 1.0) for P, s in zip(matrices, scale, strict=True)]
        points = nash
    return [Place(loop, at, _at(loop, at), _curvature(loop, at)) for loop, at in zip(loops, points, strict=True)]


def _curvature(loop: Rounds, at: np.ndarray) -> float:
    """The largest eigenvalue of the loss's second derivative at a fixed point, from a step of gradient descent at rate 1."""
    even = np.full(len(at), -np.log(len(at)))
    alpha = float(loop.reference.alpha)  # pyright: ignore[reportAttributeAccessIssue]
    # With sampler and reference held, the loss alone moves the policy.
    frozen = Rounds(
        loop.preference,
        loop.objective,
        sampler=dyn.samplers.Fixed(at),
        reference=Fixed(np.asarray(jax.nn.log_softmax(jnp.asarray(alpha * at + (1 - alpha) * even)))),
        learner=dyn.Descend(optax.sgd(1.0), 1),
    )
    return float(1 - np.linalg.eigvals(np.asarray(dyn.stability.jacobian(frozen, at))).real.min())


def _radius(practice: str, base: str, place: Place, rate: float, best_of: int) -> float:
    """The radius of the loop with a practice; NaN where the practice does not apply."""
    if practice in AVERAGES:
        return _at(_changed(place, reference=Ema(AVERAGES[practice])), place.at) if base == BASES[1] else np.nan
    if practice == "best of n":
        return _best(_changed(place, feedback=BestOfN(best_of)), place.at)[0]
    steps = int(practice.split()[0])
    keeps = "kept" in practice
    momentum = MOMENTUM if "momentum" in practice else None
    optimizer = optax.sgd(rate, momentum=momentum)
    # Gradient steps rest where the plain loop does.
    return _at(_changed(place, learner=dyn.Descend(optimizer, steps, reset_state=not keeps)), place.at)


def _changed(place: Place, **parts: Any) -> Rounds:
    loop = place.loop
    kept = {"sampler": loop.sampler, "reference": loop.reference, "feedback": loop.feedback, "learner": loop.learner}
    return Rounds(loop.preference, loop.objective, **kept | parts)


def _at(loop: Rounds, log_policy: np.ndarray) -> float:
    return float(dyn.stability.spectral_radius(loop, log_policy))


@eqx.filter_jit
def _moved(loop: Rounds, z: jax.Array) -> jax.Array:
    return loop(z)


def _best(loop: Rounds, log_policy: np.ndarray) -> tuple[float, np.ndarray]:
    """The radius at the fixed point that Newton's method finds from a policy, and that point; NaN where there is none."""
    K, z = len(log_policy), log_policy - log_policy.mean()
    for _ in range(NEWTON):
        J = np.asarray(dyn.stability.jacobian(loop, jax.nn.log_softmax(z)))
        left = np.asarray(_moved(loop, jnp.asarray(z))) - z
        step = np.linalg.lstsq(np.eye(K) - J, left - left.mean(), rcond=None)[0]
        z = z + step - step.mean()
        if np.abs(step).max() < 1e-12 * (1 + np.abs(z).max()):
            return float(np.abs(np.linalg.eigvals(J)).max()), np.asarray(jax.nn.log_softmax(z))
    return np.nan, log_policy


def _critical(place: Place, best_of: int) -> float:
    """The critical beta on best-of-n pairs, bracketed from the plain loop's; NaN where none is found."""
    loop, at = _changed(place, feedback=BestOfN(best_of)), place.at
    beta = float(loop.objective.beta)  # pyright: ignore[reportAttributeAccessIssue]

    def excess(value: float) -> float:
        nonlocal at
        found, at = _best(eqx.tree_at(lambda x: x.objective.beta, loop, jnp.asarray(value)), at)
        return found - 1

    before, first = beta, excess(beta)
    factor = 1.3 if first > 0 else 1 / 1.3
    for _ in range(20):
        after = before * factor
        found = excess(after)
        if not np.isfinite(found):
            return np.nan
        if (found > 0) != (first > 0):
            return root(excess, min(before, after), max(before, after), 1e-7 * beta)
        before = after
    return np.nan


@eqx.filter_jit
def _mean(loop: Rounds, logits: jax.Array, keys: jax.Array) -> jax.Array:
    """The mean of a round's logits over keys, from each row of logits, ``(points, K)``."""

    def of_key(key: jax.Array) -> jax.Array:
        return jax.vmap(lambda z: loop(z, key))(logits)

    return jnp.mean(jax.lax.map(of_key, keys, batch_size=512), axis=0)


def _mean_radius(place: Place, count: int, config: Config) -> tuple[float, float]:
    """The radius of the mean round on ``count`` comparisons at the plain fixed point, and its standard error over batches."""
    loop, K = _changed(place, feedback=Samples(count)), config.size
    basis = np.linalg.svd(np.eye(K) - 1 / K)[0][:, : K - 1]
    z = place.at - place.at.mean()
    points = jnp.asarray(np.concatenate([z + NUDGE * basis.T, z - NUDGE * basis.T]))
    keys = jax.random.split(jax.random.key(config.seed), (BATCHES, config.draws // BATCHES))
    found = np.stack([np.asarray(_mean(loop, points, each)) for each in keys])
    J = np.einsum("bmi,ij->bjm", found[:, : K - 1] - found[:, K - 1 :], basis) / (2 * NUDGE)
    whole = np.abs(np.linalg.eigvals(J.mean(axis=0))).max()
    # The jackknife over batches.
    left_out = np.array([np.abs(np.linalg.eigvals(np.delete(J, b, 0).mean(axis=0))).max() for b in range(BATCHES)])
    spread = np.sqrt((BATCHES - 1) / BATCHES * ((left_out - left_out.mean()) ** 2).sum())
    return float(whole), float(spread)
