"""Critical beta: where iterated IPO and DPO lose stability on preference matrices with a majority cycle."""

from __future__ import annotations

import dataclasses
import itertools
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import jax
import numpy as np
import xarray as xr

import dynamics as dyn

from .._framework import OBJECTIVES, Tick, described, require, silent
from .._matrices import listed, opened
from .checks import FAILED, LOSES, MARGIN, NEVER, NOT_BEGUN, OUTCOMES, UNDEFINED, check

__all__ = ["Config", "check", "run"]

DECADES = 3.0  # of beta between the walk's start and its end
WORKERS = 2


@dataclasses.dataclass(frozen=True)
class Config:
    """Matrices with a majority cycle, generated or read, and the rounds whose fixed point is followed as beta falls."""

    preferences: tuple[str, ...] = ()
    """Files that `read` accepts, or folders of such files; without any, matrices are generated."""
    matrices: int = 60
    """The number to generate: half with uniform entries, half Bradley–Terry estimated from a few voters."""
    sizes: tuple[int, ...] = (3, 4, 5, 6)
    """K of the generated matrices."""
    voters: int = 15
    alpha: float = 0.5
    lam: float = 1.0
    max_responses: int = 40
    """Larger matrices are left out, and a note says how many."""
    minutes: float = 600.0
    """After this time no further matrix is started; a note says how many are left."""
    seed: int = 0

    def __post_init__(self) -> None:
        require(self, "matrices", 2, 1_000_000)
        require(self, "sizes", 3, 40)
        require(self, "voters", 1, 1_000_000)
        require(self, "alpha", 0, 1, open_high=True)
        require(self, "lam", 0, 1, open_low=True)
        require(self, "max_responses", 3, 4096)
        require(self, "minutes", 0, 1e6, open_low=True)

    @classmethod
    def full(cls) -> Config:
        return cls(matrices=600, sizes=(3, 4, 5, 6, 7, 8))

    def files(self) -> tuple[Path, ...]:
        """The files that ``preferences`` names, with folders replaced by the files in them."""
        return listed(self.preferences)


@dataclasses.dataclass(frozen=True)
class Case:
    """A matrix with a majority cycle, where it comes from, and its cycle margin."""

    P: np.ndarray
    source: str
    cycle_margin: float


def run(config: Config, tick: Tick = silent) -> xr.Dataset:
    """The critical beta of every matrix with a cycle, by objective, and the outcome where there is none."""
    cases, notes = _read(config) if config.preferences else (_generate(config), [])
    if not cases:
        raise ValueError("no matrix with a majority cycle (P > 1/2) was found; pass --preferences with others.")
    cases.sort(key=lambda case: len(case.P))
    found = _follow_all(cases, config, tick)
    left = int((found[1] == NOT_BEGUN).any(axis=0).sum())
    if left:
        notes.append(f"{left} matrices not begun within {config.minutes:g} minutes")
    ds = xr.Dataset(
        {
            "critical_beta": (("objective", "matrix"), found[0]),
            "outcome": (("objective", "matrix"), found[1].astype(int)),
            "start_beta": (("objective", "matrix"), found[2]),
            "proven_beta": (("matrix",), np.array([_proven_beta(case.P, config) for case in cases])),
            "num_responses": (("matrix",), np.array([len(case.P) for case in cases])),
            "cycle_margin": (("matrix",), np.array([case.cycle_margin for case in cases])),
            "source": (("matrix",), np.array([case.source for case in cases])),
        },
        {"objective": list(OBJECTIVES), "matrix": np.arange(len(cases))},
    )
    units = {
        "critical_beta": ("1", "largest beta at which the followed fixed point loses stability"),
        "start_beta": ("1", "beta from which the fixed point was followed down"),
        "proven_beta": ("1", "beta from which on IPO's rounds are proven to converge, statement 7.2"),
        "cycle_margin": ("1", "over the majority cycles the largest smallest P - 1/2"),
    }
    ds["outcome"].attrs = {"flag_values": list(range(len(OUTCOMES))), "flag_meanings": list(OUTCOMES)}
    ds = described(ds, "critical_beta", config, units)
    return ds.assign_attrs(notes="\n".join(notes), generated=int(not config.preferences))


