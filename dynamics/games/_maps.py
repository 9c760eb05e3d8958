"""Round maps of games: mirror descent and its variants, from logits to logits. p = softmax z throughout.

All have one prompt, a step eta, and, but for SPPO, a temperature tau that pulls towards a magnet ref.
"""

from __future__ import annotations

from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Bool, Float, PRNGKeyArray

from .._checks import Numbers, check_log_distribution, check_number, check_scalar
from .._noun import assemble
from .._numerics import centre, log_softmax
from .._parts import uniform
from ..feedback import Population
from ..learners import Optimum
from ..objectives import IPO
from ..policies import Tabular
from ..preferences import check
from ..references import Geometric
from ..rounds import Process, RoundMap, Rounds
from ..samplers import OnPolicy


def check_game(preference: Any) -> Float[Array, "K K"]:
    """P of one prompt; several are refused by name."""
    if np.ndim(preference) == 3:
        raise ValueError(
            f"preference has shape {np.shape(preference)}; a game has one prompt: build one for each, or "
            "sweep over={'preference': preferences}."
        )
    return check(preference)


def check_magnet(log_reference: Any, size: int) -> Float[Array, " K"]:
    """log ref of full support; uniform where none is given."""
    if log_reference is None:
        return uniform(size)
    return check_log_distribution(log_reference, "log_reference", size)


def check_field(path: str, values: np.ndarray, *, positive_tau: bool = False) -> None:
    """Raises ``ValueError`` where a parameter of a game may not take one of the values."""
    name = path.rsplit(".", 1)[-1]
    if name == "eta":
        check_scalar(values, path, 0.0, np.inf, open_low=True)
    elif name == "tau":
        check_scalar(values, path, 0.0, np.inf, open_low=positive_tau)
    elif name == "log_reference":
        for row in values:
            check_log_distribution(row, path, values.shape[-1])


class _Game(RoundMap):
    """A map with a step, a temperature and a magnet."""

    preference: Float[Array, "K K"]
    eta: Float[Array, ""]
    tau: Float[Array, ""]
    log_reference: Float[Array, " K"]
    positive_tau: ClassVar[bool] = False
    least_share: ClassVar[bool] = False  # whether 1 - eta tau is the share of the policy, which may not be negative

    def __init__(
        self,
        preference: Numbers,
        eta: ArrayLike,
        tau: ArrayLike,
        log_reference: Numbers | None = None,
    ):
        self.preference = check_game(preference)
        self.eta = check_number(eta, "eta", 0.0, np.inf, open_low=True)
        self.tau = check_number(tau, "tau", 0.0, np.inf, open_low=self.positive_tau)
        self.log_reference = check_magnet(log_reference, self.preference.shape[-1])
        self._check_share()

    def _check_share(self) -> None:
        if self.least_share and bool(self.eta * self.tau > 1):
            raise ValueError(
                f"eta tau = {float(self.eta * self.tau):g} is above 1, so a round would step beyond the magnet; pass "
                "eta ≤ 1/tau."
            )

    def check_parameter(self, path: str, values: np.ndarray) -> None:
        check_field(path, values, positive_tau=self.positive_tau)

    def _rates(self, logits: Float[Array, " K"]) -> Float[Array, " K"]:
        """P p."""
        return self.preference @ jax.nn.softmax(logits)

    def _pulled(self, logits: Float[Array, " K"]) -> Float[Array, " K"]:
        """(1 - eta tau) z + eta tau log ref."""
        pull = self.eta * self.tau
        return (1 - pull) * logits + pull * self.log_reference

    def _proximal(self, logits: Float[Array, " K"], rates: Float[Array, " K"]) -> Float[Array, " K"]:
        """(z + eta tau log ref + eta rates)/(1 + eta tau)."""
        pull = self.eta * self.tau
        return (logits + pull * self.log_reference + self.eta * rates) / (1 + pull)


def _as_ipo(preference: Array, alpha: Array, beta: Array, log_reference: Array) -> Rounds:
    """IPO's rounds with the policy as sampler, whose certificates, critical values and theorems apply."""
    return assemble(
        Rounds,
        preference=preference,
        objective=assemble(IPO, beta=beta),
        sampler=OnPolicy(),
        reference=assemble(Geometric, alpha=alpha, log_reference=log_reference),
        feedback=Population(),
        learner=Optimum(),
        policy=Tabular(preference.shape[-1]),
        weights=None,
    )


