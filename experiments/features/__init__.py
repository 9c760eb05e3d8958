"""Features: where rounds of policies that are log-linear in d features lose stability, compared with tabular policies."""

from __future__ import annotations

import dataclasses
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jaxtyping import Array, Float

import dynamics as dyn

from .._classes import OUTCOMES, Loops, follow, uniform_betas
from .._framework import (
    KIND_OF,
    OBJECTIVES,
    Tick,
    described,
    require,
    silent,
)
from .checks import check

__all__ = ["Config", "check", "run"]

FAMILIES = ("cyclic", "balanced")


@dataclasses.dataclass(frozen=True)
class Config:
    """Random matrices with a majority cycle and random balanced ones, each with one set of nested Gaussian features."""

    size: int = 6
    """K; ranks d run from 1 to K-1, and d = K-1 is tabular."""
    matrices: int = 60
    """Matrices of each family."""
    alpha: float = 0.5
    lam: float = 1.0
    decades: float = 4.0
    """Decades of beta over which a fixed point is followed."""
    drawn: int = 5
    """Index of the cyclic matrix for which a map over alpha is computed."""
    alphas: int = 40
    """Values of alpha of that map."""
    checked: tuple[int, ...] = (2,)
    """Ranks for which the library computes the spectrum as well."""
    seed: int = 0

    def __post_init__(self) -> None:
        require(self, "size", 3, 64)
        require(self, "matrices", 1, 100_000)
        require(self, "alpha", 0, 1, open_high=True)
        require(self, "lam", 0, 1, open_low=True)
        require(self, "decades", 0, 12, open_low=True)
        require(self, "drawn", 0, self.matrices - 1)
        require(self, "alphas", 2, 10_000)
        require(self, "checked", 1, self.size - 1)

    @classmethod
    def full(cls) -> Config:
        return cls(matrices=1000, alphas=200, checked=(1, 2, 3, 4, 5))


def run(config: Config, tick: Tick = silent) -> xr.Dataset:
    """Critical betas by family, objective, matrix and rank, and for one matrix over alpha; the library's radius there."""
    P, bases = _draw(config)
    ranks = np.arange(1, config.size)
    shape = (len(FAMILIES), len(OBJECTIVES), config.matrices, len(ranks))
    beta, radius = np.full(shape, np.nan), np.full(shape, np.nan)
    outcome, alphas = np.zeros(shape, dtype=int), np.linspace(0, 1, config.alphas, endpoint=False)
    curves, kinds = np.full((len(ranks), config.alphas), np.nan), np.zeros((len(ranks), config.alphas), dtype=int)
    for r, d in enumerate(ranks):
        tick(0.7 * r / len(ranks), f"{d} of {config.size - 1} features")
        loops = _batch(P, bases[..., :d], config, alphas)
        found = follow(loops, config.decades)
        beta[..., r], outcome[..., r] = (x[: -config.alphas].reshape(shape[:-1]) for x in found[:2])
        curves[r], kinds[r] = found[0][-config.alphas :], found[1][-config.alphas :]
        if d in config.checked:
            tick(0.7 * (r + 0.5) / len(ranks), f"the library's spectra, {d} of {config.size - 1} features")
            log_policy = found[2][: -config.alphas].reshape(*shape[:-1], -1)
            radius[..., r] = _library_radius(P, bases[..., :d], beta[..., r], log_policy, config)
    axes = ("family", "objective", "matrix", "rank")
    ds = xr.Dataset(
        {
            "critical_beta": (axes, beta),
            "outcome": (axes, outcome),
            "library_radius": (axes, radius),
            "uniform_beta": (axes[1:], uniform_betas(P[1], bases[1], config.alpha, config.lam)),
            "map_beta": (("rank", "alpha"), curves),
            "map_outcome": (("rank", "alpha"), kinds),
            "preference": (("family", "matrix", "response", "opponent"), P),
        },
        {"family": list(FAMILIES), "objective": list(OBJECTIVES), "rank": ranks, "alpha": alphas},
    )
    units = {
        "critical_beta": (
            "1",
            "largest beta at which the followed fixed point stops attracting; 0 where it never does",
        ),
        "library_radius": ("1", "spectral radius there by dyn.stability, of the ranks that were checked"),
        "uniform_beta": ("1", "critical beta of balanced matrices as the spectrum at uniform gives it"),
        "map_beta": ("1", "critical beta of IPO on one matrix with a majority cycle, over alpha"),
    }
    for name in ("outcome", "map_outcome"):
        ds[name].attrs = {"flag_values": list(range(len(OUTCOMES))), "flag_meanings": list(OUTCOMES)}
    return described(ds, "features", config, units)


