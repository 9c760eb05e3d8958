"""Maps that are IPO's rounds with other constants, and Nash-MD, which is so in its mixture. p = softmax z throughout."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float, PRNGKeyArray

from .._checks import Numbers, check_number
from .._noun import assemble
from .._numerics import concrete
from .._parts import uniform
from ..feedback import Population
from ..learners import Optimum
from ..objectives import IPO
from ..policies import Tabular
from ..references import Geometric
from ..rounds import RoundMap, Rounds
from ..samplers import OnPolicy
from ._base import Game, OnPrompts, Prompts, Proximal, Pulled, check_field, check_pull


def _as_ipo(game: OnPrompts, alpha: Array, beta: Array, log_reference: Array) -> Rounds:
    """IPO's rounds with the policy as sampler, whose certificates, critical values and theorems apply."""
    return assemble(
        Rounds,
        preference=game.preference,
        objective=assemble(IPO, beta=beta),
        sampler=OnPolicy(),
        reference=assemble(Geometric, alpha=alpha, log_reference=log_reference),
        feedback=Population(),
        learner=Optimum(),
        policy=Tabular(game.num_responses).in_contexts(game.shape),
        weights=game.weights,
    )


class MirrorDescent(Proximal):
    """z' = (1 - eta tau) z + eta tau log ref + eta P p; proximal: z' = (z + eta tau log ref + eta P p)/(1 + eta tau).

    Online IPO (OMD, INPO, EGPO's "online IPO 1"), and magnetic mirror descent (MPO's inner loop) if ``proximal``. Both are
    rounds of IPO on the policy's own pairs, with alpha = 1 - eta tau and beta = 1/eta, or alpha = 1/(1 + eta tau) and
    beta = (1 + eta tau)/eta, so that the theorems about those apply.

    Args:
        preference: P, ``(K, K)``; for X prompts, which are independent of each other, ``(X, K, K)`` or a
            ``PreferenceSet`` of one size.
        eta: step, > 0; eta tau ≤ 1 unless ``proximal``. ``critical`` and ``sweep`` follow the equation beyond that as well.
        tau: temperature, ≥ 0.
        log_reference: log ref of the magnet, ``(K,)`` or ``(X, K)``, finite, in nats; uniform unless given.
        proximal: whether the pull towards the magnet is implicit.
        weights: shares of X prompts in averages, ``(X,)``, ≥ 0, normalised; equal unless given.

    Raises:
        ValueError: a value outside these ranges.

    Source: INPO arXiv 2407.00617, EGPO arXiv 2503.08942, MPO arXiv 2410.16714; as IPO's rounds [derived] statement 8.1.

    >>> game = dyn.games.MirrorDescent(dyn.preferences.cyclic(3, 0.4), eta=1.0, tau=0.1)
    >>> round(float(dyn.stability.spectral_radius(game, game.log_start())) ** 2, 6)  # (1 - eta tau)² + (eta omega)²
    0.863333
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

    def __check_init__(self) -> None:
        if not self.proximal:
            check_pull(self, "pass eta ≤ 1/tau, or proximal=True")

    def __call__(
        self, logits: Float[Array, "*contexts K"], key: PRNGKeyArray | None = None
    ) -> Float[Array, "*contexts K"]:
        return self.move(logits, self.rates(logits))

    def as_rounds(self) -> Rounds | None:
        pull = self.eta * self.tau
        if not self.proximal and concrete(pull) and bool(pull > 1):
            return None  # IPO's rounds have no negative alpha
        alpha, beta = (1 / (1 + pull), (1 + pull) / self.eta) if self.proximal else (1 - pull, 1 / self.eta)
        return _as_ipo(self, alpha, beta, self.log_reference)


class SPPO(OnPrompts, RoundMap):
    """z' = z + eta P p: self-play without a temperature. Unstable at every step on a cycle; averages of policies converge.

    Args:
        preference, weights: as in ``MirrorDescent``.
        eta: step, > 0.

    Raises:
        ValueError: a value outside these ranges.

    Source: SPPO arXiv 2405.00675; as IPO's rounds at alpha = 1, beta = 1/eta [derived] statement 8.1.

    >>> game = dyn.games.SPPO(dyn.preferences.cyclic(3, 0.4), eta=1.0)
    >>> bool(dyn.stability.spectral_radius(game, game.log_start()) > 1)
    True
    """

    eta: Float[Array, ""]

    def __init__(self, preference: Prompts, eta: ArrayLike, *, weights: Numbers | None = None):
        self.take(preference, weights)
        self.eta = check_number(eta, "eta", 0.0, np.inf, open_low=True)

    def __call__(
        self, logits: Float[Array, "*contexts K"], key: PRNGKeyArray | None = None
    ) -> Float[Array, "*contexts K"]:
        return logits + self.eta * self.rates(logits)

    def check_parameter(self, path: str, values: np.ndarray) -> None:
        check_field(path, values)

    def as_rounds(self) -> Rounds:
        even = uniform(self.num_responses)
        return _as_ipo(self, jnp.ones_like(self.eta), 1 / self.eta, even)


class NashMD(Game):
    """z' = m + eta P softmax(m), m = (1 - eta tau) z + eta tau log ref.

    At a constant step z does not tend to the regularised Nash equilibrium, but m does to that at temperature
    tau/(1 - eta tau) (statement 8.2).

    Args:
        preference, eta, tau, log_reference, weights: as in ``MirrorDescent``; eta tau ≤ 1.

    Raises:
        ValueError: a value outside these ranges.

    Source: Nash-MD arXiv 2312.00886; its limit [derived] statement 8.2.

    >>> game = dyn.games.NashMD(dyn.preferences.cyclic(3, 0.4), eta=1.0, tau=0.1)
    >>> round(float(dyn.stability.spectral_radius(game, game.log_start())) ** 2, 6)  # (1 - eta tau)² (1 + (eta omega)²)
    0.8532
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

    def __check_init__(self) -> None:
        check_pull(self, "pass eta ≤ 1/tau")

    def __call__(
        self, logits: Float[Array, "*contexts K"], key: PRNGKeyArray | None = None
    ) -> Float[Array, "*contexts K"]:
        mixed = self.pulled(logits)
        return mixed + self.eta * self.rates(mixed)
