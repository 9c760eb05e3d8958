"""Rounds: maps from logits to logits, which ``iterate``, ``sweep`` and ``stability`` run, scan and analyse."""

from __future__ import annotations

from typing import Any, ClassVar

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Bool, Float, PRNGKeyArray

from ._numerics import (
    as_array,
    centre,
    check_log_distribution,
    check_scalar,
    concrete,
    gauge_basis,
    log_mixture,
    log_softmax,
)
from ._parameters import replace
from .objectives import Objective
from .policies import LogLinear, Policy, Tabular
from .preferences import check


class RoundMap(eqx.Module):
    """z_{t+1} = F(z_t): one round, from logits to logits (defined up to a constant), optionally with a key.

    A subclass writes ``__call__``; everything else has a default. ``num_responses`` is read off an attribute
    ``preference`` unless overridden, ``log_reference`` (what ``kl_to_reference`` compares with) is uniform, ``beta`` None.
    A random round sets ``stochastic = True`` and receives a fresh ``key`` in every round.
    """

    stochastic: ClassVar[bool] = False

    def __call__(self, logits: Float[Array, " K"], key: PRNGKeyArray | None = None) -> Float[Array, " K"]:
        """The logits of the next policy from those of this one, ``(K,)``."""
        raise NotImplementedError

    @property
    def num_responses(self) -> int:
        """K, the number of responses."""
        preference = getattr(self, "preference", None)
        if preference is None:
            raise ValueError(f"{type(self).__name__} does not say how many responses it has; define num_responses.")
        return preference.shape[-1]

    def log_start(self) -> Float[Array, " K"]:
        """log pi of round 0 where the caller names none, ``(K,)``; uniform unless overridden."""
        return _uniform(self.num_responses)

    def log_baseline(self) -> Float[Array, " K"]:
        """log ref that rewards and divergences are measured from, ``(K,)``."""
        reference = getattr(self, "log_reference", None)
        return _uniform(self.num_responses) if reference is None else reference

    def basis(self) -> Float[Array, "K m"]:
        """Orthonormal columns that span the centred logits which policies may have; all of them unless overridden."""
        return jnp.asarray(gauge_basis(self.num_responses))

    def check_start(self, log_policy: Float[Array, " K"]) -> None:
        """Raises ``ValueError`` for a policy that these rounds cannot start from."""

    def kl_coefficient(self) -> Float[Array, ""] | None:
        """beta, for reward margins, or None where the map has no such thing."""
        holder = getattr(self, "objective", self)
        beta = getattr(holder, "beta", None)
        return None if beta is None else jnp.asarray(beta, dtype=float)

    def start_memory(self, logits: Float[Array, " K"]) -> Any:
        """What a round may carry to the next besides the logits, such as a warm start."""
        return None

    def advance(
        self, logits: Float[Array, " K"], memory: Any, key: PRNGKeyArray | None
    ) -> tuple[Float[Array, " K"], Any, Bool[Array, ""]]:
        """One round with its memory, and whether it succeeded."""
        out = self(logits, key) if self.stochastic else self(logits)
        return centre(out), memory, jnp.all(jnp.isfinite(out))

    def check_parameter(self, path: str, values: np.ndarray) -> None:
        """Raises ``ValueError`` for values, stacked along the first axis, that the parameter at ``path`` may not take."""
        if not np.isfinite(values).all():
            raise ValueError(f"{path} has a value that is not finite; pass finite numbers.")


