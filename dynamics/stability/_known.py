"""What theorems prove about a process; no other module decides whether a theorem applies.

The theorems are about the rounds that ``rounds.canonical`` recognises. This module decides whether the loss (by its link) and
the policy class meet their assumptions, by exact types; about a process that is not recognised nothing is proven.
"""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from .. import theorems
from ..objectives import DPO, IPO, SquaredMargin
from ..rounds import Canonical, canonical
from ._local import boundary


@dataclasses.dataclass(frozen=True)
class ContractionRate:
    """d(pi_{t+1}, pi*) ≤ rate · d(pi_t, pi*): a proven bound on how a distance d to the fixed point shrinks in every round.

    Attributes:
        rate: in [0, 1).
        statement: the theorem that gives it.
        distance: the name of d.
    """

    rate: float
    statement: str
    distance: str


def ipo_beta(loop: Canonical) -> float | None:
    """beta, if these are IPO's rounds over all policies, else None; SquaredMargin's optimum is that of IPO(beta/2)."""
    if not loop.is_free:
        return None
    share = {IPO: 1.0, SquaredMargin: 0.5}.get(type(loop.objective))
    return None if share is None else share * float(loop.beta)


def is_dpo(loop: Canonical) -> bool:
    """Whether these are DPO's rounds over all policies."""
    return loop.is_free and type(loop.objective) is DPO


def contraction_rates(process: object) -> list[ContractionRate]:
    """d(pi_{t+1}, pi*) ≤ rate · d(pi_t, pi*): the rates below 1 that theorems give for iterated IPO, smallest first.

    Statements 7.2 and 7.15 bound KL(pi*‖pi_t), which is quadratic in the distance, so their distance is the square root of
    that, and their rate the square root of the theorem's.

    Args:
        process: rounds; none are listed for a process to which no theorem applies.

    Source: [paper] Chen26, Theorem 5.1; [derived] statements 2.3, 7.2, 7.3 and 7.15, as each rate says.

    >>> loop = dyn.SelfSampling(dyn.preferences.cyclic(3, 0.2), dyn.IPO(0.5), 0.5, 1.0)
    >>> [round(found.rate, 4) for found in dyn.stability.contraction_rates(loop)][0]
    0.7024
    """
    loop = canonical(process)
    beta = None if loop is None else ipo_beta(loop)
    if loop is None or beta is None:
        return []
    inputs = {"P": np.asarray(loop.preference), "alpha": float(loop.alpha), "lam": float(loop.lam), "beta": beta}
    table = (
        (theorems.published_contraction, "centred-logit 2-norm", False),
        (theorems.centred_contraction, "centred-logit 2-norm", False),
        (theorems.contraction, "centred-logit 2-norm", False),
        (theorems.span_contraction, "span of the logits", False),
        (theorems.global_convergence, "square root of KL(pi*‖pi)", True),
        (theorems.dimension_free_convergence, "square root of KL(pi*‖pi)", True),
    )
    rates = []
    for theorem, distance, squared in table:
        bound = theorem(**inputs)
        if bound.applicable:
            rate = float(bound.upper)
            rates.append(
                ContractionRate(float(np.sqrt(rate)) if squared else rate, theorem.source + loop.through, distance)
            )
    return sorted((r for r in rates if r.rate < 1 - boundary()), key=lambda r: r.rate)


def link_residual(process: object) -> float | None:
    """max |link(P_ij) - (s_i - s_j)| over pairs, where s are the mean link values; 0 if P matches the link of the loss.

    The link is P - 1/2 for IPO and the log-odds for DPO; None for other processes, and for DPO where P has entries 0 or 1.
    """
    loop = canonical(process)
    if loop is None:
        return None
    P = np.asarray(loop.preference, np.float64)
    if ipo_beta(loop) is not None:
        link = 0.5 * (P - P.T)
    elif is_dpo(loop) and ((P > 0) & (P < 1)).all():
        link = np.log(P) - np.log(P.T)
    else:
        return None
    scores = link.mean(axis=1)
    return float(np.abs(link - (scores[:, None] - scores[None, :])).max())


