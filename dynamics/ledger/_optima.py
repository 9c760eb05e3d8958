"""Trials of the statements on one-shot optima (1.3, 1.4) and on the order of responses (1.6, 1.7, 1.8)."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import theorems
from ..theorems import Bound
from ..theorems import source as sources
from ._lanes import Instance, grouped, rewards
from ._trial import RTOL, Searched, Tighter, Trial, cycle, random_matrix

NO_OPTIMUM = "where P has entries 0 or 1, DPO may have no optimum at these samplers"
ALWAYS = "nothing is assumed"


def _differences(f: np.ndarray) -> np.ndarray:
    return f[..., :, None] - f[..., None, :]


def _at_samplers(objective: str, instances: list[Instance], matrices: list[np.ndarray]) -> list[np.ndarray]:
    """f at each of an instance's samplers, ``(n, K)``; n may differ between instances."""
    counts = [len(x["log_samplers"]) for x in instances]
    P = np.concatenate([np.repeat(M[None], n, axis=0) for M, n in zip(matrices, counts, strict=True)])
    f = rewards(objective, P, np.concatenate([x["log_samplers"] for x in instances]))
    return np.split(f, np.cumsum(counts)[:-1])


def _sampler_spread(instances: list[Instance]) -> list[float]:
    def spread(group: list[Instance]) -> list[float]:
        found = _at_samplers("dpo", group, [x["P"] for x in group])
        return [np.ptp(f - f[0], axis=-1).max() for f in found]

    return grouped(instances, spread)


def _shift(instances: list[Instance]) -> list[float]:
    def shift(group: list[Instance]) -> list[float]:
        found = _at_samplers("ipo", group, [x["P"] for x in group])
        return [np.linalg.norm(f - f[0], axis=-1).max() for f in found]

    return grouped(instances, shift)


def _logit_residual(instances: list[Instance]) -> list[float]:
    """The residual of least-squares scores, which IPO fits to a matrix of scaled logits, as its loss is least squares."""

    def residual(group: list[Instance]) -> list[float]:
        P = np.stack([x["P"] for x in group])
        logits = np.log(P) - np.log(P.swapaxes(1, 2))
        scale = 3.0 * np.maximum(np.abs(logits).max(axis=(1, 2)), 1e-300)[:, None, None]
        uniform = np.full(P.shape[:2], -np.log(P.shape[1]))
        scores = rewards("ipo", 0.5 + logits / scale, uniform) * scale[..., 0]
        return list(np.abs(logits - _differences(scores)).max(axis=(1, 2)))

    return grouped(instances, residual)


def _witnessed(instances: list[Instance]) -> list[np.ndarray]:
    witness = theorems.too_few_samplers.witness
    assert witness is not None
    made = [{**x, "P": witness(**x)} for x in instances]

    def measured(group: list[Instance]) -> list[np.ndarray]:
        found = _at_samplers("dpo", group, [x["P"] for x in group])
        out = []
        for x, f in zip(group, found, strict=True):
            attained = 1 / (1 + np.exp(-_differences(f)))
            out.append(np.array([np.ptp(f - x["scores"], axis=-1).max(), np.abs(x["P"] - attained).max()]))
        return out

    return grouped(made, measured)


def _unseating(instances: list[Instance]) -> list[np.ndarray]:
    def measured(group: list[Instance]) -> list[np.ndarray]:
        P, log_mu = np.stack([x["P"] for x in group]), np.stack([x["log_mu"] for x in group])
        f = np.stack([rewards(objective, P, log_mu) for objective in ("ipo", "dpo")], axis=1)
        least = np.argsort(log_mu, axis=1, kind="stable")
        out = []
        for x, rows, (w, k) in zip(group, f, least[:, :2], strict=True):
            out.append((rows[:, k] - rows[:, w]) / x["beta"])
        return out

    return grouped([{**x, "P": _unseated(x["log_mu"], x["margin"])} for x in instances], measured)


def _unseated(log_mu: np.ndarray, margin: float) -> np.ndarray:
    """The witness at any margin, including those that its construction refuses as outside the statement."""
    witness = theorems.no_universal_sampler.witness
    assert witness is not None
    P = witness(log_mu, 0.1)
    at = {0.6: 0.5 + margin, 0.4: 0.5 - margin, 0.9: 1 - margin, 0.1: margin}
    return np.select([np.isclose(P, entry) for entry in at], list(at.values()), P)


