"""Optima of a finite number of comparisons within a class of log-linear policies.

Where the comparisons leave directions of the class open, the member of least norm is the limit of fits that ask all unknowns
to be 0 with a weight that vanishes. Such rows are added to those of the pairs, lighter than any of these by e^200.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.custom_derivatives import SymbolicZero
from jax.nn import log_sigmoid, sigmoid
from jaxtyping import Array, Bool, Float

from ._projected import APART, LARGEST, LONGEST, MAX_STEPS, separating_direction, weighted_fit


class _Wins(NamedTuple):
    """The rows of pairs: features of the gap (0 where none was compared), wins both ways, log of their sum."""

    X: Float[Array, "pairs m"]
    first: Float[Array, " pairs"]
    second: Float[Array, " pairs"]
    compared: Bool[Array, " pairs"]
    log_met: Float[Array, " pairs"]


def _rows(basis: Array, wins: Array) -> _Wins:
    i, j = np.triu_indices(basis.shape[0], 1)
    first, second = wins[i, j], wins[j, i]
    compared = first + second > 0
    X = jnp.where(compared[:, None], basis[i] - basis[j], 0.0)
    return _Wins(X, first, second, compared, jnp.log(jnp.where(compared, first + second, 1.0)))


def _least(pairs: _Wins, log_weight: Array, target: Array, rest: Array) -> Float[Array, " m"]:
    """The weighted fit of ``target`` by the pairs and, beyond what they determine, of ``rest`` by the unknowns."""
    lightest = jnp.min(jnp.where(pairs.compared, log_weight, jnp.inf))
    floor = jax.lax.stop_gradient(jnp.where(jnp.isfinite(lightest), lightest, 0.0) - APART)
    return weighted_fit(
        jnp.concatenate([pairs.X, jnp.eye(len(rest))]),
        jnp.concatenate([jnp.where(pairs.compared, log_weight, floor), jnp.full(len(rest), floor)]),
        jnp.concatenate([jnp.where(pairs.compared, target, 0.0), rest]),
    )


def least_squares_wins(
    basis: Float[Array, "K m"], wins: Float[Array, "K K"]
) -> tuple[Float[Array, " K"], Bool[Array, ""]]:
    """argmin over f in the class of Σ_ij W_ij (f_i - f_j - 1/2)², of least norm, and whether it is finite.

    Args:
        basis: orthonormal centred columns that span the class, ``(K, m)``.
        wins: W, ``(K, K)``, how often, or with what mass, i beat j; 0 where a pair was not compared.
    """
    pairs = _rows(basis, wins)
    met = jnp.where(pairs.compared, pairs.first + pairs.second, 1.0)
    target = 0.5 * (pairs.first - pairs.second) / met
    f = basis @ _least(pairs, pairs.log_met, target, jnp.zeros(basis.shape[1]))
    return f, jnp.all(jnp.isfinite(f))


def logistic_wins(
    basis: Float[Array, "K m"], wins: Float[Array, "K K"], smoothing: Float[Array, ""]
) -> tuple[Float[Array, " K"], Bool[Array, ""]]:
    """argmin over f in the class of -Σ_ij W_ij log sigma(f_i - f_j), of least norm, and whether there is one.

    ``smoothing`` is added both ways to each pair that was compared. Without it some direction of the class may contradict no
    comparison; Newton's method then goes on for ever, by a step of 1 along it, and ``found`` is False once it has gone on
    for 1,000 steps. ``check_separation_wins`` decides that exactly, on the host.

    Args:
        basis: orthonormal centred columns that span the class, ``(K, m)``.
        wins: W, ``(K, K)``, how often, or with what mass, i beat j.
        smoothing: pseudo-wins, scalar in [0, ∞), in units of ``wins``.
    """
    return _logistic(basis, wins + smoothing * ((wins + wins.T) > 0))


def _forces(pairs: _Wins, x: Array) -> tuple[Array, Array]:
    """-f' of each pair and the log of f'', both as shares of the pair's mass."""
    share = jnp.exp(-pairs.log_met)
    force = share * pairs.first * sigmoid(-x) - share * pairs.second * sigmoid(x)
    return jnp.where(pairs.compared, force, 0.0), log_sigmoid(x) + log_sigmoid(-x)


@jax.custom_jvp
def _logistic(basis: Array, wins: Array) -> tuple[Array, Array]:
    pairs = _rows(basis, wins)
    largest = lambda w: jnp.max(jnp.abs(pairs.X @ w))

    def going(carry: tuple[Array, Array, Array]) -> Array:
        w, last, count = carry
        return (last > 1e-13 * (1.0 + largest(w))) & (count < MAX_STEPS)

    def step(carry: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        w, before, count = carry
        force, log_curve = _forces(pairs, pairs.X @ w)
        # As for the exact law: no pair asks for a change of more than LONGEST by itself, and steps descend from anywhere.
        log_curve = jnp.maximum(log_curve, jnp.log(jnp.abs(force) / LONGEST))
        delta = _least(pairs, pairs.log_met + log_curve, force * jnp.exp(-log_curve), -w)
        size = largest(delta)
        share = jnp.where(size > 1e-3, jnp.log1p(size) / jnp.where(size > 1e-3, size, 1.0), 1.0)
        last = jnp.where((size < 1e-9) & (size >= 0.5 * before), 0.0, size)
        return w + share * delta, last, count + 1

    start = (jnp.zeros(basis.shape[1]), jnp.asarray(jnp.inf), jnp.array(0))
    w, last, _ = jax.lax.while_loop(going, step, start)
    found = (last <= 1e-9 * (1.0 + largest(w))) & jnp.all(jnp.isfinite(w))
    return basis @ jnp.where(jnp.isfinite(w), w, 0.0), found


def _logistic_jvp(primals: Any, tangents: Any) -> tuple[Any, Any]:
    (basis, wins), (d_basis, d_wins) = primals, tangents
    if not isinstance(d_basis, SymbolicZero):
        raise NotImplementedError(
            "a round's derivative by the features phi is not defined here; differentiate the flow."
        )
    f, found = _logistic(basis, wins)
    pairs = _rows(basis, wins)
    x = pairs.X @ (basis.T @ f)
    _, log_curve = _forces(pairs, x)
    log_curve = jnp.maximum(log_curve, -LARGEST)
    change = jnp.zeros_like(x)
    if not isinstance(d_wins, SymbolicZero):
        i, j = np.triu_indices(basis.shape[0], 1)
        change = (d_wins[i, j] * sigmoid(-x) - d_wins[j, i] * sigmoid(x)) * jnp.exp(-pairs.log_met - log_curve)
    dw = _least(pairs, pairs.log_met + log_curve, change, jnp.zeros(basis.shape[1]))
    return (f, found), (basis @ dw, np.zeros(found.shape, dtype=jax.dtypes.float0))


_logistic.defjvp(_logistic_jvp, symbolic_zeros=True)


def check_separation_wins(basis: np.ndarray, wins: np.ndarray) -> None:
    """Raises ``ValueError`` where some direction of the class contradicts no comparison, so that no finite optimum exists.

    By a linear programme, on the host; ``wins`` with the smoothing that the fit has.
    """
    i, j = np.triu_indices(len(wins), 1)
    met = wins[i, j] + wins[j, i]
    pairs = met > 0
    if not pairs.any():
        return
    w = separating_direction((basis[i] - basis[j])[pairs], wins[i, j][pairs] / met[pairs])
    if w is not None:
        h = basis @ w
        raise ValueError(
            f"DPO has no finite optimum within these features: raising response {int(np.argmax(h))} over "
            f"{int(np.argmin(h))} along phi contradicts no comparison; pass smoothing > 0, draw more, or use IPO."
        )
