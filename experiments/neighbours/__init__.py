"""Prompts that share parameters: two without any cycle that oscillate together, and the neighbours of a cyclic one."""

from __future__ import annotations

import dataclasses
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr

import dynamics as dyn
from dynamics.references import Geometric
from dynamics.rounds import Rounds
from dynamics.samplers import OnPolicy
from dynamics.theorems.prompts import pull

from .._framework import KAPPA, KIND_OF, OBJECTIVES, Tick, described, require, root, silent
from .checks import check

__all__ = ["Config", "check", "run"]

RESTS = 1e-9  # amplitude below which a run is at rest
KEPT = 64  # last rounds of a run that are kept
START = 0.01  # of the shared parameter
SCAN = np.concatenate([-np.geomspace(1e4, 1e-6, 4001), np.geomspace(1e-6, 1e4, 4001)])  # for the fixed points


@dataclasses.dataclass(frozen=True)
class Config:
    """Two prompts with two answers each and margins theta and slope·theta; one cyclic prompt among four."""

    alpha: float = 0.5
    slope: float = 3.0
    wins: tuple[float, float] = (0.2, 0.9)
    """How often the first answer is preferred, in each of the two prompts."""
    betas: int = 120
    """Betas of the orbit diagrams (DPO's are four times IPO's)."""
    grid: int = 41
    """Win rates on each side of the map."""
    map_beta: float = 0.05
    rounds: int = 1500
    advantage: float = 0.4
    """Of the cyclic prompt."""
    beta: float = 0.15
    """Of the rounds with it."""
    parameters: tuple[int, ...] = (4, 6, 8)
    """Numbers of shared parameters of four prompts with three answers, of which eight are enough for any policies."""
    overlaps: tuple[float, ...] = (0.0, 0.45, 0.9)
    """Correlations between the features of different prompts."""
    draws: int = 6
    """Features and neighbours drawn for each of them."""
    seed: int = 0

    def __post_init__(self) -> None:
        require(self, "alpha", 0, 1, open_high=True)
        require(self, "slope", 1, 100)
        require(self, "wins", 0, 1, open_low=True, open_high=True)
        require(self, "betas", 8, 100_000)
        require(self, "grid", 3, 10_000)
        require(self, "map_beta", 0, 10, open_low=True)
        require(self, "rounds", 4 * KEPT, 10_000_000)
        require(self, "advantage", 0, 0.5, open_low=True, open_high=True)
        require(self, "beta", 0, 10, open_low=True)
        require(self, "parameters", 2, 8)
        require(self, "overlaps", 0, 1, open_high=True)
        require(self, "draws", 1, 100_000)

    @classmethod
    def full(cls) -> Config:
        return cls(betas=800, grid=161, rounds=6000, parameters=(3, 4, 5, 6, 7, 8), draws=60)


def run(config: Config, tick: Tick = silent) -> xr.Dataset:
    """Orbit diagrams of the pair, the map over its win rates, and amplitudes beside a cyclic prompt."""
    betas = np.geomspace(0.02, 0.5, config.betas)
    orbits = np.zeros((len(OBJECTIVES), config.betas, KEPT, 2))
    alone, rates_alone = (np.zeros((len(OBJECTIVES), config.betas, 2)) for _ in range(2))
    for o, objective in enumerate(OBJECTIVES):
        tick(0.05 + 0.15 * o, f"two prompts, {objective}")
        orbits[o] = _pair(objective, KAPPA[objective] * betas, config)
        alone[o], rates_alone[o] = _alone(objective, KAPPA[objective] * betas, config)
    tick(0.35, "fixed points of the pair")
    at = [_fixed_points(beta, config)[0] for beta in betas]
    radius, slope = _radius(betas, at, config), np.array([_slope(t, b, config) for t, b in zip(at, betas, strict=True)])
    excess = lambda log_beta: _slope(_fixed_points(np.exp(log_beta), config)[0], np.exp(log_beta), config) + 1
    values = np.array([excess(x) for x in np.log(betas)])
    signs = np.flatnonzero((values[:-1] < 0) & (values[1:] >= 0))
    exponent = _exponents(betas, config)
    critical = np.exp(root(excess, *np.log(betas[signs[-1] : signs[-1] + 2]))) if len(signs) else np.nan
    sides = np.full(2, np.nan)
    if np.isfinite(critical):
        near = _pair("IPO", critical * np.array([0.97, 1.03]), config)
        sides = np.ptp(near[:, :, 1], axis=1) / 2
    tick(0.45, "map over win rates")
    rates = np.linspace(0.02, 0.98, config.grid)
    amplitude = _map(rates, config)
    amplitudes, radii = _cyclic(config, tick)
    ds = xr.Dataset(
        {
            "orbit": (("objective", "beta", "last", "prompt"), orbits),
            "alone": (("objective", "beta", "prompt"), alone),
            "rate_alone": (("objective", "beta", "prompt"), rates_alone),
            "slope": (("beta",), slope),
            "radius": (("beta",), radius),
            "exponent": (("beta",), exponent),
            "critical": ((), critical),
            "beside": (("side",), sides),
            "plane": (("first", "second"), amplitude),
            "amplitude": (("parameters", "overlap", "draw", "which"), amplitudes),
            "joint_radius": (("parameters", "overlap", "draw"), radii),
        },
        {
            "objective": list(OBJECTIVES),
            "beta": betas,
            "side": [0.97, 1.03],
            "first": rates,
            "second": rates,
            "parameters": list(config.parameters),
            "overlap": list(config.overlaps),
            "which": ["cyclic", "largest of the others"],
        },
    )
    units = {
        "orbit": ("1", "probability of the first answer over the last rounds, both prompts sharing theta"),
        "alone": ("1", "where it converges if each prompt has a parameter of its own"),
        "rate_alone": ("1", "rate at which its steps shrink, of the log-odds"),
        "beta": ("1", "KL coefficient of IPO; DPO's is four times as large"),
        "slope": ("1", "alpha + w'(theta*)/beta, theory, IPO"),
        "radius": ("1", "spectral radius of the joint round of IPO at theta*"),
        "exponent": ("1/round", "Lyapunov exponent of the pair, the mean logarithm of the slope along a run, IPO"),
        "critical": ("1", "largest beta at which the slope is -1, IPO"),
        "beside": ("1", "amplitude of the second prompt 3% below and above it, simulated"),
        "plane": ("1", "amplitude of the second prompt, IPO, by how often the first answer is preferred in each"),
        "first": ("1", "how often the first answer is preferred in prompt 1"),
        "second": ("1", "how often the first answer is preferred in prompt 2"),
        "amplitude": ("1", "half the range of a probability over the last rounds"),
        "joint_radius": ("1", "spectral radius of the joint round at the fixed point that attracts most"),
        "overlap": ("1", "correlation between the features of different prompts"),
        "parameters": ("1", "number of shared parameters"),
    }
    return described(ds, "neighbours", config, units)


