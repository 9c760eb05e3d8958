"""The roster: how large a step each method of Nash learning takes before it oscillates, and how widely it does then."""

from __future__ import annotations

import dataclasses
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr

import dynamics as dyn
from dynamics._parameters import replace
from dynamics.diagnostics import Verdict
from dynamics.methods import METHODS, Method
from dynamics.rounds import Process
from dynamics.theorems.games import EXPLICIT, critical_step, method_radius, rest_frequencies

from .._framework import Tick, described, require, silent
from .._matrices import drawn
from .._sweeps import sweep
from .checks import SIDES, check

__all__ = ["Config", "check", "run"]

NAMES = ("inpo", "mmd", "nash-md", "onpo", "egpo", "nash-mp")
GAMES: dict[str, Method] = {method.name: method for method in METHODS if method.name in NAMES}
SCAN = np.geomspace(1e-3, 1e3, 301)  # of steps, over which the first crossing is bracketed
CURVE = 81  # temperatures of the line of critical steps
NEAR = 1e-4  # nats between a start and the equilibrium, from where growth is measured


@dataclasses.dataclass(frozen=True)
class Config:
    """The 3-cycle P = 1/2 ± advantage, and generated matrices with a cycle."""

    advantage: float = 0.4
    temperatures: tuple[float, ...] = (0.01, 0.05, 0.1, 0.2, 0.3)
    """Temperatures tau, ascending."""
    temperature: float = 0.1
    """The temperature of the runs over all steps."""
    steps: int = 25
    """Steps eta of these runs, between .3 and .95/temperature."""
    rounds: int = 3000
    matrices: int = 20
    """Generated cyclic matrices of each size."""
    sizes: tuple[int, ...] = (3, 4, 5)
    seed: int = 0

    def __post_init__(self) -> None:
        require(self, "advantage", 0, 0.5, open_low=True)
        require(self, "temperatures", 0, 3, open_low=True)
        require(self, "temperature", 0, 3, open_low=True)
        require(self, "steps", 2, 10_000)
        require(self, "rounds", 100, 10_000_000)
        require(self, "matrices", 1, 100_000)
        require(self, "sizes", 3, 12)

    @classmethod
    def full(cls) -> Config:
        return cls(temperatures=tuple(np.geomspace(0.01, 0.5, 24).tolist()), steps=121, rounds=20_000, matrices=400)


