"""What the maps of games share: their parameters, and the checks of them."""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float

from .._checks import Numbers, check_number, check_scalar
from .._noun import assemble
from .._numerics import concrete
from .._parameters import replace
from .._parts import check_fits, distributions, other_size, uniform
from ..preferences import Names, PreferenceSet, check_like, check_prompts, prompt_shares, response_names
from ..rounds import Process, RoundMap

Prompts = Numbers | PreferenceSet
"""Preferences of one prompt, (K, K), or of several, (X, K, K) or a set of matrices of one size."""


def check_magnet(log_reference: Any, shape: tuple[int, ...]) -> Float[Array, "*contexts K"]:
    """log ref of full support, one for all prompts or one for each; uniform where none is given."""
    if log_reference is None:
        return uniform(shape[-1])
    checked = distributions(log_reference, "log_reference")
    check_fits(checked, shape, "log_reference")
    return checked


def check_field(path: str, values: np.ndarray, *, positive_tau: bool = False) -> None:
    """Raises ``ValueError`` where a parameter of a game may not take one of the values."""
    name = path.rsplit(".", 1)[-1]
    if name == "eta":
        check_scalar(values, path, 0.0, np.inf, open_low=True)
    elif name == "tau":
        check_scalar(values, path, 0.0, np.inf, open_low=positive_tau)
    elif name == "log_reference":
        for value in values:
            distributions(value, path)
    elif name == "weights":
        raise ValueError(f"{path} cannot be swept: averages over prompts use those of the game; build one for each.")


class OnPrompts(Process[Any]):
    """Rounds of one prompt, or of X prompts that are independent of each other."""

    preference: Float[Array, "*contexts K K"]
    weights: Float[Array, " X"] | None
    names: Names | None = eqx.field(static=True, default=None, kw_only=True)

    def take(self, preference: Any, weights: Any) -> None:
        """Sets both, checked, and the names that the preferences have."""
        self.preference = check_prompts(preference)
        self.weights = prompt_shares(weights, self.preference.shape[:-2])
        self.names = response_names(None, preference, self.preference.shape[:-1])

    @property
    def shape(self) -> tuple[int, ...]:
        return self.preference.shape[:-1]

    @property
    def prompt_weights(self) -> Float[Array, " X"] | None:
        return self.weights

    def prompts(self) -> tuple[Process[Any], ...] | None:
        if self.weights is None:
            return None
        fields = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        fields |= {"weights": None, "names": None}
        magnet = fields.get("log_reference")
        each = [
            {"preference": P} | ({} if magnet is None or magnet.ndim == 1 else {"log_reference": magnet[x]})
            for x, P in enumerate(self.preference)
        ]
        return tuple(assemble(type(self), **fields | of_one) for of_one in each)

    def with_preference(self, preference: Float[ArrayLike, "*contexts K K"]) -> Process[Any]:
        """The same rounds with other preferences; another number of responses needs a uniform magnet."""
        P = check_like(preference, self.preference)
        changed: dict[str, Any] = {"preference": P}
        magnet = getattr(self, "log_reference", None)
        if magnet is not None and magnet.shape[-1] != P.shape[-1]:
            changed["log_reference"] = other_size(magnet, P.shape[-1], "log_reference")
        return replace(self.unnamed(), changed)

    def rates(self, logits: Float[Array, "*contexts K"]) -> Float[Array, "*contexts K"]:
        """P p of every prompt."""
        p = jax.nn.softmax(logits)
        return self.preference @ p if p.ndim == 1 else jnp.einsum("xij,xj->xi", self.preference, p)


class Pulled(OnPrompts):
    """Rounds with a step, and a temperature that pulls towards a magnet."""

    eta: Float[Array, ""]
    tau: Float[Array, ""]
    log_reference: Float[Array, "*contexts K"]
    positive_tau: ClassVar[bool] = False

    def __init__(
        self,
        preference: Prompts,
        eta: ArrayLike,
        tau: ArrayLike,
        log_reference: Numbers | None = None,
        *,
        weights: Numbers | None = None,
    ):
        self.take(preference, weights)
        self.eta = check_number(eta, "eta", 0.0, np.inf, open_low=True)
        self.tau = check_number(tau, "tau", 0.0, np.inf, open_low=self.positive_tau)
        self.log_reference = check_magnet(log_reference, self.shape)

    def check_parameter(self, path: str, values: np.ndarray) -> None:
        check_field(path, values, positive_tau=self.positive_tau)

    def magnet(self, logits: Float[Array, "*contexts K"]) -> Float[Array, "*contexts K"]:
        """log ref of every prompt."""
        return jnp.broadcast_to(self.log_reference, logits.shape)

    def pulled(self, logits: Float[Array, "*contexts K"]) -> Float[Array, "*contexts K"]:
        """(1 - eta tau) z + eta tau log ref."""
        pull = self.eta * self.tau
        return (1 - pull) * logits + pull * self.magnet(logits)


class Game(Pulled, RoundMap):
    """The same, from logits to logits."""


class Proximal(Game):
    """A map whose pull towards the magnet may be implicit."""

    proximal: bool

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
        self.proximal = bool(proximal)
        Pulled.__init__(self, preference, eta, tau, log_reference, weights=weights)

    def move(
        self, logits: Float[Array, "*contexts K"], rates: Float[Array, "*contexts K"]
    ) -> Float[Array, "*contexts K"]:
        """(1 - eta tau) z + eta tau log ref + eta rates, or (z + eta tau log ref + eta rates)/(1 + eta tau) if proximal."""
        if not self.proximal:
            return self.pulled(logits) + self.eta * rates
        pull = self.eta * self.tau
        return (logits + pull * self.magnet(logits) + self.eta * rates) / (1 + pull)


def check_pull(game: Game, remedy: str) -> None:
    """Raises ``ValueError`` where a round would step beyond the magnet; to rounding."""
    if concrete(game.eta, game.tau) and float(game.eta * game.tau) > 1 + 4 * float(jnp.finfo(game.eta.dtype).eps):
        raise ValueError(
            f"eta tau = {float(game.eta * game.tau):g} is above 1, so a round would step beyond the magnet; {remedy}."
        )
