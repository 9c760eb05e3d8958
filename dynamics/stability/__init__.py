"""Stability: fixed points, spectra, critical values, verdicts and suggestions for deterministic round maps."""

from ._analyze import analyze
from ._certificate import ContractionRate
from ._critical import Crossing, critical, first_crossing
from ._find import find_fixed_points
from ._fixed_points import FixedPoint
from ._local import eigenvalues, jacobian, spectral_radius
from ._report import Report
from ._suggest import Suggestion, suggest

__all__ = [
    "ContractionRate",
    "Crossing",
    "FixedPoint",
    "Report",
    "Suggestion",
    "analyze",
    "critical",
    "eigenvalues",
    "find_fixed_points",
    "first_crossing",
    "jacobian",
    "spectral_radius",
    "suggest",
]
