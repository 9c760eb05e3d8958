"""Helpers that all experiments share: findings, checks of configurations, provenance and intervals."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable
from typing import Any, Literal

import numpy as np
import xarray as xr
from scipy.optimize import brentq

import dynamics as dyn
from dynamics._provenance import provenance
from dynamics.stability import share

Status = Literal["holds", "fails", "not decided"]
Tick = Callable[[float, str], None]
"""Called during a run with the share that is done, in [0, 1], and the name of the next step."""

OBJECTIVES = ("IPO", "DPO")
KIND_OF = {"IPO": dyn.IPO, "DPO": dyn.DPO}
KAPPA = {
    "IPO": 1.0,
    "DPO": 4.0,
}  # statement 2.1: DPO needs a beta this many times as large as IPO at the uniform policy


@dataclasses.dataclass(frozen=True)
class Finding:
    """What an experiment found about one claim.

    Attributes:
        claim: the claim in one sentence.
        source: "[paper] Chen26, …" or "[derived] statement …".
        measured: what was measured, with its unit.
        interval: its interval or uncertainty and where that comes from; "exact" where nothing is random or rounded.
        status: "holds", "fails", or "not decided" where the measurement cannot tell.
    """

    claim: str
    source: str
    measured: str
    interval: str
    status: Status


def silent(share: float, what: str) -> None:
    """A ``Tick`` that does nothing."""


def decide(holds: bool | np.bool_, decided: bool | np.bool_ = True) -> Status:
    """The status of a claim: "not decided" unless ``decided``, otherwise by ``holds``."""
    if not decided:
        return "not decided"
    return "holds" if holds else "fails"


def require(
    config: Any, name: str, low: float, high: float, *, open_low: bool = False, open_high: bool = False
) -> None:
    """Raises ``ValueError`` unless every number in a field of ``config`` lies in the interval; for ``__post_init__``."""
    for value in np.ravel(getattr(config, name)):
        inside = (low < value if open_low else low <= value) and (value < high if open_high else value <= high)
        if not (math.isfinite(value) and inside):
            left, right = "(" if open_low else "[", ")" if open_high or math.isinf(high) else "]"
            raise ValueError(f"{name} = {value:g} is outside {left}{low:g}, {high:g}{right}; pass a value inside.")


def require_policy(config: Any, name: str) -> None:
    """Raises ``ValueError`` unless a field holds positive probabilities that sum to 1."""
    policy = np.asarray(getattr(config, name), dtype=float)
    if not (policy > 0).all() or abs(policy.sum() - 1) > 1e-9:
        raise ValueError(
            f"{name} = {tuple(map(float, policy))} is not a policy; pass positive probabilities that sum to 1."
        )


def described(ds: xr.Dataset, experiment: str, config: Any, units: dict[str, tuple[str, str]]) -> xr.Dataset:
    """``ds`` with a (unit, meaning) for its variables and, in its attributes, everything needed to repeat it."""
    for name, (unit, meaning) in units.items():
        ds[name].attrs |= {"units": unit, "long_name": meaning}
    settings = dataclasses.asdict(config)
    return ds.assign_attrs(
        experiment=experiment, config=json.dumps(settings), seed=int(settings.get("seed", 0)), **provenance()
    )


def root(function: Callable[[float], float], low: float, high: float, tolerance: float = 2e-12) -> float:
    """Where a function changes its sign between two numbers, by Brent's method."""
    found: Any = brentq(function, low, high, xtol=tolerance)
    return float(found)


def config_of(ds: xr.Dataset) -> dict[str, Any]:
    """The configuration that a Dataset was computed with."""
    return json.loads(ds.attrs["config"])


def binomial_interval(successes: int, trials: int, level: float = 0.95) -> tuple[float, float]:
    """The Clopper–Pearson interval of a share, which covers with probability ``level`` or more."""
    _, low, high = share(successes, trials, level)
    return low, high
