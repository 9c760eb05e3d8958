"""Figures: trajectories, simplex orbits and spectra on given Axes, and a whole report as a Figure.

Figures are drawn from arrays, Datasets, Solutions and Reports; nothing is solved here. matplotlib is imported on first use.
"""

from ._advice import advice
from ._compared import compared
from ._fitted import fitted
from ._report import caption, report
from ._simplex import barycentric, simplex
from ._spectrum import spectrum
from ._style import DASHES, MARKERS, PALETTE, style
from ._trajectory import trajectory

__all__ = [
    "DASHES",
    "MARKERS",
    "PALETTE",
    "advice",
    "barycentric",
    "caption",
    "compared",
    "fitted",
    "report",
    "simplex",
    "spectrum",
    "style",
    "trajectory",
]
