"""One round of IPO or DPO for a batch of matrices, and its derivative in closed form."""

from __future__ import annotations

import copy
import dataclasses
import math
from typing import Literal

import numpy as np

Objective = Literal["ipo", "dpo"]
MAX_ITERATIONS, MAX_PLAIN = 200, 6
MAX_GAP = 300.0  # between rewards, of which the exponential is taken
SOLVED, ACCEPTABLE = 4.0, 1e3  # units of rounding of the residual of DPO's equation: sought; accepted where it stalls
DAMPING = 0.3
EPS = float(np.finfo(np.float64).eps)


def centred(x: np.ndarray) -> np.ndarray:
    """x minus its mean over the last axis."""
    return x - x.mean(axis=-1, keepdims=True)


def log_softmax(z: np.ndarray) -> np.ndarray:
    """z - log Σ exp z over the last axis."""
    z = z - z.max(axis=-1, keepdims=True)
    return z - np.log(np.exp(z).sum(axis=-1, keepdims=True))


@dataclasses.dataclass(frozen=True)
class Rounds:
    """z' = alpha z + (1-alpha) log ref + f(mu)/beta with mu = lam softmax(z) + (1-lam) pi_0, for M matrices at once.

    f is (P - ½) mu for IPO, and for DPO solves Σ_j mu_j sigma(f_i - f_j) = Σ_j mu_j P_ij.

    Args:
        P: P, ``(M, K, K)``; for DPO strictly between 0 and 1.
        objective: "ipo" or "dpo".
        alpha: share of the policy in the next reference, in [0, 1].
        lam: share of the policy in the next sampler, in [0, 1], one number or ``(M,)``.
        beta: KL coefficient, > 0.
        log_reference: log ref, ``(K,)``, in nats; uniform unless given.
        log_offline: log pi_0 in the sampler, ``(K,)``, in nats; uniform unless given.

    Raises:
        ValueError: a value outside these ranges.

    Source: [derived] statement 2.1; for IPO [paper] Chen26.

    >>> rounds = dyn.oracle.Rounds(np.array([[[0.5, 0.8], [0.2, 0.5]]]), "ipo", 0.5, 1.0, 0.1)
    >>> rounds.step(np.zeros((1, 2))).round(3).tolist()
    [[1.5, -1.5]]
    """

    P: np.ndarray
    objective: Objective
    alpha: float
    lam: float | np.ndarray
    beta: float
    log_reference: np.ndarray | None = None
    log_offline: np.ndarray | None = None

    def __post_init__(self) -> None:
        given = np.asarray(self.P)
        # As in ``dyn.preferences.check``: the rounding of files and of float32.
        rounding = 1e-9 if given.dtype == np.float64 else 4 * float(np.finfo(np.float32).eps)
        P = given.astype(np.float64)
        if P.ndim != 3 or P.shape[1] != P.shape[2] or P.shape[1] < 2:
            raise ValueError(f"P has shape {P.shape}; pass matrices of one size, shape (M, K, K) with K ≥ 2.")
        if self.objective not in ("ipo", "dpo"):
            raise ValueError(f"objective is {self.objective!r}; pass 'ipo' or 'dpo'.")
        if not (np.abs(P + P.swapaxes(1, 2) - 1) <= rounding).all() or not ((P >= 0) & (P <= 1)).all():
            raise ValueError(
                "P has entries outside [0, 1] or pairs that do not add up to 1; pass probabilities of winning."
            )
        if self.objective == "dpo" and not ((P > 0) & (P < 1)).all():
            raise ValueError("P has entries 0 or 1, for which DPO has no finite optimum; smooth P, or pass 'ipo'.")
        for name, value in (("alpha", self.alpha), ("lam", self.lam)):
            if not ((np.asarray(value) >= 0) & (np.asarray(value) <= 1)).all():
                raise ValueError(f"{name} = {value}; pass numbers from 0 to 1.")
        if not 0 < self.beta < math.inf:
            raise ValueError(f"beta = {self.beta}; pass a number above 0.")
        uniform = np.full(P.shape[1], -math.log(P.shape[1]))
        for name in ("log_reference", "log_offline"):
            logs = getattr(self, name)
            row = uniform if logs is None else np.asarray(logs, np.float64)
            if row.shape != uniform.shape or not abs(np.exp(row).sum() - 1) < 1e-9 or not (row > -np.inf).all():
                raise ValueError(f"{name} is no distribution of full support over {len(uniform)} responses.")
            object.__setattr__(self, name, row)
        object.__setattr__(self, "P", P)

    def __len__(self) -> int:
        return len(self.P)

    def of(self, chosen: np.ndarray) -> Rounds:
        """The rounds of some of the matrices: a mask or indices, ``(n,)``."""
        some = copy.copy(self)  # what has been checked is not checked again in every round
        object.__setattr__(some, "P", self.P[chosen])
        if np.ndim(self.lam) > 0:
            object.__setattr__(some, "lam", np.asarray(self.lam)[chosen])
        return some

    @property
    def reference(self) -> np.ndarray:
        """The centred log ref, ``(K,)``."""
        return centred(np.asarray(self.log_reference))

    def log_sampler(self, z: np.ndarray) -> np.ndarray:
        """log mu of policies with logits z, ``(M, K)``."""
        lam = np.broadcast_to(np.asarray(self.lam, np.float64), (len(z),))[:, None]
        with np.errstate(divide="ignore"):
            return np.logaddexp(np.log(lam) + log_softmax(z), np.log1p(-lam) + np.asarray(self.log_offline))

    def reward(self, z: np.ndarray, guess: np.ndarray | None = None) -> np.ndarray:
        """The centred f at the sampler of z, ``(M, K)``; NaN where DPO's equation could not be solved."""
        log_mu = self.log_sampler(z)
        if self.objective == "ipo":
            return centred(((self.P - 0.5) @ np.exp(log_mu)[:, :, None])[:, :, 0])
        return _dpo_reward(self.P, log_mu, guess)

    def step(self, z: np.ndarray, f: np.ndarray | None = None) -> np.ndarray:
        """The centred logits after one round from z, ``(M, K)``; ``f`` is ``reward(z)`` where it is known."""
        f = self.reward(z) if f is None else f
        return self.alpha * centred(z) + (1 - self.alpha) * self.reference + f / self.beta

    def reward_slope(self, z: np.ndarray, f: np.ndarray) -> np.ndarray:
        """∂f/∂z with the mean of every column removed, ``(M, K, K)``."""
        log_pi = log_softmax(z)
        pi = np.exp(log_pi)
        lam = np.broadcast_to(np.asarray(self.lam, np.float64), (len(z),))[:, None, None]
        if self.objective == "ipo":
            slope = lam * ((self.P - 0.5) @ (pi[:, :, None] * (np.eye(z.shape[1]) - pi[:, None, :])))
        else:
            with np.errstate(divide="ignore"):
                part = np.log(lam[:, :, 0]) + log_pi
            by_f, by_pi = _dpo_slopes(self.P, self.log_sampler(z), part, f)
            by_z = by_pi - by_pi.sum(axis=2, keepdims=True) * pi[:, None, :]
            slope = np.linalg.solve(by_f + 1.0, -by_z)
        return slope - slope.mean(axis=1, keepdims=True)

    def slope(self, z: np.ndarray) -> np.ndarray:
        """∂z'/∂z on centred logits, ``(M, K, K)``: alpha (I - 1 1ᵀ/K) + (∂f/∂z)/beta; its eigenvalue for 1 is 0."""
        K = z.shape[1]
        return self.alpha * (np.eye(K) - 1.0 / K) + self.reward_slope(z, self.reward(z)) / self.beta


