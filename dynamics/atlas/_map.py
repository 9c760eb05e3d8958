"""``stability_map``: what is proven, what the spectrum says, and what simulation finds, over two parameters."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import jax.numpy as jnp
import numpy as np

from .._checks import check_count
from .._parameters import describe, replace
from .._progress import progress as progress_bar
from .._provenance import provenance
from ..diagnostics import Verdict
from ..rounds import Process
from ..schema import SEVERITY, VARIABLES, VERDICTS, Variable, dataset
from ..stability import contraction_rates
from ..sweeps import sweep
from ._axes import admitted, axis_of, cells_of, check_loop, held, kind_of
from ._runs import starts_of
from ._spectra import radii

if TYPE_CHECKING:
    import xarray as xr

WINDOW = 512  # rounds from which periods and amplitudes are read
OSCILLATING, UNDECIDED = VERDICTS.index("oscillating"), VERDICTS.index("undecided")
PROVEN = ("nothing proven", "proven, published", "proven, derived")
"""The meanings of the flag ``proven``: whether a theorem proves convergence from every start, and whose."""


def stability_map(
    loop: Process[Any],
    x: str = "lam/beta",
    y: str = "alpha",
    *,
    x_range: Any = None,
    y_range: Any = None,
    cells: int | tuple[int, int] = 41,
    rounds: int = 3000,
    initial: Any = None,
    progress: bool = True,
) -> xr.Dataset:
    """Three layers over (x, y), kept apart: convergence proven, rho(J(s*)) computed, and the verdict of a simulated run.

    Args:
        loop: a deterministic ``Process`` of one prompt: ``SelfSampling``, a map of ``dyn.games``, or your own.
        x, y: names of scalar parameters, or ratios such as "lam/beta", which set the denominator.
        x_range, y_range: (low, high), of which the cells are the parts; by default [0, 1] for shares, to 1.5 times the
            largest loss of stability for "lam/beta" and "beta" of IPO and DPO, and to three times the present value otherwise.
        cells: number along each axis, int ≥ 3, or (along x, along y).
        rounds: T of each run, int ≥ 100.
        initial: log pi at round 0, ``(K,)``, or several starts ``(M, K)``, in nats; by default a start in which the first
            response is 100 times as likely as the last.
        progress: show a bar at a terminal when a step takes longer than two seconds.

    Returns:
        Dataset over (y, x): ``proven`` (flags ``PROVEN``), ``rate`` (the best proven rate per round), ``spectral_radius`` (NaN
        where no fixed point was found), ``log_policy`` of the fixed point, ``verdict`` (the worst over starts; a run that still
        moves where convergence is proven has only been too short, and is undecided), ``amplitude`` and ``result`` of the runs,
        and ``admitted`` (whether the rounds are defined).

    Raises:
        ValueError: a loop that draws samples or has several prompts, an unknown parameter, or a value out of range.

    Source: proven: the statement of ``contraction_rates``; the radius is computed, the verdict observed.

    >>> game = dyn.games.MirrorDescent(dyn.preferences.cyclic(3, 0.4), eta=1.0, tau=0.1)
    >>> ds = stability_map(game, x="eta", y="tau", x_range=(0, 6), cells=4, rounds=100)
    >>> dict(ds.spectral_radius.sizes), bool((ds.spectral_radius.values[ds.proven > 0] < 1).all())
    ({'y': 4, 'x': 4}, True)
    """
    check_loop(loop, "stability_map")
    rounds = check_count(rounds, "rounds", 100)
    nx, ny = cells if isinstance(cells, tuple) and len(cells) == 2 else (cells, cells)
    across, up = axis_of(loop, x, "x", x_range, nx), axis_of(loop, y, "y", y_range, ny)
    grid = cells_of(loop, across, up)
    starts = starts_of(loop, initial)
    allowed = admitted(loop, grid)
    with progress_bar("fixed points", allowed.size, enabled=progress) as advance:
        rho, logs = radii(loop, grid, allowed, advance)
    proven, rate = _proven(loop, grid, allowed, rho, progress)
    found = _simulated(loop, grid, starts, rounds, progress)
    verdict, missing = found["verdict"]
    found["verdict"] = (np.where((proven > 0) & (verdict == OSCILLATING), UNDECIDED, verdict), missing)
    out = {"spectral_radius": rho, "log_policy": logs, "proven": proven, "rate": rate, "admitted": allowed}
    arrays = out | {name: np.where(allowed, values, missing) for name, (values, missing) in found.items()}
    number = lambda text: Variable((), "1", text)
    variables = {
        "spectral_radius": number("spectral radius of a round at the fixed point; NaN where none was found"),
        "log_policy": VARIABLES["log_policy"],
        "proven": Variable((), "1", "whether a theorem proves convergence from every start", PROVEN),
        "rate": Variable((), "per round", "the best proven contraction rate; NaN where nothing is proven"),
        "admitted": number("whether the rounds are defined there"),
        "verdict": VARIABLES["verdict"],
        "amplitude": VARIABLES["amplitude"],
        "result": VARIABLES["result"],
    }
    config = describe(loop) | {"rounds": rounds, "starts": np.exp(starts).tolist()}
    attrs = {"x": across.name, "y": up.name, "held": held(loop, grid), "rounds": rounds, "starts": len(starts)}
    attrs |= {"kind": kind_of(loop), "responses": loop.num_responses, "config": json.dumps(config), **provenance()}
    coords = {"x": ("x", across.values, {"long_name": across.name}), "y": ("y", up.values, {"long_name": up.name})}
    named = {name: variable.over("y", "x") for name, variable in variables.items()}
    return dataset(arrays, named, coords=coords, attrs=attrs)


def _proven(
    loop: Process[Any], grid: dict[str, np.ndarray], allowed: np.ndarray, rho: np.ndarray, progress: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Whether a theorem proves convergence, and the best rate. Where a fixed point is unstable none can, so none is asked."""
    proven, rate = np.zeros(allowed.shape, int), np.full(allowed.shape, np.nan)
    asked = np.argwhere(allowed & ~(rho > 1))
    with progress_bar("theorems", len(asked), enabled=progress) as advance:
        for at in map(tuple, asked):
            cell = replace(loop, {path: jnp.asarray(values[at]) for path, values in grid.items()})
            rates = contraction_rates(cell)
            if rates:
                published = any(found.statement.startswith("[paper]") for found in rates)
                proven[at], rate[at] = (1 if published else 2), rates[0].rate
            advance(1)
    return proven, rate


