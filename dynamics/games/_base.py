"""What the maps of games share: their parameters, and the checks of them."""

from __future__ import annotations

from typing import Any, ClassVar

import jax
import numpy as np
from jaxtyping import Array, ArrayLike, Float

from .._checks import Numbers, check_log_distribution, check_number, check_scalar
from .._numerics import concrete
from .._parts import uniform
from ..preferences import check
from ..rounds import Process, RoundMap


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


class Pulled(Process[Any]):
    """Rounds with a step, and a temperature that pulls towards a magnet."""

    preference: Float[Array, "K K"]
    eta: Float[Array, ""]
    tau: Float[Array, ""]
    log_reference: Float[Array, " K"]
    positive_tau: ClassVar[bool] = False

    def __init__(self, preference: Numbers, eta: ArrayLike, tau: ArrayLike, log_reference: Numbers | None = None):
        self.preference = check_game(preference)
        self.eta = check_number(eta, "eta", 0.0, np.inf, open_low=True)
        self.tau = check_number(tau, "tau", 0.0, np.inf, open_low=self.positive_tau)
        self.log_reference = check_magnet(log_reference, self.preference.shape[-1])

    def check_parameter(self, path: str, values: np.ndarray) -> None:
        check_field(path, values, positive_tau=self.positive_tau)

    def rates(self, logits: Float[Array, " K"]) -> Float[Array, " K"]:
        """P p."""
        return self.preference @ jax.nn.softmax(logits)

    def pulled(self, logits: Float[Array, " K"]) -> Float[Array, " K"]:
        """(1 - eta tau) z + eta tau log ref."""
        pull = self.eta * self.tau
        return (1 - pull) * logits + pull * self.log_reference


class Game(Pulled, RoundMap):
    """The same, from logits to logits."""


class Proximal(Game):
    """A map whose pull towards the magnet may be implicit."""

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
        Pulled.__init__(self, preference, eta, tau, log_reference)

    def move(self, logits: Float[Array, " K"], rates: Float[Array, " K"]) -> Float[Array, " K"]:
        """(1 - eta tau) z + eta tau log ref + eta rates, or (z + eta tau log ref + eta rates)/(1 + eta tau) if proximal."""
        if not self.proximal:
            return self.pulled(logits) + self.eta * rates
        pull = self.eta * self.tau
        return (logits + pull * self.log_reference + self.eta * rates) / (1 + pull)


def check_pull(game: Game, remedy: str) -> None:
    """Raises ``ValueError`` where a round would step beyond the magnet."""
    pull = game.eta * game.tau
    if concrete(pull) and bool(pull > 1):
        raise ValueError(f"eta tau = {float(pull):g} is above 1, so a round would step beyond the magnet; {remedy}.")