class SelfSampling(RoundMap):
    """Iterated alignment in which the policy becomes the next sampler and the next reference (MRS).

    ref_t ∝ pi_t^alpha · ref^(1-alpha),  mu_t = lam pi_t + (1-lam) pi_0,  pi_{t+1} ∝ ref_t · exp(f(P, mu_t)/beta);
    for IPO f = P mu_t: log pi_{t+1} = alpha log pi_t + (1-alpha) log ref + P mu_t/beta + const.

    Args:
        preference: P, ``(K, K)``, P_ij = Pr(i preferred to j).
        objective: ``IPO(beta)`` or ``DPO(beta)``; beta is the KL coefficient (Chen26 writes 1/beta).
        alpha: alpha, scalar in [0, 1], share of the policy in the next reference.
        lam: lambda, scalar in [0, 1], share of the policy in the next sampler.
        log_reference: log ref, ``(K,)``, finite; uniform unless given.
        log_offline: log pi_0 inside mu_t, ``(K,)``, a parameter of the map and not its start; uniform unless given;
            ``-inf`` marks responses that the offline data never shows.
        policy: ``Tabular(K)``, or ``LogLinear(phi)``, phi ``(K, d)``: then f is the minimiser of the objective's loss over
            pairs from mu_t within the span of phi (IPO: least squares, DPO: a convex programme), theta_{t+1} = alpha theta_t +
            (1-alpha) theta_ref + w/beta with f = phi w, and start and reference have to be log-linear as well.

    Raises:
        ValueError: a bad entry, a DPO optimum that does not exist on the sampler's support, a reference off the class.

    Source: [paper] Chen26, iterated alignment with mixed references and samplers.
    """

    preference: Float[Array, "K K"]
    objective: Objective
    alpha: Float[Array, ""]
    lam: Float[Array, ""]
    log_reference: Float[Array, " K"]
    log_offline: Float[Array, " K"]
    policy: Policy

    def __init__(
        self,
        preference: Float[ArrayLike, "K K"],
        objective: Objective,
        alpha: ArrayLike,
        lam: ArrayLike,
        log_reference: Float[ArrayLike, " K"] | None = None,
        log_offline: Float[ArrayLike, " K"] | None = None,
        policy: Policy | None = None,
    ):
        if not isinstance(objective, Objective):
            raise ValueError(f"objective is {objective!r}; pass dyn.IPO(beta=...) or dyn.DPO(beta=...).")
        self.preference = check(preference)
        size = self.preference.shape[0]
        uniform = _uniform(size)
        self.objective = objective
        self.alpha = _share(alpha, "alpha")
        self.lam = _share(lam, "lam")
        self.log_reference = (
            uniform if log_reference is None else check_log_distribution(log_reference, "log_reference", size)
        )
        self.log_offline = (
            uniform if log_offline is None else check_log_distribution(log_offline, "log_offline", size, zero_mass=True)
        )
        self.policy = _policy(policy, size)
        if concrete(self.policy, self.log_reference) and isinstance(self.policy, LogLinear):
            self.policy.check_member(centre(self.log_reference), "log_reference")
        if concrete(self.preference, self.lam, self.log_offline, self.policy):
            sampled = np.asarray(self.log_offline) > -np.inf
            support = sampled if float(self.lam) == 0 else np.ones(size, dtype=bool)
            if self.is_tabular:
                objective.check_exists(np.asarray(self.preference), support)
            else:
                objective.check_exists_within(np.asarray(self.basis()), np.asarray(self.preference), support)

    @property
    def is_tabular(self) -> bool:
        """Whether every policy can be reached: tabular, or features of rank K-1."""
        return not isinstance(self.policy, LogLinear) or self.policy.rank == self.num_responses - 1

    def basis(self) -> Float[Array, "K m"]:
        return super().basis() if self.is_tabular else self.policy.basis()  # pyright: ignore

    def check_start(self, log_policy: Float[Array, " K"]) -> None:
        if isinstance(self.policy, LogLinear):
            self.policy.check_member(centre(log_policy), "initial")

    def reward(
        self, log_mu: Float[Array, " K"], guess: Float[Array, " K"] | None = None
    ) -> tuple[Float[Array, " K"], Bool[Array, ""]]:
        """f at a sampler, within the policy's class, and whether it was found."""
        if self.is_tabular:
            return self.objective.solve(self.preference, log_mu, guess)
        return self.objective.solve_within(self.basis(), self.preference, log_mu, guess)

    def log_start(self) -> Float[Array, " K"]:
        if concrete(self.log_offline) and not np.isfinite(np.asarray(self.log_offline)).all():
            raise ValueError(
                "log_offline has zero mass somewhere and cannot be the start; pass initial=, full support."
            )
        return self.log_offline if self.is_tabular else log_softmax(self._nearest(self.log_offline))

    def _nearest(self, log_policy: Float[Array, " K"]) -> Float[Array, " K"]:
        """Logits of the member of the class with the nearest logits."""
        B = self.basis()
        return B @ (B.T @ log_policy)

    def log_sampler(self, log_policy: Float[Array, " K"]) -> Float[Array, " K"]:
        """log mu_t = log(lam pi_t + (1-lam) pi_0), ``(K,)``."""
        return log_mixture(self.lam, log_policy, self.log_offline)

    def __call__(self, logits: Float[Array, " K"], key: PRNGKeyArray | None = None) -> Float[Array, " K"]:
        return self.advance(logits, None, key)[0]

    def start_memory(self, logits: Float[Array, " K"]) -> Float[Array, " K"] | None:
        # DPO's f without a guess starts from log-odds; the same f at the first sampler is a better one.
        return self._respond(logits, None)[0] if self.objective.warm else None

    def advance(
        self, logits: Float[Array, " K"], memory: Any, key: PRNGKeyArray | None
    ) -> tuple[Float[Array, " K"], Float[Array, " K"] | None, Bool[Array, ""]]:
        f, found = self._respond(logits, memory)
        mixed = self.alpha * logits + (1 - self.alpha) * self.log_reference
        out = mixed + f / self.objective.beta
        out = out - jnp.mean(out)
        return out, f if self.objective.warm else None, found & self._in_range() & jnp.all(jnp.isfinite(out))

    def _respond(
        self, logits: Float[Array, " K"], guess: Float[Array, " K"] | None
    ) -> tuple[Float[Array, " K"], Bool[Array, ""]]:
        """``reward`` at the sampler of a policy given by its logits."""
        if self.is_tabular:
            return self.objective.solve_mixed(self.preference, self.lam, logits, self.log_offline, guess)
        return self.reward(self.log_sampler(log_softmax(logits)), guess)

    def _in_range(self) -> Bool[Array, ""]:
        """What construction refuses of concrete values, for traced ones: they end as a ``result``."""
        P, alpha, lam = self.preference, self.alpha, self.lam
        shares = (alpha >= 0) & (alpha <= 1) & (lam >= 0) & (lam <= 1)
        return shares & (self.objective.beta > 0) & jnp.all((P >= 0) & (P <= 1))

    def check_parameter(self, path: str, values: np.ndarray) -> None:
        if path.startswith("policy."):
            raise ValueError(
                f"{path} cannot be swept: features change what policies there are; build a loop for each phi."
            )
        if path == "log_reference" and isinstance(self.policy, LogLinear):
            for row in values:
                self.policy.check_member(centre(as_array(row)), path)
        super_check = {
            "alpha": lambda v: check_scalar(v, "alpha", 0.0, 1.0),
            "lam": lambda v: check_scalar(v, "lam", 0.0, 1.0),
            "objective.beta": lambda v: check_scalar(v, "objective.beta", 0.0, np.inf, open_low=True),
            "preference": lambda v: [check(P) for P in v],
            "log_reference": lambda v: [check_log_distribution(p, "log_reference", self.num_responses) for p in v],
            "log_offline": lambda v: [
                check_log_distribution(p, "log_offline", self.num_responses, zero_mass=True) for p in v
            ],
        }
        super_check.get(path, lambda v: super(SelfSampling, self).check_parameter(path, v))(values)

    def with_preference(self, preference: Float[ArrayLike, "K K"]) -> SelfSampling:
        """The same rounds on another matrix; one of another size needs a uniform reference and offline sampler.

        Whether DPO's optimum exists there is not looked at; a run without one says so in its ``result``.
        """
        P = check(preference)
        size = P.shape[0]
        if size == self.num_responses:
            return replace(self, {"preference": P})
        if isinstance(self.policy, LogLinear):
            raise ValueError(
                f"policy has features of {self.num_responses} responses, the matrix {size}; build a new loop."
            )
        for name in ("log_reference", "log_offline"):
            if np.ptp(np.asarray(getattr(self, name))) != 0:
                raise ValueError(f"{name} is not uniform, so it fits {self.num_responses} responses only, not {size}.")
        uniform = _uniform(size)
        smaller = replace(self, {"preference": P, "log_reference": uniform, "log_offline": uniform})
        return eqx.tree_at(lambda loop: loop.policy, smaller, Tabular(size))


def _uniform(size: int) -> Float[Array, " K"]:
    return jnp.full(size, -jnp.log(as_array(size)))


def _policy(policy: Policy | None, size: int) -> Policy:
    if policy is None:
        return Tabular(size)
    if not isinstance(policy, Tabular | LogLinear):
        raise ValueError(f"policy is {policy!r}; pass dyn.Tabular(K) or dyn.LogLinear(phi).")
    shape = (policy.size,) if isinstance(policy, Tabular) else policy.phi.shape[:-1]
    if len(shape) == 2:
        raise ValueError(f"phi has {shape[0]} contexts; rounds are of one prompt, pass features of shape (K, d).")
    if shape != (size,):
        raise ValueError(f"policy has {shape[0]} responses, preference {size}; let them match.")
    return policy


def _share(value: ArrayLike, name: str) -> Float[Array, ""]:
    array = check_scalar(value, name, 0.0, 1.0)
    if array.ndim != 0:
        raise ValueError(f"{name} has shape {array.shape}; pass one number (use dyn.sweep or jax.vmap for many).")
    return array
