"""``phase_portrait`` and ``basins``: rounds as a field of arrows over three responses, and where each start ends."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import jax.numpy as jnp
import numpy as np

from .._checks import check_count
from .._parameters import describe
from .._provenance import provenance
from ..diagnostics import Verdict
from ..preferences import Names
from ..rounds import Process
from ..schema import VARIABLES, VERDICTS, Variable, dataset, response_labels
from ..stability import find_fixed_points
from ..sweeps import sweep
from ._axes import check_loop, held, kind_of
from ._runs import late, log_softmax, starts_of

if TYPE_CHECKING:
    import xarray as xr

WINDOW = 512  # rounds from which periods are read
NEAR = 0.02  # in total variation, within which two runs end at the same place
FARTHEST = 1e4  # nats below the top, beyond which a point has run away
CORNER = 1e-3  # share of the other responses near a vertex of the default starts
FATES = ("settles", "keeps moving", "undecided", "failed")
"""The meanings of the flag ``fate`` of ``basins``."""


def phase_portrait(loop: Process[Any], *, arrows: int = 18, rounds: int = 100, initial: Any = None) -> xr.Dataset:
    """pi_{t+1} - pi_t over the simplex of three responses, orbits, and the fixed points with their spectral radii.

    Args:
        loop: a deterministic ``Process`` of one prompt with K = 3, whose state is the policy.
        arrows: along a side of the triangle, int ≥ 3.
        rounds: of the orbits, int ≥ 1.
        initial: log pi at round 0 of each orbit, ``(K,)`` or ``(M, K)``, in nats; by default a start near each vertex and one
            beside the middle.

    Returns:
        Dataset: ``log_policy`` over (arrow, response) and ``step`` = pi' - pi there; ``log_orbit`` over (orbit, round,
        response); ``log_fixed_point`` and ``spectral_radius`` over (fixed_point).

    Raises:
        ValueError: another K, several prompts, a loop that draws samples, or one that carries more than the policy.

    Source: fixed points and radii as in ``dyn.stability.find_fixed_points``.

    >>> loop = dyn.SelfSampling(dyn.preferences.cyclic(3, 0.4), dyn.IPO(0.25), alpha=0.5, lam=1.0)
    >>> ds = phase_portrait(loop, arrows=5, rounds=10)
    >>> ds.step.shape, ds.log_orbit.shape, ds.spectral_radius.round(3).values.tolist()
    ((15, 3), (4, 11, 3), [1.05])
    """
    _check_three(loop, "phase_portrait")
    names, loop = loop.response_names(), loop.unnamed()
    if loop.state_basis().shape[1] != 2:
        raise ValueError(
            f"{type(loop).__name__} does not move freely over the simplex by its policy alone (its state has "
            f"{loop.state_basis().shape[1]} numbers, not 2), so a policy has no arrow of its own; draw orbits with "
            f"dyn.plot.simplex."
        )
    arrows, rounds = check_count(arrows, "arrows", 3), check_count(rounds, "rounds", 1)
    at = lattice(arrows)
    moved = _runs(loop, at, 0, 1)[:, 0]
    starts = _spread() if initial is None else starts_of(loop, initial)
    orbits = np.concatenate([starts[:, None], _runs(loop, starts, 0, rounds)], axis=1)
    logs, radius = _fixed_points(loop)
    arrays = {"log_policy": at, "step": np.exp(moved) - np.exp(at), "log_orbit": orbits}
    arrays |= {"log_fixed_point": logs, "spectral_radius": radius}
    return _dataset(loop, names, arrays, {"rounds": rounds})


def basins(
    loop: Process[Any], *, starts: int = 41, rounds: int = 2000, initial: Any = None, progress: bool = True
) -> xr.Dataset:
    """Which attractor the rounds reach from each start on the simplex of three responses.

    Args:
        loop: a deterministic ``Process`` of one prompt with K = 3.
        starts: along a side of the triangle, int ≥ 3, which makes starts (starts + 1)/2 of them. The uniform policy, often an
            unstable fixed point, is one of them only if starts - 1 is a multiple of 3.
        rounds: T of each run, int ≥ 100.
        initial: log pi at round 0 of each run instead, ``(M, 3)``, in nats.
        progress: show a bar at a terminal when it takes longer than two seconds.

    Returns:
        Dataset over (start, response): ``log_policy`` at round 0 and ``log_last`` in the end; over (start): ``fate`` (flags
        ``FATES``), ``verdict`` and ``attractor``, the index of the place where a run settles, -1 where it does not; over
        (place): ``log_place``, the policies in which runs settle, the most frequent first, and their ``share`` of the starts.

    Raises:
        ValueError: another K, several prompts, or a loop that draws samples.

    Source: observed; runs that end within 0.02 of each other in total variation count as the same place.

    >>> loop = dyn.SelfSampling(dyn.preferences.cyclic(3, 0.4), dyn.IPO(0.5), alpha=0.5, lam=1.0)
    >>> ds = basins(loop, starts=5, rounds=200)
    >>> ds.share.values.tolist(), np.exp(ds.log_place).round(3).values.tolist()
    ([1.0], [[0.333, 0.333, 0.333]])
    """
    _check_three(loop, "basins")
    names, loop = loop.response_names(), loop.unnamed()
    starts, rounds = check_count(starts, "starts", 3), check_count(rounds, "rounds", 100)
    at = _of_class(loop, lattice(starts)) if initial is None else starts_of(loop, initial)
    ds = sweep(loop, {"initial": at}, measure=Verdict(window=WINDOW), rounds=rounds, progress=progress)
    verdict, last = ds.verdict.values, _runs(loop, at, rounds - 1, 1)[:, 0]
    failed = (ds.result.values > 0) | ~np.isfinite(last).all(axis=1)
    settled = np.isin(verdict, (VERDICTS.index("collapsed"), VERDICTS.index("converged"))) & ~failed
    attractor, places, shares = _grouped(last, settled)
    fate = np.where(settled, 0, np.where(verdict == VERDICTS.index("oscillating"), 1, 2))
    arrays = {"log_policy": at, "log_last": last, "fate": np.where(failed, 3, fate), "verdict": verdict}
    logs, radius = _fixed_points(loop)
    arrays |= {"attractor": attractor, "log_place": places, "share": shares}
    arrays |= {"log_fixed_point": logs, "spectral_radius": radius}
    return _dataset(loop, names, arrays, {"rounds": rounds, "starts": len(at)})


def lattice(side: int) -> np.ndarray:
    """Log-policies at the centres of a triangular grid with ``side`` points along each side, ``(side (side+1)/2, 3)``."""
    i, j = (a.ravel() for a in np.mgrid[:side, :side])
    i, j = i[i + j < side], j[i + j < side]
    counts = np.stack([i, j, side - 1 - i - j], axis=1) + 1 / 3
    return np.log(counts / side)


def _spread() -> np.ndarray:
    corners = np.log(CORNER / 2 + (1 - 1.5 * CORNER) * np.eye(3))
    return log_softmax(np.concatenate([corners, np.log([[0.36, 0.33, 0.31]])]))


def _of_class(loop: Process[Any], logs: np.ndarray) -> np.ndarray:
    """The nearest policies of the class; the same where it contains every policy."""
    basis = np.asarray(loop.basis())
    return logs if basis.shape[1] == 2 else log_softmax(logs @ basis @ basis.T)


def _check_three(loop: Process[Any], verb: str) -> None:
    check_loop(loop, verb)
    if loop.num_responses != 3:
        raise ValueError(
            f"loop has {loop.num_responses} responses, and {verb} draws the triangle of 3; pass a loop with K = 3."
        )


def _runs(loop: Process[Any], starts: np.ndarray, skip: int, keep: int) -> np.ndarray:
    return np.asarray(late(loop, {}, jnp.asarray(starts), jnp.asarray(skip), keep))


def _fixed_points(loop: Process[Any]) -> tuple[np.ndarray, np.ndarray]:
    """Log-policies of the fixed points, vertices with -inf, and their spectral radii; none that ran away to a face."""
    found = [p for p in find_fixed_points(loop) if p.log_policy is None or p.log_policy.min() > -FARTHEST]
    with np.errstate(divide="ignore"):
        corners = np.log(np.eye(3))
    logs = [corners[p.vertex] if p.log_policy is None and p.vertex is not None else p.log_policy for p in found]
    return np.asarray(logs, float).reshape(-1, 3), np.array([p.spectral_radius for p in found], float)


def _grouped(last: np.ndarray, settled: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The place of each run, -1 where it does not settle; the places, the most frequent first, and their shares."""
    which, places = np.full(len(last), -1), []
    for n in np.flatnonzero(settled):
        gaps = [0.5 * np.abs(np.exp(last[n]) - np.exp(place)).sum() for place in places]
        if not gaps or min(gaps) > NEAR:
            places.append(last[n])
            gaps.append(0.0)
        which[n] = int(np.argmin(gaps))
    counts = np.bincount(which[which >= 0], minlength=len(places))
    order = np.argsort(-counts, kind="stable")
    which = np.where(which >= 0, np.argsort(order)[which], -1) if len(places) else which
    return which, np.asarray(places, float).reshape(-1, 3)[order], counts[order] / len(last)


