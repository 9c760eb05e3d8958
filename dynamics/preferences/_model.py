"""Preferences as a language model: the target policy whose log-probabilities are the scores of Bradley–Terry."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float, PRNGKeyArray

from .._checks import Numbers, as_numbers, check_count, check_key, check_number
from .._laplacian import covariance_spectrum, grounded_inverse, reachable, trace_with_covariance
from .._noun import Noun
from .._numerics import as_array
from .._parts import distributions
from ._chi_square import weighted_chi_square_quantile
from ._comparisons import Comparisons
from ._prompts import check_weights

MOST = 2**53


class PreferenceModel(Noun):
    """P(a ≻ b | x) = sigma(gamma (log pi*(a|x) - log pi*(b|x))): comparisons that are explained by a target policy pi*.

    A comparison draws a context x by its weight, and a pair (a, b) from the law of pairs of x: both from mu, or from
    ``log_pairs``. A pair of equals is a comparison that tells nothing.

    Args:
        log_target: log pi*, ``(K,)``, or ``(X, K)`` for X contexts, in nats, full support, K ≥ 2.
        gamma: gamma, scalar in (0, ∞): how sharply pi* decides comparisons.
        log_sampler: log mu, ``(K,)`` or ``(X, K)``, ``-inf`` for responses never sampled; pass this or ``log_pairs``.
        log_pairs: log of the probability of each ordered pair, ``(K, K)`` or ``(X, K, K)``, total 1 in each context. Only
            the sum over both orders matters.
        weights: shares of the contexts, ``(X,)``, ≥ 0; equal ones by default.

    Raises:
        ValueError: a bad distribution, gamma or weight, neither or both of ``log_sampler`` and ``log_pairs``.

    Source: [paper] Yun25, the preference model; here with gamma for both the model and the objectives.

    >>> model = dyn.PreferenceModel(jnp.log(jnp.array([0.8, 0.2])), 0.5, log_sampler=jnp.log(jnp.array([0.5, 0.5])))
    >>> round(float(model.preference[0, 1]), 6)
    0.666667
    """

    log_target: Float[Array, "*contexts K"]
    gamma: Float[Array, ""]
    pairs: Float[Array, "*contexts K K"]
    weights: Float[Array, "*contexts"]
    log_sampler: Float[Array, "*contexts K"] | None

    def __init__(
        self,
        log_target: Numbers,
        gamma: ArrayLike,
        log_sampler: Numbers | None = None,
        *,
        log_pairs: Numbers | None = None,
        weights: Numbers | None = None,
    ):
        self.log_target = distributions(log_target, "log_target")
        shape = self.log_target.shape
        if shape[-1] < 2:
            raise ValueError(f"log_target has shape {shape}; pass at least two responses, K ≥ 2.")
        self.gamma = check_number(gamma, "gamma", 0.0, np.inf, open_low=True)
        self.weights = check_weights(weights, shape[:-1])
        if (log_sampler is None) == (log_pairs is None):
            raise ValueError("pass either log_sampler= or log_pairs=, the law of the pairs that are compared.")
        if log_sampler is not None:
            given = distributions(log_sampler, "log_sampler", zero_mass=True)
            if given.shape not in (shape, shape[-1:]):
                raise ValueError(f"log_sampler has shape {given.shape}, log_target {shape}; pass shape {shape}.")
            self.log_sampler = jnp.broadcast_to(given, shape)
            mu = jnp.exp(self.log_sampler)
            self.pairs = mu[..., :, None] * mu[..., None, :]
        else:
            self.log_sampler = None
            self.pairs = _pairs(log_pairs, shape)

    @property
    def preference(self) -> Float[Array, "*contexts K K"]:
        """P, with P + Pᵀ = 1 and 1/2 on the diagonal."""
        return jax.nn.sigmoid(self._gaps())

    def _gaps(self) -> Float[Array, "*contexts K K"]:
        return self.gamma * (self.log_target[..., :, None] - self.log_target[..., None, :])

    def expected(self, n: ArrayLike) -> Comparisons:
        """The expected counts of n comparisons, exact and not whole.

        Raises:
            ValueError: n not finite and positive.
        """
        count = check_number(n, "n", 0.0, np.inf, open_low=True)
        wins = 2.0 * self.pairs * self.preference  # pairs is symmetric; on the diagonal 2·(1/2) counts each once
        return Comparisons(count * self.weights[..., None, None] * wins)

    def sample(self, n: int, *, key: PRNGKeyArray, data_sets: int | None = None) -> Comparisons:
        """n independent comparisons, or ``data_sets`` independent sets of n along a new leading axis.

        Args:
            n: the number of comparisons in each set, over all contexts, 1 ≤ n ≤ 2^53.
            key: a key of ``jax.random``; it seeds NumPy's generator, which draws counts much faster than JAX does.
            data_sets: how many sets; None: one, without the new axis.

        Raises:
            ValueError: n or data_sets is not a whole number of at least 1, or a bad key.
        """
        n = check_count(n, "n", 1)
        if n > MOST:
            raise ValueError(f"n = {n} is above 2^53, where counts are not exact; pass a smaller n.")
        check_key(key)
        batch = () if data_sets is None else (check_count(data_sets, "data_sets", 1),)
        typed = jnp.issubdtype(key.dtype, jax.dtypes.prng_key)
        draw = np.random.default_rng(np.asarray(jax.random.key_data(key) if typed else key).ravel())
        weights, pairs = np.asarray(self.weights, np.float64), np.asarray(self.pairs, np.float64)
        K, contexts = pairs.shape[-1], weights.shape
        counts = draw.multinomial(n, weights / weights.sum(), size=batch) if contexts else np.full(batch, n)
        i, j = np.triu_indices(K)
        law = pairs[..., i, j] * np.where(i == j, 1.0, 2.0)
        met = draw.multinomial(counts, law / law.sum(-1, keepdims=True))
        gap = np.asarray(self._gaps(), np.float64)[..., i, j]
        # The rarer of both outcomes is drawn: its probability keeps its relative precision.
        rare = draw.binomial(met, np.exp(-np.abs(gap)) / (1.0 + np.exp(-np.abs(gap))))
        first = np.where(i == j, met, np.where(gap > 0, met - rare, rare))
        wins = np.zeros((*batch, *contexts, K, K))
        wins[..., j, i] = met - first
        wins[..., i, j] = first
        return Comparisons(wins)

    def information(self) -> np.ndarray:
        """The weights of the Laplacian that is the Fisher information of one comparison of each context, ``(…, K, K)``.

        c_ab = (p_ab + p_ba) sigma'(gamma log pi*(a)/pi*(b)), p the law of ordered pairs.
        """
        ratio = np.exp(-np.abs(np.asarray(self._gaps(), np.float64)))
        weights = 2.0 * np.asarray(self.pairs, np.float64) * ratio / (1.0 + ratio) ** 2
        return weights * (1.0 - np.eye(weights.shape[-1]))

    def error_constants(self) -> np.ndarray:
        """V_x of every context, ``(*contexts,)``; see ``error_constant``."""
        weights, log_target = self.information(), np.asarray(self.log_target, np.float64)
        connected = np.asarray(reachable(weights > 0).all((-2, -1)))
        safe = np.where(connected[..., None, None], weights, 1.0)
        inverse = grounded_inverse(safe, np.argmax(log_target, axis=-1))
        found = trace_with_covariance(inverse, log_target) / (2.0 * float(self.gamma) ** 2)
        return np.where(connected, found, np.inf)

    def error_constant(self) -> float:
        """Σ_x V_x, V_x = tr(Sigma_* L_x⁺) / (2 gamma²): the limit of n E_x KL(pi* || pihat), whatever the contexts' weights.

        It holds for tabular PMLE, distillation and reverse KL with a beta that falls faster than 1/√n, and no estimator does
        better. L_x is the Fisher information of one comparison (``information``) and Sigma_* = diag(pi*) - pi* pi*ᵀ. Contexts
        of weight 0 are left out. It is inf where the comparisons do not connect all responses.

        Source: [derived], statement 7.9.

        >>> uniform = jnp.full(3, -jnp.log(3.0))
        >>> round(dyn.PreferenceModel(uniform, 0.5, log_sampler=uniform).error_constant(), 9)  # (K-1)/gamma²
        8.0
        """
        return float(np.sum(np.where(np.asarray(self.weights) > 0, self.error_constants(), 0.0)))

    def error_quantile(self, n: ArrayLike, q: ArrayLike) -> float:
        """The q-quantile of (1/(2 gamma² n)) Σ_k l_k Z_k², Z_k ~ N(0, 1): the error E_x KL(pi* || pihat) after n comparisons.

        l_k are the eigenvalues of L_x⁺ Sigma_* of all contexts. This is the law of n E_x KL for large n, of which
        ``error_constant`` is the mean.

        Args:
            n: number of comparisons, in (0, ∞).
            q: in (0, 1).

        Raises:
            ValueError: n or q outside its range.

        Source: [derived], statement 7.9.
        """
        n = float(check_number(n, "n", 0.0, np.inf, open_low=True))
        q = float(check_number(q, "q", 0.0, 1.0, open_low=True))
        if q >= 1.0:
            raise ValueError(f"q = {q:g} is outside (0, 1); pass a probability inside.")
        if not np.isfinite(self.error_constant()):
            return float("inf")
        seen = np.asarray(self.weights) > 0
        spectrum = covariance_spectrum(self.information()[seen], np.asarray(self.log_target, np.float64)[seen])
        return weighted_chi_square_quantile(q, spectrum.ravel()) / (2.0 * float(self.gamma) ** 2 * n)


def _pairs(log_pairs: Numbers | None, shape: tuple[int, ...]) -> Float[Array, "*contexts K K"]:
    logs = as_numbers(log_pairs, "log_pairs")
    wanted = (*shape, shape[-1])
    if logs.shape not in (wanted, wanted[-2:]):
        raise ValueError(f"log_pairs has shape {logs.shape}, log_target {shape}; pass shape {wanted}.")
    flat = distributions(logs.reshape(*logs.shape[:-2], -1), "log_pairs", zero_mass=True)
    pairs = jnp.broadcast_to(jnp.exp(flat).reshape(logs.shape), wanted)
    return as_array(0.5 * (pairs + jnp.swapaxes(pairs, -1, -2)))
