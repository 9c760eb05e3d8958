"""Misspecified preferences: what every method converges to on cycles, and how that moves with the sampler."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from scipy.optimize import minimize

import dynamics as dyn

from .. import _matrices
from .._framework import Tick, described, require, silent
from .checks import check

__all__ = ["Config", "check", "run"]

# method → whether it needs Bradley–Terry odds rather than win rates.
METHODS = {
    "DPO": "odds",
    "RLHF": "odds",
    "reverse KL": "odds",
    "PMLE": "odds",
    "distillation": "odds",
    "IPO": "rates",
    "reverse KL, win rates": "rates",
}
KINDS = ("cyclic", "Bradley–Terry", "linear")
NUDGE = 0.02  # size of the change of P that leaves all win rates as they are
BATCH = 32  # problems fitted at a time
NEAR = 1e-3  # entries of P closer to 0 or 1 are left out


@dataclasses.dataclass(frozen=True)
class Config:
    """Optima on exact (expected) comparisons of a matrix, over samplers."""

    preferences: tuple[str, ...] = ()
    """Files or folders with preference matrices, of which those with a majority cycle are used; drawn if none are given."""
    responses: int = 3
    """K of drawn matrices."""
    matrices: int = 12
    """Matrices of each kind: with a majority cycle, Bradley–Terry, and 1/2 + x_i - x_j."""
    samplers: int = 5
    """Samplers for each matrix: uniform, and the rest from Dirichlet(1)."""
    gamma: float = 0.5
    beta: float = 1.0
    """KL coefficient of all but PMLE and distillation, which are at beta = 0."""
    path: int = 31
    """Samplers along the path that the figure shows."""
    largest: int = 12
    """Larger matrices of files are left out."""
    seed: int = 0

    def __post_init__(self) -> None:
        require(self, "responses", 3, 40)
        require(self, "matrices", 2, 100_000)
        require(self, "samplers", 2, 1000)
        require(self, "path", 3, 1000)
        for name in ("gamma", "beta"):
            require(self, name, 0, 100, open_low=True)

    @classmethod
    def full(cls) -> Config:
        return cls(matrices=300, samplers=20)


def run(config: Config, tick: Tick = silent) -> xr.Dataset:
    """log pi of every method by matrix and sampler; rewards against win rates; the effect of a change that keeps win rates."""
    rng = np.random.default_rng(config.seed)
    tick(0.0, "matrices")
    cases, notes = _cases(config, rng)
    sizes = np.array([len(P) for _, P in cases])
    M, S = len(cases), config.samplers
    logs = np.full((len(METHODS), M, S, sizes.max()), np.nan)
    slope = np.full((len(METHODS), M, S), np.nan)
    rates = np.full((M, S, sizes.max()), np.nan)
    kept = np.full((len(METHODS) + 1, M), np.nan)
    tilt, along = _path(config.path)
    path = None
    groups = sorted({*sizes.tolist(), 3}, reverse=True)
    for n, K in enumerate(groups):
        tick(0.05 + 0.9 * n / len(groups), f"optima at K = {K}")
        which = np.flatnonzero(sizes == K)
        P = np.array([cases[m][1] for m in which]).reshape(-1, K, K)
        mu = rng.dirichlet(np.ones(K), (len(which), S))
        mu = 0.98 * mu + 0.02 / K  # where a response is hardly sampled, its optimum is a matter of rounding
        mu[:, 0] = 1 / K
        met = mu[..., :, None] * mu[..., None, :]
        wins, nudged = met * P[:, None], met[:, 1] * _changed(P, mu[:, 1])
        one_ref = np.asarray(jax.nn.log_softmax(jnp.asarray(rng.normal(size=K))))
        # One batch for each size, as compiling takes most of the time.
        asked = np.concatenate([wins.reshape(-1, K, K), nudged, *([along] if K == 3 else [])])
        first = len(which) * S
        log_ref = np.broadcast_to(one_ref, (len(asked), K)).copy()
        log_ref[first + len(which) :] = -np.log(K)  # the path has a uniform reference
        found, norm = _optima(_whole(asked), log_ref, config)
        logs[:, which, :, :K] = ordinary = found[:, :first].reshape(-1, len(which), S, K)
        slope[:, which] = norm[:, :first].reshape(-1, len(which), S)
        rates[which, :, :K] = np.einsum("mij,msj->msi", P, mu)
        kept[:-1, which] = _distance(ordinary[:, :, 1], found[:, first : first + len(which)])
        path = found[:, first + len(which) :] if K == 3 else path
        own = [np.array([_exponential(w, one_ref, config.beta) for w in both]) for both in (wins[:, 1], nudged)]
        kept[-1, which] = _distance(*(logs.reshape(-1, K) for logs in own))
    ds = xr.Dataset(
        {
            "log_policy": (("approach", "matrix", "sampler", "response"), logs),
            "slope": (("approach", "matrix", "sampler"), slope),
            "win_rate": (("matrix", "sampler", "response"), rates),
            "nudged": (("objective", "matrix"), kept),
            "path": (("approach", "step", "corner"), path),
            "tilt": (("step",), tilt),
        },
        coords={
            "approach": list(METHODS),
            "objective": [*METHODS, "exponential loss"],
            "kind": ("matrix", [kind for kind, _ in cases]),
        },
    )
    units = {
        "log_policy": ("nat", "log pi of the optimum on exact comparisons"),
        "slope": ("nat", "norm of the gradient of the method's own loss at that optimum"),
        "win_rate": ("1", "(P mu)_i"),
        "nudged": ("1", "total variation by which the optimum moves when P changes but P mu does not"),
        "path": ("nat", "log pi of a 3-cycle while the sampler moves from the third response to the first"),
        "tilt": ("nat", "log mu_1/mu_2 = log mu_2/mu_3 along the path"),
    }
    return described(ds, "misspecified", config, units).assign_attrs(notes="; ".join(notes))


def _cases(config: Config, rng: np.random.Generator) -> tuple[list[tuple[str, np.ndarray]], list[str]]:
    K, count = config.responses, config.matrices
    if config.preferences:
        read, notes = _matrices.read(config.preferences, config.largest)
        cyclic = [c.P for c in read if _matrices.cyclic(c.P) and _inside(c.P).min() > NEAR]
        notes.append(f"{len(cyclic)} of them with a majority cycle and no entry within {NEAR:g} of 0 or 1")
        if len(cyclic) < 2:
            raise ValueError(
                f"--preferences {' '.join(config.preferences)}: fewer than two usable cycles ({notes[-1]})."
            )
        cyclic = cyclic[:count]
    else:
        notes = [f"{count} drawn matrices of each kind"]
        cyclic = [_cyclic(K, rng) for _ in range(count)]
    scores = rng.normal(size=(count, K))
    linear = rng.uniform(-0.23, 0.23, (count, K))
    logistic = lambda x: 1 / (1 + np.exp(-(x[:, None] - x[None, :])))
    return [
        *(("cyclic", P) for P in cyclic),
        *(("Bradley–Terry", logistic(x)) for x in scores),
        *(("linear", 0.5 + x[:, None] - x[None, :]) for x in linear),
    ], notes


def _cyclic(K: int, rng: np.random.Generator) -> np.ndarray:
    while True:
        upper = np.triu(rng.uniform(0.02, 0.98, (K, K)), 1)
        P = upper + np.tril(1 - upper.T, -1) + 0.5 * np.eye(K)
        if _matrices.cyclic(P):
            return P


def _inside(P: np.ndarray) -> np.ndarray:
    return np.minimum(P, 1 - P)


def _whole(wins: np.ndarray) -> np.ndarray:
    """Counts with an empty diagonal and total 1."""
    wins = wins * (1 - np.eye(wins.shape[-1]))
    return wins / wins.sum((-2, -1), keepdims=True)


def _path(steps: int) -> tuple[np.ndarray, np.ndarray]:
    """log mu_1/mu_2 = log mu_2/mu_3 of samplers along a path, and the expected wins of a 3-cycle under them."""
    tilt = np.linspace(-3, 3, steps)
    mu = np.exp(np.stack([tilt, 0 * tilt, -tilt], axis=-1))
    mu /= mu.sum(-1, keepdims=True)
    return tilt, mu[:, :, None] * mu[:, None, :] * np.asarray(dyn.preferences.cyclic(3, 0.45))


def _optima(wins: np.ndarray, log_ref: np.ndarray, config: Config) -> tuple[np.ndarray, np.ndarray]:
    """log pi of every method on expected counts ``(N, K, K)``, ``(method, N, K)``, and the slope of its loss there."""
    gamma, beta = config.gamma, config.beta
    objectives = {
        "DPO": dyn.DPO(beta),
        "RLHF": dyn.RLHF(beta),
        "reverse KL": dyn.ReverseKL(gamma, beta),
        "PMLE": dyn.PMLE(gamma, 0.0),
        "distillation": dyn.PreferenceDistillation(gamma, 0.0),
        "IPO": dyn.IPO(beta),
        "reverse KL, win rates": dyn.ReverseKL(gamma, beta, reward="win-rate"),
    }
    # Batches of one size, the last filled up: larger ones take longer to compile.
    count = len(wins)
    at = np.arange(-(-count // BATCH) * BATCH).reshape(-1, BATCH) % count
    logs, slopes = [], []
    for method in METHODS:
        fits = [dyn.fit(objectives[method], wins[k][:, None], log_reference=log_ref[k][:, None]) for k in at]
        logs.append(np.concatenate([np.asarray(f.log_policy)[:, 0] for f in fits])[:count])
        slopes.append(np.concatenate([np.asarray(f.gradient_norm) for f in fits])[:count])
    return np.stack(logs), np.stack(slopes)


def _exponential(wins: np.ndarray, log_ref: np.ndarray, beta: float) -> np.ndarray:
    """log pi that minimises the mean of exp(-r), a loss for which f'(r) + f'(-r) is not constant."""
    wins = _whole(wins)

    def loss(h: np.ndarray) -> tuple[float, np.ndarray]:
        parts = wins * np.exp(-beta * (h[:, None] - h[None, :]))
        return float(parts.sum()), beta * (parts.sum(0) - parts.sum(1))

    found = minimize(loss, np.zeros(len(wins)), jac=True, method="BFGS", options={"gtol": 1e-10})
    logs = found.x + log_ref
    return logs - np.logaddexp.reduce(logs)


def _changed(P: np.ndarray, mu: np.ndarray) -> np.ndarray:
    """P + B with B skew and B mu = 0, ``(M, K, K)``: another matrix with the same win rates under mu."""
    B = np.zeros_like(P)
    a, b, c = (1 / mu[:, k] for k in range(3))
    # Around a triangle of flows mu_i B_ij mu_j = 1, which balance at every response.
    for i, j, size in ((0, 1, a * b), (1, 2, b * c), (2, 0, c * a)):
        B[:, i, j], B[:, j, i] = size, -size
    room = np.min(np.where(B != 0, _inside(P) / np.where(B != 0, np.abs(B), 1), np.inf), axis=(1, 2))
    scale = np.minimum(0.5 * room, NUDGE / np.abs(B).max((1, 2)))
    return P + scale[:, None, None] * B


def _distance(log_p: np.ndarray, log_q: np.ndarray) -> np.ndarray:
    """Total variation."""
    return 0.5 * np.abs(np.exp(log_p) - np.exp(log_q)).sum(-1)