def _gaps(instances: list[Instance]) -> list[np.ndarray]:
    def measured(group: list[Instance]) -> list[np.ndarray]:
        objective = group[0].get("objective", "dpo")
        f = rewards(objective, np.stack([x["P"] for x in group]), np.stack([x["log_mu"] for x in group]))
        return list(_differences(f))

    return grouped([{"objective": "dpo"} | x for x in instances], measured)


def _reversed(instances: list[Instance]) -> list[float]:
    witness = theorems.order_reversal.witness
    assert witness is not None
    made = [{**x, "log_mu": witness(x["P"])} for x in instances]
    out = []
    for x, gaps in zip(made, _gaps(made), strict=True):
        P, k = x["P"], int(np.argmax(x["log_mu"]))
        fall = np.where(P >= 0.5, P[:, [k]] - P[:, k], np.inf)
        out.append(gaps[np.unravel_index(np.argmin(fall), fall.shape)])
    return out


def _skew_gain(instances: list[Instance]) -> list[float]:
    def gaps(mu: str) -> list[np.ndarray]:
        return _gaps([{"P": x["P"], "log_mu": x[mu], "objective": "ipo"} for x in instances])

    pairs = zip(instances, gaps("log_mu_skewed"), gaps("log_mu"), strict=True)
    return [float((skewed - plain)[x["better"], x["worse"]]) for x, skewed, plain in pairs]


def _any_matrix(rng: np.random.Generator, x: Instance) -> Instance:
    return {**x, "P": random_matrix(rng, len(x["P"]))}


def certain(rng: np.random.Generator, x: Instance) -> Instance | None:
    """P with entries 0 or 1 for which DPO's optimum exists: Ford's condition and samplers of full support."""
    if x.get("objective", "dpo") != "dpo":
        return None
    K = len(x["P"])
    source = sources.RandomSource(rng)
    full = {name: sources.log_policy(source, K, (0.0, 1.0, 30.0)) for name in ("log_mu", "log_offline") if name in x}
    return {**x, **full, "P": sources.matrix(source, K, ("connected deterministic entries",))}


def _attained_ipo() -> list[Instance]:
    offsets = np.array([[0, 0, 0], [1, -1, 0], [1 / np.sqrt(3), 1 / np.sqrt(3), -2 / np.sqrt(3)]])
    drop = np.array([[0.5, 0.7, 0.9], [0.3, 0.5, 0.9], [0.1, 0.1, 0.5]])
    return [
        {"P": cycle(0.3), "log_samplers": np.log(1 / 3 + 0.2 * offsets)},
        {"P": drop, "log_samplers": np.log(1 / 3 + 0.1 * offsets)},
    ]


def _attained_skew() -> list[Instance]:
    P = np.array([[0.5, 0.6, 0.6], [0.4, 0.5, 0.9], [0.4, 0.1, 0.5]])
    logs = {"log_mu": np.log([0.2, 0.3, 0.5]), "log_mu_skewed": np.log([0.3, 0.3, 0.4])}
    return [{"P": P, **logs, "better": 0, "worse": 1, "order": np.arange(3)}]


def _bradley_terry_like(x: Instance, bound: Bound) -> tuple[float, Any]:
    return RTOL, 1e-8


TRIALS = {
    "sampler_independence": Trial(
        measure=_sampler_spread,
        outside=NO_OPTIMUM,
        mutant=Searched("lower"),
        tolerance=_bradley_terry_like,
        reason="a matrix counts as Bradley–Terry up to a triple sum of 1e-9",
        silent=lambda x, bound: bool(bound.lower <= 0 and bound.upper == np.inf),
    ),
    "bradley_terry_residual": Trial(measure=_logit_residual, outside="logits are infinite where P is 0 or 1"),
    "too_few_samplers": Trial(measure=_witnessed, outside="K - 1 independent samplers have no witness"),
    "sampler_independence_ipo": Trial(measure=_shift, outside=ALWAYS, directed=_attained_ipo),
    "no_universal_sampler": Trial(
        measure=_unseating, outside=lambda rng, x: {**x, "margin": float(rng.uniform(0.126, 0.49))}
    ),
    "order_preservation": Trial(measure=_gaps, outside=_any_matrix),
    "order_reversal": Trial(measure=_reversed, outside="a row-dominant P has no triple that breaks row dominance"),
    "skewed_sampling": Trial(
        measure=_skew_gain,
        outside=lambda rng, x: {**x, "log_mu": x["log_mu_skewed"], "log_mu_skewed": x["log_mu"]},
        mutant=Tighter(("upper",)),
        directed=_attained_skew,
    ),
    "same_ranking": Trial(measure=_gaps, outside=certain),
}
