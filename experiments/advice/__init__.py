"""Advice: the probability that rounds are stable against the number of comparisons, and how many decide."""

from __future__ import annotations

import dataclasses

import jax
import numpy as np
import xarray as xr

import dynamics as dyn
from dynamics.preferences import PreferenceSet
from dynamics.stability import posterior, spectral_radii

from .._framework import KIND_OF, OBJECTIVES, Tick, described, require, silent
from .._matrices import listed, opened
from .checks import SHARES, check

__all__ = ["Config", "check", "run"]


@dataclasses.dataclass(frozen=True)
class Config:
    """Win counts, generated or read, thinned to fewer comparisons, and what their posteriors say of stability."""

    preferences: tuple[str, ...] = ()
    """Files with counts that `read` accepts, or folders of such files; without any, wins are drawn from known matrices."""
    comparisons: tuple[int, ...] = (3, 10, 30, 100, 300, 1000, 3000)
    """Average numbers of comparisons per pair that are kept; real counts are thinned to those that they reach."""
    thinnings: int = 20
    """Independent sub-samples at each number of comparisons."""
    draws: int = 80
    """Draws of each posterior."""
    alpha: float = 0.5
    lam: float = 1.0
    beta_ipo: float = 0.1
    beta_dpo: float = 0.4
    prior: float = 0.5
    max_responses: int = 20
    """Larger matrices are left out, and a note says how many."""
    most: int = 12
    """At most this many matrices are read from each file, evenly spread; a note says how many are left out."""
    seed: int = 0

    def __post_init__(self) -> None:
        require(self, "comparisons", 1, 1e9)
        require(self, "thinnings", 2, 10_000)
        require(self, "draws", 20, 1_000_000)
        require(self, "alpha", 0, 1, open_high=True)
        require(self, "lam", 0, 1, open_low=True)
        require(self, "beta_ipo", 0, 1e6, open_low=True)
        require(self, "beta_dpo", 0, 1e6, open_low=True)
        require(self, "prior", 0, 1e6, open_low=True)
        require(self, "max_responses", 3, 4096)
        require(self, "most", 1, 1_000_000)

    @classmethod
    def full(cls) -> Config:
        return cls(thinnings=100, draws=1000, most=1000)

    def beta(self, objective: str) -> float:
        """The KL coefficient of one objective."""
        return self.beta_ipo if objective == "IPO" else self.beta_dpo


@dataclasses.dataclass(frozen=True)
class Case:
    """A source of comparisons: a known P, or counts of wins to be thinned."""

    name: str
    P: np.ndarray
    wins: np.ndarray | None = None

    def available(self) -> float:
        """The average number of comparisons per pair; infinite if P is known."""
        K = len(self.P)
        return np.inf if self.wins is None else float(self.wins.sum() / (K * (K - 1) / 2))

    def sample(self, comparisons: float, rng: np.random.Generator) -> np.ndarray:
        """Wins in ``comparisons`` per pair: drawn from P, or sub-sampled from the counts without replacement."""
        K = len(self.P)
        i, j = np.triu_indices(K, 1)
        wins = np.zeros((K, K))
        if self.wins is None:
            wins[i, j] = rng.binomial(int(comparisons), self.P[i, j])
            wins[j, i] = int(comparisons) - wins[i, j]
            return wins
        # Half wins, from ties, are rounded at random; every pair keeps its share of all comparisons.
        whole = np.floor(self.wins[i, j] + rng.uniform(size=len(i))).astype(int)
        total = np.round(self.wins[i, j] + self.wins[j, i]).astype(int)
        whole = np.minimum(whole, total)
        kept = rng.binomial(total, min(1.0, comparisons / self.available()))
        wins[i, j] = rng.hypergeometric(whole, total - whole, kept)
        wins[j, i] = kept - wins[i, j]
        return wins


