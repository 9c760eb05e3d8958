"""Inexact rounds: how a few optimizer steps per round, in place of the optimum, change oscillation and collapse."""

from __future__ import annotations

import dataclasses

import jax.numpy as jnp
import numpy as np
import optax
import xarray as xr

import dynamics as dyn

from .._framework import KIND_OF, OBJECTIVES, Tick, described, require, require_policy, silent
from .._orbits import onset_beta
from .._sweeps import sweep
from ..evolution import transitive
from .checks import OPTIMIZERS, check

__all__ = ["Config", "check", "run"]


@dataclasses.dataclass(frozen=True)
class Config:
    """A 3-cycle past the onset of exact rounds, and a transitive matrix at alpha = 1 and the same beta."""

    advantage: float = 0.4
    """a in P = 1/2 ± a of the 3-cycle."""
    alpha: float = 0.5
    lam: float = 1.0
    ratio: float = 0.7
    """beta over the beta at which exact rounds lose stability; below 1 they oscillate."""
    steps: tuple[int, ...] = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64)
    """Optimizer steps per round."""
    approach: float = 0.06
    """Fraction of the way to a round's optimum that one SGD step covers at the uniform policy; it sets the learning rate."""
    momentum: float = 0.9
    adam_rate: float = 0.03
    rounds: int = 1500
    margins: tuple[float, float, float] = (0.1, 0.3, 0.15)
    """P_01 - 1/2, P_02 - 1/2 and P_12 - 1/2 of the transitive matrix."""
    start: tuple[float, float, float] = (0.45, 0.33, 0.22)

    def __post_init__(self) -> None:
        require(self, "advantage", 0, 0.5, open_low=True, open_high=True)
        require(self, "alpha", 0, 1, open_low=True, open_high=True)
        require(self, "lam", 0, 1, open_low=True)
        require(self, "ratio", 0, 1, open_low=True, open_high=True)
        require(self, "steps", 1, 1_000_000)
        require(self, "approach", 0, 1, open_low=True, open_high=True)
        require(self, "momentum", 0, 1, open_high=True)
        require(self, "margins", 0, 0.5, open_low=True, open_high=True)
        require(self, "adam_rate", 0, np.inf, open_low=True)
        require(self, "rounds", 20, 10_000_000)
        require_policy(self, "start")

    @classmethod
    def full(cls) -> Config:
        return cls(steps=(*range(1, 17), 20, 24, 28, 32, 40, 48, 56, 64, 96, 128, 192, 256), rounds=10_000)


