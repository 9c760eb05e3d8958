"""The smallest change of one parameter that makes a process stable."""

from __future__ import annotations

import dataclasses
import warnings
from typing import Any

import jax.numpy as jnp
import numpy as np

from .._noun import assemble
from .._parameters import parameters, replace
from ..objectives import IPO, ReverseKL
from ..rounds import Process, Rounds, parts_of
from ._critical import Crossing, critical, fixed_point_near_start, is_share
from ._ends import BranchEnd
from ._local import boundary, check_analysable, slope_at
from ._space import space_of

CANDIDATES = ("alpha", "lam", "beta", "gamma", "eta", "tau")
OVERSHOOT = 0.01  # share of the change by which a suggestion goes beyond the threshold, at which the radius is 1


@dataclasses.dataclass(frozen=True)
class Suggestion:
    """Moving ``parameter`` from ``value`` beyond ``threshold`` makes the followed fixed point stable.

    Attributes:
        parameter: full path of the parameter.
        value: its present value.
        threshold: the value at which the spectral radius is 1.
        suggested: a value beyond the threshold by 1% of the change.
        spectral_radius: the radius at ``suggested``.
        change: |Δ| for shares, |Δ log| for others; suggestions are ordered by it.

    >>> print(dyn.stability.Suggestion("alpha", 0.9, 0.8, 0.799, 0.9981, 0.101))
    alpha: 0.9 → 0.799 (threshold 0.8, spectral radius there 0.998100)
    """

    parameter: str
    value: float
    threshold: float
    suggested: float
    spectral_radius: float
    change: float

    def __str__(self) -> str:
        return (
            f"{self.parameter}: {self.value:.6g} → {self.suggested:.6g} (threshold {self.threshold:.8g}, "
            f"spectral radius there {self.spectral_radius:.6f})"
        )


def suggest(process: Process[Any]) -> tuple[Suggestion, ...]:
    """For each of alpha, lam, beta, gamma, eta and tau, the nearest value with rho < 1; the smallest change comes first.

    Args:
        process: a deterministic ``Process``; those of these parameters that it has are changed one at a time: gamma is the
            weight of an entropy (``ReverseKL``), eta and tau are the step and the temperature of a game.

    Returns:
        Suggestions ordered by size of change; where no parameter of IPO's rounds suffices, the least gamma of ``ReverseKL`` on
        win rates in IPO's place. Empty where the process is already stable or nothing was found.

    Source: [derived], from the crossings of ``critical``.
    """
    check_analysable(process)
    if _radius(process) < 1 - boundary():
        return ()
    paths = [path for path in parameters(process) if path.rsplit(".", 1)[-1] in CANDIDATES]
    found = tuple(
        sorted((s for s in (_nearest(process, path) for path in paths) if s is not None), key=lambda s: s.change)
    )
    return found or _entropy(process)


def _entropy(process: Process[Any]) -> tuple[Suggestion, ...]:
    """The least weight of an entropy on win rates that stabilises IPO's rounds; empty for other rounds."""
    loop = parts_of(process)
    if loop is None or type(loop.objective) is not IPO:
        return ()
    fields = {field.name: getattr(loop, field.name) for field in dataclasses.fields(loop)}
    beta = float(loop.objective.beta)
    with_gamma = assemble(Rounds, **fields | {"objective": ReverseKL(beta, beta, reward="win-rate")})
    least = max(
        (c.value for c in _crossings(with_gamma, "objective.gamma") if c.direction == "gains stability"), default=None
    )
    if least is None:
        return ()
    beyond = least * (1 + OVERSHOOT)
    radius = _radius(replace(with_gamma, {"objective.gamma": jnp.asarray(beyond)}))
    if not radius < 1 - boundary():
        return ()
    return (Suggestion("gamma", 0.0, least, beyond, radius, float(np.log1p(beyond / beta))),)


def _crossings(process: Process[Any], path: str) -> tuple[Crossing, ...]:
    """The crossings along a parameter, as far as its branch can be followed; none where no fixed point is found."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", BranchEnd)
        try:
            return critical(process, path)
        except RuntimeError:
            return ()


def _radius(process: Process[Any]) -> float:
    """The spectral radius at the fixed point near the start; infinite where none is found."""
    y = fixed_point_near_start(process)
    if y is None:
        return np.inf
    return float(np.abs(np.linalg.eigvals(np.asarray(slope_at(process, space_of(process), jnp.asarray(y))))).max())


def _nearest(process: Process[Any], path: str) -> Suggestion | None:
    now = float(parameters(process)[path])
    share = is_share(path)
    distance = lambda v: abs(v - now) if share else abs(np.log(v / now))
    crossings = _crossings(process, path)
    for crossing in sorted(crossings, key=lambda c: distance(c.value)):
        # Skip crossings at which a move away from the present value would lose stability.
        if (crossing.value < now) != (crossing.direction == "loses stability"):
            continue
        beyond = crossing.value + OVERSHOOT * (crossing.value - now)
        beyond = float(np.clip(beyond, 0.0, 1.0)) if share else float(beyond)
        there = replace(process, {path: jnp.asarray(beyond)})
        radius = _radius(there)
        if radius < 1 - boundary():
            return Suggestion(path, now, crossing.value, beyond, radius, float(distance(beyond)))
    return None
