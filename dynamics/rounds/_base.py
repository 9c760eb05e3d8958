"""What a round is: a map from logits to logits, which ``iterate``, ``sweep`` and ``stability`` run, scan and analyse."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, ClassVar

import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Bool, Float, PRNGKeyArray

from .._noun import Noun
from .._numerics import centre, gauge_basis
from .._parameters import parameters, replace
from .._parts import uniform
from ..preferences import check


class RoundMap(Noun):
    """z_{t+1} = F(z_t): one round, from logits to logits (defined up to a constant), optionally with a key.

    A subclass writes ``__call__``; everything else has a default. ``num_responses`` is read off an attribute
    ``preference`` unless overridden, ``log_reference`` (what ``kl_to_reference`` compares with) is uniform, ``beta`` None.
    A random round sets ``stochastic = True`` and receives a fresh ``key`` in every round:

        class Jitter(dyn.RoundMap):
            preference: jax.Array
            stochastic = True

            def __call__(self, logits, key=None):
                return logits + 0.1 * jax.random.normal(key, logits.shape)
    """

    stochastic: ClassVar[bool] = False

    @property
    def keeps_state(self) -> bool:
        """Whether a round depends on more of the past than the policy (a warm start does not count)."""
        return False

    @abstractmethod
    def __call__(self, logits: Float[Array, " K"], key: PRNGKeyArray | None = None) -> Float[Array, " K"]:
        """The logits of the next policy from those of this one, ``(K,)``."""

    @property
    def num_responses(self) -> int:
        """K, the number of responses."""
        preference = getattr(self, "preference", None)
        if preference is None:
            raise ValueError(f"{type(self).__name__} does not say how many responses it has; define num_responses.")
        return preference.shape[-1]

    def log_start(self) -> Float[Array, " K"]:
        """log pi of round 0 where the caller names none, ``(K,)``; uniform unless overridden."""
        return uniform(self.num_responses)

    def log_baseline(self, memory: Any = None) -> Float[Array, " K"]:
        """log ref that rewards and divergences are measured from, ``(K,)``."""
        reference = getattr(self, "log_reference", None)
        return uniform(self.num_responses) if reference is None else reference

    def basis(self) -> Float[Array, "K m"]:
        """Orthonormal columns that span the centred logits which policies may have; all of them unless overridden."""
        return jnp.asarray(gauge_basis(self.num_responses))

    def coordinates(self) -> Float[Array, "K d"] | None:
        """Centred features in whose coordinates Jacobians are given, or None: in the logits."""
        return None

    def check_start(self, log_policy: Float[Array, " K"]) -> None:
        """Raises ``ValueError`` for a policy that these rounds cannot start from."""

    def check_smooth(self) -> None:
        """Raises ``ValueError`` where the map of policies has no fixed points or derivatives to analyse."""
        if self.keeps_state:
            raise ValueError(
                f"{type(self).__name__} carries a state from round to round, so the policy alone has no fixed points; "
                f"look at the verdict of dyn.iterate."
            )

    def kl_coefficient(self) -> Float[Array, ""] | None:
        """beta, for reward margins, or None where the map has no such thing."""
        holder = getattr(self, "objective", self)
        beta = getattr(holder, "beta", None)
        return None if beta is None else jnp.asarray(beta, dtype=float)

    def note(self) -> str | None:
        """What a Solution says of how these rounds were solved, or None."""
        return None

    def start_memory(self, logits: Float[Array, " K"]) -> Any:
        """What a round may carry to the next besides the logits, such as a warm start."""
        return None

    def advance(
        self, logits: Float[Array, " K"], memory: Any, key: PRNGKeyArray | None
    ) -> tuple[Float[Array, " K"], Any, Bool[Array, ""]]:
        """One round with its memory, and whether it succeeded."""
        out = self(logits, key) if self.stochastic else self(logits)
        return centre(out), memory, jnp.all(jnp.isfinite(out))

    def with_preference(self, preference: Float[ArrayLike, "K K"]) -> RoundMap:
        """The same rounds on another matrix, where they have one."""
        return replace(self, {"preference": check(preference)}) if "preference" in parameters(self) else self
