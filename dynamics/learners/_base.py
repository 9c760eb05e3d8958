"""What a learner is: it fits a policy to an objective, a reference and what was seen."""

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
    """One round's problem: minimise ``objective.value`` over the policies of a class, or its mean over prompts.

    Attributes:
        objective: what is minimised.
        policy: the class.
        log_reference: log ref_t up to a constant, ``(K,)``, or ``(X, K)`` for X prompts.
        seen: what was seen of the preferences; of X prompts every array has a leading axis X.
        weights: the prompts' shares, ``(X,)``; None for one prompt.
    """

    objective: Objective
    policy: Policy
    log_reference: Float[Array, "*contexts K"]
    seen: Seen
    weights: Float[Array, " X"] | None = None

    def value(self, logits: Float[Array, "*contexts K"]) -> Float[Array, ""]:
        """The objective at a policy given by its logits."""
        if self.weights is None:
            return self.objective.value(log_softmax(logits), self.log_reference, self.seen)
        return self.weights @ jax.vmap(self.objective.value)(log_softmax(logits), self.log_reference, self.seen)

    def gradient(self, parameters: Float[Array, ...]) -> Float[Array, ...]:
        """∂ value/∂ theta."""
        return self.pull(parameters, self.seen, self.weights)

    def pull(self, parameters: Float[Array, ...], seen: Seen, weights: Float[Array, " X"] | None) -> Float[Array, ...]:
        """The same on something else that was seen."""
        logits = jnp.broadcast_to(self.policy.logits(parameters), self.log_reference.shape)
        if weights is None:
            return self.policy.pull(parameters, self.objective.gradient(logits, self.log_reference, seen))
        force = jax.vmap(self.objective.gradient)(logits, self.log_reference, seen)
        return self.policy.pull(parameters, weights[:, None] * force)


class Learner(Noun):
    """From the last policy to the next. An own learner writes ``learn``:

    class Half(dyn.learners.Learner):
        def learn(self, fit, logits, memory, key):
            best, _, found = dyn.learners.Optimum().learn(fit, logits, None, None)
            return 0.5 * (logits + best), memory, found
    """

    takes_key: ClassVar[bool] = True
    """Whether ``learn`` is given a key of its own where what it sees was drawn with one."""

    seeks_optimum: ClassVar[bool] = False
    """Whether a round fails where the objective has no finite optimum."""

    @property
    def stochastic(self) -> bool:
        """Whether ``learn`` draws."""
        return False

    @property
    def keeps_state(self) -> bool:
        """Whether ``memory`` matters to the next round; a warm start does not."""
        return False

    def start(self, fit: Fit | None, logits: Float[Array, "*contexts K"]) -> Any:
        """The memory at round 0; ``fit`` is the first round's problem, or None where seeing it needs a key."""
        return None

    @abstractmethod
    def learn(
        self, fit: Fit, logits: Float[Array, "*contexts K"], memory: Any, key: PRNGKeyArray | None
    ) -> tuple[Float[Array, "*contexts K"], Any, Bool[Array, ""]]:
        """The logits of the next policy, the memory of the next round, and whether it succeeded."""

    def centre(self, memory: Any, policy: Policy) -> Any:
        """What of the memory matters to later rounds, without what moves no policy, a linear function of it."""
        return memory if self.keeps_state else None

    def memory_basis(self, memory: Any, policy: Policy) -> Float[Array, "n m"]:
        """Orthonormal columns that span the centred memories, raveled."""
        return jnp.eye(len(ravel(memory)))

    def check_smooth(self) -> None:
        """Raises ``ValueError`` where rounds by this learner have no fixed points or derivatives to analyse."""

    def note(self, objective: Objective, policy: Policy) -> str | None:
        """What a Solution says of how rounds were solved, where that may matter: the start of a search for a minimum."""
        return None

    def check(self, objective: Objective, policy: Policy) -> None:
        """Raises ``ValueError`` for an objective or a policy that this learner cannot take."""
