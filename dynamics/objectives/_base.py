"""What an objective is: the reward that its minimiser implies, and the tilt of a reference by that reward."""

from __future__ import annotations

from typing import ClassVar

import equinox as eqx
import numpy as np
from jaxtyping import Array, ArrayLike, Bool, Float

from .._checks import check_log_distribution
from .._numerics import as_array, concrete, log_mixture, log_softmax
from ..preferences import check
from ._margin import MarginLoss


class Objective(MarginLoss):
    """pi* ∝ ref · exp(f(P, mu) / beta): a loss of margins whose population minimiser is known.

    Attributes:
        beta: beta, scalar in (0, ∞), the KL coefficient, in units of f (dimensionless). Chen26 writes 1/beta for it.
    """

    warm: ClassVar[bool] = True  # whether a guess helps ``solve``

    def __init__(self, beta: ArrayLike):
        super().__init__(beta)  # spelt out: type checkers would build the signature from the field, and refuse a float

    def solve(
        self, P: Float[Array, "K K"], log_mu: Float[Array, " K"], guess: Float[Array, " K"] | None = None
    ) -> tuple[Float[Array, " K"], Bool[Array, ""]]:
        """f and whether it was found; unchecked and traceable, for use inside loops."""
        raise NotImplementedError

    def solve_mixed(
        self,
        P: Float[Array, "K K"],
        lam: Float[Array, ""],
        logits: Float[Array, " K"],
        log_offline: Float[Array, " K"],
        guess: Float[Array, " K"] | None = None,
    ) -> tuple[Float[Array, " K"], Bool[Array, ""]]:
        """As ``solve``, f up to a constant, at the sampler mu = lam softmax(logits) + (1-lam) pi_0."""
        return self.solve(P, log_mixture(lam, log_softmax(logits), log_offline), guess)

    def solve_within(
        self,
        basis: Float[Array, "K m"],
        P: Float[Array, "K K"],
        log_mu: Float[Array, " K"],
        guess: Float[Array, " K"] | None = None,
    ) -> tuple[Float[Array, " K"], Bool[Array, ""]]:
        """As ``solve``, the minimiser restricted to f in the span of orthonormal centred columns."""
        raise NotImplementedError

    def solve_wins(
        self, wins: Float[Array, "K K"], smoothing: Float[Array, ""]
    ) -> tuple[Float[Array, " K"], Bool[Array, ""]]:
        """f of least norm for a finite number of comparisons, ``wins[i, j]`` how often i beat j, and whether there is one.

        Responses that no comparisons link keep their f relative to each other: 0 on average in each component.
        """
        raise NotImplementedError

    def check_exists_within(self, basis: np.ndarray, P: np.ndarray, support: np.ndarray) -> None:
        """As ``check_exists``, for ``solve_within``."""

    def check_exists(self, P: np.ndarray, support: np.ndarray) -> None:
        """Raises ``ValueError`` where this objective has no finite minimiser for P on a sampler's support."""

    def implicit_reward(
        self, P: Float[ArrayLike, "K K"], log_mu: Float[ArrayLike, " K"], *, guess: Float[ArrayLike, " K"] | None = None
    ) -> Float[Array, " K"]:
        """f such that pi* ∝ ref · exp(f/beta), centred (Σ f = 0); see the class for the equation.

        Args:
            P: P, ``(K, K)``, P_ij = Pr(i preferred to j), P + Pᵀ = 1.
            log_mu: log mu, ``(K,)``, the sampler of both responses, in nats; ``-inf`` marks responses never sampled.
            guess: a start for an iterative solve, ``(K,)``; the result does not depend on it.

        Returns:
            f, ``(K,)``, dimensionless.

        Raises:
            ValueError: a bad entry in P or log_mu, or a minimiser that does not exist (concrete inputs).
        """
        if not concrete(P, log_mu):
            f, found = _solve(self, as_array(P), as_array(log_mu), None if guess is None else as_array(guess))
            return eqx.error_if(f, ~found, "the objective has no finite minimiser here; call it on concrete values.")
        P = check(P)
        log_mu = check_log_distribution(log_mu, "log_mu", P.shape[0], zero_mass=True)
        self.check_exists(np.asarray(P), np.asarray(log_mu) > -np.inf)
        f, found = _solve(self, P, log_mu, None if guess is None else as_array(guess))
        if concrete(found) and not bool(found):
            raise RuntimeError(f"{type(self).__name__} did not reach its residual tolerance; report P and log_mu.")
        return f

    def tilt(self, f: Float[ArrayLike, " K"], log_ref: Float[ArrayLike, " K"]) -> Float[Array, " K"]:
        """log pi = log ref + f/beta - log Σ ref exp(f/beta).

        Args:
            f: f, ``(K,)``, an implicit reward, defined up to a constant.
            log_ref: log ref, ``(K,)``, in nats, finite.

        Returns:
            log pi, ``(K,)``, in nats.
        """
        f, log_ref = as_array(f), as_array(log_ref)
        if f.shape != log_ref.shape or f.ndim != 1:
            raise ValueError(f"f has shape {f.shape} and log_ref {log_ref.shape}; pass two vectors of the same length.")
        if concrete(f, log_ref):
            log_ref = check_log_distribution(log_ref, "log_ref", f.shape[0])
            if not np.isfinite(np.asarray(f)).all():
                raise ValueError("f has a non-finite entry; pass an implicit reward, e.g. from implicit_reward.")
        return log_softmax(log_ref + f / self.beta)

    def optimum(
        self, P: Float[ArrayLike, "K K"], log_mu: Float[ArrayLike, " K"], log_ref: Float[ArrayLike, " K"]
    ) -> Float[Array, " K"]:
        """log pi*, ``(K,)``: the objective's minimiser for preferences P, sampler mu and reference ref.

        ``tilt(implicit_reward(P, log_mu), log_ref)``; arguments and errors as there. Source: [paper] Chen26.
        """
        return self.tilt(self.implicit_reward(P, log_mu), log_ref)


@eqx.filter_jit
def _solve(
    objective: Objective, P: Float[Array, "K K"], log_mu: Float[Array, " K"], guess: Float[Array, " K"] | None
) -> tuple[Float[Array, " K"], Bool[Array, ""]]:
    # Compiled once for each size; called eagerly, the solver's loop would be compiled anew every time.
    return objective.solve(P, log_mu, guess)
