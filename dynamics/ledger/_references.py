"""Trials of the statements on links and on references that follow the policy."""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from .._numerics import gauge_basis, softmax
from .._parameters import replace
from .._parts import uniform
from ..learners import Optimum
from ..objectives import IPO, LINKS, Link
from ..preferences import win_rates
from ..references import Ema
from ..rounds import Rounds
from ..samplers import Mixture
from ..stability import jacobian
from ..theorems import Bound
from ._iteration import BETAS, DEFECTIVE, _any_matrix
from ._lanes import Instance, blocked, grouped, jit_quickly
from ._trial import Trial

BISECTIONS = 55
_LEAVES = {"P": "preference", "rate": "reference.rate", "lam": "sampler.lam", "beta": "objective.beta"}


@jit_quickly
def _link_jacobian(fixed: None, lanes: dict[str, Array]) -> Float[Array, "lanes K K"]:
    """The Jacobian of one round at uniform with uniform ref and pi_0, from the optimum's equation at h = 0 (A1 = 0)."""

    def one(x: dict[str, Array]) -> Array:
        K = len(x["P"])

        def value(h: Array, z: Array) -> Array:
            mu = x["lam"] * softmax(z) + (1.0 - x["lam"]) / K
            # All links in one kernel, from which each lane selects its own, since compiling dominates the time.
            losses = [Link(x["beta"], link, label_smoothing=x["label_smoothing"]).loss for link in LINKS]
            margin = x["beta"] * (h[:, None] - h[None, :])
            chosen = sum(jnp.where(x["link"] == n, loss(margin), 0.0) for n, loss in enumerate(losses))
            return jnp.sum(win_rates(x["P"], mu) * chosen)

        slope, zero = jax.grad(value), jnp.zeros(K)
        curvature, pull = jax.jacfwd(slope, (0, 1))(zero, zero)
        return x["alpha"] * jnp.eye(K) - jnp.linalg.pinv(curvature) @ pull

    return jax.vmap(one)(lanes)


@functools.lru_cache(maxsize=64)
def _followed(size: int) -> Rounds:
    uniform = np.full(size, -np.log(size))
    return Rounds(
        np.full((size, size), 0.5), IPO(1.0), sampler=Mixture(0.5, uniform), reference=Ema(0.5), learner=Optimum()
    )


@jit_quickly
def _ema_jacobian(loop: Rounds, lanes: dict[str, Array]) -> Float[Array, "lanes n n"]:
    """The Jacobian of one round of (log pi, log ref) at uniform, with uniform pi_0."""

    def one(x: dict[str, Array]) -> Array:
        point = replace(loop, {where: x[name] for name, where in _LEAVES.items()})
        return jacobian(point, uniform(len(x["P"])))

    return jax.vmap(one)(lanes)


def _columns(instances: list[Instance], names: tuple[str, ...]) -> dict[str, np.ndarray]:
    return {name: np.stack([np.asarray(x[name], float) for x in instances]) for name in names}


def _moduli(J: np.ndarray) -> np.ndarray:
    """Moduli of the eigenvalues, descending, ``(n, parts (K-1))``."""
    return -np.sort(-np.abs(np.linalg.eigvals(J)), axis=-1)


def _off_gauge(J: np.ndarray, K: int) -> np.ndarray:
    basis = np.kron(np.eye(J.shape[-1] // K), gauge_basis(K))
    return basis.T @ J @ basis


def _link_spectra(instances: list[Instance]) -> list[Any]:
    def measure(group: list[Instance]) -> np.ndarray:
        lanes = _columns(group, ("P", "alpha", "lam", "beta", "label_smoothing", "link"))
        J = blocked(_link_jacobian, None, lanes)
        return _moduli(_off_gauge(J, len(group[0]["P"])))

    numbered = [x | {"link": list(LINKS).index(x.get("link", "logistic"))} for x in instances]
    return grouped([{"label_smoothing": 0.0} | x for x in numbered], measure)


def _ema_lanes(group: list[Instance]) -> np.ndarray:
    return blocked(_ema_jacobian, _followed(len(group[0]["P"])), _columns(group, tuple(_LEAVES)))


def _ema_spectra(instances: list[Instance]) -> list[Any]:
    return grouped(instances, lambda group: _moduli(_off_gauge(_ema_lanes(group), len(group[0]["P"]))))


def _ema_thresholds(instances: list[Instance]) -> list[float]:
    """Bisection for the beta at which the spectral radius is 1, within the range of A; infinite where it always exceeds 1."""

    def measure(group: list[Instance]) -> list[float]:
        values, U = np.linalg.eigh(np.stack([-(x["P"] - 0.5) @ (x["P"] - 0.5) for x in group]))
        kept = U * (values > 1e-9 * values.max(axis=1, keepdims=True))[:, None, :]
        kept = kept @ np.swapaxes(kept, 1, 2)
        both = np.stack([np.kron(np.eye(2), M) for M in kept])
        low, high = (np.full(len(group), np.log(beta)) for beta in BETAS)
        for _ in range(BISECTIONS):
            middle = (low + high) / 2
            J = _ema_lanes([{**x, "beta": b} for x, b in zip(group, np.exp(middle), strict=True)])
            above = _moduli(both @ J @ both)[:, 0] > 1
            low, high = np.where(above, middle, low), np.where(above, high, middle)
        return list(np.where(high == np.log(BETAS[1]), np.inf, np.exp((low + high) / 2)))

    return grouped(instances, measure)


def _defective(x: Instance, bound: Bound) -> tuple[float, Any]:
    return 1e-9, DEFECTIVE * (1.0 + x["lam"] / x["beta"])


def _crossing(x: Instance, bound: Bound) -> tuple[float, Any]:
    # Near rate = 0 the squared radius differs from 1 by only 2 rate k², which divides its rounding error.
    return 1e-13 * (10.0 + 1.0 / x["rate"] + 1.0 / abs(2.0 - 3.0 * x["rate"])), 0.0


TRIALS = {
    "link_spectrum": Trial(
        measure=_link_spectra,
        outside=_any_matrix,
        tolerance=_defective,
        reason="eigenvalues near a defective matrix have an error of √eps",
    ),
    "ema_spectrum": Trial(
        measure=_ema_spectra,
        outside=_any_matrix,
        tolerance=_defective,
        reason="eigenvalues near a defective matrix have an error of √eps",
    ),
    "ema_threshold": Trial(
        measure=_ema_thresholds,
        outside=_any_matrix,
        tolerance=_crossing,
        reason="rounding of the radius over the rate at which it crosses 1",
    ),
}
