"""Trials of the statements on rounds with an entropy term and on games (7.16, 8.1, 8.2)."""

from __future__ import annotations

import functools
from typing import Any

import jax
import numpy as np
from jaxtyping import Array, Float

from .. import games
from .._numerics import centre, gauge_basis
from .._parameters import replace
from ..games import NashMD
from ..methods import METHODS
from ..oracle import follow
from ..rounds import Process
from ..stability import spectral_radius
from ..theorems import Bound
from ._iteration import BETAS, _any_matrix
from ._lanes import Instance, blocked, grouped, jacobians, jit_quickly, run, stacked
from ._optima import ALWAYS
from ._pairs import worst_ratio
from ._trial import Tighter, Trial, cycle, log_softmax, uniform

BISECTIONS = 60
NASH_MD_ROUNDS = 3000


def _one_round(objective: str) -> Any:
    def measure(group: list[Instance]) -> np.ndarray:
        return run(objective, stacked(group), np.stack([x["log_initial"] for x in group]))["logits"]

    return lambda instances: grouped(instances, measure)


def _settled(x: Instance) -> np.ndarray:
    """log pi* of reverse KL's rounds on win rates, by continuation in NumPy: z = log ref' + P mu/(beta (1-alpha) + gamma)."""
    left = x["beta"] * (1 - x["alpha"]) + x["gamma"]
    found = follow(x["P"][None], "ipo", [0.0], x["lam"], [left])
    return log_softmax(found.logits[0])


def _remedied(instances: list[Instance]) -> list[Any]:
    def measure(group: list[Instance]) -> np.ndarray:
        targets = np.stack([_settled(x) for x in group])
        left = np.array([x["beta"] * (1 - x["alpha"]) + x["gamma"] for x in group])
        total = np.array([x["beta"] + x["gamma"] for x in group])
        # log pi* is found to rounding of logits of size 1/left, over how far a round is from the identity.
        error = 1e-15 * (1 + 1 / left) * total / left
        return worst_ratio("entropy, ipo", stacked(group), targets, error, np.random.default_rng(0))

    return grouped(instances, measure)


def _thresholds(instances: list[Instance]) -> list[Any]:
    """Bisection for the gamma at which the spectral radius at uniform is 1; 0 where it stays below 1."""

    def measure(group: list[Instance]) -> list[float]:
        K = len(group[0]["P"])
        kind, basis, at = f"entropy, {group[0]['objective']}", gauge_basis(K), np.tile(uniform(K), (len(group), 1))
        low, high = (np.full(len(group), np.log(gamma)) for gamma in BETAS)

        def unstable(log_gamma: np.ndarray) -> np.ndarray:
            lanes = stacked([{**x, "gamma": g} for x, g in zip(group, np.exp(log_gamma), strict=True)])
            J = basis.T @ jacobians(kind, lanes, at) @ basis
            return np.abs(np.linalg.eigvals(J)).max(axis=-1) > 1

        never = ~unstable(low)
        for _ in range(BISECTIONS):
            middle = (low + high) / 2
            above = unstable(middle)
            low, high = np.where(above, middle, low), np.where(above, high, middle)
        return list(np.where(never, 0.0, np.exp((low + high) / 2)))

    return grouped(instances, measure)


@functools.lru_cache(maxsize=64)
def _game(size: int) -> NashMD:
    return NashMD(np.full((size, size), 0.5), 0.5, 0.5, uniform(size))


@jit_quickly
def _nash_md(game: NashMD, lanes: dict[str, Array]) -> Float[Array, "lanes K"]:
    def one(x: dict[str, Array]) -> Array:
        process = replace(game, x)
        return centre(jax.lax.fori_loop(0, NASH_MD_ROUNDS, lambda _, z: centre(process(z)), process.log_reference))

    return jax.vmap(one)(lanes)


def _limits(instances: list[Instance]) -> list[Any]:
    names = {"P": "preference", "eta": "eta", "tau": "tau", "log_reference": "log_reference"}

    def measure(group: list[Instance]) -> np.ndarray:
        lanes = {leaf: np.stack([np.asarray(x[name], float) for x in group]) for name, leaf in names.items()}
        return blocked(_nash_md, _game(len(group[0]["P"])), lanes)

    return grouped(instances, measure)


def game_of(x: Instance) -> Process[Any]:
    """The rounds of the roster that an instance of ``roster_radius`` is about."""
    (method,) = (method for method in METHODS if method.objective == x["method"])
    return method.at(eta=x["eta"], tau=x["tau"]).process(x["P"], x["log_reference"])


def _radii(instances: list[Instance]) -> list[Any]:
    def radius(x: Instance) -> float:
        if x["method"] in ("sppo", "proximal-point"):
            return float(spectral_radius(game_of(x), uniform(len(x["P"]))))
        left, tau = 1 - x["eta"] * x["tau"], x["tau"]
        # Nash-MD rests at z, not at its mixture m: log ref + P softmax(m)/tau.
        at = games.nash(x["P"], tau / left if x["method"] == "nash-md" else tau, x["log_reference"]).log_policy
        if x["method"] == "nash-md":
            at = log_softmax(x["log_reference"] + x["P"] @ np.exp(at) / tau)
        return float(spectral_radius(game_of(x), at))

    return [radius(x) for x in instances]


def _unbalanced(rng: np.random.Generator, x: Instance) -> Instance | None:
    """SPPO and the proximal point where A p is not constant at the uniform policy."""
    return _any_matrix(rng, x) if x["method"] in ("sppo", "proximal-point") else None


def _weaker(rng: np.random.Generator, x: Instance) -> Instance:
    share = float(rng.uniform(0.1, 0.9))
    return {**x, "beta": x["beta"] * share, "gamma": x["gamma"] * share}


def _over(x: Instance, bound: Bound) -> tuple[float, Any]:
    return 1e-10, 1e-12 / min(1.0, x["beta"] + x.get("gamma", 0.0))


def _threshold(x: Instance, bound: Bound) -> tuple[float, Any]:
    # (beta + gamma)² is resolved to rounding, a small gamma only to that of beta.
    return 1e-9, 1e-13 * (1.0 + x["beta"])


def _plain() -> list[Instance]:
    return [{"P": cycle(0.3), "alpha": 0.5, "lam": 0.0, "beta": 1.0, "gamma": 0.1}]


TRIALS = {
    "entropy_round": Trial(
        _one_round("entropy, ipo"), ALWAYS, tolerance=_over, reason="rounding of P mu over beta + gamma"
    ),
    "entropy_remedy": Trial(
        measure=_remedied,
        outside=_weaker,
        mutant=Tighter(("upper",)),
        directed=_plain,
        tolerance=lambda x, bound: (1e-7, 1e-13),
        reason="the error of the fixed point is 1e-7 of the distance from it",
    ),
    "entropy_threshold": Trial(
        measure=_thresholds,
        outside=_any_matrix,
        tolerance=_threshold,
        reason="rounding of the radius where it crosses 1",
    ),
    "magnetic_step": Trial(_one_round("ipo"), ALWAYS),
    "roster_radius": Trial(
        measure=_radii,
        outside=_unbalanced,
        tolerance=lambda x, bound: (1e-8, 3e-8 * (1 + x["eta"])),
        reason="eigenvalues near a defective matrix have an error of √eps",
    ),
    "nash_md_limit": Trial(
        measure=_limits,
        outside="at eta tau ≥ 1 the map is refused",
        tolerance=lambda x, bound: (1e-10, 1e-10 / min(1.0, x["tau"])),
        reason="rounding: 1e-10 relative, and 1e-10 of a reward times 1/tau",
    ),
}
