"""The linear picture of a round map at a policy."""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Complex, Float

from .._checks import check_log_distribution
from .._numerics import as_array, centre, concrete
from ..engine import check_process
from ..rounds import RoundMap


def boundary() -> float:
    """A spectral radius this close to 1 decides nothing: 1e-9, more in float32, where rounding is larger."""
    return max(1e-9, 64 * float(jnp.finfo(jnp.zeros(()).dtype).eps))


def check_deterministic(process: RoundMap) -> None:
    """Stability is of a map of policies, not of a random process: refuses the latter with the remedy."""
    check_process(process)
    process.check_smooth()
    if process.stochastic:
        raise ValueError(
            f"{type(process).__name__} is random (it takes a key), so it has no fixed points to analyse; analyse its mean, "
            f"e.g. the same SelfSampling without samples, or look at the spread of dyn.iterate over many keys."
        )


def check_analysable(process: RoundMap) -> None:
    """As ``check_deterministic``, for what looks at numbers and so cannot be traced."""
    check_deterministic(process)
    if not concrete(process):
        raise ValueError(f"{type(process).__name__} is traced; call this outside jit, vmap and grad.")


def step(process: RoundMap, z: Float[Array, " K"]) -> Float[Array, " K"]:
    """One round in centred logits, without memory."""
    return centre(process.advance(z, None, None)[0])


@eqx.filter_jit
def _jacobian(process: RoundMap, z: Float[Array, " K"]) -> Float[Array, "K K"]:
    raw = jax.jacfwd(lambda x: step(process, x))(z)
    return centre(raw)


def jacobian(process: RoundMap, log_policy: Float[ArrayLike, " K"]) -> Float[Array, "n n"]:
    """J = T (∂F/∂z) C phi, T = (C phi)⁺, the derivative of one round in theta; of tabular policies C (∂F/∂z) C.

    For ``SelfSampling`` it equals C(alpha I + (lam/beta) M Sigma)C with M = P for IPO and, for DPO, M = ∂f/∂mu at mu,
    Sigma = diag(pi) - pi piᵀ; row and column sums are 0.

    Args:
        process: F, a deterministic ``RoundMap``.
        log_policy: log pi, ``(K,)``, finite, in nats: where to differentiate.

    Returns:
        J, ``(K, K)``, or ``(d, d)`` for a log-linear policy; dimensionless.

    Source: [derived], theory of iterated alignment at any P.
    """
    check_deterministic(process)
    raw = _jacobian(process, _logits(process, log_policy))
    features = process.coordinates()
    if features is None:
        return raw
    return jnp.linalg.pinv(features) @ raw @ features


def eigenvalues(process: RoundMap, log_policy: Float[ArrayLike, " K"]) -> Complex[Array, " rank"]:
    """The eigenvalues of ``jacobian`` within the logits that policies may have, largest modulus first.

    K-1 of them, or as many as the rank of a log-linear policy's features: directions of theta that change no policy, like a
    constant added to all logits, have none.
    """
    check_deterministic(process)
    basis = process.basis()
    values = jnp.linalg.eigvals(basis.T @ _jacobian(process, _logits(process, log_policy)) @ basis)
    return values[jnp.argsort(-jnp.abs(values))]


def spectral_radius(process: RoundMap, log_policy: Float[ArrayLike, " K"]) -> Float[Array, ""]:
    """rho = max |eigenvalue of J| at a policy; below 1 a fixed point attracts, above 1 it does not, at 1 undecided."""
    return jnp.abs(eigenvalues(process, log_policy))[0]


def _logits(process: RoundMap, log_policy: Float[ArrayLike, " K"]) -> Float[Array, " K"]:
    if concrete(log_policy):
        return centre(check_log_distribution(log_policy, "log_policy", process.num_responses))
    return centre(as_array(log_policy))
