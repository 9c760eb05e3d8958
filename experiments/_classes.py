"""Follows fixed points of rounds on log-linear policies as beta falls, for many loops at once.

This is written from the equations, without the library's rounds, so that the library can serve as an independent check.
"""

from __future__ import annotations

import dataclasses

import numpy as np
from jaxtyping import Bool, Complex, Float
from scipy.special import expit

from ._framework import KAPPA, OBJECTIVES

OUTCOMES = ("never in range", "Neimark-Sacker", "flip", "fold or branch point", "failed")
NEVER, TURNS, FLIPS, FOLDS, FAILED = range(5)
START_FACTOR = 10.0  # a walk starts at this multiple of kappa lam ‖A‖/(2 (1-alpha)), where rounds contract
MIN_PROBABILITY = 1e-12  # a walk ends where some response is rarer than this at the fixed point
MAX_STEP, MIN_STEP = 0.05, 1e-11  # of log beta
# A leading eigenvalue counts as of modulus 1 within this distance. Near a fold it varies with the square root of beta's
# distance, so that a step of 1e-11 leaves about 1e-5.
MODULUS_TOLERANCE = 1e-3


@dataclasses.dataclass(frozen=True)
class Loops:
    """Loops with uniform reference and offline policy; ``basis`` spans the centred logits, in general position."""

    P: Float[np.ndarray, "n K K"]
    basis: Float[np.ndarray, "n K d"]
    is_logistic: Bool[np.ndarray, " n"]
    """True for DPO, False for IPO."""
    alpha: Float[np.ndarray, " n"]
    lam: float

    def pick(self, at: np.ndarray) -> Loops:
        return Loops(self.P[at], self.basis[at], self.is_logistic[at], self.alpha[at], self.lam)

    def log_policy(self, f: Float[np.ndarray, "n K"], beta: Float[np.ndarray, " n"]) -> Float[np.ndarray, "n K"]:
        """log pi of the fixed point with reward f: pi ∝ exp(f/(beta (1-alpha)))."""
        z = f / ((1 - self.alpha) * beta)[:, None]
        z = z - z.max(axis=-1, keepdims=True)
        return z - np.log(np.exp(z).sum(axis=-1, keepdims=True))

    def top(self) -> Float[np.ndarray, " n"]:
        """A beta large enough for rounds to contract."""
        kappa = np.where(self.is_logistic, KAPPA["DPO"], KAPPA["IPO"])
        return START_FACTOR * kappa * self.lam * np.linalg.norm(self.P - 0.5, 2, axis=(1, 2)) / (2 * (1 - self.alpha))


def uniform_betas(
    P: Float[np.ndarray, "n K K"], bases: Float[np.ndarray, "n K m"], alpha: float, lam: float
) -> Float[np.ndarray, "2 n m"]:
    """The beta at which 2.1, restricted to the class, predicts the loss of stability, for the first 1 … m columns B of a basis.

    It is kappa lam ‖BᵀAB‖₂/(K √(1 - alpha²)).
    """
    compressed = np.swapaxes(bases, 1, 2) @ (P - 0.5) @ bases
    sizes = [np.linalg.norm(compressed[:, :d, :d], 2, axis=(1, 2)) for d in range(1, bases.shape[-1] + 1)]
    kappa = np.array([KAPPA[name] for name in OBJECTIVES])
    return kappa[:, None, None] * lam / (P.shape[-1] * np.sqrt(1 - alpha**2)) * np.stack(sizes, axis=-1)


def counted(outcome: np.ndarray) -> str:
    """How often each outcome occurs, in words."""
    return ", ".join(
        f"{(outcome == code).sum()} {word}" for code, word in enumerate(OUTCOMES) if (outcome == code).any()
    )


def follow(loops: Loops, decades: float) -> tuple[Float[np.ndarray, " n"], np.ndarray, Float[np.ndarray, "n K"]]:
    """Follows the fixed point down in beta from ``top()`` until it stops attracting.

    A step in log beta is halved where the next point is not found, is far away or does not attract. Once steps are shorter
    than MIN_STEP, the leading eigenvalue tells the outcome: a complex pair of modulus 1, or -1, or +1, where the branch turns
    back or crosses another.

    Returns:
        The beta at which the point stops attracting, the outcome, and log pi there.
    """
    # Newton's method diverges where a branch ends; values that are not finite count as not found.
    with np.errstate(all="ignore"):
        return _walk(loops, loops.top(), decades)


def _walk(
    loops: Loops, top: Float[np.ndarray, " n"], decades: float
) -> tuple[Float[np.ndarray, " n"], np.ndarray, Float[np.ndarray, "n K"]]:
    n, K, _ = loops.basis.shape
    log_beta, step = np.log(top), np.full(n, MAX_STEP)
    f, values, _ = _settle(loops, np.zeros((n, K)), top, steps=20)
    lead, outcome, bracketed = _leading(values), np.full(n, -1), np.zeros(n, dtype=bool)
    outcome[~(np.abs(lead) < 1)] = FAILED
    while (going := np.flatnonzero(outcome < 0)).size:
        new = log_beta[going] - step[going]
        tried, values, rarest = _settle(loops.pick(going), f[going], np.exp(new))
        first = _leading(values)
        far = np.abs(tried - f[going]).max(axis=-1) > 0.02 + 10 * step[going] * np.abs(tried).max(axis=-1)
        found = np.isfinite(first) & ~far
        kept = found & (np.abs(first) < 1)
        at = going[kept]
        log_beta[at], f[at], lead[at] = new[kept], tried[kept], first[kept]
        bracketed[going[found & ~kept]] = True
        step[going[~kept]] /= 2
        step[at] = np.where(bracketed[at], step[at] / 2, np.minimum(1.5 * step[at], MAX_STEP))
        ended = kept & ((np.log(top[going]) - new > decades * np.log(10)) | (rarest < MIN_PROBABILITY))
        outcome[going[ended]] = NEVER
        short = going[(step[going] < MIN_STEP) & ~ended]
        outcome[short] = _kind(lead[short])
    beta = np.exp(log_beta)
    return np.where(outcome == NEVER, 0.0, beta), outcome, loops.log_policy(f, beta)


