"""Maps that look ahead, and the online gradient. p = softmax z throughout."""

from __future__ import annotations

from typing import ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Bool, Float, PRNGKeyArray

from .._checks import Numbers
from .._numerics import centre, log_softmax
from ._base import Game, Prompts, Proximal, Pulled


class Extragradient(Proximal):
    """z' = (1 - eta tau) z + eta tau log ref + eta P softmax(h), where h is the same with P p; proximal: both as in MMD.

    EGPO, or Nash-MP (mirror prox) if ``proximal``.

    Args:
        preference, eta, tau, log_reference, weights: as in ``MirrorDescent``.
        proximal: whether both half steps are those of magnetic mirror descent.

    Raises:
        ValueError: a value outside these ranges.

    Source: EGPO arXiv 2503.08942, Nash-MP arXiv 2505.19731; radii [derived] section 8.

    >>> game = dyn.games.Extragradient(dyn.preferences.cyclic(3, 0.4), eta=1.0, tau=0.1)
    >>> bool(dyn.stability.spectral_radius(game, game.log_start()) < 1)
    True
    """

    def __init__(
        self,
        preference: Prompts,
        eta: ArrayLike,
        tau: ArrayLike,
        log_reference: Numbers | None = None,
        *,
        proximal: bool = False,
        weights: Numbers | None = None,
    ):
        # Spelt out for type checkers.
        Proximal.__init__(self, preference, eta, tau, log_reference, proximal=proximal, weights=weights)

    def __call__(
        self, logits: Float[Array, "*contexts K"], key: PRNGKeyArray | None = None
    ) -> Float[Array, "*contexts K"]:
        half = self.move(logits, self.rates(logits))
        return self.move(logits, self.rates(half))


class OnlineGradient(Game):
    """z' = z - 4 eta p∘(h - p·h - ((P p) - ½)/tau), h = z - log ref: a gradient step of IPO on pairs from the policy.

    "Online IPO 2", of which the temperature tau is IPO's beta.

    Args:
        preference, log_reference, weights: as in ``MirrorDescent``.
        eta: step of the gradient, > 0.
        tau: temperature, > 0.

    Raises:
        ValueError: a value outside these ranges.

    Source: EGPO arXiv 2503.08942; the flow is 3.8 of PreferenceFlow with a following sampler, its radius [derived] section 8.

    >>> game = dyn.games.OnlineGradient(dyn.preferences.cyclic(3, 0.4), eta=0.1, tau=0.5)
    >>> game(jnp.zeros(3)).shape
    (3,)
    """

    positive_tau: ClassVar[bool] = True

    def __init__(
        self,
        preference: Prompts,
        eta: ArrayLike,
        tau: ArrayLike,
        log_reference: Numbers | None = None,
        *,
        weights: Numbers | None = None,
    ):
        Pulled.__init__(self, preference, eta, tau, log_reference, weights=weights)  # spelt out for type checkers

    def __call__(
        self, logits: Float[Array, "*contexts K"], key: PRNGKeyArray | None = None
    ) -> Float[Array, "*contexts K"]:
        p = jax.nn.softmax(logits)
        h = logits - self.magnet(logits)
        mean = jnp.sum(p * h, axis=-1, keepdims=True)
        return logits - 4 * self.eta * p * (h - mean - (self.rates(logits) - 0.5) / self.tau)


class OptimisticMirrorDescent(Pulled):
    """z' = (1 - eta tau) z + eta tau log ref + eta (2 P p_t - P p_{t-1}): mirror descent with a guess of the next rates.

    The state holds the last two policies; a run begins with both equal.

    Args:
        preference, eta, tau, log_reference, weights: as in ``MirrorDescent``.

    Raises:
        ValueError: a value outside these ranges.

    Source: ONPO arXiv 2502.16852; its characteristic equation [derived] section 8.

    >>> game = dyn.games.OptimisticMirrorDescent(dyn.preferences.cyclic(3, 0.4), eta=1.0, tau=0.1)
    >>> bool(dyn.stability.spectral_radius(game, game.log_start()) < 1)
    True
    """

    def __init__(
        self,
        preference: Prompts,
        eta: ArrayLike,
        tau: ArrayLike,
        log_reference: Numbers | None = None,
        *,
        weights: Numbers | None = None,
    ):
        Pulled.__init__(self, preference, eta, tau, log_reference, weights=weights)  # spelt out for type checkers

    def start(self, log_policy: Float[Array, "*contexts K"]) -> tuple[Array, Array]:
        return centre(log_policy), centre(log_policy)

    def advance(
        self, state: tuple[Array, Array], key: PRNGKeyArray | None
    ) -> tuple[tuple[Array, Array], Bool[Array, ""]]:
        z, before = state
        moved = self.pulled(z) + self.eta * (2 * self.rates(z) - self.rates(before))
        return (centre(moved), z), jnp.all(jnp.isfinite(moved))

    def log_policy(self, state: tuple[Array, Array]) -> Float[Array, "*contexts K"]:
        return log_softmax(state[0])

    def centre(self, state: tuple[Array, Array]) -> tuple[Array, Array]:
        return centre(state[0]), centre(state[1])
