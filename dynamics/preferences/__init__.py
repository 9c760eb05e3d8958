"""Preference matrices and where they come from: families, wins, ratings, files, and what kind they are."""

from __future__ import annotations

from ._check import check
from ._classify import Classification, classify
from ._desiderata import ordered_pairs
from ._draws import draw_wins, most_comparisons, win_rates
from ._families import bradley_terry, cyclic, random, strongly_transitive, transitive
from ._ratings import from_ratings
from ._readers import read
from ._seen import Masses, Pairs, Seen
from ._sets import PreferenceSet
from ._wins import from_wins

__all__ = [
    "Classification",
    "Masses",
    "Pairs",
    "PreferenceSet",
    "Seen",
    "bradley_terry",
    "check",
    "classify",
    "cyclic",
    "draw_wins",
    "from_ratings",
    "from_wins",
    "most_comparisons",
    "ordered_pairs",
    "random",
    "read",
    "strongly_transitive",
    "transitive",
    "win_rates",
]
