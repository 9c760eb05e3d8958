"""What is proven of a process: asked here and nowhere else, of exact types only.

Statements are about the rounds of ``rounds.canonical``. What they need of a loss (its link) and of a class of policies is
decided in this file; a process that is not recognised has nothing proven of it.
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
    """A proven bound on the factor by which a distance to the fixed point shrinks in every round.

    Attributes:
        rate: in [0, 1).
        statement: the theorem that gives it.
        distance: the distance that shrinks.
    """

    rate: float
    statement: str
    distance: str


def ipo_beta(loop: Canonical) -> float | None:
    """beta of the IPO rounds that these are, or None: SquaredMargin's optimum is that of IPO(beta/2)."""
    if not loop.is_free:
        return None
    share = {IPO: 1.0, SquaredMargin: 0.5}.get(type(loop.objective))
    return None if share is None else share * float(loop.beta)


def is_dpo(loop: Canonical) -> bool:
    """Whether these are DPO's rounds over all policies."""
    return loop.is_free and type(loop.objective) is DPO


def contraction_rates(process: object) -> list[ContractionRate]:
    """Every rate that the contraction theorems give for iterated IPO, the smallest first; empty where none applies.

    Statement 7.2 bounds KL(pi*‖pi_t), which is quadratic in the distance, so its rate counts by its square root.
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
    )
    rates = []
    for theorem, distance, squared in table:
        bound = theorem(**inputs)
        if bound.applicable:
            rate = float(bound.upper)
            rates.append(ContractionRate(np.sqrt(rate) if squared else rate, theorem.source, distance))
    return sorted((r for r in rates if r.rate < 1 - boundary()), key=lambda r: r.rate)


def link_residual(process: object) -> float | None:
    """max |link(P_ij) - (s_i - s_j)| over the pairs, s the best scores: 0 where P lies in the family of the loss's link.

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
    """Whether rounds are linear in logs and converge, statement 7.6: P matches the loss's link to the rounding of P itself.

    What a residual adds to a round's Jacobian is at most of the order of residual·lam/beta, so it has to be small beside
    1 - alpha after that division, not only beside 1.
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
    """The statement by which a fixed point is the only one; whether its spectrum is in closed form, so that a certificate of
    instability rests on it.
    """

    statement: str
    proves_instability: bool


def only_fixed_point(process: object) -> Only | None:
    """By which statement there is exactly one fixed point, or None: 7.1."""
    loop = canonical(process)
    if loop is None or not float(loop.alpha) < 1:
        return None
    if ipo_beta(loop) is not None:
        return Only("[derived] statement 7.1", True)
    if is_dpo(loop) and float(loop.lam) == 1:
        return Only("[derived] statement 7.1 (lam = 1)", False)
    return None


def onset(process: object) -> str | None:
    """Super- or subcritical by statement 7.5, or None: three responses, A1 = 0, uniform reference and sampler."""
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
    """exp((f_j - f_w)/beta) for j ≠ w, f at the sampler lam e_w + (1-lam) pi_0: statement 2.2, at alpha = 1; or None.

    At the vertex itself DPO's f_j - f_w is logit P_jw, infinite where P_jw is 0 or 1.
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


# The solver's loop is compiled once, not for each vertex.
_compiled_reward = eqx.filter_jit(lambda loop, log_mu: loop.reward(log_mu))
