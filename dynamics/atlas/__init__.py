"""Maps of a loop as Datasets: over two parameters, along one, and over the simplex of three responses.

``dyn.plot`` draws them; here they are computed, by the public verbs of ``stability`` and ``sweeps``.
"""

from ._map import PROVEN, stability_map
from ._orbits import orbit_diagram
from ._simplex import FATES, basins, phase_portrait

__all__ = ["FATES", "PROVEN", "basins", "orbit_diagram", "phase_portrait", "stability_map"]
