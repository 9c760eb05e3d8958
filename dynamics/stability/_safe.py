"""``safe_beta``: the smallest beta above which rounds are stable with a given probability, given counted comparisons."""

from __future__ import annotations

from typing import Any

import numpy as np
from jaxtyping import ArrayLike, Float, PRNGKeyArray

from .. import oracle
from .._checks import Numbers, check_number, host_array
from .._shares import INTERVAL_LEVEL, Share, share
from ..objectives import IPO, Objective
from ._basis import basis_of
from ._many import DEFAULT_FLOOR, LOST, NOT_BEGUN, Values, check_alphas, check_kind, check_lams, critical_betas
from ._posterior import check_model, posterior
from ._safe_result import SafeBeta

LARGER = "larger"


def safe_beta(
    counts: Numbers,
    objective: type[Objective],
    alpha: Values,
    lam: Values,
    *,
    key: PRNGKeyArray,
    confidence: float = 0.95,
    draws: int = 1000,
    model: str = LARGER,
    residual_scale: float = 1.0,
    prior: float = 0.5,
    one_sided: bool = False,
    floor: float = DEFAULT_FLOOR,
    log_reference: Float[ArrayLike, " K"] | None = None,
    log_offline: Float[ArrayLike, " K"] | None = None,
    progress: bool = True,
) -> SafeBeta:
    """inf {b : Pr(rho(beta') < 1 for every beta' > b) ≥ confidence}, for each alpha and lam.

    Pr is the posterior probability, as in ``verdict_probability``; rho is the spectral radius at the fixed point that is
    followed downward from beta = ∞. For each model the result is an order statistic of the largest beta at which each draw
    loses stability; by default both models are asked, and the larger beta is returned, because neither is calibrated on every
    law (docs/posterior.md). This stability is local; ``proven`` is about convergence from every start. At alpha = 1 no beta
    makes interior fixed points stable, so alpha < 1 is required.

    Args:
        counts: win counts c, ``(K, K)``.
        objective: the class, ``dyn.IPO`` or ``dyn.DPO``, without a beta.
        alpha: values of alpha, ``(A,)``, in [0, 1).
        lam: values of lambda, ``(L,)``, in [0, 1].
        key: one key of ``jax.random``.
        confidence: probability, in (0, 1).
        draws: draws of P from each model, int ≥ 1; at least 1/(1 - confidence) of them are needed for a meaningful result.
        model: "larger" (of both), "hierarchical" or "independent".
        residual_scale: the scale of the prior of residuals, > 0 (hierarchical).
        prior: pseudo-wins on each side of each pair, > 0 (independent).
        one_sided: accept counts with zeros on one side of the diagonal, as in a file whose first response won every time.
        floor: the smallest beta that is examined, > 0; draws that are stable down to it count as stable.
        log_reference, log_offline: ``(K,)``, in nats; uniform unless given.
        progress: show a bar at a terminal when it takes longer than two seconds.

    Raises:
        ValueError: a bad argument, or counts with only zeros on one side of the diagonal (K ≥ 3).

    Source: [derived] statements 2.2 and 7.1; proven columns 7.2 and 7.15.
    """
    kind = check_kind(objective)
    alphas, lams = check_alphas(alpha), check_lams(lam)
    confidence = check_confidence(confidence)
    if model != LARGER:
        check_model(model, LARGER)
    models = ("hierarchical", "independent") if model == LARGER else (model,)
    options = {"draws": draws, "residual_scale": residual_scale, "prior": prior, "one_sided": one_sided}
    drawn = [posterior(counts, key=key, model=name, **options) for name in models]
    stack = np.concatenate([drawn[0].mean[None], *(one.draws for one in drawn)])
    setting = {"log_reference": log_reference, "log_offline": log_offline}
    found = critical_betas(stack, kind, alphas, lams, floor=floor, **setting, progress=progress)
    parts = np.split(found.beta[1:], len(models))
    at_floor = lambda x: np.maximum(x, found.floor)
    three = at_floor(np.array([_quantile(part, confidence) for part in parts]))  # (models, 3, A, L)
    conditional = at_floor(np.array([_quantile_if(part, confidence) for part in parts]))
    largest = three[:, 0].argmax(axis=0)
    beta, low, high = np.take_along_axis(three, largest[None, None], axis=0)[0]
    proven = None
    if kind is IPO:
        proven = np.max([_quantile(proven_beta(one.draws, alphas, lams), confidence)[0] for one in drawn], axis=0)
    worst = lambda status: float(max((s == status).mean(axis=0).max() for s in np.split(found.status[1:], len(models))))
    return SafeBeta(
        objective=kind.__name__,
        alpha=alphas,
        lam=lams,
        beta=beta,
        low=low,
        high=high,
        mean=at_floor(found.beta[0]),
        proven=proven,
        proven_everywhere=proven_everywhere(alphas, lams) if kind is IPO else None,
        confidence=confidence,
        draws=draws,
        comparisons=drawn[0].comparisons,
        prior=float(prior) if "independent" in models else None,
        floor=found.floor,
        lost=worst(LOST),
        without_optimum=worst(NOT_BEGUN),
        beta_if=conditional.max(axis=0),
        loses_stability=_shares_of((parts[0] > 0).sum(axis=0), draws),
        models=models,
        by_model=dict(zip(models, three[:, 0], strict=True)),
        if_by_model=dict(zip(models, conditional, strict=True)),
        source=np.array(models)[largest],
        basis=basis_of(drawn[0]),
    )