class MirrorDescent(_Game):
    """z' = (1 - eta tau) z + eta tau log ref + eta P p; proximal: z' = (z + eta tau log ref + eta P p)/(1 + eta tau).

    Online IPO (OMD, INPO, EGPO's "online IPO 1"), and magnetic mirror descent (MPO's inner loop) if ``proximal``. Both are
    rounds of IPO on the policy's own pairs, with alpha = 1 - eta tau and beta = 1/eta, or alpha = 1/(1 + eta tau) and
    beta = (1 + eta tau)/eta, so that the theorems about those apply.

    Args:
        preference: P, ``(K, K)``.
        eta: step, > 0; eta tau ≤ 1 unless ``proximal``.
        tau: temperature, ≥ 0.
        log_reference: log ref of the magnet, ``(K,)``, finite, in nats; uniform unless given.
        proximal: whether the pull towards the magnet is implicit.

    Raises:
        ValueError: a value outside these ranges, or several prompts.

    Source: INPO arXiv 2407.00617, EGPO arXiv 2503.08942, MPO arXiv 2410.16714; as IPO's rounds [derived] statement 8.1.

    >>> game = dyn.games.MirrorDescent(dyn.preferences.cyclic(3, 0.4), eta=1.0, tau=0.1)
    >>> round(float(dyn.stability.spectral_radius(game, jnp.zeros(3))) ** 2, 6)  # (1 - eta tau)² + (eta omega)²
    0.863333
    """

    proximal: bool
    least_share: ClassVar[bool] = False

    def __init__(
        self,
        preference: Numbers,
        eta: ArrayLike,
        tau: ArrayLike,
        log_reference: Numbers | None = None,
        *,
        proximal: bool = False,
    ):
        self.proximal = bool(proximal)
        super().__init__(preference, eta, tau, log_reference)
        if not self.proximal and bool(self.eta * self.tau > 1):
            raise ValueError(
                f"eta tau = {float(self.eta * self.tau):g} is above 1, so a round would step beyond the magnet; pass "
                "eta ≤ 1/tau, or proximal=True."
            )

    def __call__(self, logits: Float[Array, " K"], key: PRNGKeyArray | None = None) -> Float[Array, " K"]:
        rates = self._rates(logits)
        return self._proximal(logits, rates) if self.proximal else self._pulled(logits) + self.eta * rates

    def as_rounds(self) -> Rounds:
        pull = self.eta * self.tau
        alpha, beta = (1 / (1 + pull), (1 + pull) / self.eta) if self.proximal else (1 - pull, 1 / self.eta)
        return _as_ipo(self.preference, alpha, beta, self.log_reference)


class SPPO(RoundMap):
    """z' = z + eta P p: self-play without a temperature. Unstable at every step on a cycle; averages of policies converge.

    Args:
        preference: P, ``(K, K)``.
        eta: step, > 0.

    Raises:
        ValueError: a value outside these ranges, or several prompts.

    Source: SPPO arXiv 2405.00675; as IPO's rounds at alpha = 1, beta = 1/eta [derived] statement 8.1.

    >>> game = dyn.games.SPPO(dyn.preferences.cyclic(3, 0.4), eta=1.0)
    >>> bool(dyn.stability.spectral_radius(game, jnp.zeros(3)) > 1)
    True
    """

    preference: Float[Array, "K K"]
    eta: Float[Array, ""]

    def __init__(self, preference: Numbers, eta: ArrayLike):
        self.preference = check_game(preference)
        self.eta = check_number(eta, "eta", 0.0, np.inf, open_low=True)

    def __call__(self, logits: Float[Array, " K"], key: PRNGKeyArray | None = None) -> Float[Array, " K"]:
        return logits + self.eta * self.preference @ jax.nn.softmax(logits)

    def check_parameter(self, path: str, values: np.ndarray) -> None:
        check_field(path, values)

    def as_rounds(self) -> Rounds:
        even = uniform(self.num_responses)
        return _as_ipo(self.preference, jnp.ones_like(self.eta), 1 / self.eta, even)


class NashMD(_Game):
    """z' = m + eta P softmax(m), m = (1 - eta tau) z + eta tau log ref.

    At a constant step z does not tend to the regularised Nash equilibrium, but m does to that at temperature
    tau/(1 - eta tau) (statement 8.2).

    Args:
        preference, eta, tau, log_reference: as in ``MirrorDescent``; eta tau ≤ 1.

    Raises:
        ValueError: a value outside these ranges, or several prompts.

    Source: Nash-MD arXiv 2312.00886; its limit [derived] statement 8.2.

    >>> game = dyn.games.NashMD(dyn.preferences.cyclic(3, 0.4), eta=1.0, tau=0.1)
    >>> round(float(dyn.stability.spectral_radius(game, jnp.zeros(3))) ** 2, 6)  # (1 - eta tau)² (1 + (eta omega)²)
    0.8532
    """

    least_share: ClassVar[bool] = True

    def __call__(self, logits: Float[Array, " K"], key: PRNGKeyArray | None = None) -> Float[Array, " K"]:
        mixed = self._pulled(logits)
        return mixed + self.eta * self._rates(mixed)


