"""A set of preference matrices with counts, names and their source."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, overload

import numpy as np
from jaxtyping import Array

from .._checks import host_array
from .._numerics import as_array
from ._check import host_matrix
from ._comparisons import Comparisons


@dataclass(frozen=True, init=False, repr=False, eq=False)
class PreferenceSet:
    """M ≥ 1 preference matrices P, of possibly different K; ``set[m]`` is matrix m and ``set[a:b]`` a smaller set.

    All attributes except ``source`` and ``notes`` are tuples with one entry per matrix.

    Attributes:
        matrices: P, shape (K, K), each as `check` accepts it.
        counts: N, shape (K, K), symmetric: ``N[i, j]`` is the number of comparisons behind P_ij; None where unknown.
        names: the K responses' names; None where unknown.
        voters: the number of people (or other sources of comparisons); None where unknown.
        ties: shape (K, K), symmetric: how many of the comparisons N were ties, each counted half to both; None where unknown.
        source: the origin of the matrices, such as the path of a file; may be empty.
        notes: sentences on how a file was understood and what was left out, for the whole set and not for each matrix.

    Raises:
        ValueError: `check` refuses a matrix, or an attribute does not fit the matrices.

    >>> votes = dyn.preferences.PreferenceSet([[[0.5, 0.75], [0.25, 0.5]]], counts=[[[0, 4], [4, 0]]])
    >>> votes.wins(0).tolist()
    [[0.0, 3.0], [1.0, 0.0]]
    """

    matrices: tuple[Array, ...]
    counts: tuple[np.ndarray | None, ...]
    names: tuple[tuple[str, ...] | None, ...]
    voters: tuple[int | None, ...]
    source: str
    ties: tuple[np.ndarray | None, ...]
    notes: tuple[str, ...]

    def __init__(
        self,
        matrices: Sequence[Any],
        counts: Sequence[Any] | None = None,
        names: Sequence[Sequence[str] | None] | None = None,
        voters: Sequence[Any] | None = None,
        source: str = "",
        ties: Sequence[Any] | None = None,
        notes: Sequence[str] = (),
    ):
        size = len(matrices)
        if size == 0:
            raise ValueError("matrices is empty; pass at least one preference matrix.")
        for name, value in (("counts", counts), ("names", names), ("voters", voters), ("ties", ties)):
            if value is not None and len(value) != size:
                raise ValueError(f"{name} has {len(value)} entries for {size} matrices; pass one per matrix.")
        checked = tuple(as_array(host_matrix(P, f"matrices[{m}]")) for m, P in enumerate(matrices))
        unknown = (None,) * size
        pairs = list(enumerate(len(P) for P in checked))
        # The class is frozen, so its constructor bypasses __setattr__.
        put = object.__setattr__
        put(self, "matrices", checked)
        put(self, "counts", unknown if counts is None else tuple(_counts(counts[m], m, K) for m, K in pairs))
        put(self, "names", unknown if names is None else tuple(_names(names[m], m, K) for m, K in pairs))
        put(self, "voters", unknown if voters is None else tuple(_voters(voters[m], m) for m, _ in pairs))
        put(self, "source", source)
        put(self, "notes", tuple(notes))
        put(self, "ties", unknown if ties is None else tuple(_ties(ties[m], self.counts[m], m, K) for m, K in pairs))

    def __len__(self) -> int:
        return len(self.matrices)

    def __iter__(self) -> Iterator[Array]:
        return iter(self.matrices)

    @overload
    def __getitem__(self, index: int) -> Array: ...
    @overload
    def __getitem__(self, index: slice) -> PreferenceSet: ...

    def __getitem__(self, index: int | slice) -> Array | PreferenceSet:
        if not isinstance(index, slice):
            return self.matrices[index]
        if not self.matrices[index]:
            raise ValueError(
                f"the slice {index.start}:{index.stop}:{index.step} of {len(self)} matrices is empty; pass a longer one."
            )
        return PreferenceSet(
            self.matrices[index],
            self.counts[index],
            self.names[index],
            self.voters[index],
            self.source,
            self.ties[index],
            self.notes,
        )

    def by_size(self) -> dict[int, tuple[int, ...]]:
        """The indices of the matrices of each size: {K: (m, …)}, K ascending."""
        groups: dict[int, list[int]] = {}
        for m, P in enumerate(self.matrices):
            groups.setdefault(P.shape[0], []).append(m)
        return {K: tuple(groups[K]) for K in sorted(groups)}

    def distinct(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """The indices of the matrices that differ, and for each matrix the place among them of its equal.

        >>> even = [[0.5, 0.5], [0.5, 0.5]]
        >>> dyn.preferences.PreferenceSet([even, [[0.5, 1.0], [0.0, 0.5]], even]).distinct()
        ((0, 1), (0, 1, 0))
        """
        seen: dict[bytes, int] = {}
        first: list[int] = []
        back = []
        for m, P in enumerate(self.matrices):
            place = seen.setdefault(np.asarray(P).tobytes(), len(first))
            if place == len(first):
                first.append(m)
            back.append(place)
        return tuple(first), tuple(back)

    def wins(self, index: int) -> np.ndarray:
        """c = P ∘ N of one matrix, ``(K, K)``: how often i beat j, in the form of `from_wins` and posteriors.

        Pairs never compared have 0 on both sides; ties give halves.

        Raises:
            ValueError: the counts are unknown.
        """
        N, P = self.counts[index], np.asarray(self.matrices[index], dtype=np.float64)
        if N is None:
            raise ValueError(
                f"matrix {index} has no counts of comparisons, so its wins are not known; read a file that holds them "
                f"(.npz with N, .csv of wins), or pass counts=."
            )
        return P * N * (1 - np.eye(len(P)))

    def comparisons(self, index: int, *, drop_ties: bool = False) -> Comparisons:
        """`wins` of one matrix as `Comparisons`, pairs never compared with 0 on both sides.

        Args:
            index: the matrix.
            drop_ties: whether ties are left out; otherwise each counts half to both sides. How many there were is in ``ties``.

        Raises:
            ValueError: the counts are unknown, or with ``drop_ties`` the ties are, and some counts are not whole.

        >>> even, met = [[0.5, 0.5], [0.5, 0.5]], [[0, 3], [3, 0]]
        >>> votes = dyn.preferences.PreferenceSet([even], counts=[met], ties=[[[0, 1], [1, 0]]])
        >>> votes.comparisons(0).n, votes.comparisons(0, drop_ties=True).n
        (3.0, 2.0)
        """
        wins, ties = self.wins(index), self.ties[index]
        # P is a rounded quotient, so whole and half counts come back to within rounding only.
        halves = np.round(2.0 * wins) / 2.0
        wins = np.where(np.abs(wins - halves) <= 1e-9 * np.maximum(1.0, wins), halves, wins)
        if drop_ties and ties is not None:
            wins = np.maximum(wins - 0.5 * ties, 0.0)
        if drop_ties and (wins != np.floor(wins)).any():
            i, j = (int(k) for k in np.argwhere(wins != np.floor(wins))[0])
            raise ValueError(
                f"matrix {index}: response {i} beat response {j} {wins[i, j]:g} times, which is not whole, and how many ties "
                f"there were is unknown; pass counts without ties, or drop_ties=False."
            )
        return Comparisons(wins)

    def __repr__(self) -> str:
        sizes = list(self.by_size())
        span = f"K = {sizes[0]}" if len(sizes) == 1 else f"K = {sizes[0]}–{sizes[-1]}"
        plural = "matrix" if len(self) == 1 else "matrices"
        fields = ("counts", "names", "voters")
        known = ", ".join(name for name in fields if any(value is not None for value in getattr(self, name)))
        parts = [f"{len(self)} {plural}", span, *([f"with {known}"] if known else [])]
        return f"PreferenceSet({', '.join(parts)}{f', from {self.source}' if self.source else ''})"


def _counts(value: Any, m: int, K: int, what: str = "counts") -> np.ndarray | None:
    if value is None:
        return None
    name = f"{what}[{m}]"
    N = host_array(value, name).astype(np.float64)
    if N.shape != (K, K):
        raise ValueError(f"{name} has shape {N.shape} beside a matrix of shape ({K}, {K}); pass one count per pair.")
    bad = ~np.isfinite(N) | (N < 0)
    asymmetric = N != N.T
    if bad.any() or asymmetric.any():
        i, j = (int(k) for k in np.argwhere(bad if bad.any() else asymmetric)[0])
        why = "is not a count ≥ 0" if bad.any() else f"but {name}[{j}, {i}] = {N[j, i]:g}"
        raise ValueError(f"{name}[{i}, {j}] = {N[i, j]:g} {why}; pass how often each pair was compared.")
    return N


def _ties(value: Any, N: np.ndarray | None, m: int, K: int) -> np.ndarray | None:
    if value is None:
        return None
    if N is None:
        raise ValueError(f"ties[{m}] is given without counts[{m}]; pass both.")
    ties = _counts(value, m, K, "ties")
    assert ties is not None
    if (ties > N).any():
        i, j = (int(k) for k in np.argwhere(ties > N)[0])
        raise ValueError(
            f"ties[{m}][{i}, {j}] = {ties[i, j]:g} is above counts[{m}][{i}, {j}] = {N[i, j]:g}; count ties among them."
        )
    return ties


def _names(value: Sequence[str] | None, m: int, K: int) -> tuple[str, ...] | None:
    if value is None:
        return None
    names = tuple(str(name) for name in value)
    if len(names) != K:
        raise ValueError(f"names[{m}] has {len(names)} entries for K = {K}; pass one name per response.")
    return names


def _voters(value: Any, m: int) -> int | None:
    if value is None:
        return None
    if not isinstance(value, int | np.integer) or value < 0:
        raise ValueError(f"voters[{m}] = {value} is not a count; pass a whole number ≥ 0.")
    return int(value)
