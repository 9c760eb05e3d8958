"""Population gradient flow of a policy on pairwise preferences, with a fixed sampler or one that depends on the policy."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float, PRNGKeyArray

from .._checks import as_numbers, check_log_distribution
from .._numerics import as_array, centre, concrete, log_softmax
from ..diagnostics import Variable
from ..objectives import MarginLoss, Objective
from ..policies import Policy
from ..preferences import Pairs, Seen, check_prompts, check_weights
from ..samplers import Sampler
from ._base import Flow


class PreferenceState(eqx.Module):
    """The state of a ``PreferenceFlow``: theta, of the shape of ``policy.start()`` (one row per context for ``Tabular``)."""

    parameters: Float[Array, ...]


class PreferenceFlow(Flow):
    """tau dtheta/dt = -∂/∂theta Σ_x rho_x E_{i,j~mu, label by P}[f(beta (h_w - h_l))],  h = log pi_theta - log ref.

    The sampler mu may be the policy itself; it is not differentiated. With an objective that is not a loss of margins the mean
    is its value on the exact law of pairs; a reward that it rests on is refitted to the sampler at each time. For tabular
    policies, tau dz_i/dt = -4 mu_i (h_i - mu·h - ((P mu)_i - 1/2)/beta) for IPO and
    2 beta mu_i ((P mu)_i - Σ_j mu_j sigma(beta (h_i - h_j))) for DPO, and Σ z is conserved.

    Args:
        policy: ``Tabular(K)``, ``LogLinear(phi)`` or your own.
        preference: P, ``(K, K)``, or ``(X, K, K)`` for X contexts.
        objective: ``IPO``, ``DPO``, ``SquaredMargin``, ``PMLE``, ``PreferenceDistillation``, ``ReverseKL``, ``RLHF``, ``REBEL``
            or your own (``SLiC`` with ``descend`` only).
        sampler: ``samplers.Fixed(log_mu)``, ``OnPolicy()``, ``Mixture(lam, log_offline)`` or your own.
        log_reference: log ref, ``(K,)`` or ``(X, K)``, finite; uniform unless given.
        weights: rho, ``(X,)``, ≥ 0, the shares of the contexts, normalised; equal unless given.

    Raises:
        ValueError: a bad entry, named.

    Source: [derived], statement 3.8.

    >>> P = dyn.preferences.bradley_terry([1.0, 0.0])
    >>> flow = dyn.PreferenceFlow(dyn.Tabular(2), P, dyn.DPO(beta=0.5), dyn.samplers.OnPolicy())
    >>> float(dyn.gradient_flow(flow, t1=100.0).log_policy[-1, 0]) > -0.2
    True
    """

    policy: Policy
    preference: Float[Array, "*contexts K K"]
    objective: Objective
    sampler: Sampler
    log_reference: Float[Array, "*contexts K"]
    weights: Float[Array, "*contexts"]

    def __init__(
        self,
        policy: Policy,
        preference: Float[ArrayLike, "*contexts K K"],
        objective: Objective,
        sampler: Sampler,
        log_reference: Float[ArrayLike, "*contexts K"] | None = None,
        weights: Float[ArrayLike, " X"] | None = None,
    ):
        for value, name, kind, remedy in (
            (policy, "policy", Policy, "dyn.Tabular(K) or dyn.LogLinear(phi)"),
            (objective, "objective", Objective, "an objective, e.g. dyn.IPO(beta=...) or dyn.DPO(beta=...)"),
            (sampler, "sampler", Sampler, "dyn.samplers.Fixed(log_mu), OnPolicy() or Mixture(lam, log_offline)"),
        ):
            if not isinstance(value, kind):
                raise ValueError(f"{name} is a {type(value).__name__}; pass {remedy}.")
        if policy.candidates() is not None:
            raise ValueError(
                f"policy is a {type(policy).__name__}, a list of policies without a gradient; pass dyn.Tabular(K) or "
                f"dyn.LogLinear(phi), or choose from the list in rounds with dyn.learners.Optimum()."
            )
        self.policy, self.objective, self.sampler = policy, objective, sampler
        self.preference = check_prompts(preference)
        own = policy.shape
        shape = self.preference.shape[:-1] if len(own) == 1 else own
        if self.preference.shape[-1] != own[-1] or self.preference.shape[:-1] not in (shape, shape[-1:]):
            raise ValueError(
                f"preference has shape {self.preference.shape}, the policy's logits {own}; pass shapes that match."
            )
        self.preference = jnp.broadcast_to(self.preference, (*shape, shape[-1]))
        sampler.check(shape)
        self.log_reference = _reference(log_reference, shape)
        self.weights = check_weights(weights, shape[:-1])
        if objective.fits_reward and concrete(self):
            seen, support = self._seen(self.log_reference), sampler.support(shape)
            for x in np.ndindex(shape[:-1]):
                objective.check_optimum(jax.tree.map(lambda leaf, x=x: leaf[x], seen), support[x], None)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the logits: ``(K,)`` or ``(X, K)``."""
        return self.log_reference.shape

    def start(self, initial: Any) -> PreferenceState:
        zero = self._blank()
        if isinstance(initial, PreferenceState):
            initial = initial.parameters
        if initial is None:
            return PreferenceState(self._reference_parameters(zero))
        theta = as_numbers(initial, "initial")
        if theta.shape != zero.shape:
            raise ValueError(f"initial has shape {theta.shape}; pass the policy's parameters, shape {zero.shape}.")
        if concrete(theta) and not bool(jnp.all(jnp.isfinite(theta))):
            raise ValueError("initial has an entry that is not finite; pass finite parameters.")
        return PreferenceState(theta)

    def _blank(self) -> Array:
        """The policy's own initial parameters, which are used where they give the reference."""
        return self.policy.blank(self.shape)

    def _logits(self, parameters: Array) -> Float[Array, "*contexts K"]:
        return jnp.broadcast_to(self.policy.logits(parameters), self.shape)

    def _reference_parameters(self, zero: Array) -> Array:
        z = centre(self.log_reference)
        if concrete(z, self.policy):
            off = np.abs(np.asarray(centre(self._logits(zero)) - z)).max()
            if off <= 8 * jnp.finfo(z.dtype).eps * (1 + np.abs(np.asarray(z)).max()):
                return zero
        parameters = self.policy.parameters(z)
        self.policy.check_member(z, "log_reference")
        return parameters

    def log_policy(self, parameters: Array) -> Float[Array, "*contexts K"]:
        """log pi of parameters, ``(K,)`` or ``(X, K)``."""
        return log_softmax(self._logits(parameters))

    @property
    def _beta(self) -> Float[Array, ""]:
        assert isinstance(self.objective, MarginLoss)
        return self.objective.beta

    def _margin(self, log_policy: Array) -> Float[Array, "*contexts K K"]:
        h = self._beta * (log_policy - self.log_reference)
        return h[..., :, None] - h[..., None, :]

    def _pairs(self, log_policy: Array) -> Float[Array, "*contexts K K"]:
        """Pr(i, j drawn in either order and i preferred): 2 mu_i mu_j P_ij."""
        mu = jnp.exp(jax.lax.stop_gradient(self.sampler.log_sampler(log_policy)))
        return 2.0 * mu[..., :, None] * mu[..., None, :] * self.preference

    def _seen(self, log_policy: Array) -> Seen:
        """The exact law of pairs of every context, with what the objective computes from it alone."""
        log_mu = jnp.broadcast_to(self.sampler.log_sampler(log_policy), self.shape)
        return jax.lax.stop_gradient(self.objective.prepare(Pairs(self.preference, log_mu, jnp.exp(log_mu))))

    def _by_context(self, function: Callable[..., Array]) -> Callable[..., Array]:
        return function if len(self.shape) == 1 else jax.vmap(function)

    def loss(self, parameters: Array) -> Float[Array, ""]:
        """The mean loss, without a gradient through the sampler; a pair of equal responses contributes f(0)."""
        log_policy = self.log_policy(parameters)
        if not isinstance(self.objective, MarginLoss):
            value = self._by_context(self.objective.value)
            return jnp.sum(self.weights * value(log_policy, self.log_reference, self._seen(log_policy)))
        mean = jnp.sum(self._pairs(log_policy) * self.objective.loss(self._margin(log_policy)), axis=(-2, -1))
        return jnp.sum(self.weights * mean)

    def _force(self, parameters: Array) -> Float[Array, "*contexts K"]:
        """-∂ loss/∂h, whose sum is 0, exactly for a loss of margins."""
        log_policy = self.log_policy(parameters)
        if not isinstance(self.objective, MarginLoss):
            slope = self._by_context(self.objective.gradient)
            return -self.weights[..., None] * slope(log_policy, self.log_reference, self._seen(log_policy))
        push = self._pairs(log_policy) * self.objective.slope(self._margin(log_policy))
        net = jnp.swapaxes(push, -1, -2) - push
        return self._beta * self.weights[..., None] * jnp.sum(net, axis=-1)

    def velocity(self, state: PreferenceState, prepared: Any = None) -> PreferenceState:
        return PreferenceState(self.policy.pull(state.parameters, self._force(state.parameters)))

    def rows(self, state: PreferenceState) -> dict[str, Array]:
        theta = state.parameters
        return {"log_policy": self.log_policy(theta), "parameters": theta, "loss": self.loss(theta)}

    def variables(self) -> dict[str, Variable]:
        contexts = ("context",) if len(self.shape) == 2 else ()
        dims = self.policy.dims(self.shape)
        return {
            "log_policy": Variable((*contexts, "response"), "nats", "log pi"),
            "parameters": Variable(dims, "nats", "logits" if "response" in dims else "theta"),
            "loss": Variable((), "1", "mean loss over sampled pairs"),
        }

    def check_flow(self) -> None:
        if not self.objective.smooth:
            raise ValueError(
                "margins of a policy slide along SLiC's kink at 1, where the flow has no velocity; use dyn.descend."
            )

    def trainable(self, state: PreferenceState) -> Array:
        return state.parameters

    def trained_rows(self, weights: Array) -> dict[str, Array]:
        return self.rows(PreferenceState(weights))

    def gradient(self, weights: Array, key: PRNGKeyArray | None, batch: int | None) -> Array:
        if batch is None:
            return -self.velocity(PreferenceState(weights)).parameters
        if not isinstance(self.objective, MarginLoss):
            raise ValueError(
                f"batch = {batch}: {type(self.objective).__name__} is not a mean over pairs alone; pass batch=None."
            )
        assert key is not None
        log_policy = self.log_policy(weights)
        K = self.shape[-1]
        log_p, log_mu = (x.reshape(-1, K) for x in (log_policy, self.sampler.log_sampler(log_policy)))
        P = self.preference.reshape(-1, K, K)
        which, draw, label = jax.random.split(key, 3)
        x = jax.random.choice(which, log_p.shape[0], (batch,), p=self.weights.reshape(-1))
        i, j = jax.random.categorical(draw, log_mu[x], shape=(2, batch))
        wins = jax.random.uniform(label, (batch,)) < P[x, i, j]
        w, l = jnp.where(wins, i, j), jnp.where(wins, j, i)
        h = (log_policy - self.log_reference).reshape(-1, K)
        push = self.objective.beta * self.objective.slope(self.objective.beta * (h[x, w] - h[x, l])) / batch
        force = jnp.zeros_like(log_p).at[x, w].add(-push).at[x, l].add(push)
        return -self.policy.pull(weights, force.reshape(self.shape))


def _reference(value: Any, shape: tuple[int, ...]) -> Float[Array, "*contexts K"]:
    K = shape[-1]
    if value is None:
        return jnp.full(shape, -jnp.log(as_array(K)))
    ref = as_numbers(value, "log_reference")
    if ref.ndim == 1:
        return jnp.broadcast_to(check_log_distribution(ref, "log_reference", K), shape)
    if ref.shape != shape:
        raise ValueError(f"log_reference has shape {ref.shape}; pass shape {shape} or ({K},).")
    rows = ref.reshape(-1, K)
    checked = [check_log_distribution(row, f"log_reference[{x}]", K) for x, row in enumerate(rows)]
    return jnp.stack(checked).reshape(shape)
