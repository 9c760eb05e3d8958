"""The state of a run, and the result that says how it ended."""

from __future__ import annotations

from typing import Any

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from .._numerics import log_softmax
from ..schema import RESULT_MESSAGES, RESULT_NAMES


class RESULTS(eqx.Enumeration):
    """How a solve ended; the empty message means success. Members are in the order of ``schema.RESULT_NAMES``."""

    successful = RESULT_MESSAGES["successful"]
    nonfinite = RESULT_MESSAGES["nonfinite"]
    unsolved = RESULT_MESSAGES["unsolved"]
    step_limit = RESULT_MESSAGES["step_limit"]


class State(eqx.Module):
    """The state of a run, with which another can go on as if it had never stopped; measures then start anew.

    Attributes:
        logits: centred logits of the policy, ``(K,)``, in nats.
        carried: what the process carries from round to round, the policy included.
        round: rounds since the process started.

    >>> loop = dyn.SelfSampling(dyn.preferences.cyclic(3, 0.4), dyn.IPO(0.3), alpha=0.5, lam=1.0)
    >>> int(dyn.engine.start(loop, jnp.zeros(3)).round)
    0
    """

    logits: Float[Array, "*shape K"]
    carried: Any
    round: Int[Array, "*batch"]

    @property
    def log_policy(self) -> Float[Array, "*shape K"]:
        """log pi, in nats."""
        return log_softmax(self.logits)


def result_code(result: RESULTS) -> Int[Array, "*batch"]:
    """The result as an integer, an index into ``RESULT_NAMES``."""
    code = jnp.zeros((), int)
    for index, name in enumerate(RESULT_NAMES):
        code = jnp.where(result == getattr(RESULTS, name), index, code)
    return code


def result_name(result: RESULTS) -> str:
    """The result in one word."""
    return RESULT_NAMES[int(result_code(result))]
