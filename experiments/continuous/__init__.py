"""Continuous self-sampling, where the sampler follows the policy, has the fixed points of rounds but another stability."""

from __future__ import annotations

import dataclasses
from typing import Any

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jaxtyping import Array, Float

import dynamics as dyn

from .._flow_points import differences, fixed_points, flow_at, reduced
from .._framework import (
    KAPPA,
    KIND_OF,
    OBJECTIVES,
    Tick,
    described,
    require,
    silent,
)
from .checks import check

__all__ = ["Config", "check", "run"]

RELAXATION = (
    4 / 3
)  # rate at which IPO's on-policy flow approaches uniform at K = 3 without preferences; the figure's unit of time


@dataclasses.dataclass(frozen=True)
class Config:
    """Random matrices in which 0 beats 1 beats 2 beats 0, at several beta, alpha = 0 (a fixed uniform reference)."""

    sizes: tuple[int, ...] = (3, 5)
    matrices: int = 90
    """Random matrices of each size."""
    betas: tuple[float, ...] = (0.02, 0.03, 0.045, 0.07, 0.1, 0.15, 0.22, 0.32)
    """beta of IPO; DPO runs at 4 beta, where its rounds agree with IPO's to first order around the uniform policy."""
    lams: tuple[float, ...] = (1.0, 0.5)
    """Shares of the policy in the sampler; 1 is on policy. The figure shows the first."""
    advantage: float = 0.4
    """a in P = 1/2 ± a of the 3-cycle whose orbits the figure shows."""
    drawn_beta: float = 0.11
    start: tuple[float, float, float] = (0.7, 0.2, 0.1)
    rounds: int = 16
    """Rounds, and units of the flow's time, that the figure shows."""
    seed: int = 0

    def __post_init__(self) -> None:
        require(self, "sizes", 3, 12)
        require(self, "matrices", 1, 100_000)
        require(self, "betas", 0, np.inf, open_low=True)
        require(self, "lams", 0, 1, open_low=True)
        require(self, "advantage", 0, 0.5, open_low=True, open_high=True)
        require(self, "drawn_beta", 0, np.inf, open_low=True)
        require(self, "start", 0, 1, open_low=True, open_high=True)
        require(self, "rounds", 10, 20)
        if list(self.betas) != sorted(set(self.betas)):
            raise ValueError(f"betas = {self.betas} do not ascend; pass each once, in ascending order.")

    @classmethod
    def full(cls) -> Config:
        return cls(sizes=(3, 4, 5, 6, 8), matrices=600, lams=(1.0, 0.9, 0.5, 0.1))


def run(config: Config, tick: Tick = silent) -> xr.Dataset:
    """The flow's force and both spectra at the fixed points of rounds, and orbits on a 3-cycle."""
    rng = np.random.default_rng(config.seed)
    parts = []
    for n, K in enumerate(config.sizes):
        P = _cyclic(K, config.matrices, rng)
        rows = []
        for o, name in enumerate(OBJECTIVES):
            tick(0.8 * (n + o / 2) / len(config.sizes), f"{name}, K = {K}")
            rows.append(_compare(P, name, config))
        parts.append({key: np.stack([row[key] for row in rows]) for key in rows[0]})
    tick(0.8, "orbits of the 3-cycle")
    axes = ("objective", "lam", "beta", "matrix")
    found = {key: (axes, np.concatenate([part[key] for part in parts], axis=-1)) for key in parts[0]}
    orbits, flows, predicted = _orbits(config)
    ds = xr.Dataset(
        {
            **found,
            "size": (("matrix",), np.repeat(config.sizes, config.matrices)),
            "rounds_log_policy": (("round", "response"), orbits),
            "flow_log_policy": (("time", "response"), flows),
            "decay": ((), predicted),
        },
        {
            "objective": list(OBJECTIVES),
            "lam": list(config.lams),
            "beta": list(config.betas),
            "round": np.arange(config.rounds + 1),
            "time": _times(config),
        },
    )
    units = {
        "moved": ("1", "largest change of a logit by a round at the fixed point, over 1 + the largest logit"),
        "force": ("1", "largest net force of the flow on a logit there, over the forces that cancel in it"),
        "formula": (
            "1",
            "largest error of the flow's Jacobian by its formula on policy, over its entry on the diagonal",
        ),
        "spectral_radius": ("1", "spectral radius of a round there"),
        "damping": ("1", "smallest -Re/|eigenvalue| of the flow's Jacobian there; positive iff all decay"),
        "rounds_log_policy": ("nat", "log pi_t of IPO's rounds on the 3-cycle"),
        "flow_log_policy": ("nat", "log pi of IPO's flow on the 3-cycle"),
        "decay": ("1", "rate at which the flow nears uniform, over that without preferences"),
        "time": ("1", "flow time times the rate at which the flow would near uniform without preferences"),
    }
    return described(ds, "continuous", config, units)


