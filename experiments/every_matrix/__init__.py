"""Safe for every P: the betas above which IPO's rounds are stable whatever people prefer, and the matrices that need them."""

from __future__ import annotations

import dataclasses

import numpy as np
import xarray as xr

from dynamics import oracle
from dynamics.schema import VERDICTS
from dynamics.stability import proven_everywhere, stable_everywhere
from dynamics.theorems import universal_contraction
from dynamics.theorems.games import frequencies
from dynamics.theorems.source import circulant, normalise

from .._framework import Tick, described, require, silent
from .checks import GAPS, SIDES, check

__all__ = ["Config", "check", "run"]

FAR = 6.0  # standard deviation of the logits that runs start from
SKEW = 2.0  # and of the references


@dataclasses.dataclass(frozen=True)
class Config:
    """Regular tournaments, a search for worse matrices, and runs with betas around the thresholds."""

    tournaments: tuple[int, ...] = (3, 5, 7, 11, 21, 51, 101)
    """Numbers of responses, odd and ascending."""
    sizes: tuple[int, ...] = (3, 4, 5, 6, 8)
    """Numbers of responses of matrices that are searched and run."""
    searches: int = 30
    """Searches at each size, each from another matrix of certain wins and another policy."""
    moves: int = 400
    """Moves of each search."""
    alphas: tuple[float, ...] = (0.0, 0.5, 0.9)
    matrices: int = 60
    """Matrices of certain wins at each size that are run."""
    starts: int = 4
    rounds: int = 2000
    seed: int = 0

    def __post_init__(self) -> None:
        require(self, "tournaments", 3, 1001)
        if any(K % 2 == 0 for K in self.tournaments) or sorted(set(self.tournaments)) != list(self.tournaments):
            raise ValueError(
                f"tournaments = {self.tournaments} are not odd and ascending; pass odd numbers of responses."
            )
        require(self, "sizes", 2, 30)
        require(self, "searches", 1, 1_000_000)
        require(self, "moves", 1, 1_000_000)
        require(self, "alphas", 0, 1, open_high=True)
        require(self, "matrices", 1, 1_000_000)
        require(self, "starts", 1, 1000)
        require(self, "rounds", 100, 10_000_000)

    @classmethod
    def full(cls) -> Config:
        return cls(searches=300, moves=2000, matrices=600, starts=8, rounds=10_000)