def _simulated(
    loop: Process[Any], grid: dict[str, np.ndarray], starts: np.ndarray, rounds: int, progress: bool
) -> dict[str, tuple[np.ndarray, Any]]:
    """The worst verdict over starts, the largest amplitude, and the first failure, each with the value for no run."""
    shape = next(iter(grid.values())).shape
    over: dict[str | tuple[str, ...], Any] = {tuple(grid): tuple(values.ravel() for values in grid.values())}
    over["initial"] = starts
    ds = sweep(loop, over, measure=Verdict(window=WINDOW), rounds=rounds, progress=progress)
    verdict = ds.verdict.values.reshape(*shape, len(starts))
    severity = np.where(verdict < 0, -1, np.asarray(SEVERITY)[verdict])
    worst = np.take_along_axis(verdict, severity.argmax(axis=-1)[..., None], axis=-1)[..., 0]
    result = ds.result.values.reshape(*shape, len(starts)).max(axis=-1)
    amplitude = np.nanmax(ds.amplitude.values.reshape(*shape, len(starts)), axis=-1, initial=-np.inf)
    amplitude = np.where(np.isfinite(amplitude), amplitude, np.nan)
    return {"verdict": (np.where(result > 0, -1, worst), -1), "amplitude": (amplitude, np.nan), "result": (result, -1)}
