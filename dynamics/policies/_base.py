"""What a policy is: a map from parameters to logits, and what else rounds and flows may ask of it."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float

from .._noun import Noun
from .._numerics import centre, concrete, log_softmax

OFF_CLASS = 1e-8  # nats (relative to the size of the logits) by which a log-policy may miss the class
STEPS = 200  # of the search for the parameters of a policy


class Policy(Noun):
    """pi ∝ exp(z(theta)): parameters theta to logits z, centred over the responses.

    A subclass writes ``start`` and ``logits``; one whose Jacobian vanishes at ``start`` also writes ``parameters``.

    >>> class Scaled(dyn.policies.Policy):
    ...     def start(self):
    ...         return jnp.zeros(3)
    ...
    ...     def logits(self, parameters):
    ...         return jnp.sinh(parameters)
    >>> Scaled().shape
    (3,)
    """

    @abstractmethod
    def start(self) -> Float[Array, ...]:
        """Parameters of the shape that this policy has, from which training starts unless it is told otherwise."""

    @abstractmethod
    def logits(self, parameters: Float[Array, ...]) -> Float[Array, "*contexts K"]:
        """z, in nats, defined up to a constant, ``(K,)`` or ``(X, K)``."""

    def log_policy(self, parameters: Float[Array, ...]) -> Float[Array, "*contexts K"]:
        """log pi, in nats, ``(K,)`` or ``(X, K)``."""
        return log_softmax(self.logits(parameters))

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the logits, ``(K,)`` or ``(X, K)``."""
        return jax.eval_shape(self.logits, self.start()).shape

    def blank(self, shape: tuple[int, ...]) -> Float[Array, ...]:
        """Parameters to start from where logits of ``shape`` are asked for."""
        return self.start()

    def dims(self, shape: tuple[int, ...]) -> tuple[str, ...]:
        """Names for the dimensions of the parameters, of a policy with logits of ``shape``."""
        rank = len(jnp.shape(self.blank(shape)))
        return (*(f"parameter_{n}" for n in range(rank - 1)), "parameter")

    def pull(self, parameters: Float[Array, ...], force: Float[Array, "*contexts K"]) -> Float[Array, ...]:
        """A force on the logits as one on the parameters: (∂z/∂theta)ᵀ force."""
        _, back = jax.vjp(lambda theta: jnp.broadcast_to(self.logits(theta), force.shape), parameters)
        return back(force)[0]

    def basis(self) -> Float[Array, "n m"] | None:
        """Orthonormal columns that span the raveled centred logits which this policy may have, or None where these are not a
        linear space.
        """
        return None

    @property
    def is_free(self) -> bool:
        """Whether every policy with full support is of the class: then the prompts' policies are fitted one by one."""
        basis = self.basis()
        return basis is not None and basis.shape[1] == int(np.prod(self.shape)) // self.shape[-1] * (self.shape[-1] - 1)

    def in_contexts(self, shape: tuple[int, ...]) -> Policy:
        """The same class with logits of ``shape``, ``(K,)`` or ``(X, K)``; ``ValueError`` where it has others."""
        if self.shape != shape:
            raise ValueError(
                f"policy {type(self).__name__} has logits of shape {self.shape}, preferences ask for {shape}; let them "
                f"match (features of X prompts have shape (X, K, d))."
            )
        return self

    def parameter_basis(self) -> Float[Array, "n m"]:
        """Orthonormal columns that span the raveled parameters which move the policy; all of them unless overridden."""
        return jnp.eye(ravel_pytree(self.start())[0].size)

    def coordinates(self) -> Float[Array, "K d"] | None:
        """Features in whose coordinates Jacobians are given, centred; None: in the logits themselves."""
        return None

    def candidates(self) -> Float[Array, "M K"] | None:
        """All policies of the class as log-policies where there are finitely many, or None."""
        return None

    def parameters(self, logits: Float[Array, "*contexts K"]) -> Float[Array, ...]:
        """theta whose logits are nearest to the given ones, in the 2-norm of centred logits.

        Unless overridden, by Levenberg and Marquardt's method from ``start``: right where the class contains these logits and
        its Jacobian does not vanish on the way.
        """
        return _nearest(self, centre(logits))

    def check_member(self, logits: Float[Array, "*contexts K"], name: str) -> None:
        """Raises ``ValueError`` where logits are not those of any parameters."""
        if not concrete(logits, self):
            return
        z = centre(logits)
        off = float(jnp.max(jnp.abs(z - centre(self.logits(self.parameters(z))))))
        if not off <= OFF_CLASS * (1.0 + float(jnp.max(jnp.abs(z)))):
            raise ValueError(
                f"{name} is {off:.3g} nats off what {type(self).__name__} was found to reach; pass a policy of the class, or "
                f"define {type(self).__name__}.parameters(logits)."
            )

    def resized(self, size: int) -> Policy:
        """The same kind of policy for another number of responses; ``ValueError`` where there is none."""
        raise ValueError(
            f"policy {type(self).__name__} is of {self.shape[-1]} responses, the matrix of {size}; build a new loop."
        )


