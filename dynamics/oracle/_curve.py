"""Fixed points of rounds with alpha < 1 as beta falls, and where they lose stability, for many matrices at once.

With s = 1/(beta (1-alpha)) a fixed point solves z = log ref + s f(mu(z)), and the Jacobian of a round there is
alpha I + (1-alpha) s ∂f/∂z. So one curve over s serves every alpha [derived, from statements 2.2 and 7.1].
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from ._rounds import EPS, Objective, Rounds, centred, log_softmax

LONGEST, LONGEST_NEAR_ONE, SHORTEST = 0.5, 0.05, 1e-7  # steps in log s
NEAR_ONE = 0.7  # spectral radii above it are followed in short steps
MAX_RADIUS_CHANGE, FREE_RADIUS = 0.15, 0.6  # of the logarithm of radii above FREE_RADIUS, in one step
MAX_MASS_CHANGE = 0.1  # of a probability, in one step
MAX_CORRECTIONS = 8
MARGIN, FINE = 1e-3, 1e-3  # a maximum of the radius so close below 1 is looked at in steps down to FINE
MAX_STEPS, MAX_REFINEMENTS = 100_000, 100
MAX_REDUCTIONS = 60  # divisions of s by 4 until rounds contract
FLOOR = 1e-3


class Curve(NamedTuple):
    """Where M matrices stand at the end of their curves.

    Attributes:
        logits: the centred logits of the fixed point, ``(M, K)``; NaN where it was lost.
        radius: its spectral radius for each alpha, ``(M, A)``; NaN where it was lost.
        crossing: the largest beta at which stability is lost, ``(M, A)``; 0 where it is not down to the end; where the curve
            was lost, the beta at which that happened, above which rounds are stable.
        lost: whether the curve was lost on the way, ``(M,)``.
    """

    logits: np.ndarray
    radius: np.ndarray
    crossing: np.ndarray
    lost: np.ndarray


class _Point(NamedTuple):
    log_s: np.ndarray
    z: np.ndarray
    tangent: np.ndarray  # dz/dlog s
    radii: np.ndarray


def follow(
    P: np.ndarray,
    objective: Objective,
    alphas: Sequence[float] | np.ndarray,
    lam: float | np.ndarray,
    betas: Sequence[float] | np.ndarray,
    *,
    log_reference: np.ndarray | None = None,
    log_offline: np.ndarray | None = None,
    until_lost: bool = False,
) -> Curve:
    """z = log ref + f(mu(z))/(beta (1-alpha)), followed down from beta = ∞, where rounds contract.

    Args:
        P: P, ``(M, K, K)``; for DPO strictly between 0 and 1.
        objective: "ipo" or "dpo".
        alphas: alpha, ``(A,)``, in [0, 1).
        lam: lambda, in [0, 1], one number or ``(M,)``.
        betas: the beta down to which each alpha is followed, ``(A,)``, > 0. ``logits`` belong to the last point.
        log_reference, log_offline: as in ``Rounds``.
        until_lost: end each curve where every alpha has lost stability; ``logits`` and ``radius`` are then those there.

    Raises:
        ValueError: a bad argument.

    Source: [derived] statements 2.2 and 7.1.

    >>> cyclic = np.array([[[0.5, 0.7, 0.3], [0.3, 0.5, 0.7], [0.7, 0.3, 0.5]]])
    >>> dyn.oracle.follow(cyclic, "ipo", [0.5], 1.0, [0.1]).radius.round(4).tolist()
    [[1.2583]]
    """
    alphas, ends = np.asarray(alphas, np.float64), np.asarray(betas, np.float64)
    if (
        alphas.ndim != 1
        or ends.shape != alphas.shape
        or not ((alphas >= 0) & (alphas < 1)).all()
        or not (ends > 0).all()
    ):
        raise ValueError("alphas and betas are lists of one length, alpha in [0, 1) and beta > 0.")
    rounds = Rounds(P, objective, 0.0, lam, 1.0, log_reference, log_offline)
    ends = -np.log(ends * (1 - alphas))
    last = float(ends.max())
    here = _start(rounds, alphas, last)
    M = len(rounds)
    step = np.full(M, 0.1)
    lost = np.isnan(here.radii.max(axis=1))
    crossed = np.zeros((M, len(alphas)), bool)
    crossing = np.zeros((M, len(alphas)))
    brackets: list[list[tuple[np.ndarray, _Point, np.ndarray, np.ndarray]]] = [[] for _ in alphas]
    at_end = np.full((M, len(alphas)), np.nan)
    older = (here.log_s.copy(), here.radii.copy())  # the point before, for the parabola through three
    going = ~lost & (here.log_s < last)
    for _ in range(MAX_STEPS):
        if until_lost:
            going &= ~(crossed | (here.log_s[:, None] >= ends)).all(axis=1)
        index = np.flatnonzero(going)
        if not len(index):
            break
        some = rounds.of(index)
        now = _Point(*(x[index] for x in here))
        wanted = ~crossed[index] & (now.radii > NEAR_ONE)
        step[index] = np.minimum(step[index], np.where(wanted.any(axis=1), LONGEST_NEAR_ONE, LONGEST))
        # Every requested end is a point of the curve.
        ahead = np.where(ends > now.log_s[:, None], ends, np.inf).min(axis=1)
        target = np.minimum(now.log_s + step[index], ahead)
        moved = target - now.log_s
        guess = now.z + moved[:, None] * now.tangent
        there, found = _point(some, alphas, guess, target)
        peak = _peak(older[0][index], older[1][index], now, there)
        window = (peak > 1 - MARGIN) & (now.radii < 1) & (there.radii < 1) & ~crossed[index]
        calm = _is_calm(now, there) & ~(window.any(axis=1) & (moved > FINE))
        smallest = moved <= 2 * SHORTEST
        accepted = found & _is_near(now, there, guess, moved) & (calm | smallest)
        over = accepted[:, None] & ~crossed[index] & (now.radii < 1) & (there.radii >= 1)
        over &= there.log_s[:, None] <= ends
        for a in np.flatnonzero(over.any(axis=0)):
            new = over[:, a]
            brackets[a].append((index[new], _Point(*(x[new] for x in now)), target[new], there.radii[new, a]))
        crossed[index] |= over
        arrived = index[accepted]
        for old, past in zip(older, (here.log_s, here.radii), strict=True):
            old[arrived] = past[arrived]
        for old, new in zip(here, there, strict=True):
            old[arrived] = new[accepted]
        reached = here.log_s[arrived][:, None] == ends
        at_end[arrived] = np.where(reached, here.radii[arrived], at_end[arrived])
        step[arrived] = np.minimum(1.5 * step[arrived], LONGEST)
        step[index[~accepted]] = 0.5 * moved[~accepted]
        lost[index] |= ~accepted & smallest
        going = ~lost & (here.log_s < last)
    else:
        lost |= going
    for a, found in enumerate(brackets):
        if found:
            which, below, above, radii = zip(*found, strict=True)
            joined = _Point(*(np.concatenate(parts) for parts in zip(*below, strict=True)))
            m = np.concatenate(which)
            crossing[m, a] = _refine(rounds.of(m), alphas, a, joined, np.concatenate(above), np.concatenate(radii))
    short = lost[:, None] & ~crossed & (here.log_s[:, None] < ends)
    crossing = np.where(short, np.exp(-here.log_s)[:, None], crossing) / (1 - alphas)
    at_end = np.where(here.log_s[:, None] == ends, here.radii, at_end)  # where a curve begins at its end
    return Curve(np.where(lost[:, None], np.nan, here.z), at_end, crossing, lost)


def critical_beta(P: np.ndarray, objective: Objective, alpha: float, lam: float, *, floor: float = FLOOR) -> float:
    """The largest beta with rho(J(z*)) = 1 for one matrix, ``(K, K)``; 0 where rounds stay stable down to ``floor``.

    >>> cyclic = np.array([[0.5, 0.7, 0.3], [0.3, 0.5, 0.7], [0.7, 0.3, 0.5]])
    >>> round(dyn.oracle.critical_beta(cyclic, "ipo", 0.5, 1.0), 6)
    0.133333
    """
    found = follow(np.asarray(P)[None], objective, [alpha], lam, [floor], until_lost=True)
    return float(found.crossing[0, 0])


def _is_near(now: _Point, there: _Point, guess: np.ndarray, moved: np.ndarray) -> np.ndarray:
    """Whether the root lies where the tangent points, and the policy does not jump: else it is one of another curve."""
    allowed = 0.5 * moved * np.abs(now.tangent).max(axis=1) + 1e-6 * (1 + np.abs(now.z).max(axis=1))
    mass = np.abs(np.exp(log_softmax(there.z)) - np.exp(log_softmax(now.z))).max(axis=1)
    return (np.abs(there.z - guess).max(axis=1) <= allowed) & (mass <= MAX_MASS_CHANGE)


def _is_calm(now: _Point, there: _Point) -> np.ndarray:
    """Whether every spectral radius is small or has changed little."""
    with np.errstate(divide="ignore", invalid="ignore"):
        change = np.abs(np.log(there.radii) - np.log(now.radii))
    steady = (np.maximum(there.radii, now.radii) < FREE_RADIUS) | (change < MAX_RADIUS_CHANGE)
    return np.logical_and.reduce(steady, axis=1)


def _start(rounds: Rounds, alphas: np.ndarray, last: float) -> _Point:
    """Fixed points at betas so large that rounds contract at every alpha."""
    z = np.tile(rounds.reference, (len(rounds), 1))
    f = rounds.reward(z)
    log_s = np.minimum(last, -np.log1p(np.ptp(f, axis=1)))
    with_zero = np.append(alphas, 0.0)  # the radius of alpha = 0 is the size of s ∂f/∂z
    point, good = _point(rounds, with_zero, z + np.exp(log_s)[:, None] * f, log_s)
    for _ in range(MAX_REDUCTIONS):
        again = np.flatnonzero(~(good & (point.radii[:, -1] < 0.5)))
        if not len(again):
            break
        log_s[again] -= math.log(4)
        guess = z[again] + np.exp(log_s[again])[:, None] * f[again]
        other, good[again] = _point(rounds.of(again), with_zero, guess, log_s[again])
        for old, new in zip(point, other, strict=True):
            old[again] = new
    return point._replace(radii=np.where(good[:, None], point.radii[:, :-1], np.nan))


def _point(rounds: Rounds, alphas: np.ndarray, guess: np.ndarray, log_s: np.ndarray) -> tuple[_Point, np.ndarray]:
    """The fixed points near ``guess`` by Newton's method, and whether they were found."""
    s, K = np.exp(log_s)[:, None], guess.shape[1]
    z, found = guess.copy(), np.zeros(len(guess), bool)
    tangent, slopes, going = np.zeros_like(z), np.zeros((len(z), K, K)), np.arange(len(z))
    f = np.zeros_like(z)
    for _ in range(MAX_CORRECTIONS):
        part = rounds.of(going)
        f[going] = part.reward(z[going], f[going] if f[going].any() else None)
        ok = np.isfinite(f[going].sum(axis=1))
        going, part = going[ok], part.of(ok)
        if not len(going):
            break
        slopes[going] = part.reward_slope(z[going], f[going])
        scaled = s[going, :, None] * slopes[going]
        residual = part.reference + s[going] * f[going] - z[going]
        sides = np.stack([residual, s[going] * f[going]], axis=2)
        both = np.linalg.solve(np.eye(K) - scaled, sides)
        tangent[going] = both[:, :, 1]
        change = np.abs(both[:, :, 0]).max(axis=1) / (1 + np.abs(z[going]).max(axis=1))
        z[going] = centred(z[going] + both[:, :, 0])
        found[going] = change <= EPS**0.6
        going = going[~(change <= EPS**0.6) & np.isfinite(change)]
        if not len(going):
            break
    radii = np.full((len(z), len(alphas)), np.nan)
    if found.any():
        radii[found] = _radii(rounds.of(found), alphas, z[found], s[found], slopes[found])
    return _Point(log_s.copy(), z, tangent, radii), found & np.isfinite(radii).all(axis=1)