def _two(first: float, second: float) -> np.ndarray:
    return np.array([[[0.5, p], [1 - p, 0.5]] for p in (first, second)])


def _loop(P: np.ndarray, phi: np.ndarray, objective: str, beta: float, alpha: float) -> Rounds:
    K = P.shape[-1]
    reference = Geometric(alpha, np.full(K, -np.log(K)))
    return Rounds(P, KIND_OF[objective](beta), sampler=OnPolicy(), reference=reference, policy=dyn.LogLinear(phi))


def _features(config: Config) -> np.ndarray:
    """(X, K, d) = (2, 2, 1), with margins theta and slope·theta."""
    return np.array([1.0, config.slope])[:, None, None] * np.array([[0.5], [-0.5]])


def _start(phi: np.ndarray) -> np.ndarray:
    theta = START * np.cos(1.0 + np.arange(phi.shape[-1])) / np.cos(1.0)
    return np.asarray(jax.nn.log_softmax(jnp.asarray(phi @ theta), axis=-1))


@eqx.filter_jit
def _last(loop: Rounds, start: jax.Array, rounds: int) -> jax.Array:
    """log pi over the last rounds."""

    def step(state, _):
        state, _ = loop.advance(state, None)
        return state, loop.log_policy(state)

    state = jax.lax.fori_loop(0, rounds - KEPT, lambda _, s: loop.advance(s, None)[0], loop.start(start))
    return jax.lax.scan(step, state, length=KEPT)[1]


def _pair(objective: str, betas: np.ndarray, config: Config) -> np.ndarray:
    """Probabilities of the first answers over the last rounds, ``(betas, KEPT, 2)``."""
    phi = _features(config)
    loop = _loop(_two(*config.wins), phi, objective, 1.0, config.alpha)
    at = lambda beta: eqx.tree_at(lambda x: x.objective.beta, loop, beta)
    run = jax.vmap(lambda beta: _last(at(beta), jnp.asarray(_start(phi)), config.rounds))
    return np.exp(np.asarray(run(jnp.asarray(betas)))[..., 0])


def _alone(objective: str, betas: np.ndarray, config: Config) -> tuple[np.ndarray, np.ndarray]:
    """Each prompt with its own parameter: probabilities after 200 rounds, and the rate of its first rounds, ``(betas, 2)``.

    The rate is that at which steps of the log-odds shrink.
    """
    ends, rates = [], []
    for wins in config.wins:
        loop = dyn.SelfSampling(_two(wins, wins)[0], KIND_OF[objective](1.0), config.alpha, 1.0)

        def run(beta: jax.Array, loop: dyn.SelfSampling = loop) -> jax.Array:
            one = eqx.tree_at(lambda x: x.objective.beta, loop, beta)
            step = lambda state, _: (one.advance(state, None)[0],) * 2
            states = jax.lax.scan(step, one.start(jnp.log(jnp.array([0.5, 0.5]))), length=200)[1]
            return states.logits[:, 0] - states.logits[:, 1]

        odds = np.asarray(jax.vmap(run)(jnp.asarray(betas)))
        ends.append(1 / (1 + np.exp(-odds[:, -1])))
        rates.append((odds[:, 2] - odds[:, 1]) / (odds[:, 1] - odds[:, 0]))
    return np.stack(ends, axis=1), np.stack(rates, axis=1)