def _follow_all(cases: list[Case], config: Config, tick: Tick) -> np.ndarray:
    """Critical beta, outcome and start, ``(3, objective, matrix)``; two groups of one size and objective run at a time."""
    out = np.full((3, len(OBJECTIVES), len(cases)), np.nan)
    out[1] = NOT_BEGUN
    began, done = time.monotonic(), itertools.count(1)
    sizes = sorted({len(case.P) for case in cases})

    def follow(group: tuple[int, int]) -> None:
        # A group compiles once; while it compiles on one core, another group can use the other.
        size, m = group
        for n, case in enumerate(cases):
            if len(case.P) != size or time.monotonic() - began > 60 * config.minutes:
                continue
            out[:, m, n] = _critical(case.P, OBJECTIVES[m], config)
            tick(next(done) / (2 * len(cases)), f"{OBJECTIVES[m]}, K = {size}")

    groups = [(size, m) for size in sizes for m in reversed(range(len(OBJECTIVES)))]
    with ThreadPoolExecutor(WORKERS) as pool:
        list(pool.map(follow, groups))
    return out


def _generate(config: Config) -> list[Case]:
    """Draws matrices, alternating sizes and kinds, until enough have a cycle."""
    wanted = [(config.sizes[(m // 2) % len(config.sizes)], m % 2) for m in range(config.matrices)]
    rng = np.random.default_rng(config.seed)
    cases = []
    for K, kind in wanted:
        while True:
            P = _noisy_bradley_terry(K, config.voters, rng) if kind else _uniform_entries(K, rng)
            seen = dyn.preferences.classify(P)
            if seen.has_cycle:
                cases.append(Case(P, ("uniform entries", "noisy Bradley–Terry")[kind], seen.cycle_margin))
                break
    return cases


def _uniform_entries(K: int, rng: np.random.Generator) -> np.ndarray:
    return np.asarray(dyn.preferences.random(K, key=jax.random.key(int(rng.integers(2**31)))))


def _noisy_bradley_terry(K: int, voters: int, rng: np.random.Generator) -> np.ndarray:
    chance = np.asarray(dyn.preferences.bradley_terry(0.7 * rng.normal(size=K)))
    upper = np.triu(rng.binomial(voters, chance), 1)
    wins = upper + np.tril(voters - upper.T, -1)
    return np.asarray(dyn.preferences.from_wins(wins))


def _read(config: Config) -> tuple[list[Case], list[str]]:
    """The matrices with a cycle among those that can be read, and notes on what was left out."""
    cases, notes, unreadable, large, total = [], [], [], 0, 0
    for path, found in opened(config.files()):
        if isinstance(found, str):
            unreadable.append(found)
            continue
        for P in map(np.asarray, found):
            total += 1
            if len(P) > config.max_responses:
                large += 1
                continue
            seen = dyn.preferences.classify(P)
            if seen.has_cycle:
                cases.append(Case(P, path.stem, seen.cycle_margin))
    if not total:
        reasons = "; ".join(unreadable) or "no file that `read` takes in it"
        raise ValueError(f"--preferences {' '.join(config.preferences)}: nothing could be read ({reasons}).")
    notes.append(f"{len(cases)} of {total} matrices have a majority cycle and at most {config.max_responses} responses")
    if unreadable:
        notes.append(f"{len(unreadable)} unreadable file(s) skipped: {'; '.join(unreadable)}")
    if large:
        notes.append(f"{large} matrices of more than {config.max_responses} responses left out")
    return cases, notes


def _proven_beta(P: np.ndarray, config: Config) -> float:
    """lam ‖CAC‖₂/(2 √(1 - alpha²)), above which 7.2 proves convergence of IPO."""
    A = P - 0.5
    A = A - A.mean(axis=0)
    A = A - A.mean(axis=1, keepdims=True)
    return float(config.lam * np.linalg.norm(A, 2) / (2 * np.sqrt(1 - config.alpha**2)))


def _critical(P: np.ndarray, objective: str, config: Config) -> tuple[float, int, float]:
    """The critical beta, the outcome, and the beta from which the fixed point was followed down."""
    kind, factor = {"IPO": (dyn.IPO, 1.0), "DPO": (dyn.DPO, 4.0)}[objective]
    if objective == "DPO" and not dyn.preferences.classify(P).bt_finite:
        return np.nan, UNDEFINED, np.nan
    proven = _proven_beta(P, config)
    top = MARGIN * factor * proven
    # Nothing is proven for DPO, so it is checked that rounds are stable at the top; if they are not, the top is raised.
    for _ in range(4):
        loop = dyn.SelfSampling(P, kind(beta=top), config.alpha, config.lam)
        try:
            first = dyn.stability.first_crossing(loop, "beta", (factor * proven / 10**DECADES, top), downward=True)
        except RuntimeError:
            return np.nan, FAILED, top
        if first is None or first.direction == "gains stability":
            return (np.nan, NEVER, top) if first is None else (first.value, LOSES, top)
        top *= 4
    return np.nan, FAILED, top
