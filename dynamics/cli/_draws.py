"""Draws of one matrix's P from its counts, and the probability of each verdict, in NumPy."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ..oracle import Objective, Rounds, beside, fates, follow
from ..stability import Posterior, VerdictProbability, posterior

if TYPE_CHECKING:
    from ..preferences import PreferenceSet

DRAWS, DRAWS_OF_REMEDY = 200, 300
MAX_SIZE = 10  # responses of a matrix whose orbits are run in NumPy


def draw(matrices: PreferenceSet, m: int, draws: int, model: str) -> Posterior:
    """The posterior of one matrix whose counts are known."""
    import jax

    return posterior(matrices.wins(m), key=jax.random.key(0), draws=draws, model=model, one_sided=True)


def for_remedy(matrices: PreferenceSet, m: int) -> list[np.ndarray]:
    """Draws from both models; none where the counts are not known."""
    if matrices.counts[m] is None:
        return []
    return [draw(matrices, m, DRAWS_OF_REMEDY, model).draws for model in ("hierarchical", "independent")]


def _compiled(
    matrices: PreferenceSet, m: int, objective: Objective, alpha: float, lam: float, beta: float, rounds: int
) -> VerdictProbability:
    import jax

    from ..objectives import DPO, IPO
    from ..stability import verdict_probability

    loss = IPO(beta) if objective == "ipo" else DPO(beta)
    options = {"one_sided": True, "key": jax.random.key(0), "draws": DRAWS, "rounds": rounds}
    return verdict_probability(matrices.wins(m), loss, alpha, lam, **options)


def probability(
    matrices: PreferenceSet, m: int, objective: Objective, alpha: float, lam: float, beta: float, rounds: int
) -> VerdictProbability | None:
    """What ``stability.verdict_probability`` says of one matrix, without compiling; None where the counts are not known."""
    if matrices.counts[m] is None:
        return None
    if len(matrices[m]) > MAX_SIZE:
        return _compiled(matrices, m, objective, alpha, lam, beta, rounds)
    drawn = draw(matrices, m, DRAWS, "hierarchical")
    stack = np.concatenate([drawn.mean[None], drawn.draws])
    loop = Rounds(stack, objective, alpha, lam, beta)
    radii = follow(stack, objective, [alpha], lam, [beta]).radius[:, 0] if alpha < 1 else None
    start = np.tile(beside(np.asarray(loop.log_offline)), (len(stack), 1))
    verdicts = [str(word) for word in fates(loop, start, rounds).verdict]
    return VerdictProbability.of_draws(drawn, verdicts, radii, rounds=rounds, prior=None)
