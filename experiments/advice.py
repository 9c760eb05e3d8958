"""Advice: the probability that rounds are stable against the number of comparisons, and how many decide."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import jax
import numpy as np
import xarray as xr

import dynamics as dyn
from dynamics.preferences import PreferenceSet
from dynamics.stability import posterior, spectral_radii

from ._framework import OBJECTIVES, Finding, Tick, binomial_interval, decide, described, require, silent

SURE = 0.95  # or 1 - SURE: then the comparisons have decided
SUFFIXES = (".npz", ".csv")
SHARES = (0.5, 0.9, 1.1, 1.5)  # of the threshold, for generated cycles
KINDS = {"IPO": dyn.IPO, "DPO": dyn.DPO}


@dataclasses.dataclass(frozen=True)
class Config:
    """Win counts, generated or read, thinned to fewer comparisons, and what their posteriors say of stability."""

    preferences: tuple[str, ...] = ()
    """Files (.npz with counts, .csv) or folders of them; counts of known matrices are generated where there is none."""
    comparisons: tuple[int, ...] = (3, 10, 30, 100, 300, 1000, 3000)
    """Comparisons per pair, on average, that are kept; real counts are thinned to these as far as they go."""
    thinnings: int = 6
    """Independent sub-samples at each number."""
    draws: int = 80
    """Draws of each posterior."""
    alpha: float = 0.5
    lam: float = 1.0
    beta_ipo: float = 0.1
    beta_dpo: float = 0.4
    prior: float = 0.5
    max_responses: int = 20
    """Larger matrices are left out and counted."""
    most: int = 12
    """No more matrices than this are read from each file, spread evenly over it; what is left out is counted."""
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
    """Where comparisons come from: a known P, or counts of wins that are thinned."""

    name: str
    P: np.ndarray
    wins: np.ndarray | None = None

    def available(self) -> float:
        """Comparisons per pair, on average; without end where P is known."""
        K = len(self.P)
        return np.inf if self.wins is None else float(self.wins.sum() / (K * (K - 1) / 2))

    def sample(self, comparisons: float, rng: np.random.Generator) -> np.ndarray:
        """Wins among so many comparisons per pair: drawn from P, or a sub-sample without replacement of those there are."""
        K = len(self.P)
        i, j = np.triu_indices(K, 1)
        wins = np.zeros((K, K))
        if self.wins is None:
            wins[i, j] = rng.binomial(int(comparisons), self.P[i, j])
            wins[j, i] = int(comparisons) - wins[i, j]
            return wins
        # Halves, from ties, become whole at random; pairs keep their shares of all comparisons.
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
            found = spectral_radii(everything, KINDS[name](config.beta(name)), config.alpha, config.lam, progress=False)
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
    return posterior(wins, key=key, draws=config.draws, prior=config.prior, one_sided=True).draws


def _known(config: Config) -> list[Case]:
    """Cycles on both sides of the threshold of statement 2.1 and a Bradley–Terry matrix, all of K = 3."""
    threshold = config.beta_ipo * np.sqrt(3 * (1 - config.alpha**2)) / config.lam
    cases = []
    for share in SHARES:
        P = np.asarray(dyn.preferences.cyclic(3, min(share * threshold, 0.49)))
        cases.append(Case(f"cycle, {share:g} of the threshold", P))
    return [*cases, Case("Bradley–Terry", np.asarray(dyn.preferences.bradley_terry(np.array([0.6, 0.0, -0.6]))))]


def _read(config: Config) -> tuple[list[Case], list[str]]:
    """Cases from files with counts, and what was left out in words."""
    files: list[Path] = []
    for path in map(Path, config.preferences):
        files += sorted(p for p in path.iterdir() if p.suffix.lower() in SUFFIXES) if path.is_dir() else [path]
    cases, unreadable, left = [], [], 0
    for path in files:
        try:
            found = dyn.preferences.read(path)
        except (ValueError, OSError) as error:
            unreadable.append(str(error))
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
    """Known counts, no more responses than allowed, and comparisons for one level at least."""
    K = len(found[m])
    if found.counts[m] is None or config.max_responses < K:
        return False
    return Case("", np.asarray(found[m]), found.wins(m)).available() >= min(config.comparisons)


def sure(ds: xr.Dataset) -> np.ndarray:
    """Whether a sub-sample's posterior has decided, ``(case, objective, comparisons, thinning)``; NaN counts as not."""
    p = ds.unstable.values
    return np.nan_to_num(np.maximum(p, 1 - p - ds.not_found.values), nan=0.0) >= SURE


