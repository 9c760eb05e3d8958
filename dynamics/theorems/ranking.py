"""Statements on the order in which an optimum ranks the responses (statements 1.6, 1.7 and 1.8)."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from . import _algebra as al
from ._bound import Claim, theorem
from ._inputs import checked, normalise
from .source import Source, log_policy, log_sampler, matrix, pairwise, permutation

_REWARD = "f_i - f_j, shape (K, K), f = beta h the implicit reward of the objective's optimum at mu"


def _dominant(source: Source) -> dict[str, Any]:
    K = source.integer(2, 6)
    P = matrix(source, K, ("strongly transitive", "strictly strongly transitive", "bradley-terry", "linear"))
    return {"P": P, "log_mu": log_sampler(source, K), "objective": source.choice(("ipo", "dpo"))}


@theorem(
    number="1.6",
    source="[paper] Chen26 for IPO; the size of the gap and DPO are [derived] (statement 1.6)",
    statement="If P_ij ≥ 1/2 implies P_ik ≥ P_jk for every k, then f_i - f_j ≥ kappa (mu_i + mu_j)(P_ij - 1/2) under "
    "any sampler mu, kappa = 1 for IPO and 4 for DPO: the order is kept, strictly where P_ij > 1/2 and mu_i + mu_j > "
    "0.",
    quantity=_REWARD,
    strength="tight",
    build=_dominant,
)
def order_preservation(P: np.ndarray, log_mu: np.ndarray, objective: str = "ipo") -> Claim:
    """(P mu)_i - (P mu)_j = Σ_k mu_k (P_ik - P_jk): no term is negative, and k = i, j give mu_k (P_ij - 1/2) each."""
    assumptions = {"row dominance": al.row_dominant(P)}
    if objective == "dpo":
        assumptions["0 < P < 1"] = bool(((P > 0) & (P < 1)).all())
    mu = np.exp(log_mu)
    gap = (mu[:, None] + mu[None, :]) * al.skew(P)
    lower, upper = al.one_sided(gap, 1.0 if objective == "ipo" else 4.0)
    # P_ij = 1/2 makes the rows equal, hence f_i = f_j. Without mass on i and j there is no bound unless they are tied.
    silent = (gap == 0) & (P != 0.5)
    lower = np.where(silent & (P < 0.5), -np.inf, lower)
    return Claim(lower, np.where(silent & (P > 0.5), np.inf, upper), assumptions)


def reversing_sampler(P: ArrayLike) -> np.ndarray:
    """log e_k for the k that violates row dominance most, P_ij ≥ 1/2 but P_ik < P_jk; shape (K,), -inf except at k."""
    matrix = checked({"P": P})["P"]
    if al.row_dominant(matrix):
        raise ValueError("P is row dominant, so no sampler reverses its order; pass a P that is not.")
    k = _worst(matrix)[2]
    return np.where(np.arange(len(matrix)) == k, 0.0, -np.inf)


def _worst(P: np.ndarray) -> tuple[int, int, int]:
    excess = np.where((P >= 0.5)[:, :, None], P[:, None, :] - P[None, :, :], np.inf)
    i, j, k = np.unravel_index(np.argmin(excess), excess.shape)
    return int(i), int(j), int(k)


def _not_dominant(source: Source) -> dict[str, Any]:
    K = source.integer(3, 6)
    P = matrix(source, K, ("cyclic", "any", "weakly transitive", "near-deterministic"))
    return {"P": P, "objective": source.choice(("ipo", "dpo"))}


@theorem(
    number="1.6",
    source="[derived] statement 1.6, the converse",
    statement="Where row dominance fails, P_ij ≥ 1/2 but P_ik < P_jk, the sampler e_k ranks j above i: f_i - f_j = "
    "P_ik - P_jk for IPO and logit P_ik - logit P_jk for DPO.",
    quantity="f_i - f_j at the witness sampler e_k, (i, j, k) the triple with the smallest P_ik - P_jk",
    strength="tight",
    build=_not_dominant,
    witness=reversing_sampler,
)
def order_reversal(P: np.ndarray, objective: str = "ipo") -> Claim:
    """At a vertex the optimum depends on one column of P."""
    i, j, k = _worst(P)
    assumptions = {"row dominance fails": bool(P[i, k] < P[j, k] - al.ROUNDING)}
    if objective == "dpo":
        # Else DPO has no optimum at e_k.
        inside = assumptions["0 < P_ak < 1 for all a"] = bool(((P[:, k] > 0) & (P[:, k] < 1)).all())
        if not inside:
            return Claim(-np.inf, np.inf, assumptions)
        gap = al.logit(P)[i, k] - al.logit(P)[j, k]
    else:
        gap = P[i, k] - P[j, k]
    return Claim(gap, gap, assumptions)


def _skewed(source: Source) -> dict[str, Any]:
    """Two rows i < j whose difference d falls with rank, and two samplers, the second skewed towards the top."""
    K = source.integer(2, 6)
    i = source.integer(0, K - 2)
    j = source.integer(i + 1, K - 1)
    d = np.sort([source.number(-0.98, 0.98) for _ in range(K)])[::-1].copy()
    d[i : j + 1] = np.clip(d[i], -0.49, 0.49)
    d[:i], d[j + 1 :] = np.maximum(d[:i], d[i]), np.minimum(d[j + 1 :], d[i])
    P = pairwise(K, lambda a, b: source.number(0.01, 0.99))
    for k in range(K):
        if k not in (i, j):
            base = max(0.0, d[k]) + source.number(0.0, 1.0) * (1.0 - abs(d[k]))
            # The other row is the rounded difference, so that equal entries of d stay equal when computed from P.
            P[i, k], P[j, k] = base, min(max(base - d[k], 0.0), 1.0)
            P[k, i], P[k, j] = 1 - P[i, k], 1 - P[j, k]
    P[i, j], P[j, i] = 0.5 + d[i], 0.5 - d[i]
    order = permutation(source, K)
    log_mu = log_sampler(source, K)
    pull = np.sort([source.number(0.0, 5.0) for _ in range(K)])[::-1]
    place = np.argsort(order)
    return {
        "P": P[np.ix_(order, order)],
        "log_mu": log_mu[order],
        "log_mu_skewed": normalise(log_mu + pull)[order],
        "better": int(place[i]),
        "worse": int(place[j]),
        "order": np.argsort(order),
    }


@theorem(
    number="1.7",
    source="[derived] statement 1.7, of Chen26's kind; IPO only",
    statement="If d_k = P_ik - P_jk is non-increasing in rank and mu' first-order dominates mu towards the top, then "
    "IPO's gap of i over j cannot shrink: 0 ≤ d·(mu' - mu) ≤ (d_top - d_bottom) max_r (M'_r - M_r), M the mass of "
    "the first r.",
    quantity="beta[(h_i - h_j) at mu' - (h_i - h_j) at mu] of IPO's optimum",
    strength="tight",
    build=_skewed,
    about="ipo",
)
def skewed_sampling(
    P: np.ndarray,
    log_mu: np.ndarray,
    log_mu_skewed: np.ndarray,
    better: int,
    worse: int,
    order: np.ndarray | None = None,
) -> Claim:
    """``better`` and ``worse`` are i and j; ``order`` lists the responses best first (default: as numbered)."""
    order = np.arange(len(P)) if order is None else order
    d = (P[better] - P[worse])[order]
    lead = np.cumsum(np.exp(log_mu_skewed[order]) - np.exp(log_mu[order]))[:-1]
    assumptions = {
        "d non-increasing in rank": bool((np.diff(d) <= al.ROUNDING).all()),
        "mu' first-order dominates mu": bool((lead >= -al.ROUNDING).all()),
    }
    return Claim(0.0, max(d[0] - d[-1], 0.0) * max(lead.max(), 0.0), assumptions)


def _ranked(source: Source) -> dict[str, Any]:
    K = source.integer(2, 6)
    kinds = ("any", "cyclic", "bradley-terry", "strongly transitive", "regular", "near-deterministic")
    full = source.choice((False, True))
    return {"P": matrix(source, K, kinds), "log_mu": log_policy(source, K) if full else log_sampler(source, K)}


@theorem(
    number="1.8",
    source="[derived] statement 1.8",
    statement="For every P and mu at which DPO has an optimum its f and IPO's P mu order the responses "
    "identically; f_i - f_j ≥ 4[(P mu)_i - "
    "(P mu)_j] wherever the right side is positive, and f_i = f_j where it is 0.",
    quantity="f_i - f_j, shape (K, K), f DPO's implicit reward at mu",
    strength="tight",
    build=_ranked,
)
def same_ranking(P: np.ndarray, log_mu: np.ndarray) -> Claim:
    """F(x) = Σ_k mu_k sigma(x - f_k) increases with slope ≤ 1/4, and F(f_i) = (P mu)_i."""
    gap = al.beats(P, np.exp(log_mu))
    # A gap within rounding of 0 has no reliable sign, so it gives no bound on either side.
    blurred = (np.abs(gap) < 1e-15) & (gap != 0)
    lower, upper = al.one_sided(gap, 4.0)
    lower, upper = np.where(blurred, -np.inf, lower), np.where(blurred, np.inf, upper)
    return Claim(lower, upper, {"0 < P < 1": bool(((P > 0) & (P < 1)).all())})
