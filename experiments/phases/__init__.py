"""Phases: cycle strength and terminal entropy over (alpha, lam) and over beta, averaged over matrices of each kind."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import xarray as xr

import dynamics as dyn

from .._framework import KAPPA, KIND_OF, OBJECTIVES, Tick, described, require, silent
from .._matrices import listed, opened
from .._ratings import drawn_until
from .._sweeps import sweep
from .checks import check

__all__ = ["Config", "check", "run"]

KINDS = ("cyclic", "transitive")


@dataclasses.dataclass(frozen=True)
class Config:
    """A square over (alpha, lam) at one beta, and lines over beta at one alpha, on matrices that are generated or read."""

    preferences: tuple[str, ...] = ()
    """Files that `read` accepts, or folders of such files; without any, matrices come from generated ratings."""
    cyclic: int = 40
    """Number of generated matrices with a majority cycle; the paper has 118."""
    transitive: int = 60
    """Number of generated strictly strongly transitive matrices; the paper has 4,924 strongly transitive ones."""
    most: int = 120
    """At most this many distinct matrices of each kind are run, evenly spread over those read."""
    cells: int = 6
    """Number of values of alpha, and of lam, from 0 to 1."""
    beta: float = 0.1
    """beta of the square for IPO; DPO runs at 4 beta, where its rounds agree with IPO's to first order at uniform."""
    alpha: float = 0.5
    """alpha of the lines."""
    lams: tuple[float, ...] = (0.0, 0.5, 1.0)
    """lam of the lines, in ascending order."""
    betas: int = 7
    lowest_beta: float = 0.02
    highest_beta: float = 1.28
    rounds: int = 1000
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("cyclic", "transitive", "most"):
            require(self, name, 2, 1_000_000)
        require(self, "cells", 3, 1001)
        require(self, "betas", 3, 1001)
        for name in ("beta", "lowest_beta", "highest_beta"):
            require(self, name, 0, np.inf, open_low=True)
        require(self, "alpha", 0, 1, open_high=True)
        require(self, "lams", 0, 1)
        require(self, "rounds", 10, 10_000_000)
        if self.lowest_beta >= self.highest_beta:
            raise ValueError(f"lowest_beta = {self.lowest_beta:g} is not below highest_beta = {self.highest_beta:g}.")
        if len(self.lams) < 2 or list(self.lams) != sorted(set(self.lams)):
            raise ValueError("lams is not ascending; pass two or more values, each above the one before.")

    @classmethod
    def full(cls) -> Config:
        return cls(cyclic=118, transitive=4924, most=5000, cells=11, betas=13, rounds=3000)

    def files(self) -> tuple[Path, ...]:
        """The files that ``preferences`` names, with folders replaced by the files in them."""
        return listed(self.preferences)

    def settings(self) -> np.ndarray:
        """alpha, lam and beta of IPO, ``(3, S)``: first the square (outer index alpha), then the lines (outer index lam)."""
        share = np.linspace(0, 1, self.cells)
        betas = np.geomspace(self.lowest_beta, self.highest_beta, self.betas)
        square = np.meshgrid(share, share, [self.beta], indexing="ij")
        lines = np.meshgrid([self.alpha], self.lams, betas, indexing="ij")
        return np.array([np.concatenate([s.ravel(), x.ravel()]) for s, x in zip(square, lines, strict=True)])


def run(config: Config, tick: Tick = silent) -> xr.Dataset:
    """Cycle strength of every cyclic matrix and entropy of every transitive one, with its bound, by setting."""
    tick(0.0, "matrices")
    matrices, notes = _read(config) if config.preferences else _generated(config)
    (cyclic, cyclic_count), (transitive, transitive_count) = (_distinct(found, config.most) for found in matrices)
    for kind, found, kept in zip(KINDS, matrices, (cyclic, transitive), strict=True):
        notes.append(f"{kind}: {len(found)} matrices, {len(kept)} distinct ones run")
    strength, entropy = [], []
    for n, name in enumerate(OBJECTIVES):
        tick(0.1 + 0.4 * n, f"{name}, {len(cyclic) + len(transitive)} matrices")
        runs = _simulate([*cyclic, *transitive], name, config)
        strength.append(runs["cycle_strength"][: len(cyclic)])
        entropy.append(runs["final_entropy"][len(cyclic) :])
    tick(0.9, "bounds")
    alpha, lam, beta = config.settings()
    ds = xr.Dataset(
        {
            "alpha": (("setting",), alpha),
            "lam": (("setting",), lam),
            "beta": (("objective", "setting"), np.outer([KAPPA[name] for name in OBJECTIVES], beta)),
            "cycle_strength": (("objective", "cyclic", "setting"), np.array(strength)),
            "final_entropy": (("objective", "transitive", "setting"), np.array(entropy)),
            "entropy_bound": (("objective", "transitive", "setting"), _bounds(transitive, config)),
            "cyclic_count": (("cyclic",), cyclic_count),
            "transitive_count": (("transitive",), transitive_count),
            "cyclic_norm": (("cyclic",), np.array([_norm(P) for P in cyclic])),
            "cyclic_responses": (("cyclic",), np.array([len(P) for P in cyclic])),
            "start_distance": (("cyclic",), np.array([-start(len(P)).min() for P in cyclic])),
        },
        {"objective": list(OBJECTIVES)},
    )
    units = {
        "beta": ("1", "beta, by objective"),
        "cycle_strength": ("1", "time-averaged variance of the policy's coordinates"),
        "final_entropy": ("nat", "entropy of the last policy"),
        "entropy_bound": ("nat", "upper bound on it, statement 2.4"),
        "cyclic_count": ("1", "how many of the cyclic matrices are this one"),
        "transitive_count": ("1", "how many of the transitive matrices are this one"),
        "cyclic_norm": ("1", "‖CAC‖₂ of statement 7.2"),
        "start_distance": ("nat", "largest -log pi_0, which bounds KL(pi‖pi_0) for every pi"),
    }
    ds = described(ds, "phases", config, units)
    return ds.assign_attrs(notes="\n".join(notes), generated=int(not config.preferences))


