"""The fate of orbits: collapsed, converged, oscillating or undecided, by the rules of ``dyn.diagnostics.Verdict``."""

from __future__ import annotations

import itertools
from typing import NamedTuple

import numpy as np

from ..schema import VERDICTS
from ._returns import recurs
from ._rounds import EPS, Rounds, centred, log_softmax

WINDOW = 1024  # last rounds in which a return is sought
ENTROPY_FLOOR, TOLERANCE, MIN_AMPLITUDE = 0.01, 1e-7, 1e-6
FAR, AHEAD = 4.0, 10.0  # nats below the top, and run lengths within which a response may still reach it
GROWS = 1.001
SEGMENTS = 6
START_OFFSET = 1e-3  # nats between a start and the unstable fixed point near it
AT_REST = 4 * EPS  # of logits, relative; a run that moves less stands still for ever
FAILED = "failed"


class Fate(NamedTuple):
    """What became of M runs.

    Attributes:
        verdict: one of ``dyn.schema.VERDICTS``, or "failed" where a round had no finite optimum, ``(M,)``.
        log_policy: log pi at the end, in nats, ``(M, K)``.
        tail_step: the largest change of a probability in a round of the last tenth, ``(M,)``.
    """

    verdict: np.ndarray
    log_policy: np.ndarray
    tail_step: np.ndarray


def beside(log_policy: np.ndarray) -> np.ndarray:
    """Logits a little away from a policy, in no symmetric direction: a run from an unstable fixed point does not leave it."""
    return log_policy + START_OFFSET * np.cos(1.0 + np.arange(len(log_policy)))


def run(rounds: Rounds, logits: np.ndarray, count: int) -> np.ndarray:
    """z_0 … z_count of every matrix, centred, ``(count + 1, M, K)``; NaN after a round without a finite optimum.

    Args:
        rounds: the rounds.
        logits: z_0, ``(M, K)``.
        count: number of rounds, ≥ 1.
    """
    z = centred(np.asarray(logits, np.float64))
    kept = np.empty((count + 1, *z.shape))
    kept[0] = z
    going, part, f, before = np.arange(len(z)), rounds, None, None
    for t in range(count):
        guess = f if f is None or before is None else 2 * f - before
        before, f = f, part.reward(z, guess)
        new = part.step(z, f)
        kept[t + 1] = kept[t]
        kept[t + 1, going] = new
        with np.errstate(invalid="ignore"):
            moves = np.abs(new - z).max(axis=1) > AT_REST * (1 + np.abs(z).max(axis=1))
        if not moves.all():  # NaN does not move either
            going, part, new, f = going[moves], part.of(moves), new[moves], f[moves]
            before = None if before is None else before[moves]
            if not len(going):
                kept[t + 2 :] = kept[t + 1]
                break
        z = new
    return kept


def fates(rounds: Rounds, logits: np.ndarray, count: int) -> Fate:
    """The verdict on each run of ``count`` rounds from ``logits``, ``(M, K)``."""
    z = run(rounds, logits, count)
    policy = np.exp(log_softmax(z))
    words, steps = zip(*(_judge(z[:, m], policy[:, m]) for m in range(z.shape[1])), strict=True)
    return Fate(np.array(words), log_softmax(z[-1]), np.array(steps))


def _judge(z: np.ndarray, policy: np.ndarray) -> tuple[str, float]:
    count = len(z) - 1
    if not np.isfinite(z[-1]).all():
        return FAILED, np.nan
    tail = max(count // 10, min(count, 4))
    moved = np.abs(np.diff(policy, axis=0)).max(axis=1)
    late = moved[count - tail + tail // 2 :]
    early = moved[count - tail : count - tail + tail // 2]
    step = float(moved[count - tail :].max())
    top = policy.argmax(axis=1)
    switched = np.diff(top) != 0
    margin, before = z[-1, top[-1]] - z[-1], z[count - tail, top[-1]] - z[count - tail]
    rate = (before - margin) / max(tail, 1)
    closing = bool(((margin > FAR) & (margin < AHEAD * count * rate)).any())
    log_policy = log_softmax(z[count - tail :])
    entropy = -(np.exp(log_policy) * log_policy).sum(axis=1)
    if entropy.max() < ENTROPY_FLOOR and not switched[count - tail :].any() and not closing:
        return VERDICTS[0], step
    growing = late.max() > GROWS * early.max() and step > 1e3 * EPS if len(early) else False
    if step <= max(TOLERANCE, 8 * EPS) and not growing and not closing:
        return VERDICTS[1], step
    found, amplitude = recurs(policy[-WINDOW:])
    return VERDICTS[2 if (found and amplitude >= MIN_AMPLITUDE) or _wanders(policy, switched, closing) else 3], step


def _wanders(policy: np.ndarray, switched: np.ndarray, closing: bool) -> bool:
    """Whether the top response keeps changing without a recurrence."""
    if switched.sum() < 3:
        return False
    if closing:
        return True
    rounds = len(switched)
    last = int(np.flatnonzero(switched)[-1]) + 1
    edges = [-(-(rounds + 1) * k // SEGMENTS) for k in range(SEGMENTS + 1)]
    spans = np.array([np.ptp(policy[a:b], axis=0).max() for a, b in itertools.pairwise(edges)])[1:]
    shrinking = bool((spans[1:] < spans[:-1]).all() and spans[-1] < 0.99 * spans[0])
    return bool(2 * last >= rounds and not shrinking and spans[-1] >= MIN_AMPLITUDE)