def run(config: Config, tick: Tick = silent) -> xr.Dataset:
    """Frequencies of tournaments and of the worst matrices found, thresholds over alpha, and verdicts around them."""
    rng = np.random.default_rng(config.seed)
    tick(0.0, "search")
    found = np.array([[_search(K, config.moves, rng) for _ in range(config.searches)] for K in config.sizes])
    alphas = np.array(config.alphas)
    shape = (len(config.sizes), len(alphas), len(GAPS), config.matrices * config.starts)
    verdict = np.full(shape, "", dtype=object)
    for n, K in enumerate(config.sizes):
        for a, alpha in enumerate(alphas):
            tick(0.2 + 0.6 * (n + a / len(alphas)) / len(config.sizes), f"K = {K}, alpha = {alpha:g}")
            verdict[n, a] = _runs(K, float(alpha), config, rng)
    tick(0.8, "tournaments")
    largest = config.tournaments[-1]
    edge = np.array([[_tournament(largest, float(a), side, config.rounds) for side in SIDES] for a in alphas])
    curve = np.linspace(0.0, 0.99, 100)
    oldest = np.array([_needed(float(a)) for a in curve])
    code = lambda words: np.vectorize(lambda w: VERDICTS.index(w) if w in VERDICTS else -1, otypes=[int])(words)
    ds = xr.Dataset(
        {
            "tournament": (("size",), [_even(circulant(K, 0.5, K // 2)) for K in config.tournaments]),
            "searched": (("K", "search"), found),
            "span_threshold": (("curve_alpha",), oldest),
            "proven_threshold": (("curve_alpha",), proven_everywhere(curve, 1.0)[:, 0]),
            "local_threshold": (("curve_alpha",), stable_everywhere(curve, 1.0)[:, 0]),
            "verdict": (("K", "alpha", "gap", "run"), code(verdict)),
            "edge_verdict": (("alpha", "side"), code(edge)),
        },
        {
            "size": list(config.tournaments),
            "K": list(config.sizes),
            "alpha": alphas,
            "curve_alpha": curve,
            "side": list(SIDES),
        },
    )
    units = {
        "tournament": ("1", "frequency omega of the regular tournament at the uniform policy"),
        "searched": ("1", "largest frequency that a search over matrices of certain wins and policies found"),
        "span_threshold": ("1", "beta/lam above which statement 7.3 proves convergence for every P"),
        "proven_threshold": ("1", "beta/lam above which statement 7.15 proves convergence for every P"),
        "local_threshold": ("1", "beta/lam above which statement 7.14 proves local stability for every P"),
        "verdict": ("1", f"of runs with beta at {', '.join(GAPS)}; -1 failed"),
        "edge_verdict": ("1", "of the largest tournament at shares of the local threshold"),
    }
    return described(ds.assign_coords(gap=list(GAPS)), "every_matrix", config, units)


def _even(P: np.ndarray) -> float:
    return float(frequencies(P, np.full(len(P), -np.log(len(P)))).max())


def _certain(K: int, rng: np.random.Generator) -> np.ndarray:
    """P of wins that are certain, either way."""
    upper = np.triu(rng.integers(0, 2, (K, K)), 1)
    return upper + np.tril(1 - upper.T, -1) + 0.5 * np.eye(K)


def _search(K: int, moves: int, rng: np.random.Generator) -> float:
    """The largest frequency on a walk over policies and certain matrices that takes only improvements."""
    P, z, size = _certain(K, rng), rng.standard_normal(K), 0.5
    best = _frequency(P, z)
    for _ in range(moves):
        near, moved = P.copy(), z + size * rng.standard_normal(K)
        if rng.random() < 0.5:
            i, j = rng.choice(K, 2, replace=False)
            near[i, j], near[j, i] = P[j, i], P[i, j]
        new = _frequency(near, moved)
        better = new > best
        P, z, best = (near, moved, new) if better else (P, z, best)
        size = max(size * (1.2 if better else 0.98), 1e-4)
    return best


def _frequency(P: np.ndarray, z: np.ndarray) -> float:
    return float(frequencies(P, normalise(z)).max())


def _runs(K: int, alpha: float, config: Config, rng: np.random.Generator) -> np.ndarray:
    """Verdicts of runs from far away, with skewed references, at betas in and above the gap of the two thresholds."""
    local, proven = float(stable_everywhere(alpha, 1.0)[0, 0]), float(proven_everywhere(alpha, 1.0)[0, 0])
    betas = {"just above 7.14": 1.02 * local, "between": np.sqrt(local * proven), "just above 7.15": 1.001 * proven}
    stack = np.stack([_certain(K, rng) for _ in range(config.matrices)])
    rows = []
    for gap in GAPS:
        words = []
        for _ in range(config.starts):
            log_ref = normalise(SKEW * rng.standard_normal(K))
            rounds = oracle.Rounds(stack, "ipo", alpha, 1.0, betas[gap], log_ref)
            words.append(oracle.fates(rounds, FAR * rng.standard_normal(stack.shape[:2]), config.rounds).verdict)
        rows.append(np.concatenate(words))
    return np.array(rows, dtype=object)


def _tournament(K: int, alpha: float, side: float, rounds: int) -> str:
    """The verdict on the regular tournament's rounds at a share of the local threshold."""
    beta = side * float(stable_everywhere(alpha, 1.0)[0, 0])
    loop = oracle.Rounds(circulant(K, 0.5, K // 2)[None], "ipo", alpha, 1.0, beta)
    return str(oracle.fates(loop, oracle.beside(np.zeros(K))[None], max(rounds, 4000)).verdict[0])


def _needed(alpha: float) -> float:
    """The beta at which 7.3's rate for every P is 1 at lam = 1, by bisection on the theorem."""
    low, high, P = 1e-3, 1e3, np.full((2, 2), 0.5)
    for _ in range(60):
        middle = np.sqrt(low * high)
        applies = universal_contraction(P=P, alpha=alpha, lam=1.0, beta=middle).applicable
        low, high = (low, middle) if applies else (middle, high)
    return float(high)
