"""``Descend``: inexact rounds, which take some steps of an optimizer instead of going to the optimum."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Bool, Float, PRNGKeyArray

from .._interned import interned
from .._parts import check_whole, whole
from .._vectors import project, ravel
from ..objectives import Objective
from ..policies import Policy
from ..preferences import Masses, draw_wins, draw_wins_of_prompts, most_comparisons
from ._base import Fit, Learner

if TYPE_CHECKING:
    import optax

# Optimizer states with which every round acts alike, at least in the limit of a large count of steps.
AUTONOMOUS_STATES = ("EmptyState", "TraceState", "EmaState")


class Descend(Learner):
    """theta ← theta + u(∂ loss/∂theta), ``steps`` times per round from the current policy, u the optimizer.

    The loss is the objective on the round's comparisons: the mean over pairs from mu_t and labels from P, or over the round's
    sample. theta are the logits of a tabular policy, or the parameters of a log-linear one (those of least norm).

    Args:
        optimizer: an optax transformation that needs gradients only, such as ``optax.sgd(0.1)`` or ``optax.adam(1e-2)``.
        steps: steps per round, int ≥ 1; a numeric parameter, so that sweeps may vary it.
        batch: comparisons per step, int in [1, 1e8], drawn with replacement from the round's sample or, where rounds have no
            ``samples``, from mu_t and P; prompts are drawn by their weights. None: the exact gradient.
        reset_state: True: each round starts the optimizer anew, as a new training run does; False: moments and schedules
            go on from round to round.

    Raises:
        ValueError: steps or batch out of range, or an optimizer that needs more than gradient, state and parameters.

    >>> import optax
    >>> inner = dyn.Descend(optax.sgd(0.1), steps=10)
    >>> loop = dyn.SelfSampling(dyn.preferences.cyclic(3, 0.4), dyn.IPO(0.3), alpha=0.5, lam=1.0, inner=inner)
    >>> loop(jnp.zeros(3)).shape
    (3,)
    """

    optimizer: optax.GradientTransformation
    steps: Float[Array, ""]
    batch: Float[Array, ""] | None
    reset_state: bool = eqx.field(static=True)

    def __init__(
        self,
        optimizer: optax.GradientTransformation,
        steps: ArrayLike,
        batch: ArrayLike | None = None,
        reset_state: bool = True,
    ):
        import optax  # loads on use

        if not isinstance(optimizer, optax.GradientTransformation):
            raise ValueError(f"optimizer is {optimizer!r}; pass an optax transformation, e.g. optax.sgd(0.1).")
        if not isinstance(reset_state, bool | np.bool_):
            raise ValueError(f"reset_state is {reset_state!r}; pass True (a new optimizer each round) or False.")
        blank = jnp.zeros(2)
        try:
            # Under strict promotion the counts that optimizers keep would be refused here, not the optimizer.
            with jax.numpy_dtype_promotion("standard"):
                jax.eval_shape(optimizer.update, blank, jax.eval_shape(optimizer.init, blank), blank)
        except TypeError as error:
            raise ValueError(
                f"optimizer needs more than gradients ({error}); pass one that needs gradients only, e.g. optax.sgd(0.1)."
            ) from None
        self.optimizer = interned(optimizer)
        self.steps = whole(steps, "steps", 1, most_comparisons())
        self.batch = None if batch is None else whole(batch, "batch", 1, most_comparisons())
        self.reset_state = bool(reset_state)

    @property
    def keeps_state(self) -> bool:
        """Whether a round depends on more of the past than the policy."""
        state = jax.eval_shape(self.optimizer.init, jnp.zeros(2))
        return not self.reset_state and bool(jax.tree.leaves(state))

    @property
    def stochastic(self) -> bool:
        return self.batch is not None

    def start(self, fit: Fit | None, logits: Float[Array, "*contexts K"]) -> Any:
        if not self.keeps_state:
            return None
        assert fit is not None
        return self.optimizer.init(fit.policy.parameters(logits))

    def centre(self, memory: Any, policy: Policy) -> Any:
        return _settled(memory, policy.parameter_basis()) if self.keeps_state else None

    def memory_basis(self, memory: Any, policy: Policy) -> Float[Array, "n m"]:
        basis = policy.parameter_basis()
        moments = len(ravel(memory)) // basis.shape[0]
        return jnp.kron(jnp.eye(moments), basis)

    def check_smooth(self) -> None:
        """Raises ``ValueError`` for schedules, whose rounds have no fixed point, and for updates that do not shrink with the
        gradient, whose rounds have no derivative at one.
        """
        with jax.ensure_compile_time_eval():  # callers may be traced; the optimizer is not
            theta = jnp.zeros(2)
            state = self.optimizer.init(theta)
            small, smaller = (
                jnp.asarray(self.optimizer.update(size * jnp.array([1.0, -0.7]), state, theta)[0])
                for size in (1e-2, 1e-4)
            )
            proportional = bool(jnp.all(jnp.abs(small - 100 * smaller) <= 0.05 * jnp.abs(small)))
        if not proportional:
            raise ValueError(
                f"the optimizer ({_kinds(state)}) does not step in proportion to small gradients, so the "
                f"derivative of a round does not describe rounds near a fixed point; use the verdict of dyn.iterate instead."
            )
        unknown = (
            [] if not self.keeps_state else [s for s in _states(state) if type(s).__name__ not in AUTONOMOUS_STATES]
        )
        if unknown:
            raise ValueError(
                f"the optimizer keeps {_kinds(unknown)} from round to round (a schedule's count, a normalisation, or an "
                f"unknown state), with which rounds have no fixed points to analyse; pass reset_state=True or "
                f"optax.sgd(rate, momentum), or use the verdict of dyn.iterate instead."
            )

    def learn(
        self, fit: Fit, logits: Float[Array, "*contexts K"], memory: Any, key: PRNGKeyArray | None
    ) -> tuple[Float[Array, "*contexts K"], Any, Bool[Array, ""]]:
        fit = fit.prepared()
        rates = fit.seen.rates()

        def gradient(theta: Array, key: PRNGKeyArray | None) -> Array:
            if key is None or self.batch is None:
                return fit.gradient(theta)
            if fit.weights is None:
                return fit.pull(theta, Masses(draw_wins(key, self.batch, rates), self.batch), None)
            wins = draw_wins_of_prompts(key, self.batch, fit.weights, rates)
            every = jnp.full_like(fit.weights, self.batch)
            return fit.pull(theta, Masses(wins, every, jnp.zeros_like(every)), jnp.ones_like(every))

        def step(number: Array, carry: tuple[Array, Any]) -> tuple[Array, Any]:
            theta, state = carry
            slope = gradient(theta, None if key is None else jax.random.fold_in(key, number))
            updates, state = self.optimizer.update(slope, state, theta)
            return theta + jnp.asarray(updates), state

        theta = fit.policy.parameters(logits)
        begun = self.optimizer.init(theta) if self.reset_state or memory is None else memory
        theta, state = jax.lax.fori_loop(0, self.steps.astype(int), step, (theta, begun))
        out = jnp.broadcast_to(fit.policy.logits(theta), logits.shape)
        return out, None if self.reset_state else state, jnp.asarray(True)

    def check(self, objective: Objective, policy: Policy) -> None:
        if policy.candidates() is not None:
            raise ValueError(
                f"{type(policy).__name__} is a list of policies, which has no gradient; use dyn.learners.Optimum()."
            )

        if objective.fits_reward and self.batch is not None:
            raise ValueError(
                f"{type(objective).__name__} fits its reward to all comparisons of a round, which a batch of them does not "
                f"determine; pass no batch, for the exact gradient."
            )

    def check_parameter(self, path: str, values: np.ndarray) -> None:
        if path.rsplit(".", 1)[-1] in ("steps", "batch"):
            check_whole(values, path.rsplit(".", 1)[-1], 1, most_comparisons())
        else:
            super().check_parameter(path, values)

    def in_range(self) -> Bool[Array, ""]:
        good = self.steps >= 1
        return good if self.batch is None else good & (self.batch >= 1)


def _states(state: Any) -> list[Any]:
    """The states of an optimizer's parts, as a flat list."""
    if type(state) is tuple:
        return [inner for part in state for inner in _states(part)]
    return [state]


def _kinds(state: Any) -> str:
    names = dict.fromkeys(type(part).__name__ for part in (state if isinstance(state, list) else _states(state)))
    return ", ".join(name for name in names if len(names) == 1 or name != "EmptyState")


def _settled(state: Any, basis: Float[Array, "n m"]) -> Any:
    """An optimizer's state in the limit of many steps: counts at their maximum, moments projected on ``basis``."""

    def settle(leaf: Array) -> Array:
        if jnp.issubdtype(leaf.dtype, jnp.integer):
            return jnp.full_like(leaf, jnp.iinfo(leaf.dtype).max)
        return project(basis, leaf) if leaf.size == basis.shape[0] else leaf

    return jax.tree.map(settle, state)