@eqx.filter_custom_jvp
def _nearest(policy: Policy, logits: Array) -> Any:
    """argmin over theta of |C (z(theta) - logits)|², by damped Gauss-Newton steps."""
    flat, unravel = ravel_pytree(policy.start())
    miss = lambda x: _miss(policy, unravel(x), logits)

    def step(carry: tuple[Array, Array, Array, Array]) -> tuple[Array, Array, Array, Array]:
        x, damping, _, count = carry
        r, J = miss(x), jax.jacfwd(miss)(x)
        H = J.T @ J
        scale = jnp.diag(jnp.maximum(jnp.diag(H), jnp.finfo(r.dtype).tiny))
        change = jnp.linalg.solve(H + damping * scale, -J.T @ r)
        there = x + jnp.where(jnp.isfinite(change), change, 0.0)
        better = jnp.sum(miss(there) ** 2) < jnp.sum(r**2)
        damping = jnp.where(better, damping / 10, damping * 4)
        eps = jnp.finfo(r.dtype).eps
        done = jnp.max(jnp.abs(r)) <= eps * (1 + jnp.max(jnp.abs(logits)))
        return jnp.where(better, there, x), jnp.maximum(damping, eps**2), done | (damping > 1e12), count + 1

    going = lambda carry: ~carry[2] & (carry[3] < STEPS)
    begun = (flat, jnp.asarray(1e-3, flat.dtype), jnp.asarray(False), jnp.asarray(0))
    return unravel(jax.lax.while_loop(going, step, begun)[0])


def _miss(policy: Policy, parameters: Any, logits: Array) -> Array:
    return (centre(jnp.broadcast_to(policy.logits(parameters), logits.shape)) - logits).ravel()


@_nearest.def_jvp
def _nearest_jvp(primals: Any, tangents: Any) -> tuple[Any, Any]:
    """dtheta = J⁺ (C dlogits - C ∂z/∂(the policy's own numbers)), J = C ∂z/∂theta at the solution."""
    policy, logits = primals
    d_policy, d_logits = tangents
    parameters = _nearest(policy, logits)
    flat, unravel = ravel_pytree(parameters)
    J = jax.jacfwd(lambda x: _miss(policy, unravel(x), logits))(flat)
    arrays, rest = eqx.partition(policy, eqx.is_inexact_array)
    zero = lambda tangent, x: jnp.zeros_like(x) if tangent is None else tangent
    d_arrays = jax.tree.map(lambda x, t: zero(t, x), arrays, d_policy, is_leaf=lambda x: x is None)
    missed = lambda arrays, logits: _miss(eqx.combine(arrays, rest), parameters, logits)
    _, off = jax.jvp(missed, (arrays, logits), (d_arrays, zero(d_logits, logits)))
    return parameters, unravel(-jnp.linalg.pinv(J) @ off)
