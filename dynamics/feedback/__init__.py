"""Feedback: what a round sees of the preferences, as a function of the pairs that would be compared."""

from __future__ import annotations

from ..preferences import Masses, Pairs, Seen
from ._base import Feedback, check_seen
from ._best_of_n import BestOfN
from ._kinds import Noisy, Observed, Population, Samples

__all__ = ["BestOfN", "Feedback", "Masses", "Noisy", "Observed", "Pairs", "Population", "Samples", "Seen", "check_seen"]
