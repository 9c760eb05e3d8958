"""Entropy as a remedy: which entropy weights make rounds settle, with win rates and with Bradley–Terry rewards."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax.numpy as jnp
import numpy as np
import xarray as xr

import dynamics as dyn
from dynamics.diagnostics import Verdict
from dynamics.theorems import entropy_remedy, entropy_threshold, spectrum_dpo
from dynamics.theorems.source import normalise

from .._framework import Tick, described, require, silent
from .._sweeps import sweep
from .checks import ALPHAS, L_OF_RUN, LOGITS, REWARDS, SHARE, check

__all__ = ["Config", "check", "run"]

KIND = {"win-rate": "ipo", "bradley-terry": "dpo"}


@dataclasses.dataclass(frozen=True)
class Config:
    """The 3-cycle P = 1/2 ± advantage over beta and gamma."""

    advantage: float = 0.4
    cells: int = 17
    """Values of beta, and of gamma, from .01 to 3."""
    rounds: int = 1500

    def __post_init__(self) -> None:
        require(self, "advantage", 0, 0.5, open_low=True, open_high=True)
        require(self, "cells", 2, 2000)
        require(self, "rounds", 100, 10_000_000)

    @classmethod
    def full(cls) -> Config:
        return cls(cells=81, rounds=6000)


def run(config: Config, tick: Tick = silent) -> xr.Dataset:
    """Radii, proofs and verdicts over (beta, gamma), and the matrices for which no gamma is safe."""
    P = np.asarray(dyn.preferences.cyclic(3, config.advantage))
    axis = np.geomspace(0.01, 3.0, config.cells)
    start = np.log([0.5, 0.3, 0.2])
    shape = (len(REWARDS), len(ALPHAS), config.cells, config.cells)
    radius, proven = np.zeros(shape), np.zeros(shape, bool)
    verdict, amplitude, threshold = np.zeros(shape, int), np.zeros(shape), np.zeros(shape[:3])
    frequency = config.advantage / np.sqrt(3)
    for r, reward in enumerate(REWARDS):
        kappa = {"ipo": 1.0, "dpo": 4.0}[KIND[reward]]
        for a, alpha in enumerate(ALPHAS):
            tick((2 * r + a) / 4, f"{reward}, alpha = {alpha:g}")
            beta, gamma = np.meshgrid(axis, axis, indexing="ij")
            radius[r, a] = np.hypot(alpha * beta, kappa * frequency) / (beta + gamma)
            inputs = {"P": P, "alpha": alpha, "lam": 1.0}
            threshold[r, a] = [float(entropy_threshold(**inputs, beta=b, objective=KIND[reward]).upper) for b in axis]
            if reward == "win-rate":
                applies = lambda b, g, inputs=inputs: entropy_remedy(**inputs, beta=b, gamma=g).applicable
                proven[r, a] = np.vectorize(applies)(beta, gamma)
            loop = dyn.SelfSampling(P, dyn.ReverseKL(1.0, 1.0, reward), alpha, 1.0)
            over: dict[Any, np.ndarray] = {"objective.beta": axis, "objective.gamma": axis}
            options: dict[str, Any] = {"measure": [Verdict(window=512)], "rounds": config.rounds, "initial": start}
            ds = sweep(f"{reward}-{alpha:g}", loop, over, **options)
            verdict[r, a] = ds.verdict.transpose("objective.beta", "objective.gamma").values
            amplitude[r, a] = ds.amplitude.transpose("objective.beta", "objective.gamma").values
    square = [_square(float(L), 1.0)[0] for L in LOGITS]
    run_square, run_verdict = _counter_example(config.rounds)
    dims = ("reward", "alpha", "beta", "gamma")
    ds = xr.Dataset(
        {
            "radius": (dims, radius),
            "proven": (dims, proven),
            "verdict": (dims, verdict),
            "amplitude": (dims, amplitude),
            "threshold": (dims[:3], threshold),
            "square": (("L",), square),
            "run_square": ((), run_square),
            "run_verdict": ((), run_verdict),
        },
        {"reward": list(REWARDS), "alpha": list(ALPHAS), "beta": axis, "gamma": axis, "L": list(LOGITS)},
    )
    units = {
        "beta": ("1", "KL coefficient"),
        "gamma": ("1", "weight of the entropy"),
        "radius": ("1", "spectral radius at the uniform policy, statement 7.16"),
        "proven": ("1", "whether entropy_remedy proves convergence from every start; only for win rates"),
        "amplitude": ("1", "half the largest peak-to-peak of a probability over the last 512 rounds"),
        "threshold": ("1", "gamma at which the radius is 1, by theorem entropy_threshold"),
        "square": ("1", "squared modulus of the eigenvalues of f's derivative, lam = 1, as P tends to its limit"),
        "run_square": ("1", f"squared spectral radius at alpha = .5, beta = gamma = 1, L = {L_OF_RUN:g}"),
        "run_verdict": ("1", "of rounds from beside that fixed point"),
    }
    return described(ds, "entropy", config, units)


def _square(L: float, share: float) -> tuple[float, np.ndarray, np.ndarray, np.ndarray]:
    """|eigenvalue|² at f = (2L, 0, L), pi ∝ (1, 1, e^-2L), and P, f, log pi: P - S is a share of the largest multiple of the
    cycle over pi_i pi_j that keeps P within [0, 1].
    """
    f = np.array([2 * L, 0.0, L])
    S = 1 / (1 + np.exp(f[None] - f[:, None]))
    log_pi = normalise(np.array([0.0, 0.0, -2 * L]))
    both = np.exp(log_pi[:, None] + log_pi[None])
    cycle = np.array([[0.0, 1.0, -1.0], [-1.0, 0.0, 1.0], [1.0, -1.0, 0.0]])
    room = np.where(cycle > 0, (1 - S) * both, np.where(cycle < 0, S * both, np.inf)).min()
    P = S + share * room * cycle / both
    bound = spectrum_dpo(P=P, alpha=0.0, beta=1.0, log_pi=log_pi, reward=f - f.mean())
    return float(np.max(bound.upper)) ** 2, P, f - f.mean(), log_pi


def _counter_example(rounds: int) -> tuple[float, int]:
    """The squared radius of rounds with entropy at a fixed point that a reference is chosen for, and the verdict beside it."""
    alpha, beta, gamma = 0.5, 1.0, 1.0
    _, P, f, log_pi = _square(L_OF_RUN, SHARE)
    # (beta + gamma) z = alpha beta z + (1-alpha) beta log ref + f at z = log pi.
    log_ref = normalise(((beta + gamma - alpha * beta) * log_pi - f) / ((1 - alpha) * beta))
    loop = dyn.SelfSampling(P, dyn.ReverseKL(gamma, beta, "bradley-terry"), alpha, 1.0, log_ref)
    radius = float(dyn.stability.spectral_radius(loop, jnp.asarray(log_pi)))
    begun = normalise(log_pi + 1e-3 * np.array([1.0, -1.0, 0.5]))
    sol = dyn.iterate(loop, max(rounds, 600), initial=begun)
    return radius**2, int(dyn.diagnostics.verdict(sol.log_policy)["verdict"])
