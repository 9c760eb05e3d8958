"""The base classes of rounds: a map from one state to the next, and the case in which the state is the policy."""

from __future__ import annotations

import dataclasses
from abc import abstractmethod
from typing import Any, ClassVar, Generic, TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Bool, Float, PRNGKeyArray

from .._noun import Noun, assemble
from .._numerics import centre, concrete, gauge_basis, log_softmax
from .._parameters import parameters, replace
from .._parts import uniform
from .._vectors import ravel, unravel
from ..preferences import Names, check, prompt_shares, response_names

S = TypeVar("S")


class Process(Noun, Generic[S]):
    """s_{t+1} = F(s_t): one round, from a state to the next. The policy is a function of the state.

    A subclass writes ``start``, ``advance``, ``log_policy`` and ``centre``; the state may be any pytree of arrays. Everything
    else has a default: the number of responses is that of an attribute ``preference``, the reference of ``kl_to_reference`` is
    an attribute ``log_reference`` (or else uniform), and the KL coefficient is ``objective.beta`` or ``beta`` (or else None).
    A class whose rounds are random sets ``stochastic = True`` and receives a fresh ``key`` in every round. Where the state is
    the policy alone, subclass ``RoundMap`` and write ``__call__`` instead.

    >>> class HeavyBall(dyn.Process):
    ...     loop: dyn.SelfSampling
    ...     momentum: jax.Array
    ...
    ...     @property
    ...     def num_responses(self):
    ...         return self.loop.num_responses
    ...
    ...     def start(self, log_policy):
    ...         return log_policy, jnp.zeros_like(log_policy)
    ...
    ...     def advance(self, state, key):
    ...         z, velocity = state
    ...         velocity = self.momentum * velocity + self.loop(z) - z
    ...         return (z + velocity, velocity), True
    ...
    ...     def log_policy(self, state):
    ...         return jax.nn.log_softmax(state[0])
    ...
    ...     def centre(self, state):
    ...         return jax.tree.map(lambda x: x - x.mean(), state)
    >>> loop = dyn.SelfSampling(dyn.preferences.cyclic(3, 0.4), dyn.IPO(0.3), alpha=0.5, lam=1.0)
    >>> ball = HeavyBall(loop, jnp.array(0.5))
    >>> state, succeeded = ball.advance(ball.start(jnp.zeros(3)), None)
    >>> succeeded, ball.log_policy(state).shape
    (True, (3,))
    """

    stochastic: ClassVar[bool] = False
    shorter_way: ClassVar[str] = "RoundMap and write __call__"

    @abstractmethod
    def start(self, log_policy: Float[Array, "*contexts K"]) -> S:
        """The state at round 0 whose policy has these logits, ``(K,)``, which are defined up to a constant."""

    @abstractmethod
    def advance(self, state: S, key: PRNGKeyArray | None) -> tuple[S, Bool[Array, ""] | bool]:
        """The next state, and whether the round succeeded. It also has to accept a state that ``centre`` returned."""

    @abstractmethod
    def log_policy(self, state: S) -> Float[Array, "*contexts K"]:
        """log pi of a state, in nats, ``(K,)``."""

    @abstractmethod
    def centre(self, state: S) -> S:
        """The part of a state that later policies depend on, a linear function of the state: constants added to logits and
        warm starts of solvers are removed. Stability is analysed in these centred states.
        """

    def logits(self, state: S) -> Float[Array, "*contexts K"]:
        """Centred logits of a state's policy, in nats, ``(K,)``."""
        return centre(self.log_policy(state))

    @property
    def num_responses(self) -> int:
        """K, the number of responses."""
        preference = getattr(self, "preference", None)
        if preference is None:
            raise ValueError(
                f"{type(self).__name__} does not say how many responses it has; call its matrix preference, or define "
                f"num_responses."
            )
        return preference.shape[-1]

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the logits: ``(K,)``, or ``(X, K)`` for X prompts."""
        return (self.num_responses,)

    @property
    def prompt_weights(self) -> Float[Array, " X"] | None:
        """Shares of the prompts in averages, ``(X,)``, equal unless overridden; None for one prompt."""
        return prompt_shares(None, self.shape[:-1])

    def response_names(self) -> Names | None:
        """Names of the responses for Datasets and reports, K or K for each prompt: an attribute ``names`` that is a tuple."""
        names = getattr(self, "names", None)
        return response_names(names, None, self.shape) if isinstance(names, tuple) else None

    def unnamed(self) -> Process[S]:
        """The same rounds without names, so that what is compiled for them serves whatever the responses are called."""
        if self.response_names() is None:
            return self
        fields = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        return assemble(type(self), **fields | {"names": None})

    def prompts(self) -> tuple[Process[Any], ...] | None:
        """The rounds of each prompt by itself; None where prompts influence each other, or where there is only one."""
        return None

    def log_start(self) -> Float[Array, "*contexts K"]:
        """log pi at round 0 where the caller gives none, ``(K,)``; uniform unless overridden."""
        return jnp.broadcast_to(uniform(self.num_responses), self.shape)

    def log_baseline(self, state: S) -> Float[Array, "*contexts K"]:
        """The log ref from which rewards and divergences are measured, ``(K,)``."""
        reference = getattr(self, "log_reference", None)
        return jnp.broadcast_to(uniform(self.num_responses) if reference is None else reference, self.shape)

    def basis(self) -> Float[Array, "n m"]:
        """Orthonormal columns that span the raveled centred logits of the policy class; all centred logits by default."""
        of_one = jnp.asarray(gauge_basis(self.num_responses))
        return jnp.kron(jnp.eye(self.shape[0]), of_one) if len(self.shape) == 2 else of_one

    def state_basis(self) -> Float[Array, "n m"]:
        """Orthonormal columns that span the raveled centred states; by default the range of ``centre``."""
        if not concrete(self):
            raise ValueError(
                f"{type(self).__name__} is traced; define state_basis(), or call this outside jit and grad."
            )
        template = self.centred_start()
        flat = ravel(template)
        centred = lambda x: ravel(self.centre(unravel(x, template)))
        matrix = np.asarray(jax.jacfwd(centred)(flat))
        probe = np.random.default_rng(0).normal(size=flat.shape)
        there, eps = np.asarray(centred(jnp.asarray(probe, flat.dtype))), np.finfo(matrix.dtype).eps
        if not np.allclose(there, matrix @ probe, rtol=0, atol=np.sqrt(eps) * (1 + np.abs(there).max(initial=0.0))):
            raise ValueError(
                f"{type(self).__name__}.centre is not linear in the state; return a linear function of it, such as the state "
                f"less its mean, or define state_basis()."
            )
        U, sizes, _ = np.linalg.svd(matrix)
        return jnp.asarray(U[:, sizes > len(flat) * np.finfo(matrix.dtype).eps * sizes.max(initial=0.0)])

    def centred_start(self, log_policy: Float[Array, "*contexts K"] | None = None) -> S:
        """``centre`` of the state at round 0 whose policy has these logits; the uniform policy unless given."""
        even = jnp.broadcast_to(uniform(self.num_responses), self.shape)
        return _centred(self, even if log_policy is None else log_policy)

    def coordinates(self) -> Float[Array, "n d"] | None:
        """Columns, raveled centred states, in whose coordinates Jacobians are given; None: in the states themselves."""
        return None

    def check_start(self, log_policy: Float[Array, "*contexts K"]) -> None:
        """Raises ``ValueError`` for a policy that these rounds cannot start from."""

    def check_smooth(self) -> None:
        """Raises ``ValueError`` where the map has no fixed points or no derivatives that could be analysed."""

    def kl_coefficient(self) -> Float[Array, ""] | None:
        """beta, for reward margins; None where the map has no KL coefficient."""
        holder = getattr(self, "objective", self)
        beta = getattr(holder, "beta", None)
        return None if beta is None else jnp.asarray(beta, dtype=float)

    def as_rounds(self) -> Process[Any] | None:
        """The same rounds as ``Rounds``, where they are a case of them; theorems use it for the library's own classes only."""
        return None

    def note(self) -> str | None:
        """A remark for the Solution on how these rounds were solved, or None."""
        return None

    def with_preference(self, preference: Float[ArrayLike, "K K"]) -> Process[S]:
        """The same rounds with another preference matrix; unchanged where they have none."""
        return replace(self, {"preference": check(preference)}) if "preference" in parameters(self) else self


# Compiled as one function, so that XLA drops the computation of whatever ``centre`` leaves out.
@eqx.filter_jit
def _centred(process: Process[S], log_policy: Float[Array, "*contexts K"]) -> S:
    return process.centre(process.start(log_policy))


class RoundMap(Process[Any]):
    """z_{t+1} = F(z_t): one round, from logits to logits (defined up to a constant), optionally with a key.

    A subclass writes ``__call__``; everything else has a default, as in ``Process``.

    >>> class Jitter(dyn.RoundMap):
    ...     preference: jax.Array
    ...     stochastic = True
    ...
    ...     def __call__(self, logits, key=None):
    ...         return logits + 0.1 * jax.random.normal(key, logits.shape)
    >>> Jitter(dyn.preferences.cyclic(3, 0.4))(jnp.zeros(3), jax.random.key(0)).shape
    (3,)
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
        return jnp.zeros(self.shape) if log_policy is None else centre(log_policy)
