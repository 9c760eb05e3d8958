"""Figures: trajectories, simplex orbits and spectra on given Axes, a whole report as a Figure, and maps of a loop in one call.

Figures are drawn from arrays, Datasets, Solutions and Reports; nothing is solved here. ``stability_map``, ``orbit_diagram``,
``phase_portrait`` and ``basins`` also take a loop, of which the room ``atlas`` then computes a Dataset. matplotlib and that
room are imported on first use.
"""

from ._advice import advice
from ._compared import compared
from ._fitted import fitted
from ._map import stability_map, verdict_cells
from ._orbits import orbit_diagram
from ._portrait import basins, phase_portrait
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
    "basins",
    "caption",
    "compared",
    "fitted",
    "orbit_diagram",
    "phase_portrait",
    "report",
    "simplex",
    "spectrum",
    "stability_map",
    "style",
    "trajectory",
    "verdict_cells",
]
