"""Preference matrices: families, counts of wins, ratings, files, and their classification."""

from __future__ import annotations

from ._best_of import by_scores as best_of_scores
from ._best_of import by_tournament as best_of_tournament
from ._bradley_terry import strong_components, unbeaten, unlinked
from ._check import check, check_shape, host_matrix
from ._chi_square import weighted_chi_square_cdf, weighted_chi_square_quantile
from ._classify import Classification, Tier, classify
from ._comparisons import Comparisons
from ._desiderata import TARGETS, Target, ordered_pairs
from ._draws import draw_wins, draw_wins_of_prompts, most_comparisons, win_rates
from ._families import bradley_terry, cyclic, random, strongly_transitive, transitive
from ._model import PreferenceModel
from ._prompts import Names, check_like, check_prompts, check_weights, prompt_shares, response_names
from ._ratings import from_ratings
from ._readers import read
from ._seen import Masses, Pairs, Seen
from ._sets import PreferenceSet
from ._source import SUFFIXES
from ._survey import Survey, survey
from ._wins import from_wins

__all__ = [
    "SUFFIXES",
    "TARGETS",
    "Classification",
    "Comparisons",
    "Masses",
    "Names",
    "Pairs",
    "PreferenceModel",
    "PreferenceSet",
    "Seen",
    "Survey",
    "Target",
    "Tier",
    "best_of_scores",
    "best_of_tournament",
    "bradley_terry",
    "check",
    "check_like",
    "check_prompts",
    "check_shape",
    "check_weights",
    "classify",
    "cyclic",
    "draw_wins",
    "draw_wins_of_prompts",
    "from_ratings",
    "from_wins",
    "host_matrix",
    "most_comparisons",
    "ordered_pairs",
    "prompt_shares",
    "random",
    "read",
    "response_names",
    "strong_components",
    "strongly_transitive",
    "survey",
    "transitive",
    "unbeaten",
    "unlinked",
    "weighted_chi_square_cdf",
    "weighted_chi_square_quantile",
    "win_rates",
]