def _radii(rounds: Rounds, alphas: np.ndarray, z: np.ndarray, s: np.ndarray, slope: np.ndarray) -> np.ndarray:
    """Spectral radii of alpha I + (1-alpha) s ∂f/∂z on centred logits, ``(M, A)``."""
    if rounds.objective == "ipo":
        # The eigenvalues of s ∂f/∂z are ± i lam s times singular values of Sigma^½ A Sigma^½ (7.1); the largest decides.
        pi = np.exp(log_softmax(z))
        root = np.sqrt(pi)
        R = root[:, :, None] * np.eye(z.shape[1]) - pi[:, :, None] * root[:, None, :]
        size = np.linalg.norm(R.swapaxes(1, 2) @ (rounds.P - 0.5) @ R, 2, axis=(1, 2))
        values = 1j * (np.asarray(rounds.lam, np.float64) * s[:, 0] * size)[:, None]
    else:
        Q = np.linalg.qr(np.eye(z.shape[1]) - 1.0 / z.shape[1])[0][:, : z.shape[1] - 1]
        values = s * np.linalg.eigvals(Q.T @ slope @ Q)
    return np.abs(alphas[None, :, None] + (1 - alphas)[None, :, None] * values[:, None, :]).max(axis=2)


def _peak(log_s: np.ndarray, radii: np.ndarray, now: _Point, there: _Point) -> np.ndarray:
    """The largest radius that the parabola through three points shows between the last two, ``(M, A)``."""
    a, b = (now.log_s - log_s)[:, None], (there.log_s - now.log_s)[:, None]
    with np.errstate(divide="ignore", invalid="ignore"):
        first, second = (now.radii - radii) / a, (there.radii - now.radii) / b
        bend = (second - first) / (a + b)
        rise = first + bend * a  # at the middle point
        at = -rise / (2 * bend)
        top = now.radii + rise * at + bend * at**2
        inside = (bend < 0) & (at > 0) & (at < b)
    return np.where(inside, top, np.maximum(now.radii, there.radii))


