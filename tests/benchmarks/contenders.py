"""The same sweep five ways: this library, C by hand, NumPy, and the natural JAX; K = 4, one P, alpha × lam, a common start."""

from __future__ import annotations

import ctypes
import shutil
import subprocess
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

import dynamics as dyn

HERE = Path(__file__).resolve().parent
BETA = 0.1
FLAGS = ("-O3", "-march=native")
START = np.array([0.3, 0.0, -0.1, 0.05])


def matrix(K: int = 4, seed: int = 0) -> np.ndarray:
    A = np.triu(np.random.default_rng(seed).uniform(-0.4, 0.4, (K, K)), 1)
    return 0.5 + A - A.T


def grid(side: int) -> tuple[np.ndarray, np.ndarray]:
    """alpha and lam of every run."""
    axis = np.linspace(0, 1, side)
    alpha, lam = np.meshgrid(axis, axis, indexing="ij")
    return alpha.ravel(), lam.ravel()


def ours(
    side: int, rounds: int, objective: str = "ipo", K: int = 4, samples: int | None = None, cores: int | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """``dyn.sweep``, as anybody would call it."""
    loss = dyn.IPO(BETA) if objective == "ipo" else dyn.DPO(4 * BETA)
    loop = dyn.SelfSampling(matrix(K), loss, 0.5, 1.0, samples=samples)
    axis = np.linspace(0, 1, side)
    ds = dyn.sweep(
        loop,
        {"alpha": axis, "lam": axis},
        rounds=rounds,
        measure=["cycle_strength", "final_entropy"],
        initial=jax.nn.log_softmax(jnp.asarray(START) if K == 4 else jnp.linspace(0.3, -0.3, K)),
        key=None if samples is None else jax.random.key(0),
        cores=cores,
    )
    return ds["cycle_strength"].values.ravel(), ds["final_entropy"].values.ravel()


def compiled_c(folder: Path) -> ctypes.CDLL | None:
    """The kernels, or None where there is no compiler."""
    compiler = shutil.which("g++") or shutil.which("clang++")
    if compiler is None:
        return None
    library = folder / "kernel.so"
    flags = [*FLAGS, "-fopenmp", "-fno-trapping-math", "-fno-math-errno", "-shared", "-fPIC"]
    subprocess.run([compiler, *flags, str(HERE / "kernel.cc"), "-o", str(library), "-lm"], check=True)
    return ctypes.CDLL(str(library))


def in_c(library: ctypes.CDLL, side: int, rounds: int, objective: str = "ipo") -> tuple[np.ndarray, np.ndarray]:
    alpha, lam = grid(side)
    n, cycle, entropy = len(alpha), np.empty(len(alpha)), np.empty(len(alpha))
    beta = np.full(n, BETA if objective == "ipo" else 4 * BETA)
    arrays = (matrix(), START, alpha, lam, beta, cycle, entropy)
    pointers = [a.ctypes.data_as(ctypes.c_void_p) for a in arrays]
    kernel = library.ipo if objective == "ipo" else library.dpo
    kernel(ctypes.c_long(n), ctypes.c_long(rounds), *pointers)
    return cycle, entropy


def _softmax(z: np.ndarray) -> np.ndarray:
    mass = np.exp(z - z.max(axis=0))
    return mass / mass.sum(axis=0)


def _numpy_loop(side: int, rounds: int, reward) -> tuple[np.ndarray, np.ndarray]:
    alpha, lam = grid(side)
    z = np.repeat((START - START.mean())[:, None], len(alpha), axis=1)
    p = _softmax(z)
    mean, variance = p.copy(), np.zeros_like(p)
    for t in range(1, rounds + 1):
        z = alpha * z + reward(lam * p + (1 - lam) / 4)
        z -= z.mean(axis=0)
        p = _softmax(z)
        off = p - mean
        mean += off / (t + 1)
        variance = (1 - 1 / (t + 1)) * (variance + off * off / (t + 1))
    return variance.mean(axis=0), -(p * np.log(p)).sum(axis=0)


def in_numpy(side: int, rounds: int) -> tuple[np.ndarray, np.ndarray]:
    P = matrix()
    return _numpy_loop(side, rounds, lambda mu: P @ mu / BETA)


def in_numpy_dpo(side: int, rounds: int) -> tuple[np.ndarray, np.ndarray]:
    """Newton on Σ_j mu_j sigma(f_i - f_j) = (P mu)_i for all runs at once, from the last round's f."""
    P, f = matrix(), np.zeros((4, side * side))

    def reward(mu: np.ndarray) -> np.ndarray:
        nonlocal f
        want = P @ mu
        for _ in range(50):
            s = 1 / (1 + np.exp(f[None] - f[:, None]))
            left = want - (s * mu[None]).sum(axis=1)
            if np.abs(left).max() < 1e-13:
                break
            coupling = s * (1 - s) * mu[None]
            slope = -coupling + 1.0
            slope[np.arange(4), np.arange(4)] += coupling.sum(axis=1)
            f = f + np.linalg.solve(slope.transpose(2, 0, 1), left.T[..., None])[..., 0].T
            f -= f.mean(axis=0)
        return f / (4 * BETA)

    return _numpy_loop(side, rounds, reward)


def in_numpy_samples(side: int, rounds: int, samples: int = 100) -> tuple[np.ndarray, np.ndarray]:
    """NumPy's multinomial and batched solve for all runs at once, the f of least norm."""
    P, rng, off, own = matrix(), np.random.default_rng(0), ~np.eye(4, dtype=bool), np.eye(4, dtype=bool)

    def reward(mu: np.ndarray) -> np.ndarray:
        rates = (2 * mu[:, None] * mu[None] * P[:, :, None])[off].T
        chances = np.concatenate([rates, 1 - rates.sum(axis=1, keepdims=True)], axis=1)
        wins = np.zeros((len(rates), 4, 4))
        wins[:, off] = rng.multinomial(samples, chances)[:, :-1]
        met = wins + wins.transpose(0, 2, 1)
        linked = ((met > 0) | own).astype(float)
        for _ in range(2):  # paths of up to 4 edges
            linked = (linked @ linked > 0).astype(float)
        laplacian = -met / samples
        laplacian[:, own] += met.sum(axis=2) / samples
        pull = (wins - wins.transpose(0, 2, 1)).sum(axis=2) / (2 * samples)
        return np.linalg.solve(laplacian + linked, pull[..., None])[..., 0].T / BETA

    with np.errstate(divide="ignore", invalid="ignore"):  # log 0 of policies that have all but vanished
        return _numpy_loop(side, rounds, reward)


@jax.jit
def _natural(alpha, lam, P, start, steps):
    def one(alpha, lam):
        def step(carry, t):
            log_pi, mean, variance = carry
            mu = lam * jnp.exp(log_pi) + (1 - lam) / 4
            log_pi = jax.nn.log_softmax(alpha * log_pi + P @ mu / BETA)
            pi = jnp.exp(log_pi)
            off = pi - mean
            mean = mean + off / (t + 1)
            return (log_pi, mean, (1 - 1 / (t + 1)) * (variance + off * off / (t + 1))), None

        pi = jnp.exp(start)
        (log_pi, _, variance), _ = jax.lax.scan(step, (start, pi, jnp.zeros_like(pi)), steps)
        return variance.mean(), -(jnp.exp(log_pi) * log_pi).sum()

    return jax.vmap(one)(alpha, lam)


def natural_jax(side: int, rounds: int) -> tuple[np.ndarray, np.ndarray]:
    """``vmap`` of ``scan`` of the round as one writes it down."""
    start = jax.nn.log_softmax(jnp.asarray(START))
    out = _natural(*map(jnp.asarray, grid(side)), jnp.asarray(matrix()), start, jnp.arange(1.0, rounds + 1))
    return np.asarray(out[0]), np.asarray(out[1])
