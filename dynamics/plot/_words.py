"""What axes and captions call the parameters of a loop, and where a figure of one's own goes."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
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


def canvas(ax: Axes | None, width: float, height: float) -> tuple[Axes, bool]:
    """The Axes to draw on, and whether it is the only one of a new Figure."""
    if ax is not None:
        return ax, False
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained").subplots(), True


def is_dataset(given: object) -> bool:
    """Whether a thing was computed already."""
    return hasattr(given, "data_vars")
