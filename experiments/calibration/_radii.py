"""Spectral radii of IPO's rounds for many matrices in NumPy, at lam = 1 with uniform reference and sampler.

The fixed point z = s A π(z), A = P - 1/2, s = 1/(beta (1 - alpha)), is the only one (statement 7.1), and there the radius is
√(alpha² + (‖Σ^½ A Σ^½‖/beta)²), by statements 2.2 and 7.1. It is followed from small s, where it is 0.
"""

from __future__ import annotations

import numpy as np

STEP = 0.4  # of log s, between the points at which a radius is taken from the curve
FIRST = 1.0  # the s at which curves begin


def radii(P: np.ndarray, beta: float, alpha: float) -> np.ndarray:
    """The radius for each matrix of ``(M, K, K)``."""
    end = 1 / (beta * (1 - alpha))
    s = np.geomspace(min(FIRST, end), end, 1 + int(np.ceil(max(np.log(end / FIRST), 0.0) / STEP)))
    z = np.zeros(P.shape[:2])
    for before, now in zip([s[0], *s[:-1]], s, strict=True):
        z = _follow(P - 0.5, z, before, now)
    return np.sqrt(alpha**2 + (_norm(P - 0.5, z) / beta) ** 2)


def critical(P: np.ndarray, alpha: float, floor: float, step: float = 0.12) -> np.ndarray:
    """The largest beta with radius 1 for each matrix, 0 where rounds stay stable down to ``floor``.

    Crossings are seen at points ``step`` apart in log beta and interpolated, which is exact enough to compare quantiles.
    """
    needed = np.sqrt(1 - alpha**2)
    z = np.zeros(P.shape[:2])
    begin, end = 1 / (1 - alpha), 1 / (floor * (1 - alpha))  # at beta = 1 rounds are stable for every P and alpha ≤ 1/2
    grid = np.geomspace(begin, end, 1 + int(np.ceil(np.log(end / begin) / step)))
    found, last = np.zeros(len(P)), np.zeros(len(P))
    for before, now in zip([grid[0], *grid[:-1]], grid, strict=True):
        z = _follow(P - 0.5, z, before, now)
        size = _norm(P - 0.5, z) * now * (1 - alpha) / needed
        crossed = (found == 0) & (size >= 1)
        with np.errstate(divide="ignore", invalid="ignore"):
            share = np.clip(-np.log(last) / (np.log(size) - np.log(last)), 0, 1)
        at = before * (now / before) ** np.where(last > 0, share, 1.0)
        found = np.where(crossed, 1 / (at * (1 - alpha)), found)
        if (found > 0).all():
            break
        last = size
    return found


def _policy(z: np.ndarray) -> np.ndarray:
    weight = np.exp(z - z.max(axis=1, keepdims=True))
    return weight / weight.sum(axis=1, keepdims=True)


def _norm(A: np.ndarray, z: np.ndarray) -> np.ndarray:
    """‖Σ^½ A Σ^½‖, as the norm of Rᵀ A R with Σ = R Rᵀ."""
    root = np.sqrt(_policy(z))
    R = root[:, :, None] * (np.eye(z.shape[1]) - root[:, :, None] * root[:, None, :])
    skew = np.swapaxes(R, 1, 2) @ A @ R
    return np.sqrt(np.maximum(np.linalg.eigvalsh(np.swapaxes(skew, 1, 2) @ skew)[:, -1], 0.0))


def _follow(A: np.ndarray, z: np.ndarray, before: float, s: float) -> np.ndarray:
    """The fixed point at ``s`` from that at ``before``: an Euler step, then damped Newton steps."""
    identity = np.eye(z.shape[1])

    def step(A: np.ndarray, z: np.ndarray, at: float, right: np.ndarray) -> np.ndarray:
        pi = _policy(z)
        A_pi = (A @ pi[..., None])[..., 0]
        slope = A * pi[:, None, :] - A_pi[:, :, None] * pi[:, None, :]
        return np.linalg.solve(identity - at * slope, right[..., None])[..., 0]

    force = lambda A, z: (A @ _policy(z)[..., None])[..., 0]
    z = z + step(A, z, before, (s - before) * force(A, z)) if s > before else z.copy()
    active = np.arange(len(z))
    for _ in range(60):
        part, B = z[active], A[active]
        off = part - s * force(B, part)
        size = np.abs(off).max(axis=1)
        keep = size > 1e-9 * (1 + np.abs(part).max(axis=1))
        active, part, B, off, size = active[keep], part[keep], B[keep], off[keep], size[keep]
        if len(active) == 0:
            return z
        move = -step(B, part, s, off)
        factor = np.ones(len(active))
        for _ in range(12):
            trial = part + factor[:, None] * move
            worse = np.abs(trial - s * force(B, trial)).max(axis=1) > size
            if not worse.any():
                break
            factor = np.where(worse, factor / 2, factor)
        z[active] = trial
    raise RuntimeError(f"the fixed point at s = {s:g} was not found for {len(active)} matrices.")
