"""Desiderata of a ranking: the pairs of responses that each of them orders."""

from __future__ import annotations

import itertools
from typing import Literal

import numpy as np

from .._checks import Numbers, in_short
from ._check import host_matrix
from ._classify import majority_margins, majority_order

Target = Literal["condorcet", "smith", "order"]
TARGETS: tuple[Target, ...] = ("condorcet", "smith", "order")


def ordered_pairs(P: Numbers, target: Target) -> tuple[tuple[int, int], ...]:
    """The pairs (i, j) in which i has to be ranked above j.

    "condorcet": i is the Condorcet winner, j any other. "smith": i is in the smallest dominating set, j outside. "order": i
    has one rank of the majority order and j the next; tied responses share a rank and form no pair.

    Args:
        P: preference matrix, shape (K, K), K ≥ 2, concrete.
        target: "condorcet", "smith" or "order".

    Returns:
        The pairs; none where the target requires nothing, as the Smith set is everything or all responses tie.

    Raises:
        ValueError: a bad P or target, no Condorcet winner, or a majority relation that is not transitive.

    Source: [paper] Chen26, three desiderata of a ranking (statement 1.4).

    >>> dyn.preferences.ordered_pairs([[0.5, 0.8, 0.6], [0.2, 0.5, 0.7], [0.4, 0.3, 0.5]], "order")
    ((0, 1), (1, 2))
    """
    if not isinstance(target, str) or target not in TARGETS:
        raise ValueError(f"target = {in_short(target)} is unknown; pass one of {', '.join(map(repr, TARGETS))}.")
    margin = majority_margins(host_matrix(P).astype(np.float64))
    order, smith = majority_order(margin)
    if target == "order":
        return _next_to_each_other(margin, order)
    if target == "condorcet" and len(smith) > 1:
        among = ", ".join(map(str, smith))
        raise ValueError(f"P has no Condorcet winner; pass target='smith', whose Smith set is {{{among}}}.")
    # A Condorcet winner is the Smith set.
    return tuple((i, j) for i in smith for j in range(len(margin)) if j not in smith)


def _next_to_each_other(margin: np.ndarray, order: list[int]) -> tuple[tuple[int, int], ...]:
    """Each response with those of the next rank; a rank ends where a response beats its successor."""
    ranks = [[order[0]]]
    for i, j in itertools.pairwise(order):
        if margin[i, j] > 0:
            ranks.append([])
        ranks[-1].append(j)
    place = np.empty(len(order), int)
    for r, rank in enumerate(ranks):
        place[rank] = r
    if (np.sign(margin) != np.sign(place[None, :] - place[:, None])).any():
        raise ValueError("P's majority relation is not transitive, so it is not an order; pass target='smith'.")
    return tuple(pair for upper, lower in itertools.pairwise(ranks) for pair in itertools.product(upper, lower))
