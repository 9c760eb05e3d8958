"""Identity preference optimisation."""

from __future__ import annotations

from typing import ClassVar

import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Bool, Float

from .._numerics import centre, matvec, softmax
from ._base import Objective


class IPO(Objective):
    """f = C P mu: the minimiser of E_{i,j~mu, I=±1 by P}[(h_i - h_j - I/(2 beta))²] is pi* ∝ ref · exp(P mu / beta).

    Where mu_i = 0 the loss leaves h_i free; the formula is its continuous extension.

    Args:
        beta: beta, scalar in (0, ∞): the KL coefficient (IPO's tau).

    Raises:
        ValueError: beta not finite and positive.

    Source: [paper] Chen26, one-shot optimum of IPO (their beta is 1/beta here).
    """

    warm: ClassVar[bool] = False

    def __init__(self, beta: ArrayLike):
        super().__init__(beta)  # spelt out: type checkers would build the signature from the field, and refuse a float

    def solve(
        self, P: Float[Array, "K K"], log_mu: Float[Array, " K"], guess: Float[Array, " K"] | None = None
    ) -> tuple[Float[Array, " K"], Bool[Array, ""]]:
        return _tilt(P, jnp.exp(log_mu))

    def solve_mixed(
        self,
        P: Float[Array, "K K"],
        lam: Float[Array, ""],
        logits: Float[Array, " K"],
        log_offline: Float[Array, " K"],
        guess: Float[Array, " K"] | None = None,
    ) -> tuple[Float[Array, " K"], Bool[Array, ""]]:
        # f is linear in mu, so no logarithm of it is needed.
        return matvec(P - 0.5, lam * softmax(logits) + (1.0 - lam) * jnp.exp(log_offline)), jnp.asarray(True)

    def solve_within(
        self,
        basis: Float[Array, "K m"],
        P: Float[Array, "K K"],
        log_mu: Float[Array, " K"],
        guess: Float[Array, " K"] | None = None,
    ) -> tuple[Float[Array, " K"], Bool[Array, ""]]:
        # The loss is Var_mu(h - P mu/beta) plus a constant, so its minimiser is a projection.
        f, found = self.solve(P, log_mu)
        from . import _projected  # loads on use

        f = _projected.project(basis, log_mu, f)
        return f, found & jnp.all(jnp.isfinite(f))

    def solve_wins(
        self, wins: Float[Array, "K K"], smoothing: Float[Array, ""]
    ) -> tuple[Float[Array, " K"], Bool[Array, ""]]:
        from . import _empirical  # loads on use

        return _empirical.least_squares(wins)

    def loss(self, margin: Float[Array, "*batch"]) -> Float[Array, "*batch"]:
        """f(r) = (r - 1/2)²/beta², entrywise: (h_w - h_l - 1/(2 beta))² at r = beta (h_w - h_l)."""
        return ((margin - 0.5) / self.beta) ** 2

    def slope(self, margin: Float[Array, "*batch"]) -> Float[Array, "*batch"]:
        return 2.0 * (margin - 0.5) / self.beta**2

    def parabola(self) -> tuple[Float[Array, ""], Float[Array, ""]]:
        return self.beta**-2, jnp.full_like(self.beta, 0.5)


def _tilt(P: Float[Array, "K K"], mu: Float[Array, " K"]) -> tuple[Float[Array, " K"], Bool[Array, ""]]:
    # P - 1/2 differs by a constant in f; its smaller entries round less.
    f = centre(matvec(P - 0.5, mu))
    return f, jnp.all(jnp.isfinite(f))
