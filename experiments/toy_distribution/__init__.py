"""Alignment as distribution learning on a toy: forward KL against the number of comparisons, each method at its best beta."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr

import dynamics as dyn

from .. import _toy
from .._framework import Tick, described, require, silent
from .checks import check

__all__ = ["Config", "check", "run"]

CURVES = ("RLHF", "PMLE", "reverse KL", "unregularised")
IDENTITIES = (
    "RLHF's policy as dyn.fit finds it",
    "its slope in DPO's loss",
    "its slope in REBEL's loss",
    "PMLE's loss less that of distillation",
    "slope of PMLE's loss at the unregularised policy of reverse KL",
    "slope of PMLE's loss at its policy",
)
BETA = 0.3  # beta at which identities are checked
POINTS = 16  # policies at which two losses are compared


@dataclasses.dataclass(frozen=True)
class Config:
    """Independent instances, logits of pi* and pi_0 N(0, spread²), responses sampled uniformly, and data sets of each."""

    gamma: float = 0.5
    contexts: int = 10
    size: int = 10
    """Responses to each context."""
    spread: float = 0.1
    exponents: tuple[int, int] = (5, 20)
    """n goes from 2 to the first to 2 to the second, by factors of 2."""
    instances: int = 20
    sets: int = 12
    """Data sets of each instance; those of larger n contain those of smaller n."""
    pmle_sets: int = 3
    """How many of them are fitted by PMLE with a penalty, which has no closed form."""
    seed: int = 0

    def __post_init__(self) -> None:
        _toy.require_toy(self)
        require(self, "pmle_sets", 1, self.sets)

    @classmethod
    def full(cls) -> Config:
        return cls(instances=40, sets=40, pmle_sets=10)


def run(config: Config, tick: Tick = silent) -> xr.Dataset:
    """Forward KL by curve, n, instance and data set at the beta that is best on average over the instances."""
    random = np.random.default_rng(config.seed)
    shape = (config.instances, config.contexts, config.size, config.spread)
    log_target, log_reference = (_toy.policies(*shape, random) for _ in range(2))
    worlds = _toy.models(log_target, config.gamma)
    constant = np.array([world.error_constant() for world in worlds])
    numbers = 2 ** np.arange(config.exponents[0], config.exponents[1] + 1)
    error = np.full((len(CURVES), len(numbers), config.instances, config.sets), np.nan)
    best = np.full((len(CURVES), len(numbers)), np.nan)
    exists = np.zeros(error.shape[1:], bool)
    laws = _laws(log_target, log_reference, constant, numbers)
    gaps = np.full(len(IDENTITIES), np.nan)
    for k, (n, wins) in enumerate(_toy.nested(worlds, numbers, config.sets, config.seed)):
        tick(k / len(numbers), f"n = {n}")
        reward, exists[k] = _toy.rewards(wins)
        target, reference = log_target[:, None], log_reference[:, None]
        for c, policy in enumerate((_toy.rlhf, None, _toy.reverse_kl)):
            if policy and exists[k].any():
                tried = [_toy.divergence(target, policy(reward, reference, config.gamma, b)) for b in _toy.GRID]
                at = int(np.argmin([one[exists[k]].mean() for one in tried]))
                error[c, k], best[c, k] = tried[at], _toy.GRID[at]
        error[3, k], best[3, k] = _toy.divergence(target, _toy.reverse_kl(reward, reference, config.gamma, 0.0)), 0.0
        # PMLE's best beta lies near gamma/2 times that of reverse KL (7.16).
        guess = config.gamma * float(np.mean(constant / n / laws[3])) * config.gamma / 2
        best[1, k], error[1, k, :, : config.pmle_sets] = _tuned_pmle(
            wins[:, : config.pmle_sets], log_target, log_reference, config.gamma, guess
        )
        if k == len(numbers) - 1:
            gaps = _identities(wins[0, 0, 0], log_reference[0, 0], config.gamma)
    ds = xr.Dataset(
        {
            "error": (("curve", "n", "instance", "set"), error),
            "exists": (("n", "instance", "set"), exists),
            "beta": (("curve", "n"), best),
            "law": (("curve", "n", "instance"), np.stack((*laws[:3], constant / numbers[:, None]))),
            "error_constant": (("instance",), constant),
            "identity_gap": (("identity",), gaps),
        },
        {"curve": list(CURVES), "n": numbers, "identity": list(IDENTITIES)},
    )
    units = {
        "error": ("nat", "E_x KL(pi*||pihat); NaN where there is no finite estimate, or none was asked for"),
        "exists": ("1", "whether the unregularised reward is finite in all contexts"),
        "beta": ("1", "the best of one grid for the mean over data sets that have an estimate; 0 where unregularised"),
        "law": ("nat", "statement 7.13; 7.9 for the unregularised"),
        "n": ("comparisons", "all contexts together"),
        "error_constant": ("nat", "sum of V_x over contexts, statement 7.9"),
        "identity_gap": (
            "nat",
            "what should be 0 on one context at the largest n; of a difference of losses, its range",
        ),
    }
    return described(ds, "toy_distribution", config, units)


def _laws(
    log_target: np.ndarray, log_reference: np.ndarray, constant: np.ndarray, numbers: np.ndarray
) -> tuple[np.ndarray, ...]:
    """Statement 7.13 for RLHF, PMLE and reverse KL, ``(n, instance)``, and b, ``(instance,)``."""
    v = constant / numbers[:, None]
    var_d, cov, var_u = _toy.moments(log_target, log_reference)
    tuned = 1 / (2 / var_d + 1 / v)
    return (var_d - np.maximum(cov, 0) ** 2 / (var_u + 2 * v)) / 2, tuned, tuned, var_d / 2


def _tuned_pmle(
    wins: np.ndarray, log_target: np.ndarray, log_reference: np.ndarray, gamma: float, guess: float
) -> tuple[float, np.ndarray]:
    """The best beta of the grid, by descent from ``guess``, and the errors there ``(I, sets)``."""
    shape, K = wins.shape[:3], wins.shape[-1]
    reference = np.broadcast_to(log_reference[:, None], (*shape, K)).reshape(-1, K)
    tried: dict[int, np.ndarray] = {}

    def score(at: int) -> float:
        if not 0 <= at < len(_toy.GRID):
            return np.inf
        if at not in tried:
            log_pi = _toy.pmle(wins.reshape(-1, K, K), reference, gamma, float(_toy.GRID[at])).reshape(*shape, K)
            tried[at] = _toy.divergence(log_target[:, None], log_pi)
        return float(tried[at].mean())

    at = int(np.argmin(np.abs(np.log(_toy.GRID / guess))))
    while min(score(at - 1), score(at + 1)) < score(at):
        at += 1 if score(at + 1) < score(at - 1) else -1
    return float(_toy.GRID[at]), tried[at]


def _identities(wins: np.ndarray, log_reference: np.ndarray, gamma: float) -> np.ndarray:
    """How far each of ``IDENTITIES`` is from being exact on the comparisons of one context, ``(K, K)``."""
    data, reference = dyn.Comparisons(wins), jnp.asarray(log_reference)
    seen = dyn.feedback.Masses(jnp.asarray(wins * (1 - np.eye(len(wins)))), jnp.asarray(wins.sum()))
    likely, distilled, rebel = dyn.PMLE(gamma, BETA), dyn.PreferenceDistillation(gamma, BETA), dyn.REBEL(1 / BETA)
    rewarded, far = distilled.prepare(seen), jax.random.normal(jax.random.key(0), (POINTS, len(wins)))
    losses = [
        likely.value(x, reference, seen) - distilled.value(x, reference, rewarded) for x in jax.nn.log_softmax(far)
    ]

    def slope(objective: Any, log_pi: jax.Array, known: Any) -> float:
        value = lambda x: objective.value(jax.nn.log_softmax(x), reference, known)
        return float(jnp.abs(jax.grad(value)(log_pi)).max())

    raw = lambda log_pi: jnp.asarray(log_pi)[0]
    reward = np.asarray(dyn.rewards.bradley_terry(data).reward)[None]
    by_rlhf = raw(_toy.rlhf(reward, log_reference[None], gamma, BETA))
    unregularised = raw(_toy.reverse_kl(reward, log_reference[None], gamma, 0.0))
    return np.array(
        [
            float(jnp.abs(by_rlhf - dyn.fit(dyn.RLHF(BETA), data, log_reference=reference).log_policy).max()),
            slope(dyn.DPO(BETA), by_rlhf, seen),
            slope(rebel, by_rlhf, rebel.prepare(seen)),
            float(jnp.ptp(jnp.stack(losses))),
            slope(dyn.PMLE(gamma, 0.0), unregularised, seen),
            slope(likely, raw(_toy.pmle(wins[None], log_reference[None], gamma, BETA)), seen),
        ]
    )
