"""One data set of a law, and what a posterior says of it beside the truth."""

from __future__ import annotations

from typing import NamedTuple

import jax
import numpy as np

from dynamics.stability import posterior

from ._laws import Law
from ._radii import critical, radii

ALPHA, FLOOR, TOLERANCE = 0.5, 0.02, 0.003
LEVELS = (0.5, 0.9, 0.95)
CONFIDENCES = (0.8, 0.95)


class Row(NamedTuple):
    """What is measured on one data set.

    Attributes:
        cover: whether the 50, 90 and 95% intervals of the radius hold the true one, to a tolerance of .003, ``(3,)``.
        unstable, truth: posterior probability of radius > 1, and whether it is true.
        above, below: whether the 90% interval lies above or below the truth.
        lost: whether the truth loses stability above ``FLOOR``.
        loses: posterior probability of that.
        safe, safe_if: whether the .8 and .95 quantiles of the critical beta, over all draws and over those that lose stability,
            reach the true one; NaN unless ``lost``, ``(2,)``.
    """

    cover: np.ndarray
    unstable: float
    truth: bool
    above: bool
    below: bool
    lost: bool
    loses: float
    safe: np.ndarray
    safe_if: np.ndarray


def judge(law: Law, model: str, seed: tuple[int, ...], draws: int) -> Row:
    """The row of one data set; both models see the same data for the same seed."""
    rng = np.random.default_rng(seed)
    P, counts = law.sample(rng)
    key = jax.random.key(int(rng.integers(2**31)))
    stack = posterior(counts, key=key, draws=draws, model=model, one_sided=True).draws
    found, true = radii(stack, law.beta, ALPHA), float(radii(P[None], law.beta, ALPHA)[0])
    tails = (1 - np.array(LEVELS)) / 2
    low, high = np.quantile(found, tails), np.quantile(found, 1 - tails)
    limit = float(critical(P[None], ALPHA, FLOOR)[0])
    safe = safe_if = np.full(len(CONFIDENCES), np.nan)
    loses = np.nan
    if limit > 0:
        limits = critical(stack, ALPHA, FLOOR)
        below, at_all = limits < limit, limits > 0
        loses = float(at_all.mean())
        safe = (below.mean() < np.array(CONFIDENCES)).astype(float)
        safe_if = ((below & at_all).sum() < np.array(CONFIDENCES) * at_all.sum()).astype(float)
    return Row(
        cover=((low - TOLERANCE <= true) & (true <= high + TOLERANCE)).astype(float),
        unstable=float((found > 1).mean()),
        truth=true > 1,
        above=bool(low[1] - TOLERANCE > true),
        below=bool(high[1] + TOLERANCE < true),
        lost=limit > 0,
        loses=loses,
        safe=safe,
        safe_if=safe_if,
    )
