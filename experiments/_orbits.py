"""Orbits around the uniform policy on the 3-cycle: last rounds, complex amplitude, Lyapunov exponent."""

from __future__ import annotations

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

import dynamics as dyn
from dynamics.diagnostics import Measure, Snapshot, Variable

from ._framework import KIND_OF


class Tail(Measure):
    """pi_t(0) over the last ``length`` rounds, in no particular order."""

    length: int = eqx.field(static=True, default=200)
    name: str = eqx.field(static=True, kw_only=True, default="orbit")

    def variables(self, num_responses: int) -> dict[str, Variable]:
        return {self.name: Variable(("sample",), "1", "pi_t(0) over the last rounds")}

    def init(self, snapshot: Snapshot, rounds: int) -> Array:
        return jnp.full(self.length, jnp.exp(snapshot.log_policy[0]))

    def update(self, state: Array, snapshot: Snapshot) -> Array:
        return state.at[snapshot.round % self.length].set(jnp.exp(snapshot.log_policy[0]))

    def finalize(self, state: Array) -> Array:
        return state


class Mode(Measure):
    """The oscillating mode w_t = Σ_j z_t(j) e^{-2 pi i j/3}/3 of the 3-cycle in every round, and its mean square.

    The logits are z_j = w e^{2 pi i j/3} + c.c. Rounds are numbered from 0; the mean is over their second half.
    """

    length: int = eqx.field(static=True)
    name: str = eqx.field(static=True, kw_only=True, default="mode")

    def variables(self, num_responses: int) -> dict[str, Variable]:
        return {
            "mode": Variable(("round", "part"), "nat", "w_t, real and imaginary part"),
            "mean_square": Variable((), "nat²", "mean of |w_t|² over the second half of the rounds"),
        }

    def init(self, snapshot: Snapshot, rounds: int) -> Array:
        return jnp.zeros((self.length + 1, 2)).at[0].set(self._mode(snapshot))

    def update(self, state: Array, snapshot: Snapshot) -> Array:
        return state.at[snapshot.round].set(self._mode(snapshot))

    def finalize(self, state: Array) -> dict[str, Array]:
        return {"mode": state, "mean_square": jnp.mean(jnp.sum(state[self.length // 2 :] ** 2, axis=1))}

    @staticmethod
    def _mode(snapshot: Snapshot) -> Array:
        turn = 2 * np.pi * np.arange(3) / 3
        z = snapshot.logits
        return jnp.stack([jnp.sum(z * np.cos(turn)), -jnp.sum(z * np.sin(turn))]) / 3


def cycle_loop(
    objective: str, advantage: float, alpha: float, lam: float, beta: float, **options: Any
) -> dyn.SelfSampling:
    """Rounds on the 3-cycle P = 1/2 ± a with a uniform reference and offline policy."""
    kind = KIND_OF[objective]
    return dyn.SelfSampling(dyn.preferences.cyclic(3, advantage=advantage), kind(beta=beta), alpha, lam, **options)


def two_basins() -> dyn.SelfSampling:
    """The example of statement 7.2: IPO at K = 4, whose only fixed point attracts some starts and not others."""
    P = np.full((4, 4), 0.5)
    for (i, j), p in {(0, 1): 0.82, (0, 2): 0.65, (0, 3): 0.45, (1, 2): 0.22, (1, 3): 0.19, (2, 3): 0.11}.items():
        P[i, j], P[j, i] = p, 1 - p
    log_reference = jax.nn.log_softmax(jnp.array([-4.47, 11.66, 1.9, -9.1]))
    return dyn.SelfSampling(P, dyn.IPO(beta=jnp.asarray(0.0175)), 0.0, 1.0, log_reference=log_reference)


def onset_beta(objective: str, advantage: float, alpha: float, lam: float) -> float:
    """The beta at which the uniform policy loses stability, by statement 2.1."""
    inputs = {"structure": "cycle", "K": 3, "advantage": advantage, "alpha": alpha, "lam": lam}
    return float(dyn.theorems.uniform_threshold(**inputs, objective=objective.lower()).upper)


def squared_amplitude(log_policy: Float[np.ndarray, "T 3"]) -> float:
    """The mean over rounds of |w|², where the logits are z_j = w e^{2 pi i j/3} + c.c."""
    return float(np.mean(np.abs(np.asarray(log_policy) @ np.exp(-2j * np.pi * np.arange(3) / 3) / 3) ** 2))


@eqx.filter_jit
def lyapunov_exponents(
    loop: dyn.SelfSampling, betas: Float[Array, " n"], start: Float[Array, " K"], rounds: int
) -> Float[Array, " n"]:
    """(1/T) Σ log ‖J(z_t) v_t‖ over the second half of ``rounds`` for each beta; v is normalised after every round."""

    def growth(beta: Array) -> Array:
        process = eqx.tree_at(lambda p: p.objective.beta, loop, beta)

        move = lambda z: process.advance(process.centred_start(z), None)[0].logits

        def one(carry: tuple[Array, Array], _: None) -> tuple[tuple[Array, Array], Array]:
            z, v = carry
            z, dz = jax.jvp(move, (z,), (v,))
            size = jnp.linalg.norm(dz)
            return (z, dz / size), jnp.log(size)

        v = jnp.array([1.0, -0.3, -0.7])
        _, logs = jax.lax.scan(one, (start, v), None, length=rounds)
        return jnp.mean(logs[rounds // 2 :])

    return jax.vmap(growth)(betas)
