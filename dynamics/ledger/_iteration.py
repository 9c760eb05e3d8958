"""Trials of the statements on rounds near their fixed points (2.1, 2.2, 2.3, 7.1, 7.2, 7.3, 7.5, 7.14, 7.15)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from .._numerics import gauge_basis
from ..theorems import Bound
from ..theorems import source as sources
from ._lanes import Instance, grouped, jacobians, run, stacked
from ._newton import fixed_points
from ._optima import ALWAYS, certain
from ._pairs import divergence_ratio, span, step_ratio, two_norm
from ._trial import RTOL, Tighter, Trial, cycle, log_softmax, random_matrix, uniform

# Eigenvalues near a defective matrix (Sigma of rank 1) have an error of √eps times the norm of the matrix.
DEFECTIVE = 3e-8
VERTEX_GAP = 700.0  # nats between the top response and the others, next to a vertex
BETAS = (1e-9, 1e9)
RADII = np.array([0.01, 0.02, 0.03, 0.04])
PHASES = 16
CUBIC_ERROR = 2e-9  # of twice the real part of the cubic coefficient that a fit over these radii finds


def _moduli(J: np.ndarray) -> np.ndarray:
    """Moduli of the eigenvalues off the gauge, descending, ``(n, K-1)``."""
    basis = gauge_basis(J.shape[-1])
    return -np.sort(-np.abs(np.linalg.eigvals(basis.T @ J @ basis)), axis=-1)


def _jacobians(at: Callable[[Instance], np.ndarray]) -> Callable[[list[Instance]], list[Any]]:
    def measure(group: list[Instance]) -> np.ndarray:
        objective = group[0].get("objective", "ipo")
        return jacobians(objective, stacked(group), np.stack([at(x) for x in group]))

    return lambda instances: grouped(instances, measure)


def _spectra(at: Callable[[Instance], np.ndarray]) -> Callable[[list[Instance]], list[Any]]:
    measured = _jacobians(at)
    return lambda instances: [_moduli(J) for J in measured(instances)]


def _radii(instances: list[Instance]) -> list[Any]:
    return [J[0] for J in _spectra(_at_policy)(instances)]


def _at_policy(x: Instance) -> np.ndarray:
    return x["log_pi"]


def _at_uniform(x: Instance) -> np.ndarray:
    return uniform(len(x["P"]))


def _structure(x: Instance) -> np.ndarray:
    K = x["K"]
    return sources.circulant(K, x["advantage"], 1 if x["structure"] == "ring" else (K - 1) // 2)


def _thresholds(instances: list[Instance]) -> list[float]:
    """Bisection for the beta at which the spectral radius at the uniform policy is 1; 0 where it stays below 1."""

    def measure(group: list[Instance]) -> list[float]:
        objective, at = group[0]["objective"], np.tile(_at_uniform(group[0]), (len(group), 1))
        low, high = (np.full(len(group), np.log(beta)) for beta in BETAS)

        def unstable(log_beta: np.ndarray) -> np.ndarray:
            values = stacked([{**x, "beta": b} for x, b in zip(group, np.exp(log_beta), strict=True)])
            return _moduli(jacobians(objective, values, at))[:, 0] > 1

        never = ~unstable(low)
        for _ in range(55):
            middle = (low + high) / 2
            above = unstable(middle)
            low, high = np.where(above, middle, low), np.where(above, high, middle)
        return list(np.where(never, 0.0, np.exp((low + high) / 2)))

    return grouped([{**x, "P": _structure(x)} for x in instances], measure)


def _vertex_gains(instances: list[Instance]) -> list[np.ndarray]:
    def measure(group: list[Instance]) -> np.ndarray:
        K = len(group[0]["P"])
        top = np.array([x["top"] for x in group])[:, None]
        start = log_softmax(np.where(np.arange(K) == top, 0.0, -VERTEX_GAP))
        moved = run(group[0]["objective"], stacked(group), start)["logits"] - start
        return moved - np.take_along_axis(moved, top, axis=1)

    return grouped(instances, measure)


def _onset(x: Instance) -> float:
    kappa = 1.0 if x["objective"] == "ipo" else 4.0
    return kappa * x["lam"] * x["advantage"] / np.sqrt(3 * (1 - x["alpha"]) * (1 + x["alpha"]))


def _amplitudes(instances: list[Instance]) -> list[float]:
    """-1/(2 Re(conj(e) c)) of w' = e w + c w |w|² + … at the onset, from rounds that start on four circles in w.

    The 3-cycle's symmetry leaves conj(w)² as the only quadratic term, g/2 conj(w)², which adds |g|²/(2(e² - conj(e))) to c.
    """
    turn = np.exp(2j * np.pi * np.arange(3) / 3)
    circle = np.exp(2j * np.pi * np.arange(PHASES) / PHASES)
    start = 2 * np.real((RADII[:, None] * circle)[..., None] * turn)

    def measure(group: list[Instance]) -> np.ndarray:
        values = {name: np.repeat(a, start[..., 0].size, axis=0) for name, a in stacked(group).items()}
        begun = log_softmax(np.tile(start.reshape(-1, 3), (len(group), 1)))
        after = run(group[0]["objective"], values, begun)["logits"]
        w = (after @ turn.conj() / 3).reshape(len(group), *start.shape[:2])
        first = (w / circle).mean(-1) / RADII
        quadratic = (w * circle**2).mean(-1) / RADII**2
        # Even polynomials through four radii: first = e + c r² + …, quadratic = g/2 + ….
        fit = np.linalg.inv(np.vander(RADII**2, increasing=True))
        e, c = np.moveaxis(first @ fit.T[:, :2], -1, 0)
        g = 2 * (quadratic @ fit.T[:, 0])
        c = c + np.abs(g) ** 2 / (2 * (e**2 - e.conj()))
        growth = 2 * (e.conj() * c).real
        # Where the error of the fit may exceed a twentieth of it, there is no value.
        return np.where(np.abs(growth) < 20 * CUBIC_ERROR, np.nan, -1 / growth)

    return grouped([{**x, "P": cycle(x["advantage"]), "beta": _onset(x)} for x in instances], measure)


def _defective(x: Instance, bound: Bound) -> tuple[float, Any]:
    return 1e-9, DEFECTIVE * (1.0 + x.get("lam", 1.0) / x["beta"])


def _fitted(x: Instance, bound: Bound) -> tuple[float, Any]:
    # An error of 1e-9 in c is an error of 2 value² times that in 1/(2c); up to half of the value, so that its sign counts.
    size = np.abs(bound.upper) if np.isfinite(bound.upper) else 0.0
    return 1e-7, min(CUBIC_ERROR * size**2, size / 2)


def _conditioned(x: Instance, bound: Bound) -> tuple[float, Any]:
    return 1e-9, 1e-10 / min(1.0, x["beta"])


def _distances(x: Instance, bound: Bound) -> tuple[float, Any]:
    return 1e-7, 1e-13


def _step_sizes(x: Instance, bound: Bound) -> tuple[float, Any]:
    return RTOL, 1e-11 / min(1.0, x["beta"])


def _weaker(rng: np.random.Generator, x: Instance) -> Instance:
    """The same instance with a beta up to ten times smaller, outside the assumptions if at their edge."""
    return {**x, "beta": x["beta"] * float(rng.uniform(0.1, 0.9))}


def _moved(rng: np.random.Generator, x: Instance) -> Instance:
    return {**x, "log_pi": log_softmax(x["log_pi"] + rng.standard_normal(len(x["P"])))}


def _any_matrix(rng: np.random.Generator, x: Instance) -> Instance:
    return {**x, "P": random_matrix(rng, len(x["P"]))}


# DPO at lam < 1 with two attracting fixed points: logits of P above the diagonal, log ref and log pi_0.
_TWO = {"logits": (-1.955, -1.415, 5.077), "reference": (75.643, -103.58, 27.937), "offline": (-6.98, -0.581, -0.821)}


def _off_policy(rng: np.random.Generator, x: Instance) -> Instance | None:
    """DPO at lam < 1, near parameters where two fixed points attract."""
    logits = _TWO["logits"] + 0.01 * rng.standard_normal(3)
    P = np.full((3, 3), 0.5)
    P[np.triu_indices(3, 1)] = 1 / (1 + np.exp(-logits))
    P[np.tril_indices(3, -1)] = 1 - P.T[np.tril_indices(3, -1)]
    logs = {f"log_{name}": log_softmax(_TWO[name] + 0.01 * rng.standard_normal(3)) for name in ("reference", "offline")}
    numbers = {"alpha": 0.272218, "lam": 0.371459 * rng.uniform(0.9, 1.1), "beta": 0.0273321 * rng.uniform(0.9, 1.1)}
    return {"P": P, **numbers, "objective": "dpo", **logs}


def _calm(P: np.ndarray, alpha: float = 0.0, lam: float = 1.0, beta: float = 0.5) -> Callable[[], list[Instance]]:
    return lambda: [{"P": P, "alpha": alpha, "lam": lam, "beta": beta}]


def _extreme() -> np.ndarray:
    """Two rows that differ by 1 in one column and by -1 in another: D = 2."""
    P = np.full((4, 4), 0.5)
    P[[0, 3, 1, 2], [2, 0, 3, 1]] = 1.0
    P[[2, 0, 3, 1], [0, 3, 1, 2]] = 0.0
    return P


def _tournament() -> list[Instance]:
    """The regular tournament of many responses, which attains 1/pi up to 3e-4."""
    return [{"P": sources.circulant(51, 0.499, 25), "alpha": 0.0, "lam": 1.0, "beta": 0.1, "log_pi": uniform(51)}]


def _divergence() -> Trial:
    return Trial(
        measure=divergence_ratio,
        outside=_weaker,
        mutant=Tighter(("upper",)),
        directed=_calm(cycle(0.3), alpha=0.5, lam=0.0, beta=1.0),
        tolerance=_distances,
        reason="the error of the fixed point is 1e-7 of the distance from it",
    )


def _contraction(measure: Callable[[list[Instance]], list[float]], directed: Callable[[], list[Instance]]) -> Trial:
    reason = "rounding of logits of size 1/beta, over a step of 2e-3"
    return Trial(measure, _weaker, Tighter(("upper",)), directed, _step_sizes, reason)


TRIALS = {
    "uniform_spectrum": Trial(
        measure=_spectra(_at_uniform),
        outside=_any_matrix,
        tolerance=_defective,
        reason="eigenvalues near a defective matrix have an error of √eps",
    ),
    "uniform_threshold": Trial(measure=_thresholds, outside="no such structure has that many responses"),
    "fixed_point_jacobian": Trial(
        measure=_jacobians(_at_policy),
        outside=_moved,
        tolerance=_conditioned,
        reason="a fixed point is exact up to 1e-9 in its reward",
    ),
    "vertex_multipliers": Trial(measure=_vertex_gains, outside=certain),
    "published_contraction": _contraction(step_ratio(two_norm), _calm(cycle(0.3))),
    "centred_contraction": _contraction(step_ratio(two_norm), _calm(cycle(0.3))),
    "contraction": _contraction(step_ratio(two_norm), _calm(cycle(0.3), alpha=0.5)),
    "span_contraction": _contraction(step_ratio(span), _calm(cycle(0.3))),
    "universal_contraction": _contraction(step_ratio(span), _calm(_extreme(), beta=0.6)),
    "global_convergence": _divergence(),
    "dimension_free_convergence": _divergence(),
    "universal_convergence": _divergence(),
    "universal_spectrum": Trial(
        measure=_radii,
        outside=ALWAYS,
        directed=_tournament,
        tolerance=_defective,
        reason="eigenvalues near a defective matrix have an error of √eps",
    ),
    "spectrum": Trial(
        measure=_spectra(_at_policy),
        outside=ALWAYS,
        tolerance=_defective,
        reason="eigenvalues near a defective matrix have an error of √eps",
    ),
    "spectrum_dpo": Trial(
        measure=lambda instances: _spectra(_at_policy)([{**x, "objective": "dpo"} for x in instances]),
        outside=_any_matrix,
        tolerance=_defective,
        reason="eigenvalues near a defective matrix have an error of √eps",
    ),
    "uniqueness": Trial(measure=fixed_points, outside=_off_policy, reason="a count"),
    "onset_amplitude": Trial(
        measure=_amplitudes,
        outside="at alpha = 0 and at the critical a lam the statement has no formula",
        tolerance=_fitted,
        reason="the cubic coefficient is fitted over four radii, to 1e-9",
    ),
}
