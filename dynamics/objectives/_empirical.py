"""Optima on a finite number of comparisons, including what these leave undetermined.

Comparisons link responses into components. Between components the loss is constant, and the minimiser of least norm keeps
the log-ratios of the reference: f has mean 0 within every component, and is 0 for a response that was not compared.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from .._numerics import solve
from . import _odds_newton, win_odds

MAX_UNROLLED_RESPONSES = 12  # up to which ``reachable`` unrolls its loop


def reachable(edges: Bool[Array, "K K"]) -> Bool[Array, "K K"]:
    """Whether a path leads from i to j (Warshall's algorithm); every i reaches itself."""
    size = edges.shape[0]
    through = lambda k, paths: paths | (paths[:, k, None] & paths[k, None, :])
    paths = edges | jnp.eye(size, dtype=bool)
    if size <= MAX_UNROLLED_RESPONSES:
        for k in range(size):
            paths = through(k, paths)
        return paths
    return jax.lax.fori_loop(0, size, through, paths)


def least_squares(wins: Float[Array, "K K"]) -> tuple[Float[Array, " K"], Bool[Array, ""]]:
    """argmin_f Σ_ij W_ij (f_i - f_j - 1/2)² of least norm: L f = Σ_j (W_ij - W_ji)/2, L the Laplacian of W + Wᵀ."""
    met = wins + wins.T
    heaviest = jnp.max(met, axis=1)
    # Each row is scaled by its heaviest mass: the entries of a light row would be lost beside the 1s that are added.
    scale = 1.0 / jnp.where(heaviest > 0, heaviest, 1.0)
    linked = reachable(met > 0)
    laplacian = jnp.diag(jnp.sum(met, axis=1)) - met
    # Over each component the right-hand side sums to 0, and so do the unscaled rows, so adding ``linked`` only makes f unique.
    f = solve(laplacian * scale[:, None] + linked.astype(wins.dtype), 0.5 * scale * jnp.sum(wins - wins.T, axis=1))
    f = win_odds.centre_within(f, linked)
    return f, jnp.all(jnp.isfinite(f))


@jax.custom_jvp
def maximum_likelihood(
    wins: Float[Array, "K K"], smoothing: Float[Array, ""]
) -> tuple[Float[Array, " K"], Bool[Array, ""]]:
    """argmin_f -Σ_ij W_ij log sigma(f_i - f_j) of least norm, ``smoothing`` added both ways to each pair that was compared.

    It exists iff within every component each response is reached from each by wins (Ford 1957); otherwise ``found`` is False.
    Differentiated through its equation, since iterations that begin at the root would not move along with it.
    """
    wins = _smoothed(wins, smoothing)
    met = wins + wins.T
    by_wins = reachable(wins > 0)
    exists = jnp.all(by_wins == by_wins.T)
    linked = by_wins | by_wins.T
    # Where there is no optimum, Newton's method is given a trivial problem instead of running to its limit.
    P = jnp.where((met > 0) & exists, wins / jnp.where(met > 0, met, 1.0), 0.5)
    heaviest = jnp.max(met, axis=1, keepdims=True)
    # A response that was not compared is its own opponent: it keeps f = 0, and its sums stay finite.
    met = jnp.where((heaviest == 0) & jnp.eye(len(met), dtype=bool), 1.0, met / jnp.where(heaviest > 0, heaviest, 1.0))
    rows = jnp.where(met > 0, jnp.log(jnp.where(met > 0, met, 1.0)), -jnp.inf)
    f, found = _odds_newton.newton_on(rows, P, None, linked)
    return f, found & exists


def potentials(coupling: Float[Array, "K K"], flow: Float[Array, "K K"]) -> Float[Array, " K"]:
    """x with Σ_j C_ij (x_i - x_j) = Σ_j F_ij for symmetric C ≥ 0 and antisymmetric F, up to a constant for each component.

    Responses n are eliminated one after the other: C_ij + C_in C_nj/d takes the place of C_ij, and F_ij + (C_in F_nj - C_jn
    F_ni)/d that of F_ij, d = Σ_k C_nk. Nothing is subtracted from C, and what heavy pairs exchange does not drown a light pair
    that links them, as it does in row sums.
    """
    size = coupling.shape[0]
    rows: list[tuple[Array, Array]] = []
    for n in range(size - 1, 0, -1):
        last, pushed = coupling[n, :n], flow[n, :n]
        total = jnp.sum(last)
        share = last / jnp.where(total > 0, total, 1.0)
        rows.append((share, jnp.sum(pushed) / jnp.where(total > 0, total, 1.0)))
        coupling = coupling[:n, :n] + share[:, None] * last[None, :]
        coupling = coupling * (1.0 - jnp.eye(n, dtype=coupling.dtype))
        flow = flow[:n, :n] + share[:, None] * pushed[None, :] - pushed[:, None] * share[None, :]
    x = jnp.zeros(1, coupling.dtype)
    for share, pushed in reversed(rows):
        x = jnp.append(x, pushed + share @ x)
    return x


def _smoothed(wins: Float[Array, "K K"], smoothing: Float[Array, ""]) -> Float[Array, "K K"]:
    return wins + smoothing * ((wins + wins.T) > 0).astype(wins.dtype)


@maximum_likelihood.defjvp
def _maximum_likelihood_jvp(primals: Any, tangents: Any) -> tuple[Any, Any]:
    """L df = Σ_j (dW_ij sigma(f_j - f_i) - dW_ji sigma(f_i - f_j)).

    L is the Laplacian of (W_ij + W_ji) sigma(f_i - f_j) sigma(f_j - f_i).
    """
    f, found = maximum_likelihood(*primals)
    wins, change = jax.jvp(_smoothed, primals, tangents)
    beats = jax.nn.sigmoid(f[:, None] - f[None, :])
    met = (wins + wins.T) * beats * beats.T
    moved = change * beats.T
    df = potentials(met, moved - moved.T)
    linked = reachable(wins + wins.T > 0)
    return (f, found), (win_odds.centre_within(df, linked), np.zeros(found.shape, dtype=jax.dtypes.float0))
