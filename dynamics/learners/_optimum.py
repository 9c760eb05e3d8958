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

    def start(self, fit: Fit | None, logits: Float[Array, "*contexts K"]) -> Any:
        exact = None if fit is None else _warm(fit)
        if fit is None or exact is None:
            return None
        if exact.first is None:
            return _reward(fit, None)[0]
        columns, first = _columns(fit), exact.first
        if columns is not None or fit.weights is None:
            return first(fit.objective, fit.seen, columns)
        return jax.vmap(lambda seen: first(fit.objective, seen, None))(fit.seen)

    def learn(
        self, fit: Fit, logits: Float[Array, "*contexts K"], memory: Any, key: PRNGKeyArray | None = None
    ) -> tuple[Float[Array, "*contexts K"], Any, Bool[Array, ""]]:
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
        if exact_for(objective, Pairs, free=policy.is_free) is None:
            return "optimum: the minimum that Newton's method reaches from the round's reference"
        return None

    def check(self, objective: Objective, policy: Policy) -> None:
        if not objective.smooth and policy.candidates() is None:
            raise ValueError(
                f"{type(objective).__name__} has a kink, where the optimum is not unique; pass dyn.Descend(optax.sgd(0.1), "
                f"steps) as the learner (inner= of SelfSampling)."
            )


def _columns(fit: Fit) -> Float[Array, "*contexts K m"] | None:
    """Columns that restrict the logits, or None where all are allowed."""
    basis = fit.policy.basis()
    assert basis is not None
    return None if fit.policy.is_free else basis.reshape(*fit.log_reference.shape, -1)


def _warm(fit: Fit) -> Exact | None:
    """The exact solver of a fit, where a guess helps it."""
    if fit.policy.candidates() is not None or fit.policy.basis() is None:
        return None
    exact = exact_for(fit.objective, type(fit.seen), free=fit.policy.is_free)
    return exact if exact is not None and exact.warm else None


def _reward(fit: Fit, guess: Float[Array, "*contexts K"] | None) -> tuple[Float[Array, "*contexts K"], Bool[Array, ""]]:
    """f of the round's optimum: prompt by prompt where every policy is allowed, else of all prompts at once."""
    solve, columns = fit.objective.solve, _columns(fit)
    if columns is not None or fit.weights is None:
        return solve(fit.seen, fit.log_reference, columns, guess, fit.weights)
    f, found = jax.vmap(lambda seen, log_ref, guess: solve(seen, log_ref, None, guess))(
        fit.seen, fit.log_reference, guess
    )
    return f, jnp.all(found)
