"""The stability map: what is proven, and what simulation found, over (alpha, lam/beta) on the 3-cycle."""

from __future__ import annotations

import dataclasses

import jax.numpy as jnp
import numpy as np
import xarray as xr

import dynamics as dyn
from dynamics.diagnostics import OrbitPeriod, Verdict

from .._framework import KAPPA, KIND_OF, OBJECTIVES, Tick, described, require, require_policy, silent
from .._sweeps import sweep
from .checks import STATEMENTS, check

__all__ = ["Config", "check", "run"]


@dataclasses.dataclass(frozen=True)
class Config:
    """Cells over alpha in (0, 1) and lam/beta, at lam = 1; the range of lam/beta for DPO is a quarter of that for IPO."""

    advantage: float = 0.4
    """a in P = 1/2 ± a of the 3-cycle."""
    cells: int = 41
    """Cells along each axis; simulations run at their centres."""
    extent: float = 1.5
    """Largest lam/beta, in units of the onset at alpha = 0."""
    rounds: int = 1000
    band: float = 0.012
    """Cells with |spectral radius - 1| below this are not compared, since transients outlast the run."""
    starts: tuple[tuple[float, float, float], ...] = ((0.9, 0.09, 0.01),)
    """Policies of round 0; a cell counts as converging if it does so from all of them."""

    def __post_init__(self) -> None:
        require(self, "advantage", 0, 0.5, open_low=True, open_high=True)
        require(self, "cells", 3, 2001)
        require(self, "extent", 0, 100, open_low=True)
        require(self, "rounds", 100, 10_000_000)
        require(self, "band", 0, 1)
        if not self.starts:
            raise ValueError("starts is empty; pass at least one policy.")
        for start in self.starts:
            require_policy(dataclasses.make_dataclass("Start", ["starts"])(start), "starts")

    @classmethod
    def full(cls) -> Config:
        return cls(
            cells=201, rounds=6000, band=0.002, starts=((0.9, 0.09, 0.01), (0.4, 0.33, 0.27), (0.02, 0.49, 0.49))
        )


def run(config: Config, tick: Tick = silent) -> xr.Dataset:
    """Verdicts and amplitudes by objective, alpha, lam/beta and start, with the curves of the statements."""
    P = np.asarray(dyn.preferences.cyclic(3, advantage=config.advantage))
    centres = (np.arange(config.cells) + 0.5) / config.cells
    widest = np.sqrt(3) / config.advantage * config.extent
    parts = []
    for n, name in enumerate(OBJECTIVES):
        ratio = widest * centres / KAPPA[name]
        radius = _spectral_radius(P, name, centres, ratio)
        ratios = ("objective", "column"), ratio[None]
        cells = []
        for m, start in enumerate(config.starts):
            tick((n + m / len(config.starts)) / 2, f"{name}, start {m + 1} of {len(config.starts)}")
            cells.append(_simulate(P, name, centres, ratio, np.log(start), config.rounds, f"{name}-{m}"))
        grid = xr.concat(cells, "start").expand_dims(objective=[name])
        grid = grid.assign(lam_over_beta=ratios, spectral_radius=(("objective", "alpha", "column"), radius[None]))
        parts.append(grid)
    curve = np.linspace(0, 1, 301)
    ds = xr.concat(parts, "objective").assign(
        boundary=(("statement", "objective", "curve_alpha"), _boundaries(P, config.advantage, curve)),
        proven=(("statement", "alpha", "column"), _proven(P, config.advantage, centres, widest * centres)),
    )
    ds = ds.assign_coords(statement=list(STATEMENTS), curve_alpha=curve, objective=list(OBJECTIVES))
    units = {
        "lam_over_beta": ("1", "lam/beta at the centre of a column of cells"),
        "spectral_radius": ("1", "spectral radius of a round at the uniform policy"),
        "boundary": (
            "1",
            "lam/beta at which a statement's condition ends; NaN where it does not speak of the objective",
        ),
        "proven": ("1", "whether a statement's condition holds at a cell of IPO; for 2.1, that uniform is unstable"),
    }
    ds.attrs = {}
    return described(ds, "stability_map", config, units)


def _simulate(
    P: np.ndarray, objective: str, alpha: np.ndarray, ratio: np.ndarray, start: np.ndarray, rounds: int, kept_as: str
) -> xr.Dataset:
    kind = KIND_OF[objective]
    loop = dyn.SelfSampling(P, kind(beta=1.0), 0.5, 1.0)
    over: dict[str | tuple[str, ...], np.ndarray] = {"alpha": alpha, "beta": 1 / ratio}
    measures = [Verdict(window=512), OrbitPeriod(window=512)]
    ds = sweep(kept_as, loop, over, measure=measures, rounds=rounds, initial=start)
    kept = ["verdict", "amplitude", "tail_step", "result", "period", "period_kind"]
    return ds[kept].rename(beta="column").drop_vars("column")


def _spectral_radius(P: np.ndarray, objective: str, alpha: np.ndarray, ratio: np.ndarray) -> np.ndarray:
    """rho at the uniform policy: the Jacobian of one cell, extended over alpha and lam/beta by the theory of 2.2."""
    kind = KIND_OF[objective]
    loop = dyn.SelfSampling(P, kind(beta=1.0), 0.0, 1.0)
    turn = float(dyn.stability.spectral_radius(loop, jnp.full(3, -jnp.log(3.0))))
    return np.hypot(alpha[:, None], turn * ratio[None])


def _boundaries(P: np.ndarray, advantage: float, alpha: np.ndarray) -> np.ndarray:
    """lam/beta where the condition of each statement holds with equality, ``(statement, objective, alpha)``."""
    A = P - 0.5
    norm = np.linalg.norm(A, 2)  # A1 = 0, so CAC = A
    span = np.ptp(A[:, None] - A[None], axis=2).max()
    k2 = (1 - alpha) * (1 + alpha)
    silence = np.full_like(alpha, np.nan)
    onset = [_onset(advantage, alpha, name) for name in OBJECTIVES]
    ipo = [2 * (1 - alpha) / norm, 4 * (1 - alpha) / span, 2 * k2 / norm, 2 * np.sqrt(k2) / norm]
    ipo.append(4 * np.sqrt(1 - alpha) / span)
    return np.array([[curve, silence] for curve in ipo] + [onset])


def _onset(advantage: float, alpha: np.ndarray, objective: str) -> np.ndarray:
    inputs = {"structure": "cycle", "K": 3, "advantage": advantage, "lam": 1.0, "objective": objective.lower()}
    beta = np.array([float(dyn.theorems.uniform_threshold(alpha=a, **inputs).upper) for a in alpha])
    return 1 / beta


def _proven(P: np.ndarray, advantage: float, alpha: np.ndarray, ratio: np.ndarray) -> np.ndarray:
    """Whether the condition of each statement holds at each cell of IPO; for the last, whether uniform is unstable."""
    ends = _boundaries(P, advantage, alpha)[:, 0, :, None]
    return np.concatenate([ratio < ends[:-1], ratio > ends[-1:]])
