"""Preference matrices for experiments: read from files, or drawn from families."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path

import jax
import numpy as np

import dynamics as dyn
from dynamics.preferences import SUFFIXES, PreferenceSet

FAMILIES = ("random", "transitive", "strongly transitive", "cyclic", "from counts")
SCALE = 0.7  # standard deviation of the Bradley–Terry scores behind matrices from counts


@dataclasses.dataclass(frozen=True)
class Case:
    """A matrix and the family or file that it comes from."""

    P: np.ndarray
    source: str


def listed(paths: Sequence[str]) -> tuple[Path, ...]:
    """The files that ``paths`` name, with folders replaced by the files in them."""
    found: list[Path] = []
    for path in map(Path, paths):
        inside = sorted(p for p in path.iterdir() if p.name.lower().endswith(SUFFIXES)) if path.is_dir() else [path]
        found += inside
    return tuple(found)


def opened(files: Sequence[Path]) -> Iterator[tuple[Path, PreferenceSet | str]]:
    """Each file with its contents, or with the reason why it cannot be read."""
    for path in files:
        try:
            yield path, dyn.preferences.read(path)
        except (ValueError, OSError) as error:
            yield path, str(error)


def read(paths: Sequence[str], largest: int) -> tuple[list[Case], list[str]]:
    """Every matrix of at most ``largest`` responses, and notes on what was left out."""
    cases, unreadable, large = [], [], 0
    for path, found in opened(listed(paths)):
        if isinstance(found, str):
            unreadable.append(found)
            continue
        kept = [P for P in map(np.asarray, found) if len(P) <= largest]
        large += len(found) - len(kept)
        cases += [Case(P, path.stem) for P in kept]
    if not cases:
        reasons = "; ".join(unreadable) or (
            f"all {large} are larger than {largest}" if large else "no file that `read` takes"
        )
        raise ValueError(f"--preferences {' '.join(paths)}: nothing could be read ({reasons}).")
    notes = [f"{len(cases)} matrices with at most {largest} responses"]
    if unreadable:
        notes.append(f"{len(unreadable)} unreadable file(s) skipped: {'; '.join(unreadable)}")
    if large:
        notes.append(f"{large} matrices of more than {largest} responses left out")
    return cases, notes


def drawn(count: int, sizes: Sequence[int], voters: int, seed: int) -> list[Case]:
    """``count`` matrices of each family and size.

    The families are: uniform entries; a random order, strongly transitive or not; uniform entries with a majority cycle; and
    Bradley–Terry with scores N(0, 0.7²), estimated from the votes of ``voters``.
    """
    rng = np.random.default_rng(seed)
    return [Case(P, family) for family in FAMILIES for K in sizes for P in _family(family, K, count, voters, rng)]


def _family(family: str, K: int, count: int, voters: int, rng: np.random.Generator) -> list[np.ndarray]:
    if family == "from counts":
        return [_seen(K, voters, rng) for _ in range(count)]
    make = {"transitive": dyn.preferences.transitive, "strongly transitive": dyn.preferences.strongly_transitive}
    if family in make:
        keys = jax.random.split(jax.random.key(int(rng.integers(2**31))), count)
        return [np.asarray(make[family](K, key=key)) for key in keys]
    found: list[np.ndarray] = []
    while len(found) < count:
        P = random_matrix(K, rng)
        found += [P] if family == "random" or cyclic(P) else []
    return found


def random_matrix(K: int, rng: np.random.Generator) -> np.ndarray:
    """P with uniform entries above the diagonal."""
    upper = np.triu(rng.uniform(size=(K, K)), 1)
    return upper + np.tril(1 - upper.T, -1) + 0.5 * np.eye(K)


def cyclic(P: np.ndarray) -> bool:
    """Whether the relation P > 1/2 has a directed cycle."""
    wins = P > 0.5
    reach = wins
    for _ in range(len(P)):
        reach = reach | (reach @ wins)
    return bool(np.diagonal(reach).any())


def _seen(K: int, voters: int, rng: np.random.Generator) -> np.ndarray:
    chance = np.asarray(dyn.preferences.bradley_terry(SCALE * rng.normal(size=K)))
    upper = np.triu(rng.binomial(voters, chance), 1)
    return np.asarray(dyn.preferences.from_wins(upper + np.tril(voters - upper.T, -1)))