def _quantile_if(values: np.ndarray, level: float) -> np.ndarray:
    """The ``level``-quantile of the positive values along the first axis, 0 where there is none."""
    ordered, count = np.sort(values, axis=0), (values > 0).sum(axis=0)
    rank = len(values) - count + np.ceil(level * count - 1e-9).astype(int)
    return np.where(count > 0, np.take_along_axis(ordered, np.maximum(rank, 1)[None] - 1, axis=0)[0], 0.0)


def _shares_of(counts: np.ndarray, draws: int) -> Share:
    """``share`` of each entry, as one ``Share`` of arrays."""
    found = np.array([share(int(count), draws) for count in counts.ravel()])
    return Share(*(found[:, n].reshape(counts.shape) for n in range(3)))


def check_confidence(value: Any) -> float:
    """``value`` as a float, if it is a probability strictly between 0 and 1; otherwise raises ``ValueError``.

    >>> check_confidence(0.95)
    0.95
    """
    confidence = float(check_number(value, "confidence", 0.0, 1.0, open_low=True))
    if confidence == 1:
        raise ValueError("confidence = 1 is certainty, which draws cannot give; pass a value below 1, such as 0.95.")
    return confidence


def known_beta(
    P: Numbers,
    objective: type[Objective],
    alpha: Values,
    lam: Values,
    *,
    floor: float = DEFAULT_FLOOR,
    progress: bool = True,
) -> SafeBeta:
    """The largest beta with rho(J(z*)) = 1 for a given P, as a ``SafeBeta`` without a confidence.

    Args:
        P: P, ``(K, K)``.
        objective, alpha, lam, floor, progress: as in ``safe_beta``.

    Raises:
        ValueError: a bad argument.

    Source: [derived] statements 2.2 and 7.1.
    """
    kind = check_kind(objective)
    alphas, lams = check_alphas(alpha), check_lams(lam)
    stack = np.asarray(P)[None]
    found = critical_betas(stack, kind, alphas, lams, floor=floor, progress=progress)
    beta = np.maximum(found.beta[0], found.floor)
    return SafeBeta(
        objective=kind.__name__,
        alpha=alphas,
        lam=lams,
        beta=beta,
        low=beta,
        high=beta,
        mean=beta,
        proven=proven_beta(stack, alphas, lams)[0] if kind is IPO else None,
        proven_everywhere=proven_everywhere(alphas, lams) if kind is IPO else None,
        confidence=None,
        draws=None,
        comparisons=None,
        prior=None,
        floor=found.floor,
        lost=float((found.status == LOST).any()),
        without_optimum=float((found.status == NOT_BEGUN).any()),
    )