def _draw(config: Config) -> tuple[Float[np.ndarray, "2 n K K"], Float[np.ndarray, "2 n K d"]]:
    """Matrices with uniform entries and a majority cycle, balanced ones (every row of P sums to K/2), and nested bases."""
    rng = np.random.default_rng(config.seed)
    n, K = config.matrices, config.size
    cyclic = np.array([_cyclic(K, rng) for _ in range(n)])
    A = np.array([_cyclic(K, rng) for _ in range(n)]) - 0.5
    A = A - A.mean(axis=1, keepdims=True) - A.mean(axis=2, keepdims=True) + A.mean(axis=(1, 2), keepdims=True)
    A *= np.minimum(1.0, 0.49 / np.abs(A).max(axis=(1, 2), keepdims=True))
    phi = rng.normal(size=(2, n, K, K - 1))
    return np.stack([cyclic, 0.5 + A]), np.linalg.qr(phi - phi.mean(axis=2, keepdims=True))[0]


def _cyclic(K: int, rng: np.random.Generator) -> np.ndarray:
    while True:
        P = np.asarray(dyn.preferences.random(K, key=jax.random.key(int(rng.integers(2**31)))))
        if dyn.preferences.classify(P).has_cycle:
            return P


def _batch(P: np.ndarray, bases: np.ndarray, config: Config, alphas: np.ndarray) -> Loops:
    """Loops for every family, objective and matrix, then for the matrix ``drawn`` under IPO at every alpha."""
    each = lambda x: np.repeat(x[:, None], len(OBJECTIVES), axis=1).reshape(-1, *x.shape[2:])
    again = lambda x: np.repeat(x[0, config.drawn][None], len(alphas), axis=0)
    count = 2 * len(OBJECTIVES) * config.matrices
    logistic = np.tile(np.repeat([name == "DPO" for name in OBJECTIVES], config.matrices), 2)
    return Loops(
        np.concatenate([each(P), again(P)]),
        np.concatenate([each(bases), again(bases)]),
        np.append(logistic, np.zeros(len(alphas), dtype=bool)),
        np.append(np.full(count, config.alpha), alphas),
        config.lam,
    )


def _library_radius(
    P: np.ndarray, bases: np.ndarray, beta: np.ndarray, log_policy: np.ndarray, config: Config
) -> np.ndarray:
    """The spectral radius of the library's rounds at the policies found, or NaN where a round moves the policy."""
    radius = np.full(beta.shape, np.nan)
    for o, name in enumerate(OBJECTIVES):
        at = np.where(beta[:, o] > 0, beta[:, o], 1.0)
        jacobian, moved = _rounds(name, P, bases, at, log_policy[:, o], config.alpha, config.lam)
        fixed = np.asarray(moved) <= 1e-7 * (1 + np.abs(log_policy[:, o]).max(axis=-1))
        rho = np.abs(np.linalg.eigvals(np.asarray(jacobian))).max(axis=-1)
        radius[:, o] = np.where(fixed & (beta[:, o] > 0), rho, np.nan)
    return radius


@eqx.filter_jit
def _rounds(name: str, P: Any, bases: Any, beta: Any, log_policy: Any, alpha: float, lam: float) -> tuple[Array, Array]:
    """The Jacobian of a round within the class, and how far the round moves the policy."""

    def one(P: Array, basis: Array, beta: Array, log_policy: Array) -> tuple[Array, Array]:
        objective = KIND_OF[name](beta=beta)
        loop = dyn.SelfSampling(P, objective, alpha, lam, policy=dyn.LogLinear(basis))

        def move(y: Array) -> tuple[Array, Array]:
            after = basis.T @ loop(basis @ y)
            return after, after - y

        jacobian, moved = jax.jacfwd(move, has_aux=True)(basis.T @ log_policy)
        return jacobian, jnp.max(jnp.abs(moved))

    return jax.vmap(jax.vmap(one))(P, bases, beta, log_policy)
