"""Evolution: policies spiral in or oscillate on a preference cycle, and collapse on a transitive matrix at alpha = 1."""

from __future__ import annotations

import dataclasses

import jax.numpy as jnp
import numpy as np
import xarray as xr

import dynamics as dyn

from .._framework import KAPPA, KIND_OF, OBJECTIVES, Tick, described, require, require_policy, silent
from .checks import CASES, check

__all__ = ["Config", "check", "run"]


@dataclasses.dataclass(frozen=True)
class Config:
    """Orbits from one non-uniform start: three on a 3-cycle, one on a strictly strongly transitive matrix."""

    advantage: float = 0.4
    """a in P = 1/2 ± a of the 3-cycle."""
    alpha: float = 0.5
    """alpha of the baseline."""
    larger_alpha: float = 0.8
    lam: float = 1.0
    beta: float = 0.3
    """beta of IPO; DPO runs at 4 beta, where its rounds agree with IPO's to first order around the uniform policy."""
    smaller_beta: float = 0.2
    margins: tuple[float, float, float] = (0.1, 0.3, 0.15)
    """P_01 - 1/2, P_02 - 1/2 and P_12 - 1/2 of the transitive matrix."""
    collapse_beta: float = 1.0
    start: tuple[float, float, float] = (0.7, 0.2, 0.1)
    rounds: int = 100

    def __post_init__(self) -> None:
        require(self, "advantage", 0, 0.5, open_low=True, open_high=True)
        for name in ("alpha", "larger_alpha"):
            require(self, name, 0, 1, open_high=True)
        require(self, "lam", 0, 1)
        for name in ("beta", "smaller_beta", "collapse_beta"):
            require(self, name, 0, np.inf, open_low=True)
        require(self, "margins", 0, 0.5, open_low=True, open_high=True)
        require(self, "rounds", 20, 100_000)
        require_policy(self, "start")

    @classmethod
    def full(cls) -> Config:
        return cls(rounds=1000)


def run(config: Config, tick: Tick = silent) -> xr.Dataset:
    """Log-policies and entropies by case, objective and round, with the predictions of the theory."""
    cycle = dyn.preferences.cyclic(3, advantage=config.advantage)
    matrices = [cycle, cycle, cycle, transitive(config.margins)]
    alphas = [config.alpha, config.larger_alpha, config.alpha, 1.0]
    betas = [config.beta, config.beta, config.smaller_beta, config.collapse_beta]
    start = np.log(config.start)
    rows, radii = [], []
    for case, (P, alpha, beta) in enumerate(zip(matrices, alphas, betas, strict=True)):
        tick(case / len(CASES), CASES[case])
        loops = [_loop(P, name, alpha, config.lam, beta) for name in OBJECTIVES]
        rows.append([np.asarray(dyn.iterate(loop, config.rounds, initial=start).log_policy) for loop in loops])
        uniform = jnp.full(3, -jnp.log(3.0))
        # At alpha = 1 the uniform policy is not a fixed point of the transitive matrix.
        radii.append([float(dyn.stability.spectral_radius(p, uniform)) if alpha < 1 else np.nan for p in loops])
    lower, upper = _bounds(matrices[-1], config, start)
    log_policy = np.array(rows)
    entropy = -np.sum(np.exp(log_policy) * log_policy, axis=-1)
    scale = np.array([KAPPA[name] for name in OBJECTIVES])
    ds = xr.Dataset(
        {
            "log_policy": (("case", "objective", "round", "response"), log_policy),
            "entropy": (("case", "objective", "round"), entropy),
            "entropy_lower": (("objective", "round"), lower),
            "entropy_upper": (("objective", "round"), upper),
            "spectral_radius": (("case", "objective"), np.array(radii)),
            "alpha": (("case",), np.array(alphas)),
            "beta": (("case", "objective"), np.outer(betas, scale)),
            "preference": (("case", "response", "opponent"), np.array(matrices)),
        },
        {"case": list(CASES), "objective": list(OBJECTIVES), "round": np.arange(config.rounds + 1)},
    )
    units = {
        "log_policy": ("nat", "log pi_t"),
        "entropy": ("nat", "entropy of pi_t"),
        "entropy_lower": ("nat", "lower bound on the entropy, statement 2.4"),
        "entropy_upper": ("nat", "upper bound on the entropy, statement 2.4"),
        "spectral_radius": ("1", "spectral radius of a round at the uniform policy"),
    }
    return described(ds, "evolution", config, units)


def transitive(margins: tuple[float, float, float]) -> np.ndarray:
    """P of three responses from the entries above its diagonal, each minus 1/2."""
    m01, m02, m12 = margins
    A = np.array([[0, m01, m02], [0, 0, m12], [0, 0, 0]])
    return 0.5 + A - A.T


def _loop(P: np.ndarray, objective: str, alpha: float, lam: float, beta: float) -> dyn.SelfSampling:
    kind = KIND_OF[objective]
    return dyn.SelfSampling(P, kind(beta=KAPPA[objective] * beta), alpha, lam)


def _bounds(P: np.ndarray, config: Config, start: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    uniform = np.full(3, -np.log(3.0))
    inputs = {"P": P, "alpha": 1.0, "lam": config.lam, "top": 0}
    logs = {"log_reference": uniform, "log_offline": uniform, "log_initial": start - np.logaddexp.reduce(start)}
    found = [
        [
            dyn.theorems.collapse_entropy(
                **inputs, **logs, beta=KAPPA[name] * config.collapse_beta, rounds=t, objective=name.lower()
            )
            for t in range(config.rounds + 1)
        ]
        for name in OBJECTIVES
    ]
    values = np.array([[(float(b.lower), float(b.upper)) for b in row] for row in found])
    return values[..., 0], values[..., 1]
