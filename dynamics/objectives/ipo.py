"""Identity preference optimisation."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float

from .._numerics import centre, matvec
from ..preferences import Masses, Pairs
from ._exact import register
from ._margin_loss import MarginLoss


class IPO(MarginLoss):
    """f = C P mu: the minimiser of E_{i,j~mu, I=±1 by P}[(h_i - h_j - I/(2 beta))²] is pi* ∝ ref · exp(P mu / beta).

    Where mu_i = 0 the loss does not depend on h_i; the formula is then the continuous extension.

    Args:
        beta: beta, scalar in (0, ∞): the KL coefficient (IPO's tau).

    Raises:
        ValueError: beta not finite and positive.

    Source: [paper] Chen26, one-shot optimum of IPO (their beta is 1/beta here).

    >>> uniform = -jnp.log(2.0) * jnp.ones(2)
    >>> f = dyn.IPO(0.5).implicit_reward(jnp.array([[0.5, 0.8], [0.2, 0.5]]), uniform)
    >>> round(float(f[0]), 6)
    0.15
    """

    def __init__(self, beta: ArrayLike):
        super().__init__(beta)  # spelt out: type checkers would build the signature from the field, and refuse a float

    def loss(self, margin: Float[Array, "*batch"]) -> Float[Array, "*batch"]:
        """f(r) = (r - 1/2)²/beta², entrywise: (h_w - h_l - 1/(2 beta))² at r = beta (h_w - h_l)."""
        return ((margin - 0.5) / self.beta) ** 2

    def slope(self, margin: Float[Array, "*batch"]) -> Float[Array, "*batch"]:
        return 2.0 * (margin - 0.5) / self.beta**2

    def parabola(self) -> tuple[Float[Array, ""], Float[Array, ""]]:
        return self.beta**-2, jnp.full_like(self.beta, 0.5)


def tilt(objective: Any, pairs: Pairs, basis: None, guess: Any) -> tuple[Array, Array]:
    """P mu up to a constant, as (P - 1/2) mu, whose smaller entries round less."""
    return matvec(pairs.preference - 0.5, pairs.mu), jnp.asarray(True)


def projection(objective: Any, pairs: Pairs, basis: Array, guess: Any) -> tuple[Array, Array]:
    """The projection of P mu on the class, because the loss is Var_mu(h - P mu/beta) plus a constant; for several prompts the
    fit of all gaps f_i - f_j to P_ij - 1/2.
    """
    from . import _projected  # loads on use

    if basis.ndim == 3:
        f = _projected.fit_pairs(basis, pairs.log_mu, pairs.preference - 0.5)
        return f, jnp.all(jnp.isfinite(f))
    f = centre(matvec(pairs.preference - 0.5, pairs.mu))
    f = _projected.project(basis, pairs.log_mu, f)
    return f, jnp.all(jnp.isfinite(f))


def least_squares(objective: Any, seen: Masses, basis: None, guess: Any) -> tuple[Array, Array]:
    """The least-squares fit of f_i - f_j to ±1/2, weighted by wins."""
    from . import _empirical  # loads on use

    return _empirical.least_squares(seen.compared())


register(IPO, Pairs, free=True)(tilt)
register(IPO, Pairs, free=False)(projection)
register(IPO, Masses, free=True)(least_squares)