def _force(theta: Any, config: Config) -> tuple[np.ndarray, np.ndarray]:
    """w(theta) and w'(theta) of theorem shared_parameter for the pair."""
    return pull(np.array([1.0, config.slope]), np.array(config.wins), np.ones(2), 1.0, np.asarray(theta))


def _fixed_points(beta: float, config: Config) -> list[float]:
    """All theta = w(theta)/(beta (1 - alpha)), the steepest first."""
    left = lambda theta: (1 - config.alpha) * theta - _force(theta, config)[0] / beta
    values = left(SCAN)
    roots = [root(left, SCAN[i], SCAN[i + 1]) for i in np.flatnonzero(values[:-1] * values[1:] < 0)]
    return sorted(roots, key=lambda theta: _slope(theta, beta, config))


def _slope(theta: float, beta: float, config: Config) -> float:
    return float(config.alpha + _force(theta, config)[1] / beta)


def _radius(betas: np.ndarray, at: list[float], config: Config) -> np.ndarray:
    phi = _features(config)
    loop = _loop(_two(*config.wins), phi, "IPO", 1.0, config.alpha)
    found = []
    for beta, theta in zip(betas, at, strict=True):
        one = eqx.tree_at(lambda x: x.objective.beta, loop, jnp.asarray(beta))
        log_policy = np.asarray(jax.nn.log_softmax(jnp.asarray(phi @ [theta]), axis=-1))
        found.append(float(dyn.stability.spectral_radius(one, log_policy)))
    return np.array(found)


def _exponents(betas: np.ndarray, config: Config) -> np.ndarray:
    """The mean of log |alpha + w'(theta)/beta| along a run of the map, after as many rounds to settle."""
    theta, total = np.full(len(betas), START), np.zeros(len(betas))
    for t in range(2 * config.rounds):
        w, slope = _force(theta, config)
        if t >= config.rounds:
            total += np.log(np.maximum(np.abs(config.alpha + slope / betas), np.finfo(float).tiny))
        theta = config.alpha * theta + w / betas
    return total / config.rounds


def _map(rates: np.ndarray, config: Config) -> np.ndarray:
    """Amplitudes of the second prompt over both win rates."""
    phi = _features(config)
    loop = _loop(_two(*config.wins), phi, "IPO", config.map_beta, config.alpha)
    P = np.array([[_two(first, second) for second in rates] for first in rates]).reshape(-1, 2, 2, 2)
    run = jax.vmap(
        lambda P: _last(eqx.tree_at(lambda x: x.preference, loop, P), jnp.asarray(_start(phi)), config.rounds)
    )
    p = np.exp(np.asarray(run(jnp.asarray(P))))[..., 1, 0]
    return (np.ptp(p, axis=1) / 2).reshape(len(rates), len(rates))


def _cyclic(config: Config, tick: Tick) -> tuple[np.ndarray, np.ndarray]:
    """Amplitudes of a cyclic prompt and of its neighbours, and joint radii, by number of parameters and overlap."""
    rng, X, K = np.random.default_rng(config.seed), 4, 3
    cycle = np.asarray(dyn.preferences.cyclic(K, config.advantage))
    shape = (len(config.parameters), len(config.overlaps), config.draws)
    amplitude, radius = np.full((*shape, 2), np.nan), np.full(shape, np.nan)
    for d, size in enumerate(config.parameters):
        tick(0.6 + 0.4 * d / len(config.parameters), f"a cyclic prompt, {size} parameters")
        for c, overlap in enumerate(config.overlaps):
            for n in range(config.draws):
                shared, own = rng.normal(size=(K, size)), rng.normal(size=(X, K, size))
                phi = np.sqrt(overlap) * shared + np.sqrt(1 - overlap) * own
                P = np.stack(
                    [cycle, *(np.asarray(dyn.preferences.bradley_terry(rng.normal(size=K))) for _ in range(X - 1))]
                )
                loop = _loop(P, phi, "IPO", config.beta, config.alpha)
                p = np.exp(np.asarray(_last(loop, jnp.asarray(_start(phi)), config.rounds)))
                half = np.ptp(p, axis=0).max(axis=-1) / 2
                amplitude[d, c, n] = half[0], half[1:].max()
                if half.max() < RESTS:
                    radius[d, c, n] = float(dyn.stability.spectral_radius(loop, np.log(p[-1])))
                    continue
                points = dyn.stability.find_fixed_points(loop, 32)
                radius[d, c, n] = min((point.spectral_radius for point in points), default=np.nan)
    return amplitude, radius
