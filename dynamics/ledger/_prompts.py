"""Trials of the statements on prompts that share parameters."""

from __future__ import annotations

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from .._parts import uniform
from ..objectives import IPO
from ..policies import LogLinear
from ..references import Geometric
from ..rounds import Rounds
from ..samplers import Mixture
from ..theorems import Bound
from ._lanes import Instance
from ._trial import Trial

HALVES = np.array([[0.5], [-0.5]])


@eqx.filter_jit
def _round(loop: Rounds, slopes: Array, theta: Array) -> Float[Array, 2]:
    """theta' and its derivative by theta, which is read off the first prompt."""

    def moved(theta: Array) -> Array:
        out = loop(slopes[:, None] * jnp.asarray(HALVES.T) * theta)
        return (out[0, 0] - out[0, 1]) / slopes[0]

    return jnp.stack([moved(theta), jax.jacfwd(moved)(theta)])


def _rounds(x: Instance) -> Rounds:
    even = uniform(2)
    return Rounds(
        np.array([[[0.5, p], [1 - p, 0.5]] for p in x["wins"]]),
        IPO(x["beta"]),
        sampler=Mixture(x["lam"], even),
        reference=Geometric(x["alpha"], even),
        policy=LogLinear(x["slopes"][:, None, None] * HALVES),
        weights=x["shares"],
    )


def _shared(instances: list[Instance]) -> list[Any]:
    return [np.asarray(_round(_rounds(x), jnp.asarray(x["slopes"]), jnp.asarray(x["theta"]))) for x in instances]


def _tolerance(x: Instance, bound: Bound) -> tuple[float, Any]:
    return 1e-9, 1e-11 / min(1.0, x["beta"])


def _pair() -> list[Instance]:
    """The pair that alternates: opposite pulls, slopes 1 and 3."""
    fixed = {"slopes": np.array([1.0, 3.0]), "wins": np.array([0.2, 0.9]), "shares": np.ones(2)}
    return [fixed | {"alpha": 0.5, "lam": 1.0, "beta": beta, "theta": 0.7} for beta in (0.05, 0.1, 0.2)]


TRIALS = {
    "shared_parameter": Trial(
        measure=_shared,
        outside="rounds refuse shares and win rates outside, and features that are 0",
        directed=_pair,
        tolerance=_tolerance,
        reason="rounding: 1e-9 relative, and 1e-11 of a reward times 1/beta",
    ),
}
