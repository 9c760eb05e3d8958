"""The last layer's theory on a real model's features: speeds, orders of learning, scaling and flipped labels."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

import dynamics as dyn
from dynamics.flows import MarginState

from .._curves import first_reached
from ._data import Examples, halves

EARLY = 1e-3  # time, in units, at which the first speed of a head is read
SPANS = 60  # saved times


def differences(one: Examples) -> np.ndarray:
    """d_i, ``(B, width)``: mean features of the statements with one answer chosen minus those with the other."""
    sign = np.where(one.chosen == np.minimum(one.chosen, one.rejected), 1.0, -1.0)
    return 2 * np.mean(sign[..., None] * one.feature, axis=1)


def unit(one: Examples, beta: float) -> float:
    """4/(beta² delta²) with the median delta: the time in which a typical behaviour alone gains a margin of about 1."""
    return 4 / (beta**2 * float(np.median(np.linalg.norm(differences(one), axis=-1))) ** 2)


def times(span: float, time_unit: float) -> np.ndarray:
    """0 and times up to ``span`` units on a logarithmic grid."""
    return np.append(0.0, np.geomspace(EARLY, span, SPANS)) * time_unit


def solved(one: Examples, beta: float, at: np.ndarray, initial: MarginState | None = None) -> tuple:
    """(flow, solution) of every set of examples, ``(B, N, …)``."""
    flow = dyn.MarginFlow(one.feature, one.chosen, one.rejected, dyn.DPO(beta=beta), form="dual")
    return flow, dyn.gradient_flow(flow, float(at[-1]), saveat=diffrax.SaveAt(ts=jnp.asarray(at)), initial=initial)


def alone(one: Examples, sol: dyn.Solution, beta: float, at: np.ndarray, level: float) -> dict[str, np.ndarray]:
    """Of a solution for each behaviour alone: the head's first speed, its slope of statement 3.5, and when it is learned."""
    delta = np.linalg.norm(differences(one), axis=-1)
    slope = np.sqrt(2) * beta / 4 * delta
    margin = np.asarray(sol.reward_margin).mean(axis=-1)
    head = np.asarray(sol.head_change)
    return {
        "first_speed": head[:, 1] / at[1],
        "slope": slope,
        "over_bound": (head[:, 1:] / (slope[:, None] * at[1:])).max(axis=1),
        "alone_margin": margin,
        "alone_time": first_reached(at, margin, level),
    }


def together(
    one: Examples,
    groups: Sequence[Sequence[int]],
    rows: Sequence[np.ndarray],
    beta: float,
    at: np.ndarray,
    level: float,
) -> dict[str, np.ndarray]:
    """Groups of m behaviours trained together on some rows each: when each is learned, ``(group, m)``, and what theory says.

    A behaviour whose mean margin never reaches the level is ranked by its last margin, behind all others.
    """
    made = [one.of(group, r) for group, r in zip(groups, rows, strict=True)]
    flat = Examples(*(np.stack(x) for x in zip(*(m.flat() for m in made), strict=True)))
    _, sol = solved(flat, beta, at)
    shape = (len(groups), len(at), len(groups[0]), -1)
    margin = np.asarray(sol.reward_margin).reshape(shape).mean(axis=-1).transpose(0, 2, 1)
    learned = first_reached(at, margin, level)
    learned = np.where(np.isinf(learned), at[-1] * (2 + level - margin[..., -1]), learned)
    d = np.stack([differences(m) for m in made])
    speed = np.einsum("gmw,gw->gm", d, d.mean(axis=1))
    return {"learned": learned, "speed": speed, "delta": np.linalg.norm(d, axis=-1)}


def pairs_of(count: int) -> list[tuple[int, int]]:
    """All pairs of ``count`` behaviours."""
    return list(itertools.combinations(range(count), 2))


def scaling(
    one: Examples,
    draws: Sequence[Sequence[Sequence[int]]],
    beta: float,
    at: np.ndarray,
    read: float,
    rng: np.random.Generator,
) -> dict[str, np.ndarray]:
    """Draws ``[split][K]`` of behaviours, trained on half of their statements until time ``read``: errors and margins.

    Returns:
        ``(split, K)`` each: the share of test statements with a margin below 0 (0 counts as half), and the mean margins.
    """
    rows = [halves(one.chosen.shape[1], rng) for _ in draws]
    ends = np.array([at[0], read])
    found: dict[str, list] = {"test_error": [], "train_margin": [], "test_margin": [], "train_error": []}
    for k in range(len(draws[0])):
        trained = [one.of(draw[k], train).flat() for draw, (train, _) in zip(draws, rows, strict=True)]
        flow, sol = solved(Examples(*(np.stack(x) for x in zip(*trained, strict=True))), beta, ends)
        tested = [one.of(draw[k], test).flat() for draw, (_, test) in zip(draws, rows, strict=True)]
        unseen = np.stack([_predicted(flow, sol, n, test) for n, test in enumerate(tested)])
        seen = np.asarray(sol.reward_margin)[:, -1]
        wrong = lambda r: 0.5 - 0.5 * np.sign(r).mean(axis=-1)
        for name, value in (("test_error", wrong(unseen)), ("train_error", wrong(seen))):
            found[name].append(value)
        for name, value in (("test_margin", unseen), ("train_margin", seen)):
            found[name].append(value.mean(axis=-1))
    return {name: np.stack(values, axis=1) for name, values in found.items()}


def _predicted(flow: dyn.MarginFlow, sol: dyn.Solution, n: int, test: Examples) -> np.ndarray:
    part = flow.with_parts(jax.tree.map(lambda x: x[n], flow.parts()))
    mine = eqx.tree_at(lambda s: s.values, sol, {"coefficient": sol.coefficient[n]})
    return np.asarray(part.predict(mine, *test))[-1]


def undone(one: Examples, sol: dyn.Solution, beta: float, at: np.ndarray, level: float) -> dict[str, np.ndarray]:
    """Each behaviour trained alone to a mean margin, then on flipped labels: times to undo it, from either reference."""
    margin, a = np.asarray(sol.reward_margin), np.asarray(sol.coefficient)
    mean = margin.mean(axis=-1)
    met = mean >= level
    when = np.where(met.any(axis=1), met.argmax(axis=1), len(at) - 1)
    rows = np.arange(len(when))
    start, coefficient = margin[rows, when], a[rows, when]
    flipped = Examples(one.feature, one.rejected, one.chosen)
    # A flipped pair has the margin and the coefficient of the true pair with the opposite sign.
    kept = MarginState(jnp.asarray(-coefficient), jnp.asarray(-start))
    same = -np.asarray(solved(flipped, beta, at, kept)[1].reward_margin).mean(axis=-1)
    fresh = start.mean(axis=-1)[:, None] - np.asarray(solved(flipped, beta, at)[1].reward_margin).mean(axis=-1)
    return {
        "aligned_margin": np.where(met.any(axis=1), start.mean(axis=-1), np.nan),
        "align_time": at[when],
        "undo_time": np.stack([first_reached(at, -x, 0.0) for x in (fresh, same)]),
    }
