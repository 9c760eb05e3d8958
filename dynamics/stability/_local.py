"""The linearisation of a round map at a policy: Jacobian, eigenvalues and spectral radius."""

from __future__ import annotations

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Complex, Float

from .._numerics import as_array, centre, concrete
from ..engine import State, as_state, check_initial, check_process
from ..rounds import Process
from ._space import Space, space_of, step


def boundary() -> float:
    """The distance from 1 within which a spectral radius decides nothing: 1e-9, or 64 units of rounding if that is more."""
    return max(1e-9, 64 * float(jnp.finfo(jnp.zeros(()).dtype).eps))


def check_deterministic(process: Process[Any]) -> None:
    """Raises ``ValueError`` for a random process, since stability is a property of a deterministic map of states."""
    check_process(process)
    process.check_smooth()
    if process.stochastic:
        raise ValueError(
            f"{type(process).__name__} is random (it takes a key), so it has no fixed points to analyse; analyse its mean, "
            f"e.g. the same SelfSampling without samples, or run dyn.iterate with many keys and compare."
        )


def check_analysable(process: Process[Any]) -> None:
    """As ``check_deterministic``, and raises ``ValueError`` for a traced process, whose numbers cannot be inspected."""
    check_deterministic(process)
    if not concrete(process):
        raise ValueError(f"{type(process).__name__} is traced; call this outside jit, vmap and grad.")


@eqx.filter_jit
def slope_at(process: Process[Any], space: Space, y: Float[Array, " m"]) -> Float[Array, "m m"]:
    """∂y'/∂y of one round at a point, ``(m, m)``."""
    return jax.jacfwd(lambda x: step(process, space, x))(y)


def jacobian(process: Process[Any], at: Float[ArrayLike, "*contexts K"] | State) -> Float[Array, "n n"]:
    """J = T⁺ (∂F/∂s) T, the derivative of one round in the coordinates T of centred states.

    For tabular policies J = C (∂F/∂z) C; for log-linear ones T = C phi, so that J is the derivative in theta. For
    ``SelfSampling``, J = C(alpha I + (lam/beta) M Sigma)C with Sigma = diag(pi) - pi piᵀ and M = P for IPO, M = ∂f/∂mu at mu
    for DPO; row and column sums are 0. Where the state holds more than the policy, such as a moving reference or an
    optimizer's momentum, J is the derivative of the whole state: the policy first, then the reference, then the learner.

    Args:
        process: F, a deterministic ``Process``.
        at: log pi, ``(K,)``, finite, in nats, which stands for the state in which a run with this policy starts; or a state,
            such as the ``final`` of a Solution or the ``state`` of a fixed point.

    Returns:
        J, dimensionless: ``(K, K)``, or ``(d, d)`` for a log-linear policy, or ``(n, n)`` for a state of n numbers.

    Raises:
        ValueError: a random process, or one without derivatives, such as rounds by Adam.

    Source: [derived], theory of iterated alignment at any P.

    >>> import dynamics as dyn, jax.numpy as jnp
    >>> loop = dyn.SelfSampling(dyn.preferences.cyclic(3, 0.2), dyn.IPO(0.1), 0.5, 1.0)
    >>> J = dyn.stability.jacobian(loop, jnp.log(jnp.ones(3) / 3))
    >>> bool(jnp.allclose(J.sum(axis=0), 0.0))
    True
    """
    check_deterministic(process)
    space = space_of(process)
    inner = slope_at(process, space, space.point(_centred(process, at)))
    raw = space.basis @ inner @ space.basis.T
    columns = process.coordinates()
    if columns is None:
        return raw
    return jnp.linalg.pinv(columns) @ raw @ columns


def eigenvalues(process: Process[Any], at: Float[ArrayLike, "*contexts K"] | State) -> Complex[Array, " rank"]:
    """The eigenvalues of ``jacobian`` within the states that rounds may reach, largest modulus first.

    There are K-1 of them, or as many as the rank of a log-linear policy's features, and as many again for every further policy
    in the state. Directions that change no policy, such as a constant added to all logits, are left out.

    Args:
        process: F, a deterministic ``Process``.
        at: log pi, ``(K,)``, finite, in nats, or a state, as in ``jacobian``.

    >>> loop = dyn.SelfSampling(dyn.preferences.cyclic(3, 0.2), dyn.IPO(0.1), 0.5, 1.0)
    >>> dyn.stability.eigenvalues(loop, jnp.log(jnp.ones(3) / 3)).shape
    (2,)
    """
    check_deterministic(process)
    space = space_of(process)
    values = jnp.linalg.eigvals(slope_at(process, space, space.point(_centred(process, at))))
    return values[jnp.argsort(-jnp.abs(values))]


def spectral_radius(process: Process[Any], at: Float[ArrayLike, "*contexts K"] | State) -> Float[Array, ""]:
    """rho = max |eigenvalue of J|: a fixed point attracts if rho < 1 and does not if rho > 1; at rho = 1 it is undecided.

    Args:
        process: F, a deterministic ``Process``.
        at: log pi, ``(K,)``, finite, in nats, or a state, as in ``jacobian``.

    >>> loop = dyn.SelfSampling(dyn.preferences.cyclic(3, 0.2), dyn.IPO(0.1), 0.5, 1.0)
    >>> round(float(dyn.stability.spectral_radius(loop, jnp.log(jnp.ones(3) / 3))), 4)
    1.2583
    """
    return jnp.abs(eigenvalues(process, at))[0]


def _centred(process: Process[Any], at: Float[ArrayLike, "*contexts K"] | State) -> Any:
    if isinstance(at, State):
        return process.centre(as_state(process, at).carried)
    if concrete(at):
        return process.centred_start(check_initial(process, at, "log_policy"))
    return process.centred_start(centre(as_array(at)))
