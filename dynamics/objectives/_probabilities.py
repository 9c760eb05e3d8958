"""The equation of DPO's optimum as it stands, in probabilities, for policies and preferences that are not extreme.

Newton's method on Σ_j mu_j (P_ij - S_ij) = 0, S_ij = sigma(f_i - f_j), row by row, needs no logarithm: with u = e^f,
S_ij = u_i/(u_i + u_j), and P_ij - S_ij is taken on the side below 1/2, where neither is rounded near 1. The heaviest response
keeps f = 0 and its row, which is minus the sum of the others (each times its mass), is left out, so every row has an opponent
of mass ≥ 1/K. The row left out holds up to the rounding of what passes between the others: eps Σ mu_i mu_j |P_ij - S_ij| over
pairs of them, beside mu_h times the rates at which the heaviest response h wins and loses. Where that is too much, as where h
loses almost surely against all, this equation cannot be solved here.

A step is the last one where its span D = max x - min x has D² < eps. Newton's step leaves |Σ_j mu_j (P_ij - S_ij)| ≤
½ Σ_j mu_j |S''_ij| x_ij², by Taylor's formula; |S''| ≤ S' = S(1-S), which a change of the gap by d changes by a factor of at
most e^|d|, and Σ_j mu_j S'_ij is at most the rate at which i wins, and that at which it loses. So the log-odds of every row
are off by no more than D² e^D (1 + D²), for D ≤ 1/2 and a step that is not cut short, which is zero to rounding [derived].
"""

from __future__ import annotations

import functools
import operator

import jax
import jax.numpy as jnp
import numpy as np
from jax.lax import select
from jaxtyping import Array, Bool, Float

MAX_RESPONSES = 8  # sums are written out, one term for each pair
MAX_STEPS = 10
MAX_STEP = 2.0  # the largest change of a gap in one step
MAX_SHARE_OF_RANGE = 0.4  # of the logarithm of the largest float; beyond it a rate times eps may be subnormal
EQUATION_TOLERANCE = 1e3  # units of rounding in log-odds; a smaller residual counts as zero

Row = list[Array]


def newton(
    P: Float[Array, "K K"], mu: Float[Array, " K"], guess: Float[Array, " K"]
) -> tuple[Float[Array, " K"], Bool[Array, ""]]:
    """f of the equation, f = 0 at the heaviest response, and whether its residual is zero to rounding.

    Args:
        P: P, ``(K, K)``, K ≤ 8.
        mu: mu, ``(K,)``, the sampler of both responses; masses may be 0.
        guess: f of a neighbouring problem, ``(K,)``.
    """
    size, eps = mu.shape[0], jnp.finfo(mu.dtype).eps
    masses, f, wins, moved = _heaviest_last(P, mu, guess)

    def going(state: tuple[Row, Array, Array, Array]) -> Bool[Array, ""]:
        _, left, _, count = state
        return (left > 1.0) & (count < MAX_STEPS)

    def step(state: tuple[Row, Array, Array, Array]) -> tuple[Row, Array, Array, Array]:
        f, _, _, count = state
        coupling, miss, rounding = _equation(wins, masses, f)
        change, one = _solve(coupling, miss), jnp.ones_like(f[0])
        span = functools.reduce(jnp.maximum, change, 0.0 * one) - functools.reduce(jnp.minimum, change, 0.0 * one)
        share = select(span > MAX_STEP, MAX_STEP / span, one)
        return [a + share * x for a, x in zip(f, change, strict=True)], span * span * (1.0 / eps), rounding, count + 1

    begun = ([a - f[-1] for a in f[:-1]], jnp.asarray(jnp.inf, mu.dtype), jnp.asarray(jnp.inf, mu.dtype), jnp.array(0))
    f, left, rounding, _ = jax.lax.while_loop(going, step, begun)
    good, largest = (
        (left <= 1.0) & (rounding <= EQUATION_TOLERANCE),
        MAX_SHARE_OF_RANGE * np.log(float(jnp.finfo(mu.dtype).max)),
    )
    for a in f:
        good &= jnp.abs(a) < largest
    f = [*f, jnp.zeros_like(f[0])]
    for k in reversed(range(size - 1)):
        f[k], f[-1] = _swapped(moved[k], f[k], f[-1])
    return jnp.stack(f), good


