"""Samplers: who generates the pairs that a policy is trained on, as a function of the policy."""

from __future__ import annotations

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float

from .._checks import as_numbers, check_log_distribution, check_scalar
from .._numerics import log_mixture


class Sampler(eqx.Module):
    """log mu from log pi; both responses of a pair are drawn i.i.d. from mu. Contexts lead: ``(K,)`` or ``(X, K)``."""

    def log_sampler(self, log_policy: Float[Array, "*contexts K"]) -> Float[Array, "*contexts K"]:
        """log mu, of the shape of ``log_policy``."""
        raise NotImplementedError

    def check(self, shape: tuple[int, ...]) -> None:
        """Raises ``ValueError`` unless this sampler fits log-policies of ``shape``."""


class OnPolicy(Sampler):
    """mu = pi: the policy generates its own pairs, and follows as it learns."""

    def log_sampler(self, log_policy: Float[Array, "*contexts K"]) -> Float[Array, "*contexts K"]:
        return log_policy


class Fixed(Sampler):
    """mu = the given distribution, whatever the policy is.

    Args:
        log_mu: log mu, ``(K,)``, or ``(X, K)`` for one per context; in nats, ``-inf`` marks responses never sampled.
    """

    log_mu: Float[Array, "*contexts K"]

    def __init__(self, log_mu: Float[ArrayLike, "*contexts K"]):
        self.log_mu = _distributions(log_mu, "log_mu")

    def log_sampler(self, log_policy: Float[Array, "*contexts K"]) -> Float[Array, "*contexts K"]:
        return _spread(self.log_mu, log_policy)

    def check(self, shape: tuple[int, ...]) -> None:
        _fits(self.log_mu, shape, "log_mu")


class Mixture(Sampler):
    """mu = lam pi + (1-lam) pi_0.

    Args:
        lam: lambda, scalar in [0, 1], share of the policy.
        log_offline: log pi_0, ``(K,)`` or ``(X, K)``, in nats, ``-inf`` marks responses that the offline data never shows.
    """

    lam: Float[Array, ""]
    log_offline: Float[Array, "*contexts K"]

    def __init__(self, lam: ArrayLike, log_offline: Float[ArrayLike, "*contexts K"]):
        self.lam = check_scalar(lam, "lam", 0.0, 1.0)
        if self.lam.ndim != 0:
            raise ValueError(f"lam has shape {self.lam.shape}; pass one number (use jax.vmap for many).")
        self.log_offline = _distributions(log_offline, "log_offline")

    def log_sampler(self, log_policy: Float[Array, "*contexts K"]) -> Float[Array, "*contexts K"]:
        return log_mixture(self.lam, log_policy, _spread(self.log_offline, log_policy))

    def check(self, shape: tuple[int, ...]) -> None:
        _fits(self.log_offline, shape, "log_offline")


def _distributions(value: Float[ArrayLike, "*contexts K"], name: str) -> Float[Array, "*contexts K"]:
    logs = as_numbers(value, name)
    if logs.ndim != 2 or len(logs) == 0:
        return check_log_distribution(logs, name, zero_mass=True)
    rows = [check_log_distribution(row, f"{name}[{x}]", zero_mass=True) for x, row in enumerate(logs)]
    return jnp.stack(rows)


def _spread(log_p: Float[Array, "*contexts K"], log_policy: Float[Array, "*contexts K"]) -> Array:
    return jnp.broadcast_to(log_p, log_policy.shape)


def _fits(log_p: Array, shape: tuple[int, ...], name: str) -> None:
    if log_p.shape not in (shape, shape[-1:]):
        wanted = f"{shape[-1:]}" if len(shape) == 1 else f"{shape[-1:]} or {shape}"
        raise ValueError(f"{name} has shape {log_p.shape}, the policy {shape}; pass shape {wanted}.")