def run(config: Config, tick: Tick = silent) -> xr.Dataset:
    """Radii and critical steps (computed), growth either side of them and amplitudes over all steps (simulated)."""
    P = np.asarray(dyn.preferences.cyclic(3, config.advantage))
    taus = np.array(config.temperatures)
    curve = np.geomspace(taus.min(), max(taus.max(), 1.01 * taus.min()), CURVE)
    line = np.zeros((len(NAMES), CURVE))
    etas = np.geomspace(0.3, 0.95 / config.temperature, config.steps)
    shape = (len(NAMES), len(taus), len(SIDES))
    critical, rate, expected = np.zeros(shape[:2]), np.full(shape, np.nan), np.full(shape, np.nan)
    radius = np.zeros((len(NAMES), len(etas)))
    parts = []
    for n, name in enumerate(NAMES):
        tick(n / len(NAMES), name)
        radius[n] = [radius_at(name, P, eta, config.temperature) for eta in etas]
        critical[n] = [step_of(name, P, tau) for tau in taus]
        line[n] = [step_of(name, P, tau) for tau in curve]
        process = GAMES[name].process(P, np.full(3, -np.log(3.0)), eta=0.1, tau=0.1)
        for t, tau in enumerate(taus):
            asked = critical[n, t] * np.array(SIDES)
            allowed = np.isfinite(asked) & ((asked * tau < 1) | (GAMES[name].objective not in EXPLICIT))
            if allowed.all():
                rate[n, t] = growth(process, asked, float(tau), config.rounds)
                expected[n, t] = np.log([radius_at(name, P, eta, tau) for eta in asked])
        over: dict[Any, np.ndarray] = {"eta": etas}
        start = np.log([0.5, 0.3, 0.2])
        moving = GAMES[name].process(P, np.full(3, -np.log(3.0)), eta=0.1, tau=config.temperature)
        swept = sweep(name, moving, over, measure=[Verdict(window=512)], rounds=config.rounds, initial=start)
        parts.append(swept[["verdict", "amplitude"]].drop_vars(["eta", "period_kind"], errors="ignore"))
    tick(0.95, "generated matrices")
    cases = [c.P for c in drawn(config.matrices, config.sizes, 15, config.seed) if c.source == "cyclic"]
    # Not Nash-MD, whose equilibrium moves with the step.
    many = np.array([[step_of(name, M, 0.05) if name != "nash-md" else np.nan for name in NAMES] for M in cases])
    joined = xr.concat(parts, "game").rename(eta="step")
    ds = xr.Dataset(
        {
            "radius": (("game", "step"), radius),
            "critical": (("game", "temperature"), critical),
            "critical_line": (("game", "curve_temperature"), line),
            "rate": (("game", "temperature", "side"), rate),
            "expected_rate": (("game", "temperature", "side"), expected),
            "verdict": (("game", "step"), joined.verdict.transpose("game", "step").values),
            "amplitude": (("game", "step"), joined.amplitude.transpose("game", "step").values),
            "critical_drawn": (("matrix", "game"), many),
        },
        {"game": list(NAMES), "temperature": taus, "curve_temperature": curve, "step": etas, "side": list(SIDES)},
    )
    units = {
        "step": ("1", "eta, in units in which P is the payoff"),
        "temperature": ("1", "tau"),
        "radius": ("1", "spectral radius at the equilibrium, by theorem roster_radius"),
        "critical": ("1", "the step from which on the radius exceeds 1; inf where none does"),
        "rate": (
            "1",
            "measured growth of the distance from equilibrium, ln per round, at a share of the critical step",
        ),
        "critical_line": ("1", "the same over many temperatures"),
        "curve_temperature": ("1", "tau"),
        "expected_rate": ("1", "ln of the radius there"),
        "amplitude": ("1", "half the largest peak-to-peak of a probability over the last 512 rounds"),
        "critical_drawn": ("1", "critical step of generated cyclic matrices at tau = 0.05; NaN for Nash-MD"),
    }
    return described(ds, "roster", config, units)


def radius_at(name: str, P: np.ndarray, eta: float, tau: float) -> float:
    """The spectral radius at the equilibrium, with a uniform magnet."""
    kind = GAMES[name].objective
    return method_radius(kind, rest_frequencies(kind, P, eta, tau, np.full(len(P), -np.log(len(P)))), eta, tau)


def step_of(name: str, P: np.ndarray, tau: float) -> float:
    """The critical step with a uniform magnet, and inf where there is none up to 1,000."""
    return critical_step(GAMES[name].objective, P, tau, np.full(len(P), -np.log(len(P))), SCAN)


def growth(process: Process[Any], etas: np.ndarray, tau: float, rounds: int) -> np.ndarray:
    """The mean of ln(distance from uniform) gained in a round of the second half of a run near it, for each step."""
    begun = np.log(1 / 3) + NEAR * np.array([1.0, -0.3, -0.7])
    return np.asarray(_growth(process, jnp.asarray(etas), jnp.asarray(tau), jnp.asarray(begun), rounds))


@eqx.filter_jit
def _growth(process: Process[Any], etas: jax.Array, tau: jax.Array, begun: jax.Array, rounds: int) -> jax.Array:
    def one(eta: jax.Array) -> jax.Array:
        moved = replace(process, {"eta": eta, "tau": tau})
        size = lambda state: jnp.linalg.norm(moved.logits(state) - jnp.mean(moved.logits(state)))
        first = moved.start(jax.nn.log_softmax(begun))

        def step(_: Any, carry: tuple[Any, jax.Array]) -> tuple[Any, jax.Array]:
            state, gained = carry
            before = size(state)
            state, _ok = moved.advance(state, None)
            # Brought back to the same distance, so that it stays where the round is linear.
            scale = before / size(state)
            return jax.tree.map(lambda x: scale * (x - jnp.mean(x)), state), gained - jnp.log(scale)

        halfway, _ = jax.lax.fori_loop(0, rounds // 2, step, (first, jnp.asarray(0.0)))
        _, gained = jax.lax.fori_loop(0, rounds // 2, step, (halfway, jnp.asarray(0.0)))
        return gained / (rounds // 2)

    return jax.lax.map(one, etas)