def _dataset(loop: Process[Any], names: Names | None, arrays: dict[str, Any], attrs: dict[str, Any]) -> xr.Dataset:
    of = lambda *dims, text, unit="1", flags=(): Variable(dims, unit, text, flags)
    first = "arrow" if "step" in arrays else "start"
    known = {
        "log_policy": VARIABLES["log_policy"].over(first),
        "step": of("arrow", "response", text="change of the policy in one round"),
        "log_orbit": of("orbit", "round", "response", text="log pi along an orbit", unit="nats"),
        "log_last": of("start", "response", text="log pi after the last round", unit="nats"),
        "fate": of("start", text="what becomes of the run", flags=FATES),
        "verdict": VARIABLES["verdict"].over("start"),
        "attractor": of("start", text="index of the place where the run settles; -1 where it does not"),
        "log_place": of("place", "response", text="log pi where runs settle", unit="nats"),
        "share": of("place", text="share of the starts that settle there"),
        "log_fixed_point": of("fixed_point", "response", text="log pi of a fixed point", unit="nats"),
        "spectral_radius": of("fixed_point", text="spectral radius of a round at a fixed point"),
    }
    told = {"held": held(loop, []), "kind": kind_of(loop), "config": json.dumps(describe(loop)), **provenance()}
    return dataset(arrays, known, coords=response_labels(known.values(), 3, names), attrs=attrs | told)
