"""``verify``: every theorem against the simulators."""

from __future__ import annotations

from collections.abc import Sequence

import jax.numpy as jnp

from .. import theorems
from .._checks import check_count
from .._parameters import nearest
from .._progress import progress
from . import (
    _classes,
    _collapse,
    _distribution,
    _games,
    _generalization,
    _iteration,
    _margins,
    _optima,
    _prompts,
    _references,
    _sampling,
)
from ._examine import examine
from ._report import Ledger
from ._trial import Trial

TRIALS: dict[str, Trial] = (
    _collapse.TRIALS
    | _iteration.TRIALS
    | _games.TRIALS
    | _optima.TRIALS
    | _prompts.TRIALS
    | _references.TRIALS
    | _sampling.TRIALS
    | _margins.TRIALS
    | _generalization.TRIALS
    | _distribution.TRIALS
    | _classes.TRIALS
)

MAX_SEED = 2**63 - 1  # of jax.random.key


def verify(instances: int = 100, seed: int = 0, only: str | Sequence[str] | None = None) -> Ledger:
    """Tests every theorem of the library against its simulators.

    Args:
        instances: how many are drawn for each theorem inside its assumptions, ≥ 1, in addition to directed ones. 100 take
            about half a minute once compiled, 1,000 a few minutes.
        seed: of the draws, 0 … 2⁶³ - 1: the same seed gives the same ledger.
        only: the name of a theorem, or several; all unless given. A theorem without a trial gives a red row.

    Returns:
        Ledger, one row for each theorem; ``ok`` says whether none is red.

    Raises:
        ValueError: an unknown theorem, a count or seed out of range, or JAX in float32.
    """
    check_count(instances, "instances", 1)
    if check_count(seed, "seed", 0) > MAX_SEED:
        raise ValueError(f"seed = {seed} does not fit into 64 bits; pass a whole number of at most 2⁶³ - 1.")
    chosen = _chosen(only)
    needs_float64()
    rows = []
    with progress("theorems", len(chosen)) as advance:
        for name in chosen:
            rows.append(examine(theorems.all()[name], TRIALS.get(name), instances=instances, seed=seed))
            advance(1)
    return Ledger(tuple(rows), instances, seed)


def needs_float64() -> None:
    """Raises ``ValueError`` where JAX runs in float32."""
    if jnp.zeros(()).dtype != jnp.float64:
        raise ValueError(
            "theorems are tested to 1e-10, which needs float64; call jax.config.update('jax_enable_x64', True) first."
        )


def _chosen(only: str | Sequence[str] | None) -> list[str]:
    known = list(theorems.all())
    asked = known if only is None else [only] if isinstance(only, str) else list(only)
    for name in asked:
        if name not in known:
            raise ValueError(f"theorem {name!r} does not exist; {nearest(str(name), known)}")
    return [name for name in known if name in asked]
