"""One file per figure: ``draw(ds)`` → matplotlib Figure, from the Dataset of the experiment of the same name alone.

``draw(ds, width=3.25, caption=False)`` is the figure for a column of that many inches; its caption is ``.caption``, which
``latex`` escapes.
"""

from ._latex import latex

__all__ = ["latex"]