def _cyclic(K: int, count: int, rng: np.random.Generator) -> Float[np.ndarray, "n K K"]:
    A = np.triu(rng.uniform(-0.4, 0.4, (count, K, K)), 1)
    A[:, 0, 1], A[:, 1, 2], A[:, 0, 2] = (s * rng.uniform(0.1, 0.45, count) for s in (1, 1, -1))
    return 0.5 + A - np.swapaxes(A, 1, 2)


def _compare(P: Float[np.ndarray, "n K K"], name: str, config: Config) -> dict[str, np.ndarray]:
    """Measures as ``(lam, beta, matrix)``: the library's rounds and flow, at fixed points that were found without them."""
    z = np.stack([fixed_points(P, name, lam, config.betas) for lam in config.lams])
    betas = KAPPA[name] * np.array(config.betas)
    moved, step, force, slope = (np.asarray(x) for x in _library(name, P, np.array(config.lams), betas, z))
    basis = np.asarray(dyn.SelfSampling(P[0], KIND_OF[name](beta=1.0), 0.0, 1.0).basis())
    on_policy = np.array(config.lams)[:, None, None] == 1.0
    gross, jacobian = flow_at(P, name, config.lams, config.betas, z)
    diagonal = np.abs(np.einsum("...ii->...i", slope))
    values = np.linalg.eigvals(reduced(slope, diagonal))
    return {
        "moved": np.abs(moved).max(axis=-1) / (1 + np.abs(z).max(axis=-1)),
        "force": (np.abs(force) / gross).max(axis=-1),
        "formula": np.where(on_policy, (np.abs(slope - jacobian) / diagonal[..., None]).max(axis=(-2, -1)), np.nan),
        "spectral_radius": np.abs(np.linalg.eigvals(basis.T @ step @ basis)).max(axis=-1),
        "damping": (-values.real / np.abs(values)).min(axis=-1),
    }


@eqx.filter_jit
def _library(name: str, P: Any, lams: Any, betas: Any, z: Any) -> tuple[Array, Array, Array, Array]:
    """How far a round moves the logits, the Jacobian of a round, the velocity of the flow, and the Jacobian of the flow."""
    uniform = jnp.full(z.shape[-1], -jnp.log(z.shape[-1]))

    def one(lam: Array, beta: Array, P: Array, z: Array) -> tuple[Array, Array, Array, Array]:
        objective = KIND_OF[name](beta=beta)
        loop = dyn.SelfSampling(P, objective, 0.0, lam)
        flow = dyn.PreferenceFlow(dyn.Tabular(z.shape[0]), P, objective, dyn.samplers.Mixture(lam, uniform))

        def move(z: Array) -> tuple[Array, Array]:
            after = loop(z)
            return after, after - z

        step, moved = jax.jacfwd(move, has_aux=True)(z)
        velocity = lambda z: flow.velocity(dyn.flows.PreferenceState(z)).parameters
        return moved, step, *differences(velocity, z)

    over_matrices = jax.vmap(one, (None, None, 0, 0))
    return jax.vmap(jax.vmap(over_matrices, (None, 0, None, 0)), (0, None, None, 0))(lams, betas, P, z)


def _times(config: Config) -> np.ndarray:
    return np.linspace(0.0, config.rounds, 20 * config.rounds + 1)


def _orbits(config: Config) -> tuple[np.ndarray, np.ndarray, float]:
    """IPO's on-policy rounds and flow on the 3-cycle from one start, and the predicted rate of the flow near uniform."""
    P, objective = dyn.preferences.cyclic(3, advantage=config.advantage), dyn.IPO(beta=config.drawn_beta)
    start = np.log(np.array(config.start) / sum(config.start))
    loop = dyn.SelfSampling(P, objective, 0.0, 1.0)
    flow = dyn.PreferenceFlow(dyn.Tabular(3), P, objective, dyn.samplers.OnPolicy())
    rounds = dyn.iterate(loop, config.rounds, initial=start)
    ts = _times(config) / RELAXATION
    followed = dyn.gradient_flow(
        flow, ts[-1], initial=start - start.mean(), saveat=diffrax.SaveAt(ts=jnp.asarray(ts)), rtol=1e-10, atol=1e-12
    )
    _, slope = differences(lambda z: flow.velocity(dyn.flows.PreferenceState(z)).parameters, jnp.zeros(3))
    rate = -float(np.linalg.eigvals(loop.basis().T @ slope @ loop.basis()).real.max())
    return np.asarray(rounds.log_policy), np.asarray(followed.log_policy), rate / RELAXATION
