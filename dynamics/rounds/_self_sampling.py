"""Iterated alignment: the policy becomes the next sampler and the next reference."""

from __future__ import annotations

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Bool, Float, PRNGKeyArray

from .._checks import check_log_distribution
from .._numerics import as_array, centre, concrete, log_mixture, log_softmax, softmax
from .._parameters import replace
from ..objectives import Objective
from ..policies import LogLinear, Policy, Tabular
from ..preferences import check, draw_wins, win_rates
from ._arguments import policy_of, range_checks, share_of, smoothing_of, whole
from ._base import RoundMap, uniform
from ._inner import Descend


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
        samples: n, int in [1, 1e8]: every round draws n pairs i.i.d. from mu_t and a label for each from P, and minimises the
            empirical loss. Responses that no comparison links keep the reference's log-ratio (f of least norm). Such rounds
            take a ``key``. None: infinitely many.
        smoothing: pseudo-wins, scalar in [0, ∞), default 1/2, that DPO adds both ways to each pair that was compared; at 0 an
            optimum at infinity ends the run with a ``result``. IPO and rounds with ``inner`` use none.
        inner: ``Descend(optimizer, steps, ...)``: steps of an optimizer from the current policy instead of the optimum.

    Raises:
        ValueError: a bad entry, a DPO optimum that does not exist on the sampler's support, a reference off the class.

    Source: [paper] Chen26, iterated alignment with mixed references and samplers, and with finite samples.
    """

    preference: Float[Array, "K K"]
    objective: Objective
    alpha: Float[Array, ""]
    lam: Float[Array, ""]
    log_reference: Float[Array, " K"]
    log_offline: Float[Array, " K"]
    policy: Policy
    samples: Float[Array, ""] | None
    smoothing: Float[Array, ""] | None
    inner: Descend | None

    def __init__(
        self,
        preference: Float[ArrayLike, "K K"],
        objective: Objective,
        alpha: ArrayLike,
        lam: ArrayLike,
        log_reference: Float[ArrayLike, " K"] | None = None,
        log_offline: Float[ArrayLike, " K"] | None = None,
        policy: Policy | None = None,
        *,
        samples: ArrayLike | None = None,
        smoothing: ArrayLike | None = None,
        inner: Descend | None = None,
    ):
        if not isinstance(objective, Objective):
            raise ValueError(f"objective is {objective!r}; pass dyn.IPO(beta=...) or dyn.DPO(beta=...).")
        self.preference = check(preference)
        size = self.preference.shape[0]
        self.objective = objective
        self.alpha = share_of(alpha, "alpha")
        self.lam = share_of(lam, "lam")
        self.log_reference = (
            uniform(size) if log_reference is None else check_log_distribution(log_reference, "log_reference", size)
        )
        self.log_offline = (
            uniform(size)
            if log_offline is None
            else check_log_distribution(log_offline, "log_offline", size, zero_mass=True)
        )
        self.policy = policy_of(policy, size)
        self.samples = None if samples is None else whole(samples, "samples", 1)
        self.smoothing = smoothing_of(smoothing, samples)
        if inner is not None and not isinstance(inner, Descend):
            raise ValueError(
                f"inner is {inner!r}; pass dyn.Descend(optimizer, steps), or None for each round's optimum."
            )
        self.inner = inner
        if self.samples is not None and inner is None and not self.is_tabular:
            raise ValueError(
                "samples with features needs inner=dyn.Descend(optimizer, steps): the optimum of a sample within a class of "
                "features is not defined here."
            )
        if concrete(self.policy, self.log_reference) and isinstance(self.policy, LogLinear):
            self.policy.check_member(centre(self.log_reference), "log_reference")
        # A sample is smoothed, and steps of an optimizer need no optimum.
        if self.is_exact and concrete(self.preference, self.lam, self.log_offline, self.policy):
            sampled = np.asarray(self.log_offline) > -np.inf
            support = sampled if float(self.lam) == 0 else np.ones(size, dtype=bool)
            if self.is_tabular:
                objective.check_exists(np.asarray(self.preference), support)
            else:
                objective.check_exists_within(np.asarray(self.basis()), np.asarray(self.preference), support)

    @property
    def stochastic(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Whether rounds draw comparisons."""
        return self.samples is not None or (self.inner is not None and self.inner.batch is not None)

    @property
    def keeps_state(self) -> bool:
        return self.inner is not None and self.inner.keeps_state

    @property
    def is_exact(self) -> bool:
        """Whether every round ends at the population optimum, which is what the theorems are about."""
        return self.samples is None and self.inner is None

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

    def start_memory(self, logits: Float[Array, " K"]) -> Any:
        if self.inner is not None:
            return self.inner.optimizer.init(self._theta(logits)) if self.keeps_state else None
        # DPO's f without a guess starts from log-odds; the same f at the first sampler is a better one.
        return self._respond(logits, None)[0] if self.is_exact and self.objective.warm else None

    def advance(
        self, logits: Float[Array, " K"], memory: Any, key: PRNGKeyArray | None
    ) -> tuple[Float[Array, " K"], Any, Bool[Array, ""]]:
        if self.stochastic and key is None:
            raise ValueError("SelfSampling of samples or batches is random; pass key=jax.random.key(seed).")
        log_reference = self.alpha * logits + (1 - self.alpha) * self.log_reference
        if self.inner is not None:
            out, memory = self._descend(self.inner, logits, log_reference, memory, key)
            found = jnp.asarray(True)
        else:
            f, found = self._respond(logits, memory) if self.samples is None else self._estimate(logits, key)
            out, memory = log_reference + f / self.objective.beta, f if self.is_exact and self.objective.warm else None
        out = out - jnp.mean(out)
        return out, memory, found & self._in_range() & jnp.all(jnp.isfinite(out))

    def _respond(
        self, logits: Float[Array, " K"], guess: Float[Array, " K"] | None
    ) -> tuple[Float[Array, " K"], Bool[Array, ""]]:
        """``reward`` at the sampler of a policy given by its logits."""
        if self.is_tabular:
            return self.objective.solve_mixed(self.preference, self.lam, logits, self.log_offline, guess)
        return self.reward(self.log_sampler(log_softmax(logits)), guess)

    def _estimate(
        self, logits: Float[Array, " K"], key: PRNGKeyArray | None
    ) -> tuple[Float[Array, " K"], Bool[Array, ""]]:
        """f of a round's sample at a policy given by its logits."""
        assert key is not None
        assert self.samples is not None
        assert self.smoothing is not None
        rates = self._rates(logits)
        return self.objective.solve_wins(draw_wins(key, self.samples, rates), self.smoothing)

    def _rates(self, logits: Float[Array, " K"]) -> Float[Array, "K K"]:
        # Masses themselves: what is too small to be a float is never drawn and pulls at nothing.
        mu = self.lam * softmax(logits) + (1 - self.lam) * jnp.exp(self.log_offline)
        return win_rates(self.preference, mu)

    def _theta(self, logits: Float[Array, " K"]) -> Float[Array, " n"]:
        """What an optimizer moves: logits, or the parameters of least norm of a log-linear policy."""
        if not isinstance(self.policy, LogLinear):
            return logits
        return jnp.linalg.pinv(centre(self.policy.phi.T).T) @ logits

    def _descend(
        self,
        inner: Descend,
        logits: Float[Array, " K"],
        log_reference: Float[Array, " K"],
        state: Any,
        key: PRNGKeyArray | None,
    ) -> tuple[Float[Array, " K"], Any]:
        """Logits and the optimizer's state after a round of steps on E[f(beta (h_w - h_l))], h = log pi - log ref_t."""
        rates = self._rates(logits)
        if key is not None and self.samples is not None:
            key, drawn = jax.random.split(key)
            rates = draw_wins(drawn, self.samples, rates) / self.samples

        def gradient(theta: Float[Array, " n"], key: PRNGKeyArray | None) -> Float[Array, " n"]:
            seen = rates
            if key is not None and inner.batch is not None:
                seen = draw_wins(key, inner.batch, rates) / inner.batch
            h = self.policy.logits(theta) - log_reference
            pull = self.objective.beta * seen * self.objective.slope(self.objective.beta * (h[:, None] - h[None, :]))
            along = jnp.sum(pull, axis=1) - jnp.sum(pull, axis=0)
            return self.policy.phi.T @ along if isinstance(self.policy, LogLinear) else along

        theta, state = inner.run(self._theta(logits), state, gradient, key)
        return self.policy.logits(theta), state

    def _in_range(self) -> Bool[Array, ""]:
        """What construction refuses of concrete values, for traced ones: they end as a ``result``."""
        P, alpha, lam = self.preference, self.alpha, self.lam
        shares = (alpha >= 0) & (alpha <= 1) & (lam >= 0) & (lam <= 1)
        good = shares & (self.objective.beta > 0) & jnp.all((P >= 0) & (P <= 1))
        if self.samples is not None and self.smoothing is not None:
            good &= (self.samples >= 1) & (self.smoothing >= 0)
        return good

    def check_parameter(self, path: str, values: np.ndarray) -> None:
        if path.startswith("policy."):
            raise ValueError(
                f"{path} cannot be swept: features change what policies there are; build a loop for each phi."
            )
        if path == "log_reference" and isinstance(self.policy, LogLinear):
            for row in values:
                self.policy.check_member(centre(as_array(row)), path)
        known = range_checks(self.num_responses)
        known.get(path, lambda v: super(SelfSampling, self).check_parameter(path, v))(values)

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
        even = uniform(size)
        smaller = replace(self, {"preference": P, "log_reference": even, "log_offline": even})
        return eqx.tree_at(lambda loop: loop.policy, smaller, Tabular(size))
