"""The first answer about one preference matrix: what its rounds do, and above which beta they are stable."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from ._curve import FLOOR, follow
from ._fate import beside, fates
from ._rounds import Objective, Rounds, centred

AT_REST = 1e-9  # nats between a policy and the next, at a fixed point


@dataclasses.dataclass(frozen=True)
class Answer:
    """The result of ``answer``.

    Attributes:
        verdict: on the run from the reference, or 1e-3 nats beside it where that is an unstable fixed point.
        rounds: its length.
        log_policy: log pi after it, in nats, ``(K,)``.
        log_fixed_point: the followed fixed point, in nats, ``(K,)``; None at alpha = 1 and where it was lost.
        spectral_radius: there; None likewise.
        eigenvalues: of the Jacobian there on centred logits, ``(K - 1,)``, largest modulus first; None likewise.
        critical_beta: the largest beta at which stability is lost, 0 where it is not down to ``floor``; None at alpha = 1 and
            where the curve was lost.
        floor: the smallest beta examined.
    """

    verdict: str
    rounds: int
    log_policy: np.ndarray
    log_fixed_point: np.ndarray | None
    spectral_radius: float | None
    eigenvalues: np.ndarray | None
    critical_beta: float | None
    floor: float

    def __str__(self) -> str:
        text = f"{self.verdict} over {self.rounds} rounds"
        if self.spectral_radius is None:
            return f"{text}; no fixed point is followed"
        text += f"; the fixed point has spectral radius {self.spectral_radius:.6f}"
        if self.critical_beta is None:
            return text
        if self.critical_beta == 0:
            return f"{text} and is stable at every beta down to {self.floor:g}"
        return f"{text} and is stable at every beta above {self.critical_beta:.8g}"


def answer(
    P: ArrayLike,
    objective: Objective,
    alpha: float,
    lam: float,
    beta: float,
    *,
    rounds: int = 3000,
    log_reference: ArrayLike | None = None,
    log_offline: ArrayLike | None = None,
    floor: float = FLOOR,
) -> Answer:
    """The verdict on z_{t+1} = alpha z_t + (1-alpha) log ref + f(mu_t)/beta, its fixed point and its critical beta.

    Args:
        P: P, ``(K, K)``; for DPO strictly between 0 and 1.
        objective: "ipo" or "dpo".
        alpha: alpha, in [0, 1].
        lam: lambda, in [0, 1].
        beta: KL coefficient, > 0.
        rounds: length of the run, ≥ 10.
        log_reference: log ref, ``(K,)``, in nats; uniform unless given.
        log_offline: log pi_0 in the sampler, ``(K,)``, in nats; uniform unless given.
        floor: the smallest beta examined for ``critical_beta``, > 0.

    Raises:
        ValueError: a bad argument.

    Source: [derived] statements 2.2 and 7.1; the verdict is observed.

    >>> cyclic = np.array([[0.5, 0.7, 0.3], [0.3, 0.5, 0.7], [0.7, 0.3, 0.5]])
    >>> print(dyn.oracle.answer(cyclic, "ipo", 0.5, 1.0, 0.1))
    oscillating over 3000 rounds; the fixed point has spectral radius 1.258306 and is stable at every beta above 0.13333333
    """
    if rounds < 10:
        raise ValueError(f"rounds = {rounds}; pass 10 or more.")
    logs = {"log_reference": log_reference, "log_offline": log_offline}
    given: dict[str, Any] = {name: None if x is None else np.asarray(x, np.float64) for name, x in logs.items()}
    stack = np.asarray(P, np.float64)[None]
    loop = Rounds(stack, objective, alpha, lam, beta, **given)
    z = radius = values = crossing = None
    if alpha < 1:
        here = follow(stack, objective, [alpha], lam, [beta], **given)
        if not here.lost[0]:
            z, radius = here.logits[0], float(here.radius[0, 0])
            values = _spectrum(loop, z)
        edge = follow(stack, objective, [alpha], lam, [min(floor, beta)], until_lost=True, **given)
        crossing = None if edge.lost[0] and edge.crossing[0, 0] == 0 else float(edge.crossing[0, 0])
    start = np.asarray(loop.log_offline)
    fate = fates(loop, (beside(start) if _rests_unstably(loop, centred(start)) else start)[None], rounds)
    log_fixed_point = None if z is None else z - np.log(np.exp(z - z.max()).sum()) - z.max()
    return Answer(
        str(fate.verdict[0]), rounds, fate.log_policy[0], log_fixed_point, radius, values, crossing, min(floor, beta)
    )


def _rests_unstably(loop: Rounds, z: np.ndarray) -> bool:
    """Whether z is an unstable fixed point, which a run from it would not leave, at alpha = 1 as well."""
    moved = np.abs(loop.step(z[None])[0] - z).max()
    return bool(moved < AT_REST and abs(_spectrum(loop, z)[0]) > 1)


def _spectrum(loop: Rounds, z: np.ndarray) -> np.ndarray:
    """The K - 1 eigenvalues of a round's Jacobian on centred logits."""
    K = len(z)
    basis = np.linalg.qr(np.eye(K) - 1.0 / K)[0][:, : K - 1]
    values = np.linalg.eigvals(basis.T @ loop.slope(z[None])[0] @ basis)
    return values[np.argsort(-np.abs(values))]
