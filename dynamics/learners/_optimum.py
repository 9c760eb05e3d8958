"""``Optimum``: rounds that end at the objective's optimum within the policy class."""

from __future__ import annotations

from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from ..objectives import Exact, Objective, exact_for, kl_coefficient
from ..policies import Policy
from ..preferences import Pairs
from ._base import Fit, Learner

TIE_TOLERANCE = 64.0  # units of rounding; values that differ by less are equal
STARTS = ("the round's reference", "the last policy", "the policy's start and a point near it")


class Optimum(Learner):
    """pi_{t+1} = argmin of the objective's value over the policy class.

    In a list of policies all values are compared. In a class with a linear space of logits the optimum is exact for IPO, DPO
    and SquaredMargin, and found by Newton's method from the round's reference for every other smooth loss; along directions
    that no comparison determines, the reference's log-ratio stays. Any other class is searched in its parameters by Newton's
    method from the round's reference, the last policy, the policy's ``start`` and a point near it, and the least value wins.

    >>> loop = dyn.SelfSampling(dyn.preferences.cyclic(3, 0.4), dyn.IPO(0.3), 0.5, 1.0, inner=dyn.learners.Optimum())
    >>> loop(jnp.zeros(3)).shape
    (3,)
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
            values = jax.vmap(fit.prepared().value)(listed)
            least = jnp.min(values)
            # Values that differ only by rounding count as equal, and the first of equal ones is taken.
            equal = values <= least + TIE_TOLERANCE * jnp.finfo(values.dtype).eps * (1.0 + jnp.abs(least))
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
        if not objective.is_exact(Pairs, free=policy.is_free):
            return "optimum: the minimum that Newton's method reaches from the round's reference"
        return None

    def check(self, objective: Objective, policy: Policy) -> None:
        if not objective.smooth and policy.candidates() is None:
            raise ValueError(
                f"{type(objective).__name__} has a kink, where the optimum is not unique; pass dyn.Descend(optax.sgd(0.1), "
                f"steps) as the learner (inner= of SelfSampling)."
            )


def _columns(fit: Fit) -> Float[Array, "*contexts K m"] | None:
    """Columns whose span the logits have to be in, or None where all are allowed."""
    basis = fit.policy.basis()
    assert basis is not None
    return None if fit.policy.is_free else basis.reshape(*fit.log_reference.shape, -1)


def _warm(fit: Fit) -> Exact | None:
    """The exact solver of a fit, if it can start from a guess; otherwise None."""
    if fit.policy.candidates() is not None or fit.policy.basis() is None:
        return None
    exact = exact_for(fit.objective, type(fit.seen), free=fit.policy.is_free)
    return exact if exact is not None and exact.warm else None


def _reward(fit: Fit, guess: Float[Array, "*contexts K"] | None) -> tuple[Float[Array, "*contexts K"], Bool[Array, ""]]:
    """f of the round's optimum, prompt by prompt where every policy is allowed, otherwise for all prompts at once."""
    solve, columns = fit.objective.solve, _columns(fit)
    if columns is not None or fit.weights is None:
        return solve(fit.seen, fit.log_reference, columns, guess, fit.weights)
    f, found = jax.vmap(lambda seen, log_ref, guess: solve(seen, log_ref, None, guess))(
        fit.seen, fit.log_reference, guess
    )
    return f, jnp.all(found)
