"""Policies that are linear in features of the responses."""

from __future__ import annotations

import warnings

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float

from .._checks import as_numbers, check_log_distribution
from .._numerics import centre, concrete
from ._base import OFF_CLASS, Policy


class LogLinear(Policy):
    """pi(k) ∝ exp(phi_k·theta): linear in features of the responses, the same theta in every context.

    Features that agree on all responses, or repeat each other, leave theta undetermined along some directions; policies
    are not affected, and wherever a theta has to be named it is the one of least norm.

    Args:
        phi: phi, ``(K, d)``, or ``(X, K, d)`` for X contexts; finite.

    Raises:
        ValueError: phi of another rank, not finite, or the same for all responses.
    """

    phi: Float[Array, "*contexts K d"]
    rank: int = eqx.field(static=True)
    columns: Float[Array, "responses rank"]

    def __init__(self, phi: Float[ArrayLike, "*contexts K d"]):
        self.phi = as_numbers(phi, "phi")
        shape = self.phi.shape
        if self.phi.ndim not in (2, 3) or 0 in shape or shape[-2] < 2:
            raise ValueError(f"phi has shape {shape}; pass features (K, d), or (X, K, d) over contexts, with K ≥ 2.")
        most = min(shape[-1], int(np.prod(shape[:-2])) * (shape[-2] - 1))
        if not concrete(self.phi):
            # A traced phi cannot be looked at: it is taken to have full rank.
            self.rank = most
            flat = jnp.swapaxes(centre(jnp.swapaxes(self.phi, -1, -2)), -1, -2).reshape(-1, shape[-1])
            self.columns = jnp.linalg.svd(flat, full_matrices=False)[0][:, :most]
            return
        if not bool(jnp.all(jnp.isfinite(self.phi))):
            at = tuple(int(i) for i in np.argwhere(~np.isfinite(np.asarray(self.phi)))[0])
            raise ValueError(f"phi[{', '.join(map(str, at))}] is not finite; pass finite features.")
        columns = _columns(self.phi)
        self.rank, self.columns = columns.shape[1], jnp.asarray(columns)
        if self.rank == 0:
            raise ValueError("phi gives all responses the same features, so there is nothing to learn; pass others.")
        if self.rank < most:
            warnings.warn(
                f"phi has rank {self.rank} of {shape[-1]} once its mean over responses is removed: theta is determined up "
                f"to {shape[-1] - self.rank} directions, and the one of least norm is used.",
                stacklevel=2,
            )

    def start(self) -> Float[Array, " d"]:
        return jnp.zeros(self.phi.shape[-1])

    def logits(self, parameters: Float[Array, " d"]) -> Float[Array, "*contexts K"]:
        return centre(self.phi @ parameters)

    def basis(self) -> Float[Array, "n rank"]:
        """Orthonormal columns that span the centred logits of the class, those of all prompts one after the other."""
        return self.columns

    def _centred(self) -> Float[Array, "n d"]:
        """Features without their mean over the responses, of all prompts one after the other."""
        return jnp.swapaxes(centre(jnp.swapaxes(self.phi, -1, -2)), -1, -2).reshape(-1, self.phi.shape[-1])

    def parameter_basis(self) -> Float[Array, "d rank"]:
        return jnp.linalg.svd(self._centred(), full_matrices=False)[2][: self.rank].T

    def coordinates(self) -> Float[Array, "n d"]:
        return self._centred()

    def pull(self, parameters: Float[Array, " d"], force: Float[Array, "*contexts K"]) -> Float[Array, " d"]:
        """phiᵀ force; a force on the logits sums to 0 over the responses, so the gauge of phi does not matter."""
        return self.phi.T @ force if self.phi.ndim == 2 else jnp.einsum("xkd,xk->d", self.phi, force)

    def parameters(self, logits: Float[Array, "*contexts K"]) -> Float[Array, " d"]:
        """The theta of least norm whose logits are nearest."""
        return jnp.linalg.pinv(self._centred()) @ logits.ravel()

    def theta(self, log_policy: Float[ArrayLike, " K"]) -> Float[Array, " d"]:
        """The theta of least norm with log pi = phi theta + const.

        Args:
            log_policy: log pi, ``(K,)``, in nats, of this class.

        Raises:
            ValueError: a policy off the class, with its distance.
        """
        z = centre(check_log_distribution(log_policy, "log_policy", self.phi.shape[-2]))
        self.check_member(z, "log_policy")
        U, values, Vt = jnp.linalg.svd(centre(self.phi.T).T, full_matrices=False)
        r = self.rank
        return Vt[:r].T @ ((U[:, :r].T @ z) / values[:r])

    def check_member(self, logits: Float[Array, "*contexts K"], name: str) -> None:
        """Raises ``ValueError`` where centred logits are not phi theta for any theta."""
        B = self.basis()
        if not concrete(logits, B):
            return
        logits = jnp.broadcast_to(logits, self.shape).ravel()
        off = float(jnp.max(jnp.abs(logits - B @ (B.T @ logits))))
        if off > OFF_CLASS * (1.0 + float(jnp.max(jnp.abs(logits)))):
            raise ValueError(
                f"{name} is {off:.3g} nats off the log-linear policies of phi; pass policy.log_policy(theta) for a theta."
            )


def _columns(phi: Array) -> np.ndarray:
    """Left singular vectors of the centred features, without those that are rounding."""
    flat = np.asarray(phi)
    flat = (flat - flat.mean(axis=-2, keepdims=True)).reshape(-1, flat.shape[-1])
    U, values, _ = np.linalg.svd(flat, full_matrices=False)
    size = np.abs(np.asarray(phi)).max(initial=0.0)
    return U[:, values > max(flat.shape) * np.finfo(flat.dtype).eps * max(values.max(initial=0.0), size)]