def _generated(config: Config) -> tuple[list[list[np.ndarray]], list[str]]:
    cyclic, transitive, draws = drawn_until(config.cyclic, config.transitive, config.seed)
    return [list(cyclic), list(transitive)], [f"generated ratings of 4 responses, {draws} prompts drawn"]


def _read(config: Config) -> tuple[list[list[np.ndarray]], list[str]]:
    """The cyclic and the strictly strongly transitive matrices among those read, and notes on what was left out."""
    kinds: list[list[np.ndarray]] = [[], []]
    passed, total, certain = [], 0, 0
    for _, found in opened(config.files()):
        if isinstance(found, str):
            passed.append(found.removesuffix("."))
            continue
        total += len(found)
        for P in map(np.asarray, found):
            # DPO has an optimum under every sampler only if no preference is certain.
            if P.min() == 0:
                certain += 1
                continue
            seen = dyn.preferences.classify(P)
            kinds[0] += [P] if seen.has_cycle else []
            kinds[1] += [P] if seen.transitivity == "strict strong" and len(P) > 2 else []
    if not all(kinds):
        kind = KINDS[[bool(found) for found in kinds].index(False)]
        what = f"{total} matrices hold no {kind} one with 0 < P < 1" if total else "nothing could be read"
        why = f" ({'; '.join(passed)})" if passed else ""
        raise ValueError(f"--preferences {' '.join(config.preferences)}: {what}{why}; pass files with both kinds.")
    notes = [f"{total} matrices read, {certain} without 0 < P < 1 left out"]
    if passed:
        notes.append(f"{len(passed)} unreadable file(s) skipped: {'; '.join(passed)}")
    return kinds, notes


def _distinct(found: list[np.ndarray], most: int) -> tuple[list[np.ndarray], np.ndarray]:
    """At most ``most`` distinct matrices, evenly spread, smallest K first, and the number of times each was found."""
    counted: dict[tuple[int, bytes], list] = {}
    for P in found:
        counted.setdefault((len(P), P.tobytes()), [P, 0])[1] += 1
    distinct = sorted(counted.values(), key=lambda entry: len(entry[0]))
    pick = np.linspace(0, len(distinct) - 1, min(most, len(distinct))).round().astype(int)
    return [distinct[k][0] for k in pick], np.array([distinct[k][1] for k in pick])


def _norm(P: np.ndarray) -> float:
    A = P - P.mean(axis=0)
    return float(np.linalg.norm(A - A.mean(axis=1, keepdims=True), 2))


def start(K: int) -> np.ndarray:
    """log pi of round 0; it is not uniform, since matrices with A1 = 0 would stay there."""
    log_policy = -0.25 * np.arange(K)
    return log_policy - np.logaddexp.reduce(log_policy)


def _simulate(matrices: list[np.ndarray], objective: str, config: Config) -> dict[str, np.ndarray]:
    """Both statistics by matrix and setting; matrices of one size share a sweep."""
    alpha, lam, beta = config.settings()
    kind = KIND_OF[objective]
    size = np.array([len(P) for P in matrices])
    out = {name: np.full((len(matrices), len(alpha)), np.nan) for name in ("cycle_strength", "final_entropy")}
    for K in np.unique(size):
        stack = np.array([P for P in matrices if len(P) == K])
        over = {"preference": stack, ("alpha", "lam", "beta"): (alpha, lam, KAPPA[objective] * beta)}
        loop = dyn.SelfSampling(stack[0], kind(beta=1.0), 0.5, 1.0)
        ds = sweep(f"{objective}-{K}", loop, over, measure=list(out), rounds=config.rounds, initial=start(int(K)))
        for name, values in out.items():
            values[size == K] = np.where(ds.result == 0, ds[name], np.nan)
    return out


def _bounds(matrices: list[np.ndarray], config: Config) -> np.ndarray:
    """The upper bound on the entropy after the last round; it does not depend on lam."""
    alpha, _, beta = config.settings()
    pairs, which = np.unique(np.array([alpha, beta]), axis=1, return_inverse=True)
    out = np.empty((len(OBJECTIVES), len(matrices), pairs.shape[1]))
    for m, P in enumerate(matrices):
        uniform = np.full(len(P), -np.log(len(P)))
        logs = {"log_reference": uniform, "log_offline": uniform, "log_initial": start(len(P))}
        top = int((P > 0.5).sum(axis=1).argmax())
        for n, name in enumerate(OBJECTIVES):
            for s, (a, b) in enumerate(pairs.T):
                bound = dyn.theorems.collapse_entropy(
                    P=P,
                    alpha=a,
                    lam=1.0,
                    beta=KAPPA[name] * b,
                    rounds=config.rounds,
                    top=top,
                    objective=name.lower(),
                    **logs,
                )
                out[n, m, s] = bound.upper
    return out[..., which.ravel()]