def _sigmoid(x: np.ndarray) -> np.ndarray:
    with np.errstate(over="ignore"):
        return 1.0 / (1.0 + np.exp(-x))


def _masses(P: np.ndarray, log_mu: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """mu_j/max_{j≠i} mu_j as the rows of opponents, and the log-odds of winning that P asks for.

    The ratio keeps the rows of DPO's equation of order 1 next to a vertex, where mu itself is tiny.
    """
    rows = np.where(np.eye(log_mu.shape[1], dtype=bool), -np.inf, log_mu[:, None, :])
    rows = np.exp(rows - rows.max(axis=2, keepdims=True))
    return rows, np.log((rows * P).sum(axis=2) / (rows * P.swapaxes(1, 2)).sum(axis=2))


def _dpo_reward(P: np.ndarray, log_mu: np.ndarray, guess: np.ndarray | None) -> np.ndarray:
    """The root of log(Σ_j mu_j sigma(f_i - f_j)/Σ_j mu_j sigma(f_j - f_i)) = the same with P, by damped Newton steps."""
    # A term may vanish on the way, or where there is no root to be had; what is not finite in the end is not accepted.
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        rows, want = _masses(P, log_mu)
        start = centred(want if guess is None else np.where(np.isfinite(guess), guess, want))
        f, left = _newton(rows, want, start)
        if left.any():  # from the start again, since plain steps may have gone anywhere
            f[left] = _damped(rows[left], want[left], start[left])
    return f


def _newton(rows: np.ndarray, want: np.ndarray, f: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Plain Newton steps, quick next to the root, and where they did not arrive."""
    diagonal, gap = np.arange(rows.shape[1]), np.full(len(f), np.inf)
    for _ in range(MAX_PLAIN):
        ratio = np.exp(np.minimum(f[:, None, :] - f[:, :, None], MAX_GAP))
        up = 1.0 / (1.0 + ratio)
        won = rows * up
        lost = won * ratio
        win, lose = won.sum(axis=2), lost.sum(axis=2)
        residual = want - np.log(win / lose)
        matrix = lost * up * -(1.0 / win + 1.0 / lose)[:, :, None]
        matrix[:, diagonal, diagonal] = -matrix.sum(axis=2)
        try:
            change = np.linalg.solve(matrix + 1.0, residual[:, :, None])[:, :, 0]
        except np.linalg.LinAlgError:
            gap = np.full(len(f), np.inf)
            break
        f = f + change
        # Along a step whose largest gap is D the residual changes from its linear part by at most 2 D² [derived].
        gap = np.ptp(change, axis=1)
        if (2 * gap**2 <= SOLVED * EPS).all():
            break
    f = centred(f)
    return f, ~(2 * gap**2 <= SOLVED * EPS)


def _damped(rows: np.ndarray, want: np.ndarray, f: np.ndarray) -> np.ndarray:
    """Damped steps from anywhere: an implicit Euler step of -G, of any length, brings no response farther from the root."""
    f, going = f.copy(), np.arange(len(f))
    best = np.full(len(f), np.inf)
    stalled = np.zeros(len(f), int)
    for _ in range(MAX_ITERATIONS):
        r, x = rows[going], f[going]
        gap = x[:, :, None] - x[:, None, :]
        up, down = _sigmoid(gap), _sigmoid(-gap)
        win, lose = (r * up).sum(axis=2), (r * down).sum(axis=2)
        residual = np.log(win / lose) - want[going]
        error = np.abs(residual / (1 + np.abs(want[going]))).max(axis=1) / EPS
        error = np.where(np.isnan(error), np.inf, error)
        stalled[going] = np.where(error < 0.5 * best[going], 0, stalled[going] + 1)
        best[going] = np.minimum(error, best[going])
        done = (error <= SOLVED) | ((stalled[going] >= 3) & (error <= ACCEPTABLE))
        left = ~done
        if not left.any():
            break
        coupling = (r * up * down)[left] * (1 / win + 1 / lose)[left][:, :, None]
        delta = DAMPING * np.minimum(np.abs(residual[left]).max(axis=1), 1.0)
        K = x.shape[1]
        matrix = np.eye(K) * (coupling.sum(axis=2) + delta[:, None])[:, :, None] - coupling
        # The ones decide only the constant, of which f is free; the weight keeps the damped matrix regular.
        change = np.linalg.solve(matrix + 1.0, -residual[left][:, :, None])[:, :, 0]
        going = going[left]
        f[going] = centred(x[left] + change)
    return np.where((best <= ACCEPTABLE)[:, None], f, np.nan)


def _dpo_slopes(
    P: np.ndarray, log_mu: np.ndarray, log_part: np.ndarray, f: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """∂/∂f_j of Σ_j mu_j (sigma(f_i - f_j) - P_ij), and its terms with lam pi_j ≤ mu_j in place of mu_j; each row is over its
    largest mu_j, so that no entry exceeds 1.
    """
    rows, _ = _masses(P, log_mu)
    gap = f[:, :, None] - f[:, None, :]
    up = _sigmoid(gap)
    coupling = rows * up * _sigmoid(-gap)
    by_f = np.eye(f.shape[1]) * coupling.sum(axis=2)[:, :, None] - coupling
    alone = np.eye(f.shape[1], dtype=bool)
    scale = np.where(alone, -np.inf, log_mu[:, None, :]).max(axis=2, keepdims=True)
    return by_f, (up - P) * np.exp(np.where(alone, -np.inf, log_part[:, None, :] - scale))