def matches_link(process: object) -> bool:
    """Whether P matches the link of the loss to the rounding of P, so that rounds are linear in logs and converge (7.6).

    A residual changes the Jacobian of a round by about residual·lam/beta at most, so that number, and not only the residual,
    has to be small compared with 1 - alpha.
    """
    loop, residual = canonical(process), link_residual(process)
    if loop is None or residual is None or not float(loop.alpha) < 1 - boundary():
        return False
    P = np.asarray(loop.preference, np.float64)
    eps = float(jnp.finfo(loop.preference.dtype).eps)
    rounding = 8 * eps * (1.0 if ipo_beta(loop) is not None else float((1 / np.minimum(P, 1 - P)).max()))
    beta = ipo_beta(loop) or float(loop.beta)
    moved = residual * float(loop.lam) / beta
    return residual <= rounding and moved <= 1e-3 * (1 - float(loop.alpha))


class Only(NamedTuple):
    """The statement that proves a fixed point to be the only one, and whether it also gives the spectrum in closed form, which
    a certificate of instability needs.
    """

    statement: str
    proves_instability: bool


def only_fixed_point(process: object) -> Only | None:
    """The statement by which there is exactly one fixed point (7.1), or None where it does not apply."""
    loop = canonical(process)
    if loop is None or not float(loop.alpha) < 1:
        return None
    if ipo_beta(loop) is not None:
        return Only("[derived] statement 7.1" + loop.through, True)
    if is_dpo(loop) and float(loop.lam) == 1:
        return Only("[derived] statement 7.1 (lam = 1)" + loop.through, False)
    return None


def onset(process: object) -> str | None:
    """Super- or subcritical, by statement 7.5; None unless K = 3, A1 = 0, and reference and sampler are uniform."""
    loop = canonical(process)
    if loop is None or not loop.is_free or len(loop.preference) != 3:
        return None
    if not 0 < float(loop.alpha) < 1 or not loop.is_uniform:
        return None
    A = np.asarray(loop.preference) - 0.5
    if np.abs(A.sum(axis=1)).max() > 1e-12 * np.abs(A).max():
        return None
    if ipo_beta(loop) is not None:
        return "supercritical"
    pull = abs(A[0, 1]) * float(loop.lam)
    if not is_dpo(loop) or abs(pull - np.sqrt(3) / 4) < 1e-9:
        return None
    return "subcritical" if pull > np.sqrt(3) / 4 else "supercritical"


def vertex_multipliers(process: object, w: int) -> np.ndarray | None:
    """exp((f_j - f_w)/beta) for j ≠ w, f at the sampler lam e_w + (1-lam) pi_0 (statement 2.2, at alpha = 1), or None.

    If the sampler is the vertex itself, DPO's f_j - f_w is logit P_jw, infinite where P_jw is 0 or 1.
    """
    loop = canonical(process)
    if loop is None or not loop.is_free or float(loop.alpha) != 1:
        return None
    at = jnp.where(jnp.arange(len(loop.preference)) == w, 0.0, -jnp.inf)
    log_mu = loop.log_sampler(at)
    alone = not np.isfinite(np.delete(np.asarray(log_mu), w)).any()
    if is_dpo(loop) and alone:
        P = np.asarray(loop.preference)
        with np.errstate(divide="ignore"):
            gap = np.delete(np.log(P[:, w]) - np.log(P[w]), w)
    else:
        f, found = _reward(loop, log_mu)
        if not bool(found):
            return None
        gap = np.delete(np.asarray(f - f[w]), w)
    with np.errstate(over="ignore"):
        return np.exp(gap / float(loop.beta))


def _reward(loop: Canonical, log_mu: Array) -> tuple[Array, Array]:
    return _compiled_reward(loop, log_mu)


# Compiled once, and not for each vertex.
_compiled_reward = eqx.filter_jit(lambda loop, log_mu: loop.reward(log_mu))
