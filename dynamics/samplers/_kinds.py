"""Samplers, which generate the pairs that a policy is trained on, as functions of the policy."""

from __future__ import annotations

from abc import abstractmethod

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Bool, Float

from .._checks import Numbers, check_scalar
from .._noun import Noun, assemble, is_own
from .._numerics import concrete, log_mixture, log_softmax, softmax
from .._parts import check_fits, check_rows, distributions, is_share, of_any_size, other_size, share_of


class Sampler(Noun):
    """log mu from log pi; both responses of a pair are drawn i.i.d. from mu. Contexts lead: ``(K,)`` or ``(X, K)``.

    A subclass writes ``log_sampler``.

    >>> class Tempered(dyn.samplers.Sampler):
    ...     temperature: float
    ...
    ...     def log_sampler(self, log_policy):
    ...         return jax.nn.log_softmax(log_policy / self.temperature)
    >>> Tempered(2.0).log_sampler(jnp.zeros(3)).shape
    (3,)
    """

    @abstractmethod
    def log_sampler(self, log_policy: Float[Array, "*contexts K"]) -> Float[Array, "*contexts K"]:
        """log mu, of the shape of ``log_policy``; ``-inf`` marks responses that are never sampled."""

    def sampler(self, logits: Float[Array, "*contexts K"]) -> Float[Array, "*contexts K"]:
        """mu, from the policy's logits; the library's own samplers compute it without a logarithm."""
        return jnp.exp(self.log_sampler(log_softmax(logits)))

    def log_mu_of(self, logits: Float[Array, "*contexts K"]) -> Float[Array, "*contexts K"] | LogMu:
        """log mu from the policy's logits; a library sampler's, for one prompt, is computed where it is called."""
        later = LogMu(self, logits)
        return later() if is_own(self) or logits.ndim > 1 else later

    def check(self, shape: tuple[int, ...]) -> None:
        """Raises ``ValueError`` unless this sampler fits log-policies of ``shape``."""

    def support(self, shape: tuple[int, ...]) -> Bool[np.ndarray, "*contexts K"]:
        """Which responses are sampled under a policy with full support; for concrete samplers only."""
        return np.ones(shape, dtype=bool)

    def log_start(self, shape: tuple[int, ...]) -> Float[Array, "*contexts K"] | None:
        """log pi_0, the default start of rounds; None: the reference."""
        return None

    def resized(self, size: int) -> Sampler:
        """The same sampler for another number of responses; raises ``ValueError`` where it fits only one number."""
        return of_any_size(self)


class LogMu(eqx.Module):
    """log mu at a policy, computed when it is called: most rounds need only mu.

    >>> LogMu(dyn.samplers.OnPolicy(), jnp.zeros(2))().tolist()
    [-0.6931471805599453, -0.6931471805599453]
    """

    sampler: Sampler
    logits: Float[Array, "*contexts K"]

    def __call__(self) -> Float[Array, "*contexts K"]:
        return self.sampler.log_sampler(log_softmax(self.logits))


class OnPolicy(Sampler):
    """mu = pi: the policy generates its own pairs."""

    def log_sampler(self, log_policy: Float[Array, "*contexts K"]) -> Float[Array, "*contexts K"]:
        return log_policy

    def sampler(self, logits: Float[Array, "*contexts K"]) -> Float[Array, "*contexts K"]:
        return softmax(logits)


class Fixed(Sampler):
    """mu = a given distribution, whatever the policy.

    Args:
        log_mu: log mu, ``(K,)``, or ``(X, K)`` for one per context; in nats, ``-inf`` marks responses never sampled.
    """

    log_mu: Float[Array, "*contexts K"]

    def __init__(self, log_mu: Numbers):
        self.log_mu = distributions(log_mu, "log_mu", zero_mass=True)

    def log_sampler(self, log_policy: Float[Array, "*contexts K"]) -> Float[Array, "*contexts K"]:
        return jnp.broadcast_to(self.log_mu, log_policy.shape)

    def sampler(self, logits: Float[Array, "*contexts K"]) -> Float[Array, "*contexts K"]:
        return jnp.broadcast_to(jnp.exp(self.log_mu), logits.shape)

    def check(self, shape: tuple[int, ...]) -> None:
        check_fits(self.log_mu, shape, "log_mu")

    def support(self, shape: tuple[int, ...]) -> Bool[np.ndarray, "*contexts K"]:
        return np.broadcast_to(np.asarray(self.log_mu) > -np.inf, shape)

    def log_start(self, shape: tuple[int, ...]) -> Float[Array, "*contexts K"]:
        return _full(self.log_mu, "log_mu", shape)

    def resized(self, size: int) -> Fixed:
        return assemble(Fixed, log_mu=other_size(self.log_mu, size, "log_mu"))

    def check_parameter(self, path: str, values: np.ndarray) -> None:
        check_rows(values, path, zero_mass=True)


class Mixture(Sampler):
    """mu = lam pi + (1-lam) pi_0.

    Args:
        lam: lambda, scalar in [0, 1], share of the policy.
        log_offline: log pi_0, ``(K,)`` or ``(X, K)``, in nats, ``-inf`` marks responses absent from the offline data.
    """

    lam: Float[Array, ""]
    log_offline: Float[Array, "*contexts K"]

    def __init__(self, lam: ArrayLike, log_offline: Numbers):
        self.lam = share_of(lam, "lam")
        self.log_offline = distributions(log_offline, "log_offline", zero_mass=True)

    def log_sampler(self, log_policy: Float[Array, "*contexts K"]) -> Float[Array, "*contexts K"]:
        return log_mixture(self.lam, log_policy, jnp.broadcast_to(self.log_offline, log_policy.shape))

    def sampler(self, logits: Float[Array, "*contexts K"]) -> Float[Array, "*contexts K"]:
        return self.lam * softmax(logits) + (1.0 - self.lam) * jnp.broadcast_to(jnp.exp(self.log_offline), logits.shape)

    def check(self, shape: tuple[int, ...]) -> None:
        check_fits(self.log_offline, shape, "log_offline")

    def support(self, shape: tuple[int, ...]) -> Bool[np.ndarray, "*contexts K"]:
        every = float(self.lam) > 0
        return np.broadcast_to(every | (np.asarray(self.log_offline) > -np.inf), shape)

    def log_start(self, shape: tuple[int, ...]) -> Float[Array, "*contexts K"]:
        return _full(self.log_offline, "log_offline", shape)

    def resized(self, size: int) -> Mixture:
        return assemble(Mixture, lam=self.lam, log_offline=other_size(self.log_offline, size, "log_offline"))

    def check_parameter(self, path: str, values: np.ndarray) -> None:
        if path.endswith("lam"):
            check_scalar(values, path, 0.0, 1.0)
        else:
            check_rows(values, path, zero_mass=True)

    def in_range(self) -> Bool[Array, ""]:
        return is_share(self.lam)


def _full(log_p: Array, name: str, shape: tuple[int, ...]) -> Array:
    if concrete(log_p) and not np.isfinite(np.asarray(log_p)).all():
        raise ValueError(f"{name} has zero mass somewhere and cannot be the start; pass initial= with full support.")
    return jnp.broadcast_to(log_p, shape)
