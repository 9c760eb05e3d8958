"""What rounds are: a map from states to states, which ``iterate``, ``sweep`` and ``stability`` run, scan and analyse."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, ClassVar, Generic, TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Bool, Float, PRNGKeyArray

from .._noun import Noun
from .._numerics import centre, concrete, gauge_basis, log_softmax
from .._parameters import parameters, replace
from .._parts import uniform
from .._vectors import ravel, unravel
from ..preferences import check

S = TypeVar("S")


class Process(Noun, Generic[S]):
    """s_{t+1} = F(s_t): one round, from a state to a state. The policy is a function of the state.

    A subclass writes ``start``, ``advance``, ``log_policy`` and ``centre``; the state may be any pytree of arrays. Everything
    else has a default. ``num_responses`` is read off an attribute ``preference`` unless overridden, ``log_reference`` (what
    ``kl_to_reference`` compares with) is uniform, ``beta`` None. Where the state is the policy alone, subclass ``RoundMap``
    and write ``__call__`` instead. A random round sets ``stochastic = True`` and receives a fresh ``key`` in every round.

        class HeavyBall(dyn.Process):
            loop: dyn.SelfSampling
            momentum: jax.Array

            @property
            def num_responses(self):
                return self.loop.num_responses

            def start(self, log_policy):
                return log_policy, jnp.zeros_like(log_policy)

            def advance(self, state, key):
                z, velocity = state
                velocity = self.momentum * velocity + self.loop(z) - z
                return (z + velocity, velocity), True

            def log_policy(self, state):
                return jax.nn.log_softmax(state[0])

            def centre(self, state):
                return jax.tree.map(lambda x: x - x.mean(), state)
    """

    stochastic: ClassVar[bool] = False
    shorter_way: ClassVar[str] = "RoundMap and write __call__"

    @abstractmethod
    def start(self, log_policy: Float[Array, "*contexts K"]) -> S:
        """The state of round 0 with a policy, given by its logits up to a constant, ``(K,)``."""

    @abstractmethod
    def advance(self, state: S, key: PRNGKeyArray | None) -> tuple[S, Bool[Array, ""] | bool]:
        """The next state, and whether the round succeeded. It takes what ``centre`` returns as well."""

    @abstractmethod
    def log_policy(self, state: S) -> Float[Array, "*contexts K"]:
        """log pi of a state, in nats, ``(K,)``."""

    @abstractmethod
    def centre(self, state: S) -> S:
        """What of a state matters to later policies, a linear function of it: without constants added to logits, and without
        the starts of iterative solvers. Stability is of these.
        """

    def logits(self, state: S) -> Float[Array, "*contexts K"]:
        """Centred logits of a state's policy, in nats, ``(K,)``."""
        return centre(self.log_policy(state))

    @property
    def num_responses(self) -> int:
        """K, the number of responses."""
        preference = getattr(self, "preference", None)
        if preference is None:
            raise ValueError(f"{type(self).__name__} does not say how many responses it has; define num_responses.")
        return preference.shape[-1]

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the logits: ``(K,)``, or ``(X, K)`` for X prompts."""
        return (self.num_responses,)

    @property
    def prompt_weights(self) -> Float[Array, " X"] | None:
        """Shares of the prompts in averages, ``(X,)``; None for one prompt."""
        return None

    def prompts(self) -> tuple[Process[Any], ...] | None:
        """The rounds of each prompt by itself where no prompt bears on another, else None; None for one prompt."""
        return None

    def log_start(self) -> Float[Array, "*contexts K"]:
        """log pi of round 0 where the caller names none, ``(K,)``; uniform unless overridden."""
        return uniform(self.num_responses)

    def log_baseline(self, state: S) -> Float[Array, "*contexts K"]:
        """log ref that rewards and divergences of a run are measured from, ``(K,)``."""
        reference = getattr(self, "log_reference", None)
        return jnp.broadcast_to(uniform(self.num_responses) if reference is None else reference, self.shape)

    def basis(self) -> Float[Array, "n m"]:
        """Orthonormal columns that span the raveled centred logits which policies may have; all of them unless overridden."""
        return jnp.asarray(gauge_basis(self.num_responses))

    def state_basis(self) -> Float[Array, "n m"]:
        """Orthonormal columns that span the centred states, raveled: the range of ``centre`` unless overridden."""
        if not concrete(self):
            raise ValueError(
                f"{type(self).__name__} is traced; define state_basis(), or call this outside jit and grad."
            )
        template = self.centred_start()
        flat = ravel(template)
        matrix = np.asarray(jax.jacfwd(lambda x: ravel(self.centre(unravel(x, template))))(flat))
        U, sizes, _ = np.linalg.svd(matrix)
        return jnp.asarray(U[:, sizes > len(flat) * np.finfo(matrix.dtype).eps * sizes.max(initial=0.0)])

    def centred_start(self, log_policy: Float[Array, "*contexts K"] | None = None) -> S:
        """``centre`` of the state of round 0 with a policy, given by its logits; the uniform one unless given."""
        return _centred(self, uniform(self.num_responses) if log_policy is None else log_policy)

    def coordinates(self) -> Float[Array, "n d"] | None:
        """Columns in whose coordinates Jacobians are given, in raveled centred states, or None: in these themselves."""
        return None

    def check_start(self, log_policy: Float[Array, "*contexts K"]) -> None:
        """Raises ``ValueError`` for a policy that these rounds cannot start from."""

    def check_smooth(self) -> None:
        """Raises ``ValueError`` where the map of states has no fixed points or derivatives to analyse."""

    def kl_coefficient(self) -> Float[Array, ""] | None:
        """beta, for reward margins, or None where the map has no such thing."""
        holder = getattr(self, "objective", self)
        beta = getattr(holder, "beta", None)
        return None if beta is None else jnp.asarray(beta, dtype=float)

    def note(self) -> str | None:
        """What a Solution says of how these rounds were solved, or None."""
        return None

    def with_preference(self, preference: Float[ArrayLike, "K K"]) -> Process[S]:
        """The same rounds on another matrix, where they have one."""
        return replace(self, {"preference": check(preference)}) if "preference" in parameters(self) else self


# Compiled as one, so that what ``centre`` leaves out is not computed.
@eqx.filter_jit
def _centred(process: Process[S], log_policy: Float[Array, "*contexts K"]) -> S:
    return process.centre(process.start(log_policy))


class RoundMap(Process[Any]):
    """z_{t+1} = F(z_t): one round, from logits to logits (defined up to a constant), optionally with a key.

    A subclass writes ``__call__``; everything else has a default, as in ``Process``:

        class Jitter(dyn.RoundMap):
            preference: jax.Array
            stochastic = True

            def __call__(self, logits, key=None):
                return logits + 0.1 * jax.random.normal(key, logits.shape)
    """

    @abstractmethod
    def __call__(
        self, logits: Float[Array, "*contexts K"], key: PRNGKeyArray | None = None
    ) -> Float[Array, "*contexts K"]:
        """The logits of the next policy from those of this one, ``(K,)``."""

    def start(self, log_policy: Float[Array, "*contexts K"]) -> Float[Array, "*contexts K"]:
        return centre(log_policy)

    def advance(
        self, state: Float[Array, "*contexts K"], key: PRNGKeyArray | None
    ) -> tuple[Float[Array, "*contexts K"], Bool[Array, ""]]:
        out = self(state, key) if self.stochastic else self(state)
        return centre(out), jnp.all(jnp.isfinite(out))

    def log_policy(self, state: Float[Array, "*contexts K"]) -> Float[Array, "*contexts K"]:
        return log_softmax(state)

    def logits(self, state: Float[Array, "*contexts K"]) -> Float[Array, "*contexts K"]:
        return state

    def centre(self, state: Float[Array, "*contexts K"]) -> Float[Array, "*contexts K"]:
        return centre(state)

    def state_basis(self) -> Float[Array, "n m"]:
        return self.basis()

    def centred_start(self, log_policy: Float[Array, "*contexts K"] | None = None) -> Float[Array, "*contexts K"]:
        return jnp.zeros(self.num_responses) if log_policy is None else centre(log_policy)