def run(config: Config, tick: Tick = silent) -> xr.Dataset:
    """The posterior probability of instability, by case, objective, number of comparisons and sub-sample."""
    cases, notes = _read(config) if config.preferences else (_known(config), [])
    rng = np.random.default_rng(config.seed)
    shape = (len(cases), len(OBJECTIVES), len(config.comparisons), config.thinnings)
    unstable, missing = np.full(shape, np.nan), np.zeros(shape)
    radius = np.full(shape[:2], np.nan)
    for c, case in enumerate(cases):
        tick(c / len(cases), case.name)
        levels = [n for n, kept in enumerate(config.comparisons) if kept <= 1.001 * case.available()]
        stacks = [
            _draws(case.sample(config.comparisons[n], rng), config, rng)
            for n in levels
            for _ in range(config.thinnings)
        ]
        for m, name in enumerate(OBJECTIVES):
            everything = np.concatenate([case.P[None], *stacks])
            found = spectral_radii(
                everything, KIND_OF[name](config.beta(name)), config.alpha, config.lam, progress=False
            )
            radius[c, m] = found.radius[0]
            drawn = found.radius[1:].reshape(len(levels), config.thinnings, config.draws)
            unstable[c, m, levels] = (drawn > 1).mean(axis=-1)
            missing[c, m, levels] = np.isnan(drawn).mean(axis=-1)
    ds = xr.Dataset(
        {
            "unstable": (("case", "objective", "comparisons", "thinning"), unstable),
            "not_found": (("case", "objective", "comparisons", "thinning"), missing),
            "spectral_radius": (("case", "objective"), radius),
            "num_responses": (("case",), np.array([len(case.P) for case in cases])),
            "available": (("case",), np.array([case.available() for case in cases])),
        },
        {
            "case": [case.name for case in cases],
            "objective": list(OBJECTIVES),
            "comparisons": np.array(config.comparisons, dtype=float),
        },
    )
    units = {
        "unstable": ("1", "posterior probability that the spectral radius exceeds 1"),
        "not_found": ("1", "share of draws without a fixed point that was found"),
        "spectral_radius": ("1", "at P itself, or at the shares of all comparisons there are"),
        "available": ("1", "comparisons per pair there are"),
    }
    ds = described(ds, "advice", config, units)
    return ds.assign_attrs(notes="\n".join(notes), generated=int(not config.preferences))


def _draws(wins: np.ndarray, config: Config, rng: np.random.Generator) -> np.ndarray:
    key = jax.random.key(int(rng.integers(2**31)))
    options = {"model": "independent", "prior": config.prior, "one_sided": True}
    return posterior(wins, key=key, draws=config.draws, **options).draws


def _known(config: Config) -> list[Case]:
    """Cycles on both sides of the threshold of statement 2.1 and a Bradley–Terry matrix, all with K = 3."""
    threshold = config.beta_ipo * np.sqrt(3 * (1 - config.alpha**2)) / config.lam
    cases = []
    for share in SHARES:
        P = np.asarray(dyn.preferences.cyclic(3, min(share * threshold, 0.49)))
        cases.append(Case(f"cycle, {share:g} of the threshold", P))
    return [*cases, Case("Bradley–Terry", np.asarray(dyn.preferences.bradley_terry(np.array([0.6, 0.0, -0.6]))))]


def _read(config: Config) -> tuple[list[Case], list[str]]:
    """Cases from files with counts, and notes on what was left out."""
    cases, unreadable, left = [], [], 0
    for path, found in opened(listed(config.preferences)):
        if isinstance(found, str):
            unreadable.append(found)
            continue
        fit = [m for m in range(len(found)) if _usable(found, m, config)]
        kept = [fit[k] for k in np.unique(np.linspace(0, len(fit) - 1, config.most).astype(int))] if fit else []
        left += len(found) - len(kept)
        cases += [Case(f"{path.stem} {m}", np.asarray(found[m]), found.wins(m)) for m in kept]
    if not cases:
        reasons = "; ".join(unreadable) or "no matrix with counts and enough comparisons"
        raise ValueError(f"--preferences {' '.join(config.preferences)}: nothing to thin ({reasons}).")
    notes = [f"{left} matrices left out: no counts, too large, too few comparisons, or beyond {config.most} of a file"]
    notes += [f"{len(unreadable)} unreadable file(s) skipped: {'; '.join(unreadable)}"] if unreadable else []
    return cases, notes


def _usable(found: PreferenceSet, m: int, config: Config) -> bool:
    """Whether counts are known, K is within ``max_responses``, and comparisons reach at least one level."""
    K = len(found[m])
    if found.counts[m] is None or config.max_responses < K:
        return False
    return Case("", np.asarray(found[m]), found.wins(m)).available() >= min(config.comparisons)
