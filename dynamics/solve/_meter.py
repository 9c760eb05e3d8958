"""The progress bar of a flow, advanced by diffrax."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import diffrax
import jax
import jax.numpy as jnp
from jaxtyping import Array

from .._progress import progress

STEPS_PER_UPDATE = 20  # of the solver, between two updates of the bar
_shown: list[
    Callable[[float], None]
] = []  # the open bars, innermost last; global so that compiled code does not hold them


class Meter(diffrax.AbstractProgressMeter):
    """Moves the open bar to the share of the time that the solver has covered."""

    def init(self) -> Array:
        return jnp.array(0)

    def step(self, state: Array, progress: Any) -> Array:
        tell = lambda p: jax.debug.callback(_tell, p)
        jax.lax.cond(state % STEPS_PER_UPDATE == 0, tell, lambda p: None, progress)
        return state + 1

    def close(self, state: Array) -> None:
        return None


def _tell(share: Any) -> None:
    if _shown:
        _shown[-1](float(share))


@contextmanager
def metered(title: str) -> Iterator[bool]:
    """Opens a bar over the flow's time; yields whether stderr is a terminal, because a solve without a bar compiles faster."""
    if not sys.stderr.isatty():
        yield False
        return
    with progress(title, 1000) as advance:
        told = 0

        def tell(share: float) -> None:
            nonlocal told
            advance(int(1000 * share) - told)
            told = int(1000 * share)

        _shown.append(tell)
        try:
            yield True
        finally:
            _shown.pop()
