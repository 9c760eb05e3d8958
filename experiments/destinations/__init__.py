"""What each method converges to: the regularised equilibrium, a maximal lottery, or the order by average win rate."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr

import dynamics as dyn
from dynamics import oracle
from dynamics.methods import BY_NAME, METHODS, Method

from .. import _matrices
from .._framework import KIND_OF, Tick, described, require, silent
from .checks import MAGNETS, MIXTURE, OFFLINE, STILL, check

__all__ = ["Config", "check", "run"]

TIED = 1e-9  # scores or log-probabilities closer than that count as equal
CORNER = 1e-6  # of mass and win rate
NEAR = 1e-3  # entries of P closer to 0 or 1 are left out: DPO has no optimum there


@dataclasses.dataclass(frozen=True)
class Config:
    """Every method of ``dyn.methods`` at its usual setting, and one fit to pairs from the uniform policy."""

    preferences: tuple[str, ...] = ()
    """Files or folders with preference matrices; drawn if none are given."""
    matrices: int = 6
    """Drawn matrices of each family: random, cyclic, two kinds of transitive ones, and estimates from counts."""
    responses: int = 4
    """K of drawn matrices."""
    temperature: float = 0.1
    """tau of games, gamma of reverse KL and beta of loops."""
    rounds: int = 2000
    largest: int = 8
    """Larger matrices of files are left out."""
    seed: int = 0

    def __post_init__(self) -> None:
        require(self, "matrices", 1, 100_000)
        require(self, "responses", 3, 12)
        require(self, "temperature", 0, 0.9, open_low=True)
        require(self, "rounds", 200, 10_000_000)
        require(self, "largest", 3, 40)

    @classmethod
    def full(cls) -> Config:
        return cls(matrices=60, rounds=10_000)


def run(config: Config, tick: Tick = silent) -> xr.Dataset:
    """The last policy of every method on every matrix (of a run that keeps moving the average one), and how far it is."""
    cases, notes = _cases(config)
    names = [*OFFLINE, *(method.name for method in METHODS)]
    tau, shape = config.temperature, (len(names), len(cases))
    moves, order, to_nash, to_lottery, gap = (np.full(shape, np.nan) for _ in range(5))
    mixture = np.full(len(cases), np.nan)
    tick(0.0, "equilibria")
    lotteries = [dyn.games.nash(case.P) for case in cases]
    pulled = [np.exp(dyn.games.nash(case.P, tau).log_policy) for case in cases]
    mixed = [np.exp(dyn.games.nash(case.P, tau / (1 - tau)).log_policy) for case in cases]  # Nash-MD's step is 1
    sizes = np.array([len(case.P) for case in cases])
    for n, name in enumerate(names):
        for K in sorted({*sizes.tolist()}):
            tick((n + 1) / (len(names) + 1), f"{name}, K = {K}")
            which = np.flatnonzero(sizes == K)
            moves[n, which], ends = _ends(name, np.stack([cases[m].P for m in which]), config)
            for m, log_p in zip(which, ends, strict=True):
                if np.isnan(moves[n, m]):
                    continue
                P, p = cases[m].P, np.exp(log_p)
                to_lottery[n, m] = _distance(p, np.exp(lotteries[m].log_policy))
                gap[n, m] = float(2 * ((P @ p).max() - 0.5))
                order[n, m] = _against(P.mean(axis=1), log_p)
                if name in MAGNETS:
                    to_nash[n, m] = _distance(p, pulled[m])
                if name == MIXTURE:
                    mixture[m] = _distance(np.exp((1 - tau) * log_p) / np.exp((1 - tau) * log_p).sum(), mixed[m])
    ds = xr.Dataset(
        {
            "movement": (("approach", "matrix"), moves),
            "rests": (("approach", "matrix"), moves < STILL),
            "to_nash": (("approach", "matrix"), to_nash),
            "to_lottery": (("approach", "matrix"), to_lottery),
            "gap": (("approach", "matrix"), gap),
            "against_borda": (("approach", "matrix"), order),
            "mixture_to_nash": (("matrix",), mixture),
            "support": (("matrix",), np.array([np.isfinite(found.log_policy).sum() for found in lotteries])),
            "unique": (("matrix",), np.array([bool(found.unique) for found in lotteries])),
        },
        {"approach": names, "family": ("matrix", [case.source for case in cases])},
    )
    units = {
        "movement": (
            "1",
            "largest total variation between two rounds of the last tenth; above 1e-7 also beside a beaten response",
        ),
        "rests": ("1", "whether it is below 1e-7"),
        "to_nash": ("1", "total variation from the equilibrium regularised at the common temperature"),
        "mixture_to_nash": (
            "1",
            "total variation of Nash-MD's mixture from the equilibrium at temperature tau/(1 - tau)",
        ),
        "to_lottery": ("1", "total variation from a maximal lottery, the equilibrium without temperature"),
        "gap": ("1", "duality gap without temperature"),
        "against_borda": ("1", "share of pairs of responses that the policy orders against their average win rates"),
        "support": ("1", "responses in the maximal lottery"),
        "unique": ("1", "whether the maximal lottery is the only one"),
    }
    return described(ds.assign_attrs(notes="\n".join(notes)), "destinations", config, units)


def _cases(config: Config) -> tuple[list[_matrices.Case], list[str]]:
    if not config.preferences:
        return _matrices.drawn(config.matrices, (config.responses,), 20, config.seed), []
    found, notes = _matrices.read(config.preferences, config.largest)
    kept = [case for case in found if len(case.P) >= 3 and case.P.min() > NEAR]
    if not kept:
        raise ValueError(
            f"--preferences: none of the {len(found)} matrices has 3 responses and entries within (.001, .999)."
        )
    return kept, [*notes, f"{len(found) - len(kept)} with two responses or with entries near 0 or 1 left out"]


class Movement(dyn.diagnostics.Measure):
    """The largest total variation between two rounds from a round on."""

    after: jax.Array

    def init(self, snapshot, rounds):
        return snapshot.policy, jnp.zeros(())

    def update(self, state, snapshot):
        before, most = state
        step = 0.5 * jnp.sum(jnp.abs(snapshot.policy - before))
        return snapshot.policy, jnp.where(snapshot.round > self.after, jnp.maximum(most, step), 0.0)

    def finalize(self, state):
        return state[1]


def _ends(name: str, P: np.ndarray, config: Config) -> tuple[np.ndarray, np.ndarray]:
    """The largest steps at the end of the runs, and where they end: at the last policies, or averages of runs that move on."""
    K = P.shape[-1]
    even = np.full(K, -np.log(K))
    if name in OFFLINE:
        objective = KIND_OF[name.split()[-1]](config.temperature)
        process, rounds = dyn.SelfSampling(P[0], objective, 0.0, 0.0, even, even), 1
    else:
        process, rounds = _method(name, config).process(P[0], even), config.rounds
    start = oracle.beside(even)
    found = dyn.sweep(
        process,
        {"preference": P},
        rounds=rounds,
        progress=False,
        initial=start - np.log(np.exp(start).sum()),
        measure=[
            dyn.diagnostics.AveragePolicy(rounds, name="last"),
            dyn.diagnostics.AveragePolicy(rounds // 2, name="average"),
            Movement(jnp.asarray(rounds - rounds // 10), name="movement"),
        ],
    )
    moves = np.where(found.result.values == 0, found.movement.values * (rounds > 1), np.nan)
    # A run that stands beside a response that another one beats will leave it.
    last = np.exp(found["last"].values)
    beaten = (np.einsum("mij,mj->mi", P, last).max(axis=1) > 0.5 + CORNER) & (last.max(axis=1) > 1 - CORNER)
    moves = np.where(beaten & (rounds > 1), np.maximum(moves, 2 * STILL), moves)
    return moves, np.where((moves < STILL)[:, None], found["last"].values, found["average"].values)


def _method(name: str, config: Config) -> Method:
    return BY_NAME[name].at(**dict.fromkeys(("tau", "gamma", "beta"), config.temperature))


def _distance(p: np.ndarray, q: np.ndarray) -> float:
    return float(0.5 * np.abs(p - q).sum())


def _against(scores: np.ndarray, log_p: np.ndarray) -> float:
    """The share of pairs, those with equal scores left out, that log-probabilities order the other way round."""
    i, j = np.triu_indices(len(scores), 1)
    wanted = scores[i] - scores[j]
    told = np.abs(wanted) > TIED
    found = np.nan_to_num(log_p[i] - log_p[j], nan=0.0, posinf=np.inf, neginf=-np.inf)
    return (
        float(((np.sign(found) * np.sign(wanted) < 0) & (np.abs(found) > TIED))[told].mean()) if told.any() else np.nan
    )
