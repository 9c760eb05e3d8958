"""Flows: gradient flow of a policy on its preferences, and of reward margins under last-layer training."""

from ._base import Flow
from ._margin import MarginFlow, MarginState
from ._pairs import PairFeatures
from ._preference import PreferenceFlow, PreferenceState

__all__ = ["Flow", "MarginFlow", "MarginState", "PairFeatures", "PreferenceFlow", "PreferenceState"]
