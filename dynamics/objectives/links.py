"""Losses by their link, the function of win rates that a margin loss inverts, and kappa, which decides their stability."""

from __future__ import annotations

from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import ndtr
from jaxtyping import Array, ArrayLike, Bool, Float

from .._checks import check_number, check_scalar
from .._numerics import concrete
from ..preferences import Seen
from ._margin_loss import MarginLoss
from ._slope import slope_of
from .dpo import DPO

TAIL_MARGIN, FRACTION_LEVELS = 3.0, 60  # Mills' ratio beyond this margin is a continued fraction with so many levels
MAX_SMOOTHING = float(np.nextafter(0.5, 0.0))
SQRT_2PI = float(np.sqrt(2.0 * np.pi))
MIN_CURVATURE = 1e-12  # f''(0) as a share of |f'(0)|; below it, a loss does not curve upward at 0


def _logistic_loss(r: Array) -> Array:
    return jax.nn.softplus(-r)  # log 2 cosh(r/2) - r/2


def _logistic_slope(r: Array) -> Array:
    return -jax.nn.sigmoid(-r)  # tanh(r/2)/2 - 1/2


def _linear_loss(r: Array) -> Array:
    return 0.5 * r * (r - 1.0)


def _linear_slope(r: Array) -> Array:
    return r - 0.5


def _probit_loss(r: Array) -> Array:
    """phi(r) - r Phi(-r); in the tail, where its two terms cancel, phi(r) t/(r + t), whose factors are positive."""
    far = r > TAIL_MARGIN
    s = jnp.where(far, r, TAIL_MARGIN)
    near = jnp.where(far, 0.0, r)
    t = _mills_rest(s)
    return jnp.where(far, _density(s) * t / (s + t), _density(near) - near * ndtr(-near))


def _probit_slope(r: Array) -> Array:
    """-Phi(-r); in the tail, -phi(r)/(r + t)."""
    far = r > TAIL_MARGIN
    s = jnp.where(far, r, TAIL_MARGIN)
    return -jnp.where(far, _density(s) / (s + _mills_rest(s)), ndtr(-jnp.where(far, 0.0, r)))


def _mills_rest(s: Array) -> Array:
    """t = 1/(s + 2/(s + 3/(s + …))), for which Phi(-s)/phi(s) = 1/(s + t)."""
    t = jnp.zeros_like(s)
    for k in range(FRACTION_LEVELS, 0, -1):
        t = k / (s + t)
    return t


def _density(r: Array) -> Array:
    return jnp.exp(-0.5 * r**2) / SQRT_2PI


def _cauchit_loss(r: Array) -> Array:
    """r atan(r)/π - log(1 + r²)/(2π) - r/2, which is 0 at r = 0, since the integral of the slope up to ∞ diverges."""
    far = jnp.where(jnp.abs(r) > 1.0, jnp.abs(r), 1.0)
    # log(1 + r²) without squaring a large r; r (atan r - π/2) = -r atan(1/r) for r > 0.
    log_part = jnp.where(jnp.abs(r) > 1.0, 2.0 * jnp.log(far) + jnp.log1p(far**-2), jnp.log1p(r**2))
    return r * _cauchit_slope(r) - log_part / (2.0 * np.pi)


def _cauchit_slope(r: Array) -> Array:
    """atan(r)/π - 1/2 = -atan2(1, r)/π."""
    return -jnp.arctan2(jnp.ones_like(r), r) / np.pi


LINKS: dict[str, tuple[Callable[[Array], Array], Callable[[Array], Array]]] = {
    "logistic": (_logistic_loss, _logistic_slope),
    "linear": (_linear_loss, _linear_slope),
    "probit": (_probit_loss, _probit_slope),
    "cauchit": (_cauchit_loss, _cauchit_slope),
}


