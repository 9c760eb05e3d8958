"""Calibration: how often a posterior over preference matrices is right, law by law, and where it is not."""

from __future__ import annotations

import dataclasses

import numpy as np
import xarray as xr

from .._framework import Tick, described, require, silent
from ._judge import CONFIDENCES, LEVELS, Row, judge
from ._laws import LAWS
from .checks import check

__all__ = ["Config", "check", "run"]

MODELS = ("hierarchical", "independent")
EASY = ("BT .5 + .3, 40% missing", "3-cycle .6/.4", "mixed cycles, K = 5", "plant")
SLOW_SETS = 40  # at most this many data sets of a law with 30 or more responses


@dataclasses.dataclass(frozen=True)
class Config:
    """Truths drawn from laws, their votes, and what both posteriors say of IPO's rounds at alpha = 1/2 and lam = 1."""

    laws: tuple[str, ...] = EASY
    """Names of laws; those of `experiments/calibration/_laws.py`."""
    sets: int = 4
    """Data sets of each law."""
    draws: int = 120
    """Draws of each posterior."""
    seed: int = 0

    def __post_init__(self) -> None:
        require(self, "sets", 1, 1_000_000)
        require(self, "draws", 20, 1_000_000)
        known = [law.name for law in LAWS]
        for name in self.laws:
            if name not in known:
                raise ValueError(f"laws has {name!r}; pass names among {', '.join(map(repr, known))}.")

    @classmethod
    def full(cls) -> Config:
        return cls(laws=tuple(law.name for law in LAWS), sets=400, draws=240)


def run(config: Config, tick: Tick = silent) -> xr.Dataset:
    """What both posteriors say of each data set, beside the truth."""
    chosen = [(n, law) for n, law in enumerate(LAWS) if law.name in config.laws]
    rows: dict[tuple[int, int, int], Row] = {}
    for k, (n, law) in enumerate(chosen):
        for d in range(min(config.sets, SLOW_SETS) if law.K >= 30 else config.sets):
            tick((k + d / config.sets) / len(chosen), law.name)
            for m, model in enumerate(MODELS):
                rows[k, m, d] = judge(law, model, (config.seed, n, d), config.draws)
    return described(gather([law.name for _, law in chosen], rows, config.sets), "calibration", config, UNITS)


UNITS = {
    "cover": ("1", "whether intervals of the spectral radius hold the true one, to a tolerance of .003"),
    "unstable": ("1", "posterior probability that the spectral radius exceeds 1"),
    "loses": ("1", "posterior probability that stability is lost above beta = .02; where it is lost"),
    "safe": ("1", "whether the quantile of the critical beta reaches the true one; where stability is lost"),
    "safe_if": ("1", "the same among draws that lose stability"),
    "truth": ("1", "whether the true spectral radius exceeds 1"),
    "lost": ("1", "whether the truth loses stability above beta = .02"),
    "votes": ("1", "votes of a pair that is compared"),
    "num_responses": ("1", "number of responses"),
}


def gather(names: list[str], rows: dict[tuple[int, int, int], Row], sets: int) -> xr.Dataset:
    """Rows by (law, model, data set) as a Dataset; NaN where there is none."""
    shape = (len(names), len(MODELS), sets)
    sizes = {"cover": (len(LEVELS),), "safe": (len(CONFIDENCES),), "safe_if": (len(CONFIDENCES),)}
    fields = {name: np.full(shape + sizes.get(name, ()), np.nan) for name in Row._fields}
    for at, row in rows.items():
        for name, value in row._asdict().items():
            fields[name][at] = value
    axes = {"cover": ("level",), "safe": ("confidence",), "safe_if": ("confidence",)}
    per_model = {
        name: (("law", "model", "set", *axes.get(name, ())), fields[name])
        for name in ("cover", "unstable", "loses", "safe", "safe_if", "above", "below")
    }
    of_truth = {name: (("law", "set"), fields[name][:, 0]) for name in ("truth", "lost")}
    laws = [next(law for law in LAWS if law.name == name) for name in names]
    about = {
        "votes": (("law",), np.array([law.votes for law in laws])),
        "num_responses": (("law",), np.array([law.K for law in laws])),
    }
    coordinates = {"law": names, "model": list(MODELS), "level": list(LEVELS), "confidence": list(CONFIDENCES)}
    return xr.Dataset(per_model | of_truth | about, coordinates)