def _settle(
    loops: Loops, f: Float[np.ndarray, "n K"], beta: Float[np.ndarray, " n"], steps: int = 6
) -> tuple[Float[np.ndarray, "n K"], Complex[np.ndarray, "n d"], Float[np.ndarray, " n"]]:
    """Newton's method: the rewards at the fixed points, the eigenvalues of a round (NaN if none), the smallest probability."""
    share = (1 - loops.alpha) * beta
    change = np.zeros_like(f)
    for _ in range(steps):
        columns, g, D, H, _ = _linear(loops, f, beta)
        ask = _solve(D / share[:, None, None] - H, -g[..., None])
        change = np.einsum("nkd,nd->nk", columns, ask[..., 0])
        f = f + change - change.mean(axis=-1, keepdims=True)
    _, _, D, H, p = _linear(loops, f, beta)
    found = np.abs(change).max(axis=-1) <= 1e-9 * np.abs(f).max(axis=-1) + 1e-12
    slope = _solve(H, D) / beta[:, None, None]
    found &= np.isfinite(slope).all(axis=(1, 2))
    values = np.full(slope.shape[:2], np.nan, dtype=complex)
    values[found] = loops.alpha[found, None] + np.linalg.eigvals(slope[found])
    return f, values, p.min(axis=-1)


def _linear(loops: Loops, f: Float[np.ndarray, "n K"], beta: Float[np.ndarray, " n"]) -> tuple[np.ndarray, ...]:
    """Φ, g, D, H and pi at reward f, where pi is the fixed policy of that reward; all in units of the columns of Φ.

    With s(x) = 1/2 + x for IPO and sigma(x) for DPO, both fits require g = Φᵀ(mu∘e) = 0, e_i = Σ_j mu_j (P_ij - s(f_i - f_j)).
    The derivative of g by theta through mu is D, and by the weights of f it is -H, so a round has the Jacobian
    alpha + H⁻¹D/beta [derived]. Φ is 0 at the most probable response and the identity at the next d, so that improbable
    responses keep their precision.
    """
    K, i = f.shape[-1], np.arange(f.shape[-1])
    p = np.exp(loops.log_policy(f, beta))
    mu = loops.lam * p + (1 - loops.lam) / K
    x = f[:, :, None] - f[:, None, :]
    is_logistic = loops.is_logistic[:, None, None]
    E = loops.P - np.where(is_logistic, expit(x), 0.5 + x)
    curved = np.where(is_logistic, expit(x) * expit(-x), 1.0) * mu[:, :, None] * mu[:, None, :]
    curved[:, i, i] -= curved.sum(axis=-1)
    spread = -p[:, :, None] * p[:, None, :]
    spread[:, i, i] += p
    e = np.einsum("nij,nj->ni", E, mu)
    push = mu[:, :, None] * E
    push[:, i, i] += e
    columns = _pinned(loops.basis, p)
    rows = np.swapaxes(columns, 1, 2)
    H = -rows @ curved @ columns
    unit = 1 / np.sqrt(np.einsum("nii->ni", H))
    both = unit[:, :, None] * unit[:, None, :]
    g = unit * np.einsum("nkd,nk->nd", columns, mu * e)
    return columns * unit[:, None], g, both * loops.lam * (rows @ push @ spread @ columns), both * H, p


def _pinned(basis: Float[np.ndarray, "n K d"], p: Float[np.ndarray, "n K"]) -> Float[np.ndarray, "n K d"]:
    d = basis.shape[-1]
    order = np.argsort(-p, axis=-1)[:, : d + 1]
    heaviest = np.take_along_axis(basis, order[..., None], axis=1)
    span = np.swapaxes(heaviest[:, 1:] - heaviest[:, :1], 1, 2)
    return np.swapaxes(np.linalg.solve(span, np.swapaxes(basis - heaviest[:, :1], 1, 2)), 1, 2)


def _solve(matrix: Float[np.ndarray, "n d d"], rhs: Float[np.ndarray, "n d m"]) -> Float[np.ndarray, "n d m"]:
    """matrix⁻¹ rhs, or NaN where the matrix is singular up to rounding."""
    fine = np.flatnonzero(np.isfinite(matrix).all(axis=(1, 2)) & np.isfinite(rhs).all(axis=(1, 2)))
    fine = fine[np.linalg.cond(matrix[fine]) < 1 / np.finfo(float).eps]
    out = np.full(rhs.shape, np.nan)
    out[fine] = np.linalg.solve(matrix[fine], rhs[fine])
    return out


def _leading(values: Complex[np.ndarray, "n d"]) -> Complex[np.ndarray, " n"]:
    size = np.where(np.isnan(values), -1.0, np.abs(values))
    return values[np.arange(len(values)), size.argmax(axis=-1)]


def _kind(lead: Complex[np.ndarray, " n"]) -> np.ndarray:
    kind = np.where(np.abs(np.imag(lead)) > 1e-4, TURNS, np.where(np.real(lead) < 0, FLIPS, FOLDS))
    return np.where(np.abs(np.abs(lead) - 1) < MODULUS_TOLERANCE, kind, FAILED)
