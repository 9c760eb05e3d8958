"""What axes and captions call the parameters of a loop, and where a figure of one's own goes."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.axes import Axes

LETTERS = {"alpha": "α", "lam": "λ", "beta": "β", "eta": "η", "tau": "τ", "gamma": "γ"}
MEANINGS = {
    "alpha": "share of the policy in the next reference",
    "lam": "share of the policy in the next sampler",
    "beta": "KL coefficient",
    "eta": "step",
    "tau": "temperature",
}


def letter(name: str) -> str:
    """A parameter's letter: "λ/β" of "lam/beta", and the last part of any other name."""
    parts = [part.strip().rsplit(".", 1)[-1] for part in name.split("/")]
    return "/".join(LETTERS.get(part, part) for part in parts).replace("$", r"\$")


def label(name: str) -> str:
    """A parameter's letter and meaning, for an axis; all of them are numbers without a unit."""
    meaning = MEANINGS.get(name.rsplit(".", 1)[-1])
    return letter(name) if meaning is None else f"{letter(name)}, {meaning}"


def lettered(held: str) -> str:
    """ "λ = 1, β = 0.1" of "lam = 1, beta = 0.1"."""
    parts = [part.split(" = ") for part in held.split(", ") if part]
    return ", ".join(f"{letter(name)} = {value}" for name, value in parts)


def logarithmic(ax: Axes, labelled: tuple[float, ...]) -> None:
    """A logarithmic x axis with a label at these multiples of every decade, which are few enough not to meet."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    ax.set_xscale("log")
    ax.xaxis.set_major_locator(LogLocator(subs=labelled))
    ax.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g}"))
    ax.xaxis.set_minor_formatter(NullFormatter())


def canvas(ax: Axes | None, width: float, height: float) -> tuple[Axes, bool]:
    """The Axes to draw on, and whether it is the only one of a new Figure."""
    if ax is not None:
        return ax, False
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained").subplots(), True


def computed(
    loop: Any,
    verb: str,
    needs: Collection[str],
    options: Mapping[str, Any],
    over: Mapping[str, tuple[str, str]] | None = None,
) -> xr.Dataset:
    """``atlas.verb`` of a loop; a Dataset that it returned before is taken as it is.

    Args:
        loop: a loop or a Dataset.
        verb: the function of ``dynamics.atlas``.
        needs: variables that a Dataset must have.
        options: of that function.
        over: by keyword, the parameter that is asked for and the one by default.

    Raises:
        ValueError: a Dataset of something else, or options, which would compute anew, beside one.
    """
    over = over or {}
    if not hasattr(loop, "data_vars"):
        from .. import atlas

        return getattr(atlas, verb)(loop, **{name: asked for name, (asked, _) in over.items()}, **options)
    if options:
        raise ValueError(
            f"{', '.join(options)} would compute anew, and loop is a Dataset; pass the loop, or leave it out."
        )
    if missing := set(needs) - set(loop.data_vars):
        raise ValueError(
            f"the Dataset has no {', '.join(sorted(missing))}; pass that of atlas.{verb}, or the loop itself."
        )
    for name, (asked, default) in over.items():
        if asked not in (default, loop.attrs[name]):
            raise ValueError(
                f"{name} = {asked!r}, and the Dataset is over {loop.attrs[name]!r}; pass the loop, or leave it out."
            )
    return loop
