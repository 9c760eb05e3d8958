"""The base class of learners, which fit a policy to an objective, a reference and the feedback."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from .._noun import Noun
from .._numerics import log_softmax
from .._vectors import ravel
from ..objectives import Objective
from ..policies import Policy
from ..preferences import Seen


class Fit(eqx.Module):
    """The problem of one round: minimise ``objective.value``, or its mean over prompts, over the policies of a class.

    Args:
        objective: what is minimised.
        policy: the policy class.
        log_reference: log ref_t up to a constant, ``(K,)``, or ``(X, K)`` for X prompts.
        seen: what feedback shows; for X prompts every array has a leading axis X.
        weights: the prompts' shares, ``(X,)``; None for one prompt.

    >>> loop = dyn.SelfSampling(dyn.preferences.cyclic(3, 0.4), dyn.IPO(0.3), alpha=0.5, lam=1.0)
    >>> z = jnp.zeros(3)
    >>> fit = loop.parts().fit(z, None, None)
    >>> bool(fit.value(loop(z)) <= fit.value(z))
    True
    """

    objective: Objective
    policy: Policy
    log_reference: Float[Array, "*contexts K"]
    seen: Seen
    weights: Float[Array, " X"] | None = None

    def prepared(self) -> Fit:
        """The same problem with what the objective computes from the feedback alone, such as a reward."""
        return eqx.tree_at(lambda fit: fit.seen, self, self.objective.prepare(self.seen))

    def value(self, logits: Float[Array, "*contexts K"]) -> Float[Array, ""]:
        """The objective at the policy with these logits."""
        if self.weights is None:
            return self.objective.value(log_softmax(logits), self.log_reference, self.seen)
        return self.weights @ jax.vmap(self.objective.value)(log_softmax(logits), self.log_reference, self.seen)

    def gradient(self, parameters: Float[Array, ...]) -> Float[Array, ...]:
        """∂ value/∂ theta."""
        return self.pull(parameters, self.seen, self.weights)

    def pull(self, parameters: Float[Array, ...], seen: Seen, weights: Float[Array, " X"] | None) -> Float[Array, ...]:
        """The same for other feedback."""
        logits = jnp.broadcast_to(self.policy.logits(parameters), self.log_reference.shape)
        if weights is None:
            return self.policy.pull(parameters, self.objective.gradient(logits, self.log_reference, seen))
        force = jax.vmap(self.objective.gradient)(logits, self.log_reference, seen)
        return self.policy.pull(parameters, weights[:, None] * force)


class Learner(Noun):
    """The step from the last policy to the next. A subclass writes ``learn``.

    >>> class Half(dyn.learners.Learner):
    ...     def learn(self, fit, logits, memory, key):
    ...         best, _, found = dyn.learners.Optimum().learn(fit, logits, None, None)
    ...         return 0.5 * (logits + best), memory, found
    >>> loop = dyn.SelfSampling(dyn.preferences.cyclic(3, 0.4), dyn.IPO(0.3), 0.5, 1.0, inner=Half())
    >>> loop(jnp.zeros(3)).shape
    (3,)
    """

    takes_key: ClassVar[bool] = True
    """Whether ``learn`` gets a key of its own, apart from the key with which feedback was drawn."""

    seeks_optimum: ClassVar[bool] = False
    """Whether a round fails where the objective has no finite optimum."""

    @property
    def stochastic(self) -> bool:
        """Whether ``learn`` draws random numbers."""
        return False

    @property
    def keeps_state(self) -> bool:
        """Whether the next round depends on ``memory``; warm starts of solvers do not count."""
        return False

    def start(self, fit: Fit | None, logits: Float[Array, "*contexts K"]) -> Any:
        """The memory at round 0; ``fit`` is the problem of the first round, or None where its feedback needs a key."""
        return None

    @abstractmethod
    def learn(
        self, fit: Fit, logits: Float[Array, "*contexts K"], memory: Any, key: PRNGKeyArray | None
    ) -> tuple[Float[Array, "*contexts K"], Any, Bool[Array, ""]]:
        """The logits of the next policy, the memory of the next round, and whether it succeeded."""

    def centre(self, memory: Any, policy: Policy) -> Any:
        """The part of the memory that later policies depend on, a linear function of the memory."""
        return memory if self.keeps_state else None

    def memory_basis(self, memory: Any, policy: Policy) -> Float[Array, "n m"]:
        """Orthonormal columns that span the centred memories, raveled."""
        return jnp.eye(len(ravel(memory)))

    def check_smooth(self) -> None:
        """Raises ``ValueError`` where rounds with this learner have no fixed points or no derivatives to analyse."""

    def note(self, objective: Objective, policy: Policy) -> str | None:
        """A remark for the Solution on how rounds were solved, such as where a search for a minimum starts, or None."""
        return None

    def check(self, objective: Objective, policy: Policy) -> None:
        """Raises ``ValueError`` for an objective or a policy that this learner cannot take."""