class Link(MarginLoss):
    """f'(r) = L(r) - (1 - 2 eps)/2, L odd and increasing: the minimiser solves Σ_j mu_j L(f_i - f_j) = (1 - 2 eps)(A mu)_i.

    L and f, each up to the label smoothing eps, which adds eps r to f:

    ========== ==================== ==========================================
    logistic   tanh(r/2)/2          log(1 + e^-r): DPO
    linear     r                    r²/2 - r/2: the optimum of IPO
    probit     Phi(r) - 1/2         phi(r) - r Phi(-r); not -log Phi(r)
    cauchit    atan(r)/π            r atan(r)/π - log(1 + r²)/2π - r/2
    ========== ==================== ==========================================

    Args:
        beta: beta, scalar in (0, ∞): the KL coefficient, r = beta (h_w - h_l).
        link: "logistic", "linear", "probit" or "cauchit".
        label_smoothing: eps, scalar in [0, 1/2): the rate at which labels are taken to be wrong,
            f(r) → (1 - eps) f(r) + eps f(-r).

    Raises:
        ValueError: beta or label_smoothing outside its range, or an unknown link.

    Source: [derived] statement 7.17.

    >>> round(float(kappa(Link(0.1, link="probit", label_smoothing=0.1))), 6)  # 0.8 √(2π)
    2.005303
    """

    link: str = eqx.field(static=True)
    label_smoothing: Float[Array, ""]

    def __init__(self, beta: ArrayLike, link: str = "logistic", *, label_smoothing: ArrayLike = 0.0):
        super().__init__(beta)
        if link not in LINKS:
            raise ValueError(f"link = {link!r} is unknown; pass one of {', '.join(LINKS)}.")
        self.link = link
        self.label_smoothing = check_number(label_smoothing, "label_smoothing", 0.0, MAX_SMOOTHING)

    def check_parameter(self, path: str, values: np.ndarray) -> None:
        if path.rsplit(".", 1)[-1] == "label_smoothing":
            check_scalar(values, path, 0.0, MAX_SMOOTHING)
        else:
            super().check_parameter(path, values)

    def in_range(self) -> Bool[Array, ""]:
        return super().in_range() & (self.label_smoothing >= 0) & (self.label_smoothing <= MAX_SMOOTHING)

    def check_optimum(self, seen: Seen, support: Bool[np.ndarray, "*contexts K"], basis: np.ndarray | None) -> None:
        if self.link == "linear" or float(self.label_smoothing) > 0:
            return
        try:
            DPO(1.0).check_optimum(seen, support, basis)  # a bounded link: Ford's condition is that of DPO
        except ValueError as error:
            raise ValueError(str(error).replace("DPO", f"Link({self.link!r})")) from None

    def loss(self, margin: Float[Array, "*batch"]) -> Float[Array, "*batch"]:
        """f(r), entrywise; for |r| ≤ 40 the relative error is at the level of rounding, except near a zero of f."""
        # f(-r) = f(r) + r.
        return LINKS[self.link][0](margin) + self.label_smoothing * margin

    def slope(self, margin: Float[Array, "*batch"]) -> Float[Array, "*batch"]:
        return LINKS[self.link][1](margin) + self.label_smoothing


def kappa(objective: MarginLoss) -> Float[Array, ""]:
    """kappa = 2|f'(0)|/f''(0): with A1 = 0 rounds at uniform are unstable iff alpha² + (kappa lam w/(K beta))² > 1.

    IPO 1, SquaredMargin 2, probit √(2π), DPO 4; label smoothing eps multiplies it by 1 - 2 eps.

    Args:
        objective: any smooth margin loss with f''(0) > 0.

    Returns:
        kappa, scalar, dimensionless, in the margin's unit r = beta (h_w - h_l); traceable.

    Raises:
        ValueError: a loss that is not smooth or does not curve upward at 0, such as SLiC (concrete inputs).

    Source: [derived] statement 7.17.

    >>> kappa(dyn.IPO(0.1)).item(), kappa(dyn.DPO(0.1)).item()
    (1.0, 4.0)
    """
    name = type(objective).__name__
    if not objective.smooth:
        raise ValueError(
            f"{name} is not smooth, so kappa is not defined; use a loss with a continuous slope and f''(0) > 0."
        )
    zero = jnp.zeros_like(objective.beta)
    slope = slope_of(objective.loss)
    first, second = slope(zero), slope_of(slope)(zero)
    if concrete(first, second) and not float(second) > MIN_CURVATURE * abs(float(first)):
        raise ValueError(
            f"{name} does not curve upward at r = 0 (f'' = {float(second):g}), so kappa is not defined; use a loss with "
            f"f''(0) > 0."
        )
    return 2.0 * jnp.abs(first) / second
