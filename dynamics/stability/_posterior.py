"""The posterior of P given counted comparisons, hierarchical or independent for each pair, and Monte Carlo intervals."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple, get_args

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PRNGKeyArray

from .._checks import Numbers, check_count, check_key, check_number, in_short
from ..preferences import from_wins
from ._hierarchical import Sample, hierarchical
from ._laplace import sigmoid

Model = Literal["hierarchical", "independent"]
FEW_VOTES, MOSTLY_PRIOR, EDGE_WEIGHT, LOW_ACCEPTANCE = 10, 0.8, 0.05, 0.1


class Posterior(NamedTuple):
    """A posterior of P.

    Attributes:
        mean: the posterior mean of P, ``(K, K)``.
        draws: draws of P, ``(draws, K, K)``.
        comparisons: the number of comparisons.
        model: "hierarchical" or "independent"; what follows is None for the latter.
        sigma: draws of the scale of scores, ``(draws,)``; √2 sigma is the sd of a pair's log-odds from scores.
        tau: draws of the scale of residuals, ``(draws,)``: the sd of what no score explains of a pair's log-odds, besides the
            triangles that stand out; 0 for K = 2.
        log10_bayes_factor: log10 of the marginal likelihood of residuals, on all pairs or on one triangle with equal weight,
            over that of Bradley–Terry (tau = .02), by Laplace's method. Above 1 it is strong evidence, below -.5 there is none.
        acceptance: share of accepted joint moves of a scale and what it scales.
        edge_weight: posterior weight of the largest sigma and tau of the grid; large where counts bound log-odds on one side.
        prior_share: width of tau's 90% interval over that of its prior; near 1 the answer is mostly prior. None for K = 2.
        caution: sentences about what weakens the answer.
    """

    mean: np.ndarray
    draws: np.ndarray
    comparisons: float
    model: str = "independent"
    sigma: np.ndarray | None = None
    tau: np.ndarray | None = None
    log10_bayes_factor: float | None = None
    acceptance: float | None = None
    edge_weight: float | None = None
    prior_share: float | None = None
    caution: tuple[str, ...] = ()


def posterior(
    counts: Numbers,
    *,
    key: PRNGKeyArray,
    draws: int = 1000,
    model: str = "hierarchical",
    residual_scale: float = 1.0,
    prior: float = 0.5,
    one_sided: bool = False,
) -> Posterior:
    """logit P_ij = s_i - s_j + C_ij, scores and residuals with scales of their own; or P_ij ~ Beta, independently.

    hierarchical: s ~ N(0, sigma²); C has row sums 0 and consists of a Gaussian part with scale tau on all pairs and, for K ≥ 4,
    of up to six cycles of three with amplitudes of their own, each present with a probability that is learned.
    Pairs that were never compared take their law from the scores and tau; few votes are not taken for cycles.

    independent: P_ij ~ Beta(c_ij + prior, c_ji + prior) for each pair i < j. It sees cycles in noise where there are many
    responses or few votes, and does not shrink a cycle confined to few responses.

    Args:
        counts: win counts c, ``(K, K)``; pairs may be missing.
        key: one key of ``jax.random``.
        draws: number of draws, int ≥ 1.
        model: "hierarchical" or "independent".
        residual_scale: the scale of tau's half-normal prior, > 0 (hierarchical); elections and ratings have tau of .03–.24.
        prior: pseudo-wins on each side of each pair, > 0 (independent).
        one_sided: accept counts with only zeros on one side of the diagonal, which are refused by default (K ≥ 3) because
            they are usually a mistake.

    Raises:
        ValueError: a bad argument, or counts with only zeros on one side of the diagonal.

    Source: the models and how often they are right are in docs/posterior.md [derived, measured].

    >>> found = posterior(np.array([[0, 3], [1, 0]]), key=jax.random.key(0), draws=10, model="independent")
    >>> found.mean.tolist(), found.draws.shape, found.comparisons
    ([[0.5, 0.7], [0.30000000000000004, 0.5]], (10, 2, 2), 4.0)
    """
    c = check_counts(counts, one_sided)
    check_model(model)
    prior = float(check_number(prior, "prior", 0.0, np.inf, open_low=True))
    scale = float(check_number(residual_scale, "residual_scale", 0.0, np.inf, open_low=True))
    draws = check_count(draws, "draws", 1)
    if key is None:
        raise ValueError("draws from the posterior are random; pass key=jax.random.key(seed).")
    check_key(key)
    if model == "hierarchical":
        found = hierarchical(c, _generator(key), draws, scale)
        mean = found.P.mean(axis=0)
        mean = (mean + 1 - mean.T) / 2
        return Posterior(mean, found.P, float(c.sum()), model, *found[1:], caution=_caution(c, found))
    i, j = np.triu_indices(len(c), 1)
    mean = np.full(c.shape, 0.5)
    mean[i, j] = (c[i, j] + prior) / (c[i, j] + c[j, i] + 2 * prior)
    mean[j, i] = 1 - mean[i, j]
    stack = np.full((draws, *c.shape), 0.5)
    log_odds = _log_odds(_generator(key), c[i, j] + prior, c[j, i] + prior, draws)
    # Both sides are computed from the log-odds, because 1 - p would round to 0 for p near 1.
    stack[:, i, j], stack[:, j, i] = sigmoid(log_odds), sigmoid(-log_odds)
    return Posterior(mean, stack, float(c.sum()))


def check_model(model: Any, *others: str) -> None:
    """Raises ``ValueError`` unless ``model`` is one of the two, or of ``others``."""
    names = (*others, *get_args(Model))
    if model not in names:
        told = ", ".join(f"'{name}'" for name in names[:-1])
        raise ValueError(f"model is {in_short(model)}; pass {told} or '{names[-1]}'.")


def _generator(key: PRNGKeyArray) -> np.random.Generator:
    typed = jnp.issubdtype(key.dtype, jax.dtypes.prng_key)
    return np.random.default_rng(np.asarray(jax.random.key_data(key) if typed else key).ravel())


def _caution(c: np.ndarray, found: Sample) -> tuple[str, ...]:
    """What weakens the answer, one sentence each."""
    n = (c + c.T)[np.triu_indices(len(c), 1)]
    told = []
    if not n.any():
        return ("There are no comparisons, so that the answer is the prior.",)
    if len(c) > 2 and np.median(n[n > 0]) < FEW_VOTES:
        told.append(f"Fewer than {FEW_VOTES} votes a pair: strong cycles over many responses can be underrated.")
    if found.prior_share is not None and found.prior_share > MOSTLY_PRIOR:
        told.append(f"Mostly prior: the votes leave {found.prior_share:.0%} of the prior's range of residuals.")
    if found.edge_weight > EDGE_WEIGHT:
        told.append("The votes bound some log-odds on one side only.")
    if found.acceptance < LOW_ACCEPTANCE:
        told.append(f"The sampler moved slowly (acceptance {found.acceptance:.2f}); pass more draws and compare.")
    return tuple(told)


def _log_odds(rng: np.random.Generator, a: np.ndarray, b: np.ndarray, draws: int) -> np.ndarray:
    """log p/(1-p) for p ~ Beta(a, b), as the difference of the logarithms of two Gamma variables."""

    def log_gamma(shape: np.ndarray) -> np.ndarray:
        # G(a) = G(a+1) U^{1/a}, of which the logarithm does not underflow for small a.
        return (
            np.log(rng.standard_gamma(shape + 1, (draws, len(shape))))
            - rng.standard_exponential((draws, len(shape))) / shape
        )

    return log_gamma(a) - log_gamma(b)


def check_counts(counts: Any, one_sided: bool) -> np.ndarray:
    """Win counts as ``from_wins`` takes them, in which pairs may be missing."""
    from_wins(counts, missing=0.5)
    c = np.asarray(counts, dtype=np.float64)
    above, below = np.triu(c, 1).any(), np.tril(c, -1).any()
    if len(c) >= 3 and above != below and not one_sided:
        side = "below" if above else "above"
        raise ValueError(
            f"counts has only zeros {side} the diagonal, as if one direction had been left out; pass counts[i, j], how often i "
            f"beat j, and counts[j, i], how often j beat i. If the {'first' if above else 'last'} response of every pair "
            f"really won each time, number the responses in another order."
        )
    return c