def deciding(ds: xr.Dataset) -> np.ndarray:
    """Comparisons per pair from which on at least half of the sub-samples have decided, ``(case, objective)``, or NaN."""
    known = ~np.isnan(ds.unstable.values).all(axis=-1)
    enough = (sure(ds).mean(axis=-1) >= 0.5) | ~known
    # From there on: at every larger number that was tried too.
    onward = np.logical_and.accumulate(enough[..., ::-1], axis=-1)[..., ::-1] & known
    first = np.argmax(onward, axis=-1)
    return np.where(onward.any(axis=-1), ds.comparisons.values[first], np.nan)


def check(ds: xr.Dataset) -> list[Finding]:
    """Whether sure posteriors are right, and how many comparisons make them sure."""
    findings = [_right(ds), _found(ds)]
    if ds.attrs["generated"]:
        findings.append(_distance(ds))
    return [*findings, *(_numbers(ds, m) for m in range(len(OBJECTIVES)))]


def _right(ds: xr.Dataset) -> Finding:
    truth = (ds.spectral_radius.values > 1)[:, :, None, None]
    decided = sure(ds) & ~np.isnan(ds.spectral_radius.values)[:, :, None, None]
    wrong = decided & ((ds.unstable.values > 0.5) != truth)
    count, total = int(wrong.sum()), int(decided.sum())
    low, high = binomial_interval(count, total) if total else (0.0, 1.0)
    against = "the known P" if ds.attrs["generated"] else "all comparisons there are"
    return Finding(
        claim=f"where the posterior is {SURE:.0%} sure of stability or instability, it agrees with {against} at least that "
        "often",
        source="[derived] statements 2.2 and 7.1 for the spectral radius; the posterior is computed",
        measured=f"{count} of {total} sure sub-samples on the wrong side",
        interval=f"95% Clopper–Pearson {low:.2%} to {high:.2%}, as if sub-samples were independent",
        status=decide(low <= 1 - SURE, total > 0),
    )


def _found(ds: xr.Dataset) -> Finding:
    worst = float(np.nanmax(ds.not_found.values))
    return Finding(
        claim="the fixed point of nearly every draw was found; the others are counted",
        source="[derived] statement 7.1",
        measured=f"largest share not found in a sub-sample {worst:.2%}",
        interval="exact for these draws",
        status=decide(worst <= 0.05),
    )


def _distance(ds: xr.Dataset) -> Finding:
    needed = deciding(ds)[: len(SHARES)]
    far = np.abs(np.array(SHARES) - 1)
    near_one, far_one = needed[np.argmin(far)], needed[np.argmax(far)]
    near_one = np.where(np.isnan(near_one), np.inf, near_one)
    listed = "; ".join(
        f"{name}: "
        + ", ".join(f"{s:g} of it {'not' if np.isnan(n) else f'{n:g}'}" for s, n in zip(SHARES, row, strict=True))
        for name, row in zip(OBJECTIVES, needed.T, strict=True)
    )
    return Finding(
        claim="a cycle close to the threshold of 2.1 takes more comparisons to decide than one far from it",
        source="[derived] statement 2.1",
        measured=f"comparisons per pair that decide, {listed}",
        interval=f"half of {ds.sizes['thinning']} sub-samples, at the numbers tried",
        status=decide((near_one > far_one).all(), not np.isnan(far_one).any()),
    )


def _numbers(ds: xr.Dataset, m: int) -> Finding:
    needed = deciding(ds)[:, m]
    reached = needed[~np.isnan(needed)]
    quantiles = ", ".join(f"{q:g}" for q in np.quantile(reached, (0.25, 0.5, 0.75))) if len(reached) else "none"
    last = sure(ds)[:, m]
    finite = ~np.isnan(ds.unstable.values[:, m]).all(axis=-1)
    at_most = [bool(last[c, np.flatnonzero(row)[-1]].mean() >= 0.5) for c, row in enumerate(finite)]
    return Finding(
        claim=f"{OBJECTIVES[m]}: the comparisons there are decide whether rounds are stable in most cases",
        source="[derived] statements 2.2 and 7.1, evaluated on these counts",
        measured=f"{sum(at_most)} of {len(at_most)} cases decided at the largest number tried; comparisons per pair that "
        f"decide, by quarters: {quantiles}",
        interval=f"{ds.sizes['thinning']} sub-samples of each",
        status=decide(2 * sum(at_most) > len(at_most)),
    )
