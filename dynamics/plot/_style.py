"""The common style of all figures, and the names of responses in them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

from ..schema import shared_names

# Okabe and Ito's colours, the two palest in print last; each has its own line style, for print without colour.
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
DASHES: tuple[Any, ...] = ("-", (0, (5, 1.5)), (0, (4, 1.5, 1, 1.5)), (0, (1, 1)), (0, (8, 2)), (0, (3, 1, 1, 1, 1, 1)))
MARKERS = "osD^vP"
INK, PALE, MIST = "#333333", "#BBBBBB", "#F2F4F7"

MAX_NAME_LENGTH = 18  # characters, beyond which a response's name is cut


@contextlib.contextmanager
def style() -> Iterator[None]:
    """A context in which figures are drawn and saved: ``with plot.style(): …``.

    DejaVu Sans comes with matplotlib, so a figure looks the same on every machine. PDF and SVG keep text as text.
    """
    import matplotlib
    from cycler import cycler

    settings: dict[Any, Any] = {
        "axes.axisbelow": True,
        "axes.edgecolor": INK,
        "axes.labelcolor": INK,
        "axes.linewidth": 0.6,
        "axes.prop_cycle": cycler(color=PALETTE) + cycler(linestyle=DASHES),
        "axes.spines.right": False,
        "axes.spines.top": False,
        "axes.titlelocation": "left",
        "axes.titlesize": 8.5,
        "figure.constrained_layout.use": True,
        "figure.dpi": 120,
        "font.family": "DejaVu Sans",
        "font.size": 8,
        "axes.labelsize": 8,
        "legend.fontsize": 7.5,
        "legend.frameon": False,
        "legend.handlelength": 2.4,
        "lines.linewidth": 1.2,
        "mathtext.fontset": "dejavusans",
        "pdf.fonttype": 42,
        "savefig.dpi": 200,
        "svg.fonttype": "none",
        "text.color": INK,
        "xtick.color": INK,
        "xtick.labelsize": 7.5,
        "xtick.major.width": 0.6,
        "ytick.color": INK,
        "ytick.labelsize": 7.5,
        "ytick.major.width": 0.6,
    }
    with matplotlib.rc_context(settings):
        yield


def names_of(thing: Any, names: Sequence[str] | None) -> Sequence[str] | None:
    """The names given, or those that a Solution, a Dataset or a Report has for all its prompts; None without any."""
    if names is not None:
        return names
    if hasattr(thing, "data_vars"):
        labels = thing.coords.get("response")
        return None if labels is None or labels.dtype.kind not in "UTO" else [str(name) for name in labels.values]
    return shared_names(getattr(getattr(thing, "process", thing), "names", None))


def display_names(names: Sequence[str] | None, size: int) -> list[str]:
    if names is None:
        return [f"response {k}" for k in range(size)]
    if len(names) != size:
        raise ValueError(f"names has {len(names)} entries for {size} responses; pass one name per response.")
    cut = (n if len(n) <= MAX_NAME_LENGTH else n[: MAX_NAME_LENGTH - 1].rstrip() + "…" for n in map(str, names))
    # matplotlib omits labels that start with "_" from the legend and reads mathematics between dollar signs.
    return [(" " + n if n.startswith("_") else n).replace("$", r"\$") for n in cut]
