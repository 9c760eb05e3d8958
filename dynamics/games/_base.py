"""What the maps of games share: their parameters, and the checks of them."""

from __future__ import annotations

from typing import Any, ClassVar

import jax
import numpy as np
from jaxtyping import Array, ArrayLike, Float

from .._checks import Numbers, check_log_distribution, check_number, check_scalar
from .._parts import uniform
from ..preferences import check
from ..rounds import RoundMap


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


class Game(RoundMap):
    """A map with a step, a temperature and a magnet."""

    preference: Float[Array, "K K"]
    eta: Float[Array, ""]
    tau: Float[Array, ""]
    log_reference: Float[Array, " K"]
    positive_tau: ClassVar[bool] = False

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


def check_pull(game: Game, remedy: str) -> None:
    """Raises ``ValueError`` where a round would step beyond the magnet."""
    if bool(game.eta * game.tau > 1):
        pull = float(game.eta * game.tau)
        raise ValueError(f"eta tau = {pull:g} is above 1, so a round would step beyond the magnet; {remedy}.")
