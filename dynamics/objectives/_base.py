"""The base classes of objectives: a function of a policy, a reference and the feedback, and its optimum."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Bool, Float

from .._checks import check_log_distribution
from .._noun import Noun
from .._numerics import as_array, centre, concrete, log_softmax, mass
from ..preferences import Pairs, Seen, check
from ._exact import exact_for


class Objective(Noun):
    """A function to be minimised over policies: ``value(log_policy, log_reference, seen)``.

    ``seen`` is what feedback shows of the preferences. For a loss of reward margins, subclass ``MarginLoss`` and write only
    ``loss(r)``.

    >>> class Reward(dyn.objectives.Objective):
    ...     beta: float = 0.5
    ...
    ...     def value(self, log_policy, log_reference, seen):
    ...         pi = jnp.exp(log_policy)
    ...         return self.beta * pi @ (log_policy - log_reference) - pi @ jnp.arange(float(len(pi)))
    >>> uniform = -jnp.log(2.0) * jnp.ones(2)
    >>> Reward().value(uniform, uniform, None).item()
    -0.5
    """

    smooth: ClassVar[bool] = True
    """Whether the value has a continuous gradient."""

    sealed: ClassVar[frozenset[str]] = frozenset({"implicit_reward", "tilt", "optimum"})
    """Methods that a class from outside the library cannot override, because solvers do not call them in every place."""

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        parent = cls.__mro__[1]
        ignored = sorted(getattr(parent, "sealed", frozenset()) & set(vars(cls)))
        if ignored and not cls.__module__.startswith("dynamics."):
            raise TypeError(
                f"{cls.__name__} overrides {ignored[0]}, which solvers do not call on a {parent.__name__}; subclass "
                f"dyn.objectives.Objective and write value(log_policy, log_reference, seen) instead."
            )

    fits_reward: ClassVar[bool] = False
    """Whether the value rests on a reward that is fitted to all comparisons of a round."""

    @abstractmethod
    def value(self, log_policy: Float[Array, " K"], log_reference: Float[Array, " K"], seen: Seen) -> Float[Array, ""]:
        """The mean loss of a policy on the feedback; ``log_reference`` is defined up to a constant."""

    def prepare(self, seen: Seen) -> Seen:
        """``seen`` together with what the value computes from it alone, so that steps of a search need not repeat that."""
        return seen

    @property
    def reward_unit(self) -> ArrayLike:
        """c such that ``solve`` returns f with the optimum ∝ ref · exp(f/c): beta, or 1 where there is none."""
        return getattr(self, "beta", 1.0)

    def is_exact(self, seen: type[Seen], *, free: bool) -> bool:
        """Whether ``solve`` gives the minimum by an exact solver, and not by a search from the reference.

        Args:
            seen: ``dyn.feedback.Pairs`` or ``dyn.feedback.Masses``.
            free: whether all logits are allowed, or only those in the span of a basis.
        """
        return exact_for(self, seen, free=free) is not None

    def has_one_minimum(self, *, free: bool) -> bool:
        """Whether every minimum that descent reaches has the least value; where it is not known, False.

        Args:
            free: whether all logits are allowed, or only those in the span of a basis.
        """
        return False

    def gradient(self, logits: Float[Array, " K"], log_reference: Float[Array, " K"], seen: Seen) -> Float[Array, " K"]:
        """∂ value/∂ logits, ``(K,)``."""
        return jax.grad(lambda z: self.value(log_softmax(z), log_reference, seen))(logits)

    def solve(
        self,
        seen: Seen,
        log_reference: Float[Array, "*contexts K"],
        basis: Float[Array, "*contexts K m"] | None = None,
        guess: Float[Array, "*contexts K"] | None = None,
        weights: Float[Array, " X"] | None = None,
    ) -> tuple[Float[Array, "*contexts K"], Bool[Array, ""]]:
        """f, up to a constant, such that the optimum is ∝ ref · exp(f/beta), and whether it was found.

        Uses the exact solver that is registered for this class (see ``register``), or else ``search``.

        Args:
            seen: what feedback shows.
            log_reference: log ref up to a constant; f of a loss of margins does not depend on it.
            basis: orthonormal centred columns, ``(K, m)``, whose span has to contain f; None: all logits. For X prompts that
                share the unknowns, ``(X, K, m)``, and then every array of ``seen`` has a leading axis X.
            guess: f of a neighbouring round, for solvers that can start from it.
            weights: the prompts' shares, ``(X,)``, ≥ 0; for several prompts.
        """
        exact = exact_for(self, type(seen), free=basis is None)
        if exact is None:
            return self.search(seen, log_reference, basis, weights)
        return exact.solve(self, seen if weights is None else seen.weighted(weights), basis, guess)

    def search(
        self,
        seen: Seen,
        log_reference: Float[Array, "*contexts K"],
        basis: Float[Array, "*contexts K m"] | None,
        weights: Float[Array, " X"] | None = None,
    ) -> tuple[Float[Array, "*contexts K"], Bool[Array, ""]]:
        """As ``solve``, by Newton's method on ``value``, started at the reference."""
        from ._newton import minimise  # loads on use

        # Without a basis the unknowns are the logits themselves: a rotated basis would lose light masses beside heavy ones.
        columns = jnp.eye(log_reference.shape[0]) if basis is None else basis
        arrays, rest = eqx.partition((self, seen, log_reference, columns, weights), eqx.is_array)

        def value(x: Array, arrays: Any) -> Array:
            objective, seen, log_reference, columns, weights = eqx.combine(arrays, rest)
            log_policy = log_softmax(log_reference + columns @ x)
            if weights is None:
                return objective.value(log_policy, log_reference, seen)
            return weights * jax.vmap(objective.value)(log_policy, log_reference, seen)

        x, found = minimise(value, jnp.zeros(columns.shape[-1], columns.dtype), arrays, shifts=basis is None)
        return kl_coefficient(self) * (columns @ x), found

    def as_margin_loss(
        self, alpha: ArrayLike, log_reference: Float[Array, "*contexts K"]
    ) -> tuple[Objective, Float[Array, ""], Float[Array, "*contexts K"]] | None:
        """A loss of margins, alpha and log ref whose exact rounds over all policies are those of this objective, or None.

        Args:
            alpha: alpha, scalar in [0, 1], the share of the policy in the reference.
            log_reference: log ref, the rest of the reference, in nats.
        """
        return None

    def check_optimum(self, seen: Seen, support: Bool[np.ndarray, "*contexts K"], basis: np.ndarray | None) -> None:
        """Raises ``ValueError`` where the value has no finite minimiser, or more than one.

        Args:
            seen: what feedback shows, concrete.
            support: which responses the sampler can draw, ``(K,)``.
            basis: columns that span the logits of the policy class, ``(K, m)``; None: all logits.
        """

    def implicit_reward(
        self, P: Float[ArrayLike, "K K"], log_mu: Float[ArrayLike, " K"], *, guess: Float[ArrayLike, " K"] | None = None
    ) -> Float[Array, " K"]:
        """f such that pi* ∝ ref · exp(f/beta), centred (Σ f = 0); see the class for the equation.

        Args:
            P: P, ``(K, K)``, P_ij = Pr(i preferred to j), P + Pᵀ = 1.
            log_mu: log mu, ``(K,)``, the sampler of both responses, in nats; ``-inf`` marks responses never sampled.
            guess: where an iterative solver starts, ``(K,)``; the result does not depend on it.

        Returns:
            f, ``(K,)``, dimensionless.

        Raises:
            ValueError: a bad entry in P or log_mu, or a minimiser that does not exist (concrete inputs).
        """
        return self._reward(P, log_mu, None, guess)

    def _reward(self, P: Any, log_mu: Any, log_ref: Any, guess: Any) -> Float[Array, " K"]:
        start = None if guess is None else as_array(guess)
        if not concrete(P, log_mu):
            log_mu = as_array(log_mu)
            f, found = _solved(self, Pairs(as_array(P), log_mu, mass(log_mu)), log_ref, start)
            return eqx.error_if(
                f, ~found, "the objective has no finite minimiser; call it on concrete values to see why."
            )
        P = check(P)
        log_mu = check_log_distribution(log_mu, "log_mu", P.shape[0], zero_mass=True)
        pairs = Pairs(P, log_mu, mass(log_mu))
        self.check_optimum(pairs, np.asarray(log_mu) > -np.inf, None)
        f, found = _solved(self, pairs, log_ref, start)
        if concrete(found) and not bool(found):
            raise RuntimeError(f"{type(self).__name__} did not reach its residual tolerance; report P and log_mu.")
        return f

    def tilt(self, f: Float[ArrayLike, " K"], log_ref: Float[ArrayLike, " K"]) -> Float[Array, " K"]:
        """log pi = log ref + f/beta - log Σ ref exp(f/beta).

        Args:
            f: f, ``(K,)``, an implicit reward, defined up to a constant.
            log_ref: log ref, ``(K,)``, in nats, finite.

        Returns:
            log pi, ``(K,)``, in nats.
        """
        f, log_ref = as_array(f), as_array(log_ref)
        if f.shape != log_ref.shape or f.ndim != 1:
            raise ValueError(f"f has shape {f.shape} and log_ref {log_ref.shape}; pass two vectors of the same length.")
        if concrete(f, log_ref):
            log_ref = check_log_distribution(log_ref, "log_ref", f.shape[0])
            if not np.isfinite(np.asarray(f)).all():
                raise ValueError("f has a non-finite entry; pass an implicit reward, e.g. from implicit_reward.")
        return log_softmax(log_ref + f / kl_coefficient(self))

    def optimum(
        self, P: Float[ArrayLike, "K K"], log_mu: Float[ArrayLike, " K"], log_ref: Float[ArrayLike, " K"]
    ) -> Float[Array, " K"]:
        """log pi*, ``(K,)``: the objective's minimiser for preferences P, sampler mu and reference ref.

        For a loss of margins ``tilt(implicit_reward(P, log_mu), log_ref)``; arguments and errors as there. Source: [paper]
        Chen26.
        """
        log_ref = as_array(log_ref)
        fits = log_ref.shape == np.shape(log_mu)
        if fits and concrete(log_ref):
            log_ref = check_log_distribution(log_ref, "log_ref")
        return self.tilt(self._reward(P, log_mu, log_ref if fits else None, None), log_ref)


def kl_coefficient(objective: Objective) -> Float[Array, ""]:
    """The objective's ``reward_unit``: beta, as in pi* ∝ ref · exp(f/beta); 1 where it has none.

    Args:
        objective: an ``Objective``.

    >>> kl_coefficient(dyn.DPO(0.1)).item()
    0.1
    """
    return jnp.asarray(objective.reward_unit, dtype=float)


@eqx.filter_jit
def _solved(
    objective: Objective, pairs: Pairs, log_ref: Float[Array, " K"] | None, guess: Float[Array, " K"] | None
) -> tuple[Float[Array, " K"], Bool[Array, ""]]:
    # Compiled once for each size; without jit, the solver's loop would be compiled in every call.
    f, found = objective.solve(pairs, jnp.zeros_like(pairs.log_mu) if log_ref is None else log_ref, None, guess)
    return centre(f), found
