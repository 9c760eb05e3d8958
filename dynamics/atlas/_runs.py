"""Runs of one loop over values of its parameters or over starts, of which the late policies are kept."""

from __future__ import annotations

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from .._checks import host_numbers
from .._parameters import replace
from ..engine import check_initial
from ..rounds import Process

SPREAD = float(np.log(100.0))  # nats between the first and the last response of the default start


def starts_of(loop: Process[Any], initial: Any, name: str = "initial") -> np.ndarray:
    """Checked log-policies at round 0, ``(M, K)``; unless given, one in which each response is less likely than the one
    before and the first 100 times as likely as the last, or the nearest policy of a smaller class.
    """
    if initial is not None:
        rows = host_numbers(initial, name)
        rows = rows if rows.ndim == 2 else rows[None]
        return np.stack([np.asarray(check_initial(loop, jnp.asarray(row), name)) for row in rows])
    basis = np.asarray(loop.basis())
    z = -SPREAD * np.arange(loop.num_responses) / (loop.num_responses - 1)
    return log_softmax(basis @ (basis.T @ z))[None]


def log_softmax(z: np.ndarray) -> np.ndarray:
    """Log-policies of logits, over the last axis."""
    z = z - z.max(axis=-1, keepdims=True)
    return z - np.log(np.exp(z).sum(axis=-1, keepdims=True))


@eqx.filter_jit
def late(
    loop: Process[Any], values: dict[str, Float[Array, " runs"]], starts: Float[Array, "runs K"], skip: Array, keep: int
) -> Float[Array, "runs keep K"]:
    """log pi of the ``keep`` rounds after the first ``skip``, of a run for each start; NaN where a round failed.

    Args:
        loop: one prompt, deterministic.
        values: of its parameters by full path, one for each run.
        starts: log pi at round 0.
        skip: rounds that are not kept.
        keep: rounds that are.
    """

    def one(cell: dict[str, Array], start: Array) -> Array:
        here = replace(loop, cell)

        def move(carry: tuple[Any, Array], _: Any = None) -> tuple[tuple[Any, Array], Array]:
            state, good = carry
            state, succeeded = here.advance(state, None)
            good = good & succeeded
            return (state, good), jnp.where(good, here.log_policy(state), jnp.nan)

        carry = here.start(start), jnp.array(True)
        carry = jax.lax.fori_loop(0, skip, lambda _, c: move(c)[0], carry)
        return jax.lax.scan(move, carry, None, length=keep)[1]

    return jax.vmap(one)(values, starts)