def _refine(
    rounds: Rounds, alphas: np.ndarray, a: int, below: _Point, high: np.ndarray, radius_high: np.ndarray
) -> np.ndarray:
    """1/s where the radius of the a-th alpha is 1, between stable points and log s = ``high``, ``(n,)``.

    Secants of the logarithm of the radius, of which an end that stays has its value halved (Illinois), and bisections.
    """
    low, at_low, at_high = below.log_s.copy(), np.log(below.radii[:, a]), np.log(radius_high)
    high, best = high.copy(), high.copy()
    smallest, side = np.abs(at_high), np.zeros(len(low))
    going = np.arange(len(low))
    for turn in range(MAX_REFINEMENTS):
        width = high[going] - low[going]
        going = going[(smallest[going] > 4 * EPS) & (width > 4 * EPS * (1 + np.abs(high[going])))]
        if not len(going):
            break
        left, right = low[going], high[going]
        with np.errstate(divide="ignore", invalid="ignore"):
            at = left - at_low[going] * (right - left) / (at_high[going] - at_low[going])
        at = np.where((at > left) & (at < right) & (turn % 8 != 7), at, 0.5 * (left + right))
        guess = below.z[going] + (at - below.log_s[going])[:, None] * below.tangent[going]
        there, good = _point(rounds.of(going), alphas[a : a + 1], guess, at)
        # A point that is not found counts as unstable.
        value = np.where(good, np.log(np.where(good, there.radii[:, 0], np.e)), 1.0)
        closer = np.abs(value) < smallest[going]
        best[going], smallest[going] = (
            np.where(closer, at, best[going]),
            np.where(closer, np.abs(value), smallest[going]),
        )
        above = value >= 0
        at_low[going] = np.where(above, at_low[going] * np.where(side[going] > 0, 0.5, 1.0), value)
        at_high[going] = np.where(above, value, at_high[going] * np.where(side[going] < 0, 0.5, 1.0))
        low[going], high[going] = np.where(above, left, at), np.where(above, at, right)
        side[going] = np.where(above, 1.0, -1.0)
    return np.exp(-best)