def _quantile(values: np.ndarray, level: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The ``level``-quantile along the first axis, as an order statistic, and its 95% interval."""
    from scipy.stats import binom

    ordered, n = np.sort(values, axis=0), len(values)
    rank = int(np.ceil(level * n - 1e-9))
    tail = (1 - INTERVAL_LEVEL) / 2
    # The number of values below the true quantile is binomial; its quantiles are the ranks of the interval's ends.
    below, above = int(binom.ppf(tail, n, level)), int(binom.ppf(1 - tail, n, level)) + 1
    top = ordered[above - 1] if above <= n else np.full(ordered.shape[1:], np.inf)
    return ordered[rank - 1], ordered[max(below, 1) - 1], top


def proven_beta(preferences: Numbers, alpha: Values, lam: Values) -> Float[np.ndarray, "M A L"]:
    """lam · min(‖CAC‖₂/(2 √(1 - alpha²)), D/(4 √(1 - alpha))), D = max_ij span_k(A_ik - A_jk).

    Above this beta IPO's rounds are proven to converge from every interior start, by statement 7.2 (which implies 2.3 and the
    2-norm of 7.3) or by 7.15 (which implies the span norm of 7.3). It is at most ``proven_everywhere``, the bound for every P.

    Args:
        preferences: P, ``(M, K, K)``.
        alpha: values of alpha, ``(A,)``, in [0, 1).
        lam: values of lambda, ``(L,)``, in [0, 1].

    Raises:
        ValueError: a bad argument.

    Source: [derived] statements 7.2 and 7.15.

    >>> proven_beta(np.array([[[0.5, 0.8], [0.2, 0.5]]]), [0.0, 0.5], 1.0).shape
    (1, 2, 1)
    """
    alphas, lams = check_alphas(alpha), check_lams(lam)
    A = host_array(preferences, "preferences").astype(np.float64) - 0.5
    if A.ndim != 3 or A.shape[1] != A.shape[2]:
        raise ValueError(f"preferences has shape {A.shape}; pass a stack of matrices of one size, shape (M, K, K).")
    centred = A - A.mean(axis=1, keepdims=True)
    centred -= centred.mean(axis=2, keepdims=True)
    norm = np.linalg.norm(centred, 2, axis=(1, 2))
    # One row at a time: the differences of all rows would be K³ numbers for each matrix.
    span = np.max([np.ptp(A[:, i, None] - A, axis=2).max(axis=1) for i in range(A.shape[1])], axis=0)
    per_lam = np.minimum(
        norm[:, None] / (2 * np.sqrt((1 - alphas) * (1 + alphas))), span[:, None] / (4 * np.sqrt(1 - alphas))
    )
    return per_lam[:, :, None] * lams


def proven_everywhere(alpha: Values, lam: Values) -> Float[np.ndarray, "A L"]:
    """lam/(2 √(1 - alpha)): above this beta IPO's rounds are proven to converge from every interior start for every P and K.

    Args:
        alpha: values of alpha, ``(A,)``, in [0, 1).
        lam: values of lambda, ``(L,)``, in [0, 1].

    Raises:
        ValueError: a bad argument.

    Source: [derived] statement 7.15.

    >>> proven_everywhere([0.0, 0.99], 1.0).round(6).tolist()
    [[0.5], [5.0]]
    """
    return oracle.proven_everywhere(check_alphas(alpha)[:, None], check_lams(lam))


def stable_everywhere(alpha: Values, lam: Values) -> Float[np.ndarray, "A L"]:
    """lam/(pi √(1 - alpha²)), pi = 3.14…: above this beta IPO's fixed point attracts for every P, K, reference and sampler.

    No smaller beta is safe for all: regular tournaments of many responses lose stability just below it. Between it and
    ``proven_everywhere`` fixed points attract, but convergence from every start is not proven.

    Args:
        alpha: values of alpha, ``(A,)``, in [0, 1).
        lam: values of lambda, ``(L,)``, in [0, 1].

    Raises:
        ValueError: a bad argument.

    Source: [derived] statement 7.14.

    >>> stable_everywhere(0.0, 1.0).round(6).tolist()
    [[0.31831]]
    """
    return oracle.stable_everywhere(check_alphas(alpha)[:, None], check_lams(lam))