def run(config: Config, tick: Tick = silent) -> xr.Dataset:
    """Cycle strength, spectral radius of SGD's rounds and time to collapse, by objective, optimizer and steps per round."""
    shape = (len(OBJECTIVES), len(OPTIMIZERS), len(config.steps))
    strength, entropy, halved = np.empty(shape), np.empty(shape), np.empty(shape)
    radius = np.empty((len(OBJECTIVES), len(config.steps)))
    exact = np.empty(len(OBJECTIVES))
    cycle = np.asarray(dyn.preferences.cyclic(3, advantage=config.advantage))
    for i, name in enumerate(OBJECTIVES):
        for j, optimizer in enumerate(OPTIMIZERS):
            tick((i + j / len(OPTIMIZERS)) / 2, f"{name}, {optimizer}")
            loop = _loop(cycle, name, config, inner_of(config, name, optimizer))
            done = sweep(
                f"{name}-{j}",
                loop,
                {
                    ("preference", "alpha"): ([cycle, transitive(config.margins)], [config.alpha, 1.0]),
                    "steps": config.steps,
                },
                rounds=config.rounds,
                measure=[_strength(config), "final_entropy", dyn.diagnostics.CollapseRound(threshold=0.5 * np.log(3))],
                initial=np.log(config.start),
            )
            strength[i, j] = done.cycle_strength.values[0]
            entropy[i, j], halved[i, j] = done.final_entropy.values[1], done.collapse_round.values[1]
            if optimizer == "SGD":
                radius[i] = [_radius(loop, steps) for steps in config.steps]
        orbit = dyn.iterate(
            _loop(cycle, name, config, None), config.rounds, initial=np.log(config.start), measure=_strength(config)
        )
        exact[i] = float(orbit.cycle_strength)
    q = (1 - config.approach) ** np.array(config.steps, dtype=float)
    ds = xr.Dataset(
        {
            "cycle_strength": (("objective", "optimizer", "steps"), strength),
            "exact_cycle_strength": (("objective",), exact),
            "spectral_radius": (("objective", "steps"), radius),
            "predicted_radius": (("steps",), predicted_radius(config, 1 - q)),
            "final_entropy": (("objective", "optimizer", "steps"), entropy),
            "half_entropy_round": (("objective", "optimizer", "steps"), halved),
        },
        {"objective": list(OBJECTIVES), "optimizer": list(OPTIMIZERS), "steps": list(config.steps)},
    )
    units = {
        "cycle_strength": ("1", "variance over the late rounds of the policy's coordinates, 3-cycle"),
        "exact_cycle_strength": ("1", "the same with exact rounds"),
        "spectral_radius": ("1", "of SGD's rounds at the uniform policy"),
        "predicted_radius": ("1", "sqrt((1 - p (1 - alpha))² + p² k²), p = 1 - (1 - approach)^steps"),
        "final_entropy": ("nat", "entropy after the last round, transitive matrix, alpha = 1"),
        "half_entropy_round": ("round", "first round from which the entropy stays below half of log 3; -1: never"),
    }
    return described(ds, "inexact", config, units)


def _strength(config: Config) -> dyn.diagnostics.CycleStrength:
    """Cycle strength over the second half of the rounds, when most transients have decayed."""
    return dyn.diagnostics.CycleStrength(burn_in=config.rounds // 2)


def predicted_radius(config: Config, p: np.ndarray) -> np.ndarray:
    """The radius of a round that covers a fraction p of the way to its optimum.

    Such a round equals an exact one with alpha replaced by alpha + (1-p)(1-alpha) and 1/beta by p/beta.
    """
    k = np.sqrt(1 - config.alpha**2) / config.ratio
    return np.hypot(1 - p * (1 - config.alpha), p * k)


def inner_of(config: Config, objective: str, optimizer: str) -> dyn.Descend:
    """The optimizer, with a learning rate at which one SGD step covers the fraction ``approach`` at the uniform policy.

    The Hessians of the losses there are 4/K C in h (IPO) and beta²/(2K) C (DPO).
    """
    rate = config.approach / (4 / 3 if objective == "IPO" else beta_of(config, objective) ** 2 / 6)
    made = {
        "SGD": optax.sgd(rate),
        "momentum": optax.sgd(rate * (1 - config.momentum), momentum=config.momentum),
        "Adam": optax.adam(config.adam_rate),
    }
    return dyn.Descend(made[optimizer.split(",")[0]], config.steps[0], reset_state=not optimizer.endswith("kept"))


def _loop(P: np.ndarray, objective: str, config: Config, inner: dyn.Descend | None) -> dyn.SelfSampling:
    kind = KIND_OF[objective]
    return dyn.SelfSampling(P, kind(beta=beta_of(config, objective)), config.alpha, config.lam, inner=inner)


def beta_of(config: Config, objective: str) -> float:
    """The beta of all loops of one objective."""
    return config.ratio * onset_beta(objective, config.advantage, config.alpha, config.lam)


def _radius(loop: dyn.SelfSampling, steps: int) -> float:
    uniform = jnp.full(3, -jnp.log(3.0))
    assert isinstance(loop.inner, dyn.Descend)
    inner = dyn.Descend(loop.inner.optimizer, steps)
    there = dyn.SelfSampling(loop.preference, loop.objective, loop.alpha, loop.lam, inner=inner)
    return float(dyn.stability.spectral_radius(there, uniform))
