"""Every fixed point that can be found, with its spectrum; at alpha = 1 the vertices with their multipliers."""

from __future__ import annotations

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from .._numerics import log_softmax
from ..objectives import IPO
from ..rounds import RoundMap, SelfSampling
from ._critical import fixed_point_near_start
from ._fixed_points import FixedPoint, interior
from ._local import eigenvalues, is_exact, step


def find_fixed_points(process: RoundMap, starts: int = 64) -> list[FixedPoint]:
    """Every fixed point that Newton's method reaches from fixed starts, most stable first; at alpha = 1 also vertices."""
    found = interior(process, starts)
    followed = None if found else fixed_point_near_start(process)
    if followed is not None:
        found = [followed]
    points = sorted((_fixed_point(process, z) for z in found), key=lambda p: p.spectral_radius)
    if is_exact(process) and process.is_tabular and float(process.alpha) == 1:
        points += [_vertex(process, w) for w in range(process.num_responses)]
    return points


def _fixed_point(process: RoundMap, z: np.ndarray) -> FixedPoint:
    log_policy = log_softmax(jnp.asarray(z))
    values = np.asarray(eigenvalues(process, log_policy))
    residual = float(jnp.max(jnp.abs(_step(process, jnp.asarray(z)) - z)))
    turn = float(abs(np.angle(values[0])) / (2 * np.pi))
    return FixedPoint(np.asarray(log_policy), residual, values, float(abs(values[0])), turn)


_step = eqx.filter_jit(step)
_solve = eqx.filter_jit(
    lambda objective, P, log_mu: objective.solve(P, log_mu)
)  # its loop compiles once, not per vertex


def _vertex(process: SelfSampling, w: int) -> FixedPoint:
    """exp((f_j - f_w)/beta) for j ≠ w, f at the sampler lam e_w + (1-lam) pi_0 (statement 2.2 [derived])."""
    size = process.num_responses
    at = jnp.where(jnp.arange(size) == w, 0.0, -jnp.inf)
    log_mu = process.log_sampler(at)
    if isinstance(process.objective, IPO):
        f = np.asarray(process.preference @ jnp.exp(log_mu))
        gap = np.delete(f - f[w], w)
    else:
        gap = _vertex_gaps(process, log_mu, w)
    with np.errstate(over="ignore"):
        multipliers = np.exp(gap / float(process.objective.beta))
    return FixedPoint(None, 0.0, multipliers, float(multipliers.max()), 0.0, vertex=w)


def _vertex_gaps(process: SelfSampling, log_mu: Array, w: int) -> np.ndarray:
    """f_j - f_w of DPO; at the vertex itself logit P_jw, infinite where P_jw is 0 or 1."""
    P = np.asarray(process.preference)
    if not np.isfinite(np.delete(np.asarray(log_mu), w)).any():
        with np.errstate(divide="ignore"):
            return np.delete(np.log(P[:, w]) - np.log(P[w]), w)
    f = np.asarray(_solve(process.objective, process.preference, log_mu)[0])
    return np.delete(f - f[w], w)
