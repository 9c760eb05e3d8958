"""A page to look at rounds with: what a setting does, why, and what would change it, drawn in a browser while sliders move.

``Setting`` is what the page asks for; ``view``, ``advice`` and ``stability_map`` are its numbers, from ``dyn.oracle`` and
without a browser; ``script`` is the Python that gives them again. Only ``serve`` and ``dynamics.explore.static`` need the extra
``explore``.
"""

from __future__ import annotations

from collections.abc import Callable

from ..preferences import PreferenceSet
from ._map import Map, proven_beta, stability_map
from ._setting import LARGEST, METHODS, Loop, Setting, effective, fixed_point, loop_of, sampled, start_of
from ._told import Claim, claims, script
from ._view import Advice, View, advice, view

__all__ = [
    "LARGEST",
    "METHODS",
    "Advice",
    "Claim",
    "Loop",
    "Map",
    "Setting",
    "View",
    "advice",
    "claims",
    "effective",
    "fixed_point",
    "loop_of",
    "proven_beta",
    "sampled",
    "script",
    "serve",
    "stability_map",
    "start_of",
    "view",
]


def serve(matrices: PreferenceSet | None, index: int, port: int, ready: Callable[[str], None]) -> None:
    """Serves the page on 127.0.0.1 until Ctrl-C.

    Args:
        matrices: those of a file, or None.
        index: the one that is shown first.
        port: where to listen; 0 for a free one.
        ready: called with the address.

    Raises:
        ValueError: the extra ``explore`` is not installed, or the port is taken.
    """
    try:
        from ._page import serve
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] not in ("bokeh", "tornado", "jinja2"):
            raise
        raise ValueError("the page needs Bokeh; run pip install 'alignment-dynamics[explore]'.") from None
    serve(matrices, index, port, ready)