class Extragradient(_Game):
    """z' = (1 - eta tau) z + eta tau log ref + eta P softmax(h), where h is the same with P p; proximal: both as in MMD.

    EGPO, or Nash-MP (mirror prox) if ``proximal``.

    Args:
        preference, eta, tau, log_reference: as in ``MirrorDescent``.
        proximal: whether both half steps are those of magnetic mirror descent.

    Raises:
        ValueError: a value outside these ranges, or several prompts.

    Source: EGPO arXiv 2503.08942, Nash-MP arXiv 2505.19731; radii [derived] section 8.

    >>> game = dyn.games.Extragradient(dyn.preferences.cyclic(3, 0.4), eta=1.0, tau=0.1)
    >>> bool(dyn.stability.spectral_radius(game, jnp.zeros(3)) < 1)
    True
    """

    proximal: bool

    def __init__(
        self,
        preference: Numbers,
        eta: ArrayLike,
        tau: ArrayLike,
        log_reference: Numbers | None = None,
        *,
        proximal: bool = False,
    ):
        self.proximal = bool(proximal)
        super().__init__(preference, eta, tau, log_reference)

    def _move(self, logits: Float[Array, " K"], rates: Float[Array, " K"]) -> Float[Array, " K"]:
        return self._proximal(logits, rates) if self.proximal else self._pulled(logits) + self.eta * rates

    def __call__(self, logits: Float[Array, " K"], key: PRNGKeyArray | None = None) -> Float[Array, " K"]:
        half = self._move(logits, self._rates(logits))
        return self._move(logits, self._rates(half))


class OnlineGradient(_Game):
    """z' = z - 4 eta p∘(h - p·h - ((P p) - ½)/tau), h = z - log ref: a gradient step of IPO on pairs from the policy.

    "Online IPO 2", of which the temperature tau is IPO's beta.

    Args:
        preference, log_reference: as in ``MirrorDescent``.
        eta: step of the gradient, > 0.
        tau: temperature, > 0.

    Raises:
        ValueError: a value outside these ranges, or several prompts.

    Source: EGPO arXiv 2503.08942; the flow is 3.8 of PreferenceFlow with a following sampler, its radius [derived] section 8.

    >>> game = dyn.games.OnlineGradient(dyn.preferences.cyclic(3, 0.4), eta=0.1, tau=0.5)
    >>> game(jnp.zeros(3)).shape
    (3,)
    """

    positive_tau: ClassVar[bool] = True

    def __call__(self, logits: Float[Array, " K"], key: PRNGKeyArray | None = None) -> Float[Array, " K"]:
        p = jax.nn.softmax(logits)
        h = logits - self.log_reference
        return logits - 4 * self.eta * p * (h - p @ h - (self.preference @ p - 0.5) / self.tau)


class OptimisticMirrorDescent(Process[tuple[Array, Array]]):
    """z' = (1 - eta tau) z + eta tau log ref + eta (2 P p_t - P p_{t-1}): mirror descent with a guess of the next rates.

    The state holds the last two policies; a run begins with both equal.

    Args:
        preference, eta, tau, log_reference: as in ``MirrorDescent``.

    Raises:
        ValueError: a value outside these ranges, or several prompts.

    Source: ONPO arXiv 2502.16852; its characteristic equation [derived] section 8.

    >>> game = dyn.games.OptimisticMirrorDescent(dyn.preferences.cyclic(3, 0.4), eta=1.0, tau=0.1)
    >>> bool(dyn.stability.spectral_radius(game, jnp.log(jnp.ones(3) / 3)) < 1)
    True
    """

    preference: Float[Array, "K K"]
    eta: Float[Array, ""]
    tau: Float[Array, ""]
    log_reference: Float[Array, " K"]

    def __init__(
        self,
        preference: Numbers,
        eta: ArrayLike,
        tau: ArrayLike,
        log_reference: Numbers | None = None,
    ):
        self.preference = check_game(preference)
        self.eta = check_number(eta, "eta", 0.0, np.inf, open_low=True)
        self.tau = check_number(tau, "tau", 0.0, np.inf)
        self.log_reference = check_magnet(log_reference, self.preference.shape[-1])

    def start(self, log_policy: Float[Array, " K"]) -> tuple[Array, Array]:
        return centre(log_policy), centre(log_policy)

    def advance(
        self, state: tuple[Array, Array], key: PRNGKeyArray | None
    ) -> tuple[tuple[Array, Array], Bool[Array, ""]]:
        z, before = state
        rates = lambda logits: self.preference @ jax.nn.softmax(logits)
        pull = self.eta * self.tau
        moved = (1 - pull) * z + pull * self.log_reference + self.eta * (2 * rates(z) - rates(before))
        return (centre(moved), z), jnp.all(jnp.isfinite(moved))

    def log_policy(self, state: tuple[Array, Array]) -> Float[Array, " K"]:
        return log_softmax(state[0])

    def centre(self, state: tuple[Array, Array]) -> tuple[Array, Array]:
        return centre(state[0]), centre(state[1])

    def check_parameter(self, path: str, values: np.ndarray) -> None:
        check_field(path, values)
