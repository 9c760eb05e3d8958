"""Fixed points of tabular rounds at alpha = 0, and the flow of 3.8 at them, computed from the equations alone.

Nothing here uses the library, so that its rounds and flows can be compared with these results.
"""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from scipy.special import expit

from ._framework import KAPPA

STEP = 1e-3  # nat, of finite differences
MAX_BETA_RATIO = 1.12  # largest ratio between successive beta while fixed points are followed


def fixed_points(
    P: Float[np.ndarray, "n K K"], name: str, lam: float, betas: tuple[float, ...]
) -> Float[np.ndarray, "beta n K"]:
    """Logits at which Σ_j mu_j (P_ij - s(beta (z_i - z_j))) = 0, s(x) = 1/2 + x for IPO, sigma for DPO.

    This is the condition for the one-shot optima of IPO and DPO at alpha = 0 (1.1, 1.2). It is solved by Newton's method while
    beta falls from a large value.
    """
    highest = 8 * betas[-1]
    ends = np.array([highest, *betas[::-1]])
    counts = np.ceil(np.log(ends[:-1] / ends[1:]) / np.log(MAX_BETA_RATIO)).astype(int)
    z, found, before = np.zeros(P.shape[:2]), [], highest
    for start, end, count in zip(ends[:-1], ends[1:], counts, strict=True):
        for beta in np.geomspace(start, end, count + 1)[1:]:
            z = z * before / beta  # exact if the sampler did not depend on z
            before = beta
            for _ in range(10):
                z = z + _newton_step(P, name, lam, KAPPA[name] * beta, z)
        found.append(z)
    return np.stack(found[::-1])


def _newton_step(P: np.ndarray, name: str, lam: float, beta: float, z: np.ndarray) -> np.ndarray:
    i, (p, mu) = np.arange(z.shape[-1]), _shares(z, lam)
    E, V = _errors(P, name, beta, z)
    e = np.einsum("nij,nj->ni", E, mu)
    through_sampler = E - np.einsum("nij,nj->ni", E, p)[:, :, None]
    slope = lam * through_sampler * p[:, None, :] + beta * V * mu[:, None, :]
    slope[:, i, i] -= beta * np.einsum("nij,nj->ni", V, mu)
    # Logits are defined up to a constant, and the rows weighted by mu sum to 0. Adding one number to every entry of the
    # matrix makes it invertible in spite of both.
    step = np.linalg.solve(slope + beta, -e[..., None])[..., 0]
    step *= np.minimum(1.0, 2.0 / np.abs(step).max(axis=-1, keepdims=True).clip(1e-300))
    return step - step.mean(axis=-1, keepdims=True)


def _shares(z: np.ndarray, lam: float) -> tuple[np.ndarray, np.ndarray]:
    p = np.exp(z - z.max(axis=-1, keepdims=True))
    p /= p.sum(axis=-1, keepdims=True)
    return p, lam * p + (1 - lam) / z.shape[-1]


def _errors(P: np.ndarray, name: str, beta: float, z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """P_ij - s(beta (z_i - z_j)), and s' at the same argument."""
    x = beta * (z[..., :, None] - z[..., None, :])
    if name == "IPO":
        return P - (0.5 + x), np.ones_like(x)
    return P - expit(x), expit(x) * expit(-x)


def flow_at(
    P: np.ndarray, name: str, lams: tuple[float, ...], betas: tuple[float, ...], z: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """By 3.8: the size of the terms that cancel at a fixed point, and the Jacobian of the on-policy flow there [derived].

    The size is c mu_i Σ_j mu_j (|A_ij| + |s - 1/2|), the Jacobian c (B - beta L), with c = 4/beta for IPO and 2 beta for DPO,
    the skew matrix B_ij = p_i p_j (P_ij - s(beta (z_i - z_j))) and the Laplacian L of p_i p_j s'. For IPO the Jacobian is
    -4 (Sigma - Sigma A Sigma/beta).
    """
    gross, jacobian = np.empty(z.shape), np.empty((*z.shape, z.shape[-1]))
    i = np.arange(z.shape[-1])
    for l, lam in enumerate(lams):
        for b, beta in enumerate(KAPPA[name] * np.array(betas)):
            p, mu = _shares(z[l, b], lam)
            E, V = _errors(P, name, beta, z[l, b])
            c = 4 / beta if name == "IPO" else 2 * beta
            gross[l, b] = c * mu * np.einsum("nij,nj->ni", np.abs(P - 0.5) + np.abs(P - 0.5 - E), mu)
            both = p[:, :, None] * p[:, None, :]
            L = -both * V
            L[:, i, i] -= L.sum(axis=-1)
            jacobian[l, b] = c * (both * E - beta * L)
    return gross, jacobian


def differences(velocity: Callable[[Array], Array], z: Float[Array, " K"]) -> tuple[Array, Array]:
    """A velocity, and its total derivative by z from finite differences of fourth order.

    Automatic differentiation would treat the sampler as constant, as the gradient of the flow does, although it depends on z.
    """
    shares = jnp.array([-2.0, -1.0, 0.0, 1.0, 2.0])
    shifts = STEP * jnp.eye(z.shape[0])
    at = jax.vmap(jax.vmap(lambda shift, share: velocity(z + share * shift), (None, 0)), (0, None))(shifts, shares)
    weights = jnp.array([1.0, -8.0, 0.0, 8.0, -1.0]) / (12 * STEP)
    return at[0, 2], jnp.einsum("kwi,w->ik", at, weights)


def reduced(slope: np.ndarray, diagonal: np.ndarray) -> np.ndarray:
    """The Jacobian of the flow in differences to the fastest response, in units of the rates of the other responses.

    Rates span many orders of magnitude; with this scaling, slow responses keep their precision beside fast ones.
    """
    order = np.argsort(-diagonal, axis=-1)
    slope = np.take_along_axis(np.take_along_axis(slope, order[..., None], -2), order[..., None, :], -1)
    root = np.sqrt(np.take_along_axis(diagonal, order, -1))[..., 1:]
    return (slope[..., 1:, 1:] - slope[..., :1, 1:]) * root[..., :, None] / root[..., None, :]
