"""The stability map of a loop: theorems, spectra and simulation over two parameters, one layer each."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, Any

import numpy as np

from ..schema import VERDICTS
from ._style import INK, style
from ._words import canvas, computed, label, lettered

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.axes import Axes
    from matplotlib.colors import Colormap

PROVEN = ("#08519C", "#9ECAE1")  # by a published theorem, and by a derived one
ATTRACTING, UNSTABLE, UNKNOWN, UNDEFINED = "#F0F0EC", "#FFE9C4", "#FFFFFF", "#D9D9D9"
THIN = 41  # markers along an axis, at most
COLLAPSED, CONVERGED, OSCILLATING, UNDECIDED = range(len(VERDICTS))
FAILED, NOT_RUN = -1, -2
LARGEST = 0.5  # amplitude: half the range of a probability


def stability_map(
    loop: Any,
    x: str = "lam/beta",
    y: str = "alpha",
    *,
    ax: Axes | None = None,
    title: str | None = None,
    **options: Any,
) -> Axes:
    """Where rounds are proven to converge, where the fixed point attracts, and what runs do, over two parameters.

    Blue: a theorem proves convergence from every start. Grey and sand: the fixed point attracts or does not, by its spectral
    radius, whose 1 is the line. Orange cells and markers: simulated runs.

    Args:
        loop: a deterministic loop of one prompt (``SelfSampling``, a map of ``dyn.games``, your own), or the Dataset of
            ``dynamics.atlas.stability_map``, which is then drawn as it is.
        x, y: scalar parameters, or ratios such as "lam/beta", which set the denominator.
        ax: where to draw; a new Figure unless given.
        title: of the Axes.
        options: ``x_range``, ``y_range``, ``cells``, ``rounds``, ``initial``, ``progress``, as in ``atlas.stability_map``.

    Returns:
        The Axes; ``ax.figure`` is the Figure.

    Raises:
        ValueError: a loop that draws samples or has several prompts, an unknown parameter, or a value out of range.

    >>> game = dyn.games.MirrorDescent(dyn.preferences.cyclic(3, 0.4), eta=1.0, tau=0.1)
    >>> ax = dyn.plot.stability_map(game, x="eta", y="tau", x_range=(0, 6), cells=4, rounds=100)
    >>> ax.get_xlabel(), ax.get_ylabel()
    ('η, step', 'τ, temperature')
    """
    needs = ("proven", "spectral_radius", "verdict", "amplitude")
    ds = computed(loop, "stability_map", needs, options, {"x": (x, "lam/beta"), "y": (y, "alpha")})
    with style():
        ax, alone = canvas(ax, 5.6, 5.4)
        handles = _regions(ax, ds) + _line(ax, ds)
        handles += verdict_cells(ax, ds.x.values, ds.y.values, _shown(ds), ds.amplitude.values)
        ax.set_xlim(*_edges(ds.x.values)[[0, -1]])
        ax.set_ylim(*_edges(ds.y.values)[[0, -1]])
        ax.set_xlabel(label(ds.attrs["x"]))
        ax.set_ylabel(label(ds.attrs["y"]))
        if title:
            ax.set_title(title.replace("$", r"\$"))
        figure = ax.figure.get_figure(root=True)
        if figure is not None and alone:
            figure.legend(handles=handles, loc="outside upper left", ncols=2, fontsize=7, handlelength=1.6)
            figure.supxlabel(_caption(ds), x=0.01, ha="left", fontsize=7)
        else:
            ax.legend(handles=handles, loc="upper center", bbox_to_anchor=(0.5, -0.2), ncols=1, fontsize=7)
    return ax


def verdict_cells(
    ax: Axes, x: np.ndarray, y: np.ndarray, verdict: np.ndarray, amplitude: np.ndarray, *, bar: bool = True
) -> list[Any]:
    """Cells that oscillate coloured by amplitude; dots where runs settle, squares where they collapse, crosses for undecided.

    Args:
        ax: where to draw.
        x, y: centres of the cells, ``(nx,)`` and ``(ny,)``, equally spaced.
        verdict: flags of ``schema.VERDICTS``, -1 for a run that failed and -2 where there is none, ``(ny, nx)``.
        amplitude: of the oscillation, ``(ny, nx)``.
        bar: whether to add a colour bar, where something oscillates.

    Returns:
        Handles for a legend, of what is there.

    >>> from matplotlib.figure import Figure
    >>> ax, cells = Figure().subplots(), np.array([[1, 1], [1, 2]])
    >>> grid = np.array([0.5, 1.5])
    >>> [h.get_label() for h in dyn.plot.verdict_cells(ax, grid, grid, cells, np.array([[0, 0], [0, 0.3]]))]
    ['simulated: oscillates', 'simulated: converges']
    """
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    handles: list[Any] = []
    moving = verdict == OSCILLATING
    if moving.any():
        colours = amplitudes()
        shown = np.ma.masked_where(~moving, amplitude)
        ax.pcolormesh(
            _edges(x),
            _edges(y),
            shown,
            cmap=colours,
            vmin=0,
            vmax=LARGEST,
            zorder=2,
            rasterized=True,
            label="amplitude",
        )
        handles.append(Patch(facecolor=colours(0.6), edgecolor=INK, linewidth=0.3, label="simulated: oscillates"))
        figure = ax.figure.get_figure(root=True)
        if bar and figure is not None:
            scale = figure.colorbar(ScalarMappable(Normalize(0, LARGEST), colours), ax=ax, shrink=0.75, aspect=28)
            scale.set_label("amplitude of the oscillation, measured")
            scale.outline.set_linewidth(0.4)  # pyright: ignore[reportCallIssue]
    thin = np.zeros(verdict.shape, bool)
    thin[:: max(1, round(len(y) / THIN)), :: max(1, round(len(x) / THIN))] = True
    looks = (
        (CONVERGED, "converges", {"marker": "o", "s": 1.6, "color": "white", "edgecolors": INK, "linewidths": 0.3}),
        (COLLAPSED, "collapses onto one response", {"marker": "s", "s": 3.0, "color": INK, "linewidths": 0}),
        (UNDECIDED, "undecided within the run", {"marker": "x", "s": 7, "color": INK, "linewidths": 0.5}),
        (FAILED, "failed", {"marker": "+", "s": 9, "color": "#AA0000", "linewidths": 0.6}),
    )
    across, up = np.meshgrid(x, y)
    for flag, word, look in looks:
        here = (verdict == flag) & thin
        if (verdict == flag).any():
            text = f"simulated: {word}"
            ax.scatter(across[here], up[here], zorder=3, label=text, **look)
            edge = look.get("edgecolors", look["color"])
            face = {
                "markerfacecolor": look["color"],
                "markeredgecolor": edge,
                "markersize": 3.5,
                "markeredgewidth": 0.6,
            }
            handles.append(Line2D([], [], linestyle="none", marker=look["marker"], label=text, **face))
    return handles


def amplitudes() -> Colormap:
    """Colours of amplitudes, from sand to brown."""
    from matplotlib.colors import LinearSegmentedColormap

    return LinearSegmentedColormap.from_list("amplitude", ["#FFE9C4", "#F6B45E", "#D55E00", "#7A2E00"])


def _shown(ds: xr.Dataset) -> np.ndarray:
    """Verdicts, without a mark where rounds are not defined."""
    return np.where(ds.admitted.values.astype(bool), ds.verdict.values, NOT_RUN)


def _regions(ax: Axes, ds: xr.Dataset) -> list[Any]:
    """Theorems in blue; where none applies, what the spectral radius says."""
    from matplotlib.colors import ListedColormap
    from matplotlib.patches import Patch

    rho, proven, admitted = ds.spectral_radius.values, ds.proven.values, ds.admitted.values.astype(bool)
    layers = (
        (proven == 1, PROVEN[0], "proven to converge (a published theorem)"),
        (proven == 2, PROVEN[1], "proven to converge (a derived theorem)"),
        ((proven == 0) & (rho < 1), ATTRACTING, "computed: fixed point attracts; unproven"),
        ((proven == 0) & (rho >= 1), UNSTABLE, "computed: fixed point does not attract"),
        ((proven == 0) & np.isnan(rho) & admitted, UNKNOWN, "computed: no fixed point found"),
        (~admitted, UNDEFINED, "rounds not defined"),
    )
    handles, edge = [], {"edgecolor": INK, "linewidth": 0.3}
    for where, colour, text in layers:
        if where.any():
            shade = np.ma.masked_where(~where, np.ones(where.shape))
            ax.pcolormesh(
                _edges(ds.x.values),
                _edges(ds.y.values),
                shade,
                cmap=ListedColormap([colour]),
                zorder=0,
                label=text,
                rasterized=True,
            )
            handles.append(Patch(facecolor=colour, label=text, **edge))
    return handles


def _line(ax: Axes, ds: xr.Dataset) -> list[Any]:
    """Where the spectral radius is 1, interpolated between cells."""
    from matplotlib.lines import Line2D

    rho = np.ma.masked_invalid(ds.spectral_radius.values)
    if not ((rho < 1).any() and (rho > 1).any()):
        return []
    for colour, width, zorder in (("white", 3.0, 4), (INK, 1.5, 5)):
        ax.contour(ds.x.values, ds.y.values, rho, levels=[1.0], colors=colour, linewidths=width, zorder=zorder)
    return [Line2D([], [], color=INK, linewidth=1.5, linestyle="-", label="computed: spectral radius 1")]


def _edges(centres: np.ndarray) -> np.ndarray:
    step = centres[1] - centres[0]
    return np.append(centres - step / 2, centres[-1] + step / 2)


def _caption(ds: xr.Dataset) -> str:
    told = ds.attrs
    held = f"; {lettered(told['held'])}" if told["held"] else ""
    many = f"{told['starts']} starts" if told["starts"] > 1 else "one start"
    proven = (
        "Blue: theorems, at the centre of each cell." if (ds.proven > 0).any() else "No contraction theorem applies."
    )
    text = (
        f"{told['kind']}, {told['responses']} responses{held}. {proven} Grey, sand and line: spectral radius of a round at the "
        f"fixed point, computed. Orange cells and markers: runs of {told['rounds']} rounds from {many}; "
        f"{'the worst verdict is shown' if told['starts'] > 1 else 'other starts may end elsewhere'}."
    )
    return textwrap.fill(text, 104)
