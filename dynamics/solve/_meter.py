"""The progress bar of a flow, for diffrax to drive."""

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

EVERY = 20  # steps between looks at how far the solve is
_shown: list[Callable[[float], None]] = []  # the innermost bar; what is compiled must not depend on it


class Meter(diffrax.AbstractProgressMeter):
    """Tells the open bar how far the solve is."""

    def init(self) -> Array:
        return jnp.array(0)

    def step(self, state: Array, progress: Any) -> Array:
        tell = lambda p: jax.debug.callback(_tell, p)
        jax.lax.cond(state % EVERY == 0, tell, lambda p: None, progress)
        return state + 1

    def close(self, state: Array) -> None:
        return None


def _tell(share: Any) -> None:
    if _shown:
        _shown[-1](float(share))


@contextmanager
def metered(title: str) -> Iterator[bool]:
    """Opens a bar over the flow's time; yields whether anybody sees it (a solve that tells nobody compiles to less)."""
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
