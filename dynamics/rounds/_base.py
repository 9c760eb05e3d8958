"""What a round is: a map from logits to logits, which ``iterate``, ``sweep`` and ``stability`` run, scan and analyse."""

from __future__ import annotations

from typing import Any, ClassVar

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from .._numerics import as_array, centre, gauge_basis


class RoundMap(eqx.Module):
    """z_{t+1} = F(z_t): one round, from logits to logits (defined up to a constant), optionally with a key.

    A subclass writes ``__call__``; everything else has a default. ``num_responses`` is read off an attribute
    ``preference`` unless overridden, ``log_reference`` (what ``kl_to_reference`` compares with) is uniform, ``beta`` None.
    A random round sets ``stochastic = True`` and receives a fresh ``key`` in every round.
    """

    stochastic: ClassVar[bool] = False
    keeps_state: ClassVar[bool] = False
    """Whether a round depends on more of the past than the policy (a warm start is no such thing)."""

    def __call__(self, logits: Float[Array, " K"], key: PRNGKeyArray | None = None) -> Float[Array, " K"]:
        """The logits of the next policy from those of this one, ``(K,)``."""
        raise NotImplementedError

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

    def log_baseline(self) -> Float[Array, " K"]:
        """log ref that rewards and divergences are measured from, ``(K,)``."""
        reference = getattr(self, "log_reference", None)
        return uniform(self.num_responses) if reference is None else reference

    def basis(self) -> Float[Array, "K m"]:
        """Orthonormal columns that span the centred logits which policies may have; all of them unless overridden."""
        return jnp.asarray(gauge_basis(self.num_responses))

    def check_start(self, log_policy: Float[Array, " K"]) -> None:
        """Raises ``ValueError`` for a policy that these rounds cannot start from."""

    def kl_coefficient(self) -> Float[Array, ""] | None:
        """beta, for reward margins, or None where the map has no such thing."""
        holder = getattr(self, "objective", self)
        beta = getattr(holder, "beta", None)
        return None if beta is None else jnp.asarray(beta, dtype=float)

    def start_memory(self, logits: Float[Array, " K"]) -> Any:
        """What a round may carry to the next besides the logits, such as a warm start."""
        return None

    def advance(
        self, logits: Float[Array, " K"], memory: Any, key: PRNGKeyArray | None
    ) -> tuple[Float[Array, " K"], Any, Bool[Array, ""]]:
        """One round with its memory, and whether it succeeded."""
        out = self(logits, key) if self.stochastic else self(logits)
        return centre(out), memory, jnp.all(jnp.isfinite(out))

    def check_parameter(self, path: str, values: np.ndarray) -> None:
        """Raises ``ValueError`` for values, stacked along the first axis, that the parameter at ``path`` may not take."""
        if not np.isfinite(values).all():
            raise ValueError(f"{path} has a value that is not finite; pass finite numbers.")


def uniform(size: int) -> Float[Array, " K"]:
    """log of the uniform policy."""
    return jnp.full(size, -jnp.log(as_array(size)))
