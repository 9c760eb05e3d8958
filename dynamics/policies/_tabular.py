"""One logit per response."""

from __future__ import annotations

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from .._numerics import centre, gauge_basis
from ._base import Policy


class Tabular(Policy):
    """z = theta: one logit per response, in every context its own.

    Args:
        K: number of responses, int ≥ 2.

    Raises:
        ValueError: K is not a whole number of at least 2.
    """

    size: int = eqx.field(static=True)

    def __init__(self, K: int):
        if isinstance(K, bool) or not isinstance(K, int | np.integer) or K < 2:
            raise ValueError(f"K = {K!r}; pass a whole number of responses, at least 2.")
        self.size = int(K)

    def start(self) -> Float[Array, " K"]:
        return jnp.zeros(self.size)

    def logits(self, parameters: Float[Array, "*contexts K"]) -> Float[Array, "*contexts K"]:
        return centre(parameters)

    def blank(self, shape: tuple[int, ...]) -> Float[Array, "*contexts K"]:
        return jnp.zeros(shape)

    def dims(self, shape: tuple[int, ...]) -> tuple[str, ...]:
        return ("response",) if len(shape) == 1 else ("context", "response")

    def pull(self, parameters: Float[Array, "*contexts K"], force: Float[Array, "*contexts K"]) -> Array:
        return force

    def basis(self) -> Float[Array, "K m"]:
        return jnp.asarray(gauge_basis(self.size))

    def in_contexts(self, shape: tuple[int, ...]) -> Tabular:
        if shape[-1] != self.size:
            raise ValueError(f"policy has {self.size} responses, preference {shape[-1]}; let them match.")
        return self

    def parameter_basis(self) -> Float[Array, "K m"]:
        return self.basis()

    def parameters(self, logits: Float[Array, "*contexts K"]) -> Float[Array, "*contexts K"]:
        return logits

    def check_member(self, logits: Float[Array, "*contexts K"], name: str) -> None:
        """Every policy with full support is tabular."""

    def resized(self, size: int) -> Tabular:
        return Tabular(size)
