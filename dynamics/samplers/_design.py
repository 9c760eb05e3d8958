"""Which comparisons to buy next: the sampler, or the law of pairs, after which the error of pi* is least."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import ArrayLike

from .._checks import check_scalar
from .._laplacian import grounded_inverse, trace_with_covariance
from ..preferences import PreferenceModel

MAX_STEPS = 100_000
MOST_BY_DIFFERENCES = 64  # responses
EARLY, FAR = 2000, 1e6  # a step after which a relative gap of this size is that of arithmetic, not of slow progress


@dataclass(frozen=True)
class Design:
    """The result of ``design``; V is ``PreferenceModel.error_constant`` of every context, ``(*contexts,)``.

    Attributes:
        log_sampler: log mu of the best sampler found, ``(*contexts, K)``; None with ``pairs=True``.
        log_pairs: log of the best law of ordered pairs, ``(*contexts, K, K)``, symmetric; None with ``pairs=False``.
        log_root_rule: log mu with mu ∝ √(pi*(1 - pi*)), which is best in the limit of a small gamma.
        before: V of the model's own law of pairs.
        uniform: V of the uniform sampler.
        root_rule: V of the √-rule.
        after: V of the result.
        gap: after/least - 1 is at most this, for the least V over all laws of pairs.
    """

    log_sampler: np.ndarray | None
    log_pairs: np.ndarray | None
    log_root_rule: np.ndarray
    before: np.ndarray
    uniform: np.ndarray
    root_rule: np.ndarray
    after: np.ndarray
    gap: np.ndarray

    def __str__(self) -> str:
        rows = {"now": self.before, "uniform": self.uniform, "square-root rule": self.root_rule, "design": self.after}
        return "\n".join(f"{name:<18}V = {float(np.sum(V)):.4g}" for name, V in rows.items())


def design(model: PreferenceModel, *, pairs: bool = False, tolerance: ArrayLike = 1e-5) -> Design:
    """argmin V over samplers mu, or over laws of pairs, V = tr(Sigma_* L⁺)/(2 gamma²): what n comparisons are worth most.

    Over laws of pairs this is a convex (A-optimal) programme: the slope g_ab = -∂V/∂p_ab has Σ p g = V, and no law is
    better than V²/max g, which bounds the gap. Each step multiplies p by √g. Over samplers the problem is not convex: the
    best of the descents from the uniform sampler, the √-rule and pi* is returned, and its ``gap`` compares it with all laws
    of pairs.

    Args:
        model: gives pi* and gamma; its own law of pairs is only the value ``before``.
        pairs: whether any law of pairs may be bought; otherwise both responses are drawn i.i.d. from one mu.
        tolerance: largest ``gap`` of a law of pairs at which to stop, in (0, 1].

    Raises:
        ValueError: not a PreferenceModel, or a tolerance outside its range.
        RuntimeError: the tolerance was not reached.

    Source: [derived], statement 7.10.

    >>> uniform = jnp.full(3, -jnp.log(3.0))
    >>> found = dyn.samplers.design(dyn.PreferenceModel(uniform, 0.5, log_sampler=uniform), pairs=True)
    >>> round(float(found.after / found.before), 6)  # pairs of equals are no longer bought
    0.666667
    """
    if not isinstance(model, PreferenceModel):
        raise ValueError(f"model is a {type(model).__name__}; pass a PreferenceModel.")
    limit = float(check_scalar(tolerance, "tolerance", 0.0, 1.0, open_low=True))
    try:
        with np.errstate(over="raise", invalid="raise"):
            return _designed(model, limit, pairs)
    except FloatingPointError:
        raise RuntimeError(_too_rare(np.atleast_2d(np.asarray(model.log_target)))) from None


def _designed(model: PreferenceModel, limit: float, pairs: bool) -> Design:
    shape = model.log_target.shape
    logs = np.asarray(model.log_target, np.float64).reshape(-1, shape[-1])
    worth = _Worth(logs, float(model.gamma))
    with np.errstate(divide="ignore"):
        rest = np.log1p(-np.exp(logs))
    root = 0.5 * (logs + np.where(np.isfinite(rest), rest, -745.0))
    root = root - np.logaddexp.reduce(root, axis=-1, keepdims=True)
    flat = np.full_like(logs, -np.log(shape[-1]))
    value = lambda log_mu: worth(_both(log_mu))[0]
    best, slope = worth.best_pairs(limit)
    least = worth(best)[0] ** 2 / slope.max((-2, -1))
    if pairs:
        after = worth(best)[0]
        with np.errstate(divide="ignore"):
            log_sampler, log_pairs = None, np.log(best).reshape(*shape, shape[-1])
    else:
        found = np.stack([worth.best_sampler(x, [flat[x], root[x], logs[x]]) for x in range(len(logs))])
        after, log_sampler, log_pairs = value(found), found.reshape(shape), None
    contexts = shape[:-1]
    return Design(
        log_sampler,
        log_pairs,
        root.reshape(shape),
        model.error_constants(),
        value(flat).reshape(contexts),
        value(root).reshape(contexts),
        after.reshape(contexts),
        (after / least - 1.0).reshape(contexts),
    )


def _too_rare(log_target: np.ndarray) -> str:
    x, k = (int(i) for i in np.unravel_index(np.argmin(log_target), log_target.shape))
    return (
        f"response {k}{f' of context {x}' if len(log_target) > 1 else ''} has probability e^{log_target[x, k]:.0f}, too rare "
        f"for float64 to weigh its pairs; leave it out."
    )


def _both(log_mu: np.ndarray) -> np.ndarray:
    return np.exp(log_mu[..., :, None] + log_mu[..., None, :])


def _squares(rows: np.ndarray) -> np.ndarray:
    """||y_a - y_b||² of all rows: by differences, which keep their relative precision, where memory allows."""
    if rows.shape[-1] <= MOST_BY_DIFFERENCES:
        return np.sum((rows[..., :, None, :] - rows[..., None, :, :]) ** 2, axis=-1)
    inner = rows @ np.swapaxes(rows, -1, -2)
    own = np.diagonal(inner, axis1=-2, axis2=-1)
    return np.maximum(own[..., :, None] + own[..., None, :] - 2.0 * inner, 0.0)


class _Worth:
    """V of laws of ordered pairs, ``(X, K, K)``, and its slopes."""

    def __init__(self, log_target: np.ndarray, gamma: float):
        K = log_target.shape[-1]
        ratio = np.exp(-gamma * np.abs(log_target[..., :, None] - log_target[..., None, :]))
        pi = np.exp(log_target)
        self.curve = ratio / (1.0 + ratio) ** 2 * (1.0 - np.eye(K))
        root = np.sqrt(pi)
        # Sigma = F Fᵀ with F = (I - pi 1ᵀ) diag(√pi).
        self.factors = root[..., :, None] * np.eye(K) - pi[..., :, None] * root[..., None, :]
        self.log_target, self.mode = log_target, np.argmax(log_target, axis=-1)
        self.factor = 0.5 / gamma**2

    def __call__(self, p: np.ndarray, x: int | slice = slice(None)) -> tuple[Any, np.ndarray]:
        """V and g = -∂V/∂p."""
        inverse = grounded_inverse(2.0 * p * self.curve[x], self.mode[x])
        slope = self.factor * self.curve[x] * _squares(inverse @ self.factors[x])
        return self.factor * trace_with_covariance(inverse, self.log_target[x]), slope

    def best_pairs(self, tolerance: float) -> tuple[np.ndarray, np.ndarray]:
        """The best law of pairs of every context, and the slope there."""
        p = np.broadcast_to(1.0 - np.eye(self.curve.shape[-1]), self.curve.shape).copy()
        p /= p.sum((-2, -1), keepdims=True)
        for step in range(MAX_STEPS):
            V, slope = self(p)
            if step == EARLY and np.any(slope.max((-2, -1)) > FAR * V):
                raise RuntimeError(_too_rare(self.log_target))
            if np.all(slope.max((-2, -1)) <= (1.0 + tolerance) * V):
                return p, slope
            p = p * np.sqrt(slope)
            p /= p.sum((-2, -1), keepdims=True)
        worst = float(np.max(slope.max((-2, -1)) / V)) - 1.0
        raise RuntimeError(f"the best law of pairs was found only to a gap of {worst:.2g}; pass a larger tolerance.")

    def best_sampler(self, x: int, starts: list[np.ndarray]) -> np.ndarray:
        """log mu of one context: the best end of descents in log mu from ``starts``."""
        from scipy.optimize import minimize  # SciPy loads on use

        def value(z: np.ndarray) -> tuple[float, np.ndarray]:
            log_mu = z - np.logaddexp.reduce(z)
            V, slope = self(_both(log_mu), x)
            rows = np.sum(_both(log_mu) * slope, axis=-1)
            return float(np.log(V)), -2.0 * (rows / V - np.exp(log_mu))

        ends = [minimize(value, z, jac=True, method="L-BFGS-B", options={"ftol": 1e-15, "gtol": 1e-10}) for z in starts]
        best = min(ends, key=lambda end: end.fun).x
        return best - np.logaddexp.reduce(best)