def _sum(terms: Row) -> Array:
    return functools.reduce(operator.add, terms)


def _swapped(swap: Bool[Array, ""], a: Array, b: Array) -> tuple[Array, Array]:
    return select(swap, b, a), select(swap, a, b)


def _heaviest_last(
    P: Float[Array, "K K"], mu: Float[Array, " K"], guess: Float[Array, " K"]
) -> tuple[Row, Row, list[Row], list[Array]]:
    """Masses, f and the rows of P with the heaviest response in the last place, and the swaps that brought it there."""
    size = mu.shape[0]
    last, every = size - 1, range(size)
    masses, f, wins = [mu[i] for i in every], [guess[i] for i in every], [[P[i, j] for j in every] for i in every]
    moved: list[Array] = []
    for k in range(last):
        swap = masses[k] > masses[last]
        moved.append(swap)
        masses[k], masses[last] = _swapped(swap, masses[k], masses[last])
        f[k], f[last] = _swapped(swap, f[k], f[last])
        wins[k][last], wins[last][k] = _swapped(swap, wins[k][last], wins[last][k])
        for j in range(last):
            if j != k:
                wins[k][j], wins[last][j] = _swapped(swap, wins[k][j], wins[last][j])
                wins[j][k], wins[j][last] = _swapped(swap, wins[j][k], wins[j][last])
    return masses, f, wins, moved


def _equation(wins: list[Row], masses: Row, f: Row) -> tuple[list[Row], Row, Array]:
    """mu_j S'_ij, and Σ_j mu_j (P_ij - S_ij), for all rows but the last; the entries on the diagonal mean nothing. And by how
    many units of rounding the log-odds of the last row are off where all other rows hold to rounding.
    """
    size = len(masses)
    last = size - 1
    u, one = [jnp.exp(a) for a in f], jnp.ones_like(f[0])
    u.append(one)
    coupling, missed = [[one] * size for _ in range(last)], [[] for _ in range(last)]
    won, lost, between = [], [], [0.0 * one]
    for i in range(last):
        for j in range(i + 1, size):
            share = 1.0 / (u[i] + u[j])
            win, lose = u[i] * share, share if j == last else u[j] * share
            left = select(win < lose, wins[i][j] - win, lose - wins[j][i])
            curve = win * lose
            coupling[i][j] = masses[j] * curve
            missed[i].append(masses[j] * left)
            if j < last:
                coupling[j][i] = masses[i] * curve
                missed[j].append(-masses[i] * left)
                between.append(masses[i] * masses[j] * (jnp.minimum(win, lose) + jnp.abs(left)))
            else:
                won.append(masses[i] * lose)
                lost.append(masses[i] * win)
    rounding = _sum(between) / (masses[last] * jnp.minimum(_sum(won), _sum(lost)))
    return coupling, [_sum(terms) for terms in missed], rounding


def _solve(coupling: list[Row], rhs: Row) -> Row:
    """x with x_last = 0 and Σ_j coupling_ij (x_i - x_j) = rhs_i in all rows but the last.

    Gaussian elimination in which a diagonal is the sum of the other entries of its row (Grassmann, Taksar and Heyman 1985):
    nothing is subtracted from a coupling.
    """
    last = len(rhs)
    coupling, rhs, inverse = [list(row) for row in coupling], list(rhs), []
    for n in range(last):
        inverse.append(1.0 / _sum(coupling[n][n + 1 :]))
        for i in range(n + 1, last):
            share = coupling[i][n] * inverse[n]
            rhs[i] = rhs[i] + share * rhs[n]
            for j in range(n + 1, last + 1):
                if j != i:
                    coupling[i][j] = coupling[i][j] + share * coupling[n][j]
    x: Row = []
    for n in reversed(range(last)):
        known = [coupling[n][j] * value for j, value in enumerate(reversed(x), n + 1)]
        x.append(_sum([rhs[n], *known]) * inverse[n])
    return x[::-1]
