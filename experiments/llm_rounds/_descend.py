"""The simulator with as many steps of Adam a round as a model takes, its learning rate matched in the first round."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Float
from scipy.optimize import root_scalar

import dynamics as dyn

from ._cases import Case

RATES = np.geomspace(1e-3, 10.0, 60)  # between which the learning rate on logits is looked for


def beside(case: Case, log_policy: Float[np.ndarray, "T K"]) -> tuple[Float[np.ndarray, "T K"], float]:
    """(log pi of the simulator's run from the same start, its learning rate); NaN where no rate is as fast as the model.

    Weights and logits have no common learning rate, so that of the logits is the smallest at which the first round moves
    centred log-probabilities as far as the model's first round did.
    """
    steps = case.settings["steps"]
    base = optax.chain(optax.scale_by_adam(), optax.scale_by_schedule(optax.cosine_decay_schedule(1.0, steps)))

    def scaled(rate: Any, gradient: Any, state: Any, params: Any = None) -> tuple[Any, Any]:
        with jax.numpy_dtype_promotion("standard"):  # optax mixes its integer counts with floats
            update, after = base.update(gradient, state, params)
        return -rate * update, after

    def follow(rate: float, rounds: int) -> np.ndarray:
        update = jax.tree_util.Partial(scaled, jnp.asarray(rate))  # an argument of the compiled rounds, not a constant
        inner = dyn.Descend(optax.GradientTransformation(base.init, update), steps)
        return np.asarray(
            dyn.iterate(case.loop(inner=inner), rounds, initial=jnp.asarray(log_policy[0]), throw=False).log_policy
        )

    wanted = _moved(log_policy)
    excess = lambda rate: _moved(follow(rate, 1)) - wanted
    found = np.array([excess(rate) for rate in RATES])
    up = np.flatnonzero((found[:-1] < 0) & (found[1:] >= 0))
    if not len(up):
        return np.full_like(log_policy, np.nan), float("nan")
    rate = float(root_scalar(excess, bracket=tuple(RATES[up[0] : up[0] + 2]), xtol=1e-6).root)
    return follow(rate, len(log_policy) - 1), rate


def _moved(log_policy: np.ndarray) -> float:
    """How far the first round moves the centred log-probabilities."""
    step = log_policy[1] - log_policy[0]
    return float(np.linalg.norm(step - step.mean()))
