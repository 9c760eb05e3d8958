"""The equation of a fixed point, in a form that allows many matrices to be solved at once.

A fixed point with alpha < 1 is z = log ref + s f with s = 1/(beta (1-alpha)), where f is the objective's reward at the sampler
of that point, mu = lam softmax(z) + (1-lam) pi_0. For given P and lam it depends only on s, and the Jacobian of the round is
alpha I + (1-alpha) M with M = s ∂f/∂z. So one curve over s gives the fixed points of every alpha and beta [derived, from
statements 2.2 and 7.1].
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Complex, Float

from .._numerics import centre, gauge_basis, log_mixture, log_softmax, mass
from ..objectives import DPO, IPO, Objective, win_odds
from ..preferences import Pairs


class Line(NamedTuple):
    """What does not change along the curve."""

    P: Float[Array, "K K"]
    lam: Float[Array, ""]
    log_reference: Float[Array, " K"]
    log_offline: Float[Array, " K"]


class Linear(NamedTuple):
    """The equation of f at a point: its residual, and its derivatives with respect to f at fixed z and to z at fixed f."""

    residual: Float[Array, " K"]
    by_f: Float[Array, "K K"]
    by_z: Float[Array, "K K"]


class Equation(NamedTuple):
    """An objective's equation, its solution f for a sampler, and the eigenvalues of M at a fixed point."""

    at: Callable[[Line, Array, Array], Linear]
    reward: Callable[[Line, Array], tuple[Array, Array]]
    spectrum: Callable[[Line, Array, Array], Array]


def logits(line: Line, f: Float[Array, " K"], s: Float[Array, ""]) -> Float[Array, " K"]:
    """z = C (log ref + s f)."""
    return centre(line.log_reference + s * f)


def solve(linear: Linear, s: Float[Array, ""], rhs: Float[Array, "K n"]) -> Float[Array, "K n"]:
    """The centred x with (∂/∂f + s ∂/∂z) x = rhs, the total derivative, since z depends on f."""
    # As in ``win_odds.solve_gauged``, adding 1 to every entry fixes the constant; it does not change the result for IPO.
    return centre(jnp.linalg.solve(linear.by_f + s * linear.by_z + 1.0, rhs).T).T


def _sigma(log_policy: Float[Array, " K"]) -> Float[Array, "K K"]:
    pi = jnp.exp(log_policy)
    return jnp.diag(pi) - pi[:, None] * pi[None, :]


def _ipo_reward(line: Line, log_policy: Float[Array, " K"]) -> tuple[Float[Array, " K"], Bool[Array, ""]]:
    mu = line.lam * jnp.exp(log_policy) + (1 - line.lam) * jnp.exp(line.log_offline)
    return centre((line.P - 0.5) @ mu), jnp.asarray(True)


def _ipo(line: Line, f: Float[Array, " K"], s: Float[Array, ""]) -> Linear:
    log_policy = log_softmax(logits(line, f, s))
    by_z = -line.lam * centre(((line.P - 0.5) @ _sigma(log_policy)).T).T
    return Linear(f - _ipo_reward(line, log_policy)[0], jnp.eye(f.shape[0]), by_z)


def _ipo_spectrum(line: Line, f: Float[Array, " K"], s: Float[Array, ""]) -> Complex[Array, " 2"]:
    """± i lam s ‖Sigma^½ A Sigma^½‖, the pair of largest modulus in statement 7.1; the others lie between them."""
    root = jnp.exp(0.5 * log_softmax(logits(line, f, s)))
    # Sigma = R Rᵀ with R = diag(root)(I - root rootᵀ), and R R ᵀ A and Rᵀ A R share their spectrum.
    R = jnp.diag(root) - (root**2)[:, None] * root[None, :]
    skew = R.T @ (line.P - 0.5) @ R
    norm = jnp.sqrt(jnp.maximum(jnp.linalg.eigvalsh(skew.T @ skew)[-1], 0.0))
    whole = lambda x: x.astype(np.result_type(x.dtype, np.complex64))
    return 1j * whole(line.lam) * whole(s) * whole(jnp.stack([norm, -norm]))


def _dpo_reward(line: Line, log_policy: Float[Array, " K"]) -> tuple[Float[Array, " K"], Bool[Array, ""]]:
    log_mu = log_mixture(line.lam, log_policy, line.log_offline)
    return DPO(1.0).solve(Pairs(line.P, log_mu, mass(log_mu)), line.log_reference)


def _dpo(line: Line, f: Float[Array, " K"], s: Float[Array, ""]) -> Linear:
    log_policy = log_softmax(logits(line, f, s))
    log_mu = log_mixture(line.lam, log_policy, line.log_offline)
    rows = win_odds.opponents(log_mu)
    have, want = win_odds.attained(rows, f), win_odds.required(rows, line.P)
    mass = win_odds.opposing_mass(log_mu)
    by_log_mu = mass[:, None] * win_odds.by_log_mu(rows, line.P, f, have, want)
    # d log mu_j = (lam pi_j / mu_j) (dz_j - pi·dz)
    weighted = by_log_mu * jnp.exp(jnp.log(line.lam) + log_policy - log_mu)[None, :]
    by_z = weighted - jnp.sum(weighted, axis=1, keepdims=True) * jnp.exp(log_policy)[None, :]
    residual = mass * win_odds.mismatch(have, want, rows)
    return Linear(residual, mass[:, None] * win_odds.laplacian(rows, f, have), by_z)


def _dpo_spectrum(line: Line, f: Float[Array, " K"], s: Float[Array, ""]) -> Complex[Array, " n"]:
    linear = _dpo(line, f, s)
    response = centre(jnp.linalg.solve(linear.by_f + 1.0, -s * linear.by_z).T).T
    basis = jnp.asarray(gauge_basis(f.shape[0]))
    reduced = basis.T @ response @ basis
    # LAPACK does not return from a matrix with NaN entries; a point with NaN is rejected later by its residual.
    return jnp.linalg.eigvals(jnp.where(jnp.all(jnp.isfinite(reduced)), reduced, 0.0))


EQUATIONS: dict[type[Objective], Equation] = {
    IPO: Equation(_ipo, _ipo_reward, _ipo_spectrum),
    DPO: Equation(_dpo, _dpo_reward, _dpo_spectrum),
}
