"""The objective's own optimum within the policy's class."""

from __future__ import annotations

from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from ..objectives import Exact, Objective, exact_for, kl_coefficient
from ..policies import Policy
from ..preferences import Pairs
from ._base import Fit, Learner

TIE = 64.0  # units of rounding
STARTS = ("the round's reference", "the last policy", "the policy's start and a place beside it")


class Optimum(Learner):
    """pi_{t+1} = argmin over the class of the objective's value.

    A list of policies is compared one by one. Where the class has a linear space of logits, the optimum is exact for IPO, DPO
    and SquaredMargin, and Newton's method for every other smooth loss, from the round's reference: along directions that no
    comparison determines, the reference's log-ratio stays. Other classes are searched in their parameters, by Newton's method
    from the round's reference, the last policy, the policy's ``start`` and a place beside it; the least value counts.
    """

    takes_key: ClassVar[bool] = False
    seeks_optimum: ClassVar[bool] = True

    def start(self, fit: Fit | None, logits: Float[Array, " K"]) -> Any:
        exact = None if fit is None else _warm(fit)
        if fit is None or exact is None:
            return None
        if exact.first is None:
            return _reward(fit, None)[0]
        return exact.first(fit.objective, fit.seen, _basis(fit.policy))

    def learn(
        self, fit: Fit, logits: Float[Array, " K"], memory: Any, key: PRNGKeyArray | None = None
    ) -> tuple[Float[Array, " K"], Any, Bool[Array, ""]]:
        listed = fit.policy.candidates()
        if listed is not None:
            values = jax.vmap(fit.value)(listed)
            least = jnp.min(values)
            # What differs by rounding only is equal, and the first of equal ones is taken.
            equal = values <= least + TIE * jnp.finfo(values.dtype).eps * (1.0 + jnp.abs(least))
            return listed[jnp.argmax(equal)], None, jnp.isfinite(least) & ~jnp.any(jnp.isnan(values))
        if fit.policy.basis() is None:
            from ._search import search  # loads on use

            out, found = search(fit, logits)
            return out, None, found
        f, found = _reward(fit, memory)
        return fit.log_reference + f / kl_coefficient(fit.objective), None if _warm(fit) is None else f, found

    def note(self, objective: Objective, policy: Policy) -> str | None:
        if policy.candidates() is not None:
            return None
        if policy.basis() is None:
            return "optimum: the least minimum that Newton's method reaches from " + ", ".join(STARTS)
        if exact_for(objective, Pairs, free=_basis(policy) is None) is None:
            return "optimum: the minimum that Newton's method reaches from the round's reference"
        return None

    def check(self, objective: Objective, policy: Policy) -> None:
        if not objective.smooth and policy.candidates() is None:
            raise ValueError(
                f"{type(objective).__name__} has a kink, where the optimum is not unique; pass dyn.Descend(optax.sgd(0.1), "
                f"steps) as the learner (inner= of SelfSampling)."
            )


def _basis(policy: Policy) -> Float[Array, "K m"] | None:
    """Columns that restrict the logits, or None where all are allowed."""
    basis = policy.basis()
    assert basis is not None
    return None if basis.shape[1] == basis.shape[0] - 1 else basis


def _warm(fit: Fit) -> Exact | None:
    """The exact solver of a fit, where a guess helps it."""
    if fit.policy.candidates() is not None or fit.policy.basis() is None:
        return None
    exact = exact_for(fit.objective, type(fit.seen), free=_basis(fit.policy) is None)
    return exact if exact is not None and exact.warm else None


def _reward(fit: Fit, guess: Float[Array, " K"] | None) -> tuple[Float[Array, " K"], Bool[Array, ""]]:
    return fit.objective.solve(fit.seen, fit.log_reference, _basis(fit.policy), guess)
