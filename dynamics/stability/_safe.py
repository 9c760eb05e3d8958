"""The smallest beta that keeps rounds stable with a stated probability, from counted comparisons."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
from jaxtyping import ArrayLike, Float, PRNGKeyArray

from .._checks import Numbers, check_number, host_array
from ..objectives import IPO, Objective
from ._many import FLOOR, LOST, NOT_BEGUN, Values, check_alphas, check_kind, check_lams, critical_betas
from ._posterior import LEVEL, posterior


@dataclasses.dataclass(frozen=True)
class SafeBeta:
    """What ``safe_beta`` found, arrays ``(A, L)`` over alpha and lam.

    Attributes:
        objective: "IPO" or "DPO".
        alpha, lam: the values, ``(A,)`` and ``(L,)``.
        beta: rounds are locally stable at every beta above it with the stated probability; ``floor`` where nothing was
            lost down to it, ``inf`` where too many draws have no optimum for any beta to reach the confidence.
        low, high: 95% interval of Monte Carlo of ``beta``, ``(A, L)``.
        mean: where the posterior mean of P loses stability, ``(A, L)``; ``floor`` where it does not, ``inf`` where it has
            no finite optimum.
        proven: beta above which convergence from every start is proven with that probability (IPO: statements 7.2 and
            7.3 on each draw); None for DPO, where nothing is proven.
        proven_everywhere: beta above which it is proven for every P, lam/(2 (1-alpha)) (IPO: statement 7.3).
        confidence, draws, comparisons, prior, floor: what it rests on; all but the last None where P was taken as known.
        lost, without_optimum: the largest share over lam of draws whose curve of fixed points ended early (they count as
            unstable below that beta), and of draws without a finite optimum (they count as unstable at every beta).
    """

    objective: str
    alpha: np.ndarray
    lam: np.ndarray
    beta: np.ndarray
    low: np.ndarray
    high: np.ndarray
    mean: np.ndarray
    proven: np.ndarray | None
    proven_everywhere: np.ndarray | None
    confidence: float | None
    draws: int | None
    comparisons: float | None
    prior: float | None
    floor: float
    lost: float
    without_optimum: float

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready values; a beta that does not exist is null."""
        plain = dataclasses.asdict(self)
        return {name: _listed(value) if isinstance(value, np.ndarray) else value for name, value in plain.items()}

    def __str__(self) -> str:
        basis = (
            f"if P is what it was taken for (floor {self.floor:g})"
            if self.confidence is None
            else f"with probability {self.confidence:g} ({self.draws} draws, {self.comparisons:g} comparisons, prior "
            f"Beta({self.prior:g}, {self.prior:g}), floor {self.floor:g})"
        )
        lines = [f"{self.objective}: stable above beta {basis}"]
        for a, alpha in enumerate(self.alpha):
            cells = (f"lam {lam:g}: {self.beta[a, n]:.4g}" for n, lam in enumerate(self.lam))
            lines.append(f"alpha {alpha:g}  {', '.join(cells)}")
        return "\n".join(lines)


def _listed(values: np.ndarray) -> list[Any]:
    return [_listed(v) if v.ndim else (float(v) if np.isfinite(v) else None) for v in map(np.asarray, values)]


def safe_beta(
    counts: Numbers,
    objective: type[Objective],
    alpha: Values,
    lam: Values,
    *,
    key: PRNGKeyArray,
    confidence: float = 0.95,
    draws: int = 1000,
    prior: float = 0.5,
    one_sided: bool = False,
    floor: float = FLOOR,
    log_reference: Float[ArrayLike, " K"] | None = None,
    log_offline: Float[ArrayLike, " K"] | None = None,
    progress: bool = True,
) -> SafeBeta:
    """inf {b : Pr(rho(beta') < 1 for every beta' > b) ≥ confidence}, for each alpha and lam.

    Pr is over P_ij ~ Beta(c_ij + prior, c_ji + prior), as in ``verdict_probability``; rho is that at the fixed point
    followed from beta = ∞ down. For each draw the largest beta at which stability is lost is computed; the answer is their
    order statistic. Stability is local: what is proven from every start stands beside it. At alpha = 1 no beta stabilises
    interior fixed points, so alpha < 1.

    Args:
        counts: win counts c, ``(K, K)``.
        objective: the class, ``dyn.IPO`` or ``dyn.DPO``; its beta is what is sought.
        alpha: values of alpha, ``(A,)``, in [0, 1).
        lam: values of lambda, ``(L,)``, in [0, 1].
        key: one key of ``jax.random``.
        confidence: the probability asked for, in (0, 1).
        draws: draws of P, int ≥ 1; the confidence needs 1/(1 - confidence) of them or more to mean anything.
        prior: pseudo-wins on each side of each pair, > 0.
        one_sided: allow counts with zeros on one side of the diagonal, as in a file whose first response won every time.
        floor: the smallest beta that is looked at; draws stable down to it count as stable.
        log_reference, log_offline: ``(K,)``, uniform unless given.
        progress: show a bar at a terminal when it takes longer than two seconds.

    Raises:
        ValueError: a bad argument; counts of one direction only (K ≥ 3).

    Source: [derived] statements 2.2 and 7.1; proven columns 7.2 and 7.3.
    """
    kind = check_kind(objective)
    alphas, lams = check_alphas(alpha), check_lams(lam)
    confidence = check_confidence(confidence)
    drawn = posterior(counts, key=key, draws=draws, prior=prior, one_sided=one_sided)
    stack = np.concatenate([drawn.mean[None], drawn.draws])
    setting = {"log_reference": log_reference, "log_offline": log_offline}
    found = critical_betas(stack, kind, alphas, lams, floor=floor, **setting, progress=progress)
    beta, low, high = _quantile(found.beta[1:], confidence)
    at_floor = lambda x: np.maximum(x, found.floor)
    proven = None
    if kind is IPO:
        proven = _quantile(proven_beta(drawn.draws, alphas, lams), confidence)[0]
    share = lambda status: float((found.status[1:] == status).mean(axis=0).max())
    return SafeBeta(
        objective=kind.__name__,
        alpha=alphas,
        lam=lams,
        beta=at_floor(beta),
        low=at_floor(low),
        high=at_floor(high),
        mean=at_floor(found.beta[0]),
        proven=proven,
        proven_everywhere=lams / (2 * (1 - alphas[:, None])) if kind is IPO else None,
        confidence=confidence,
        draws=draws,
        comparisons=drawn.comparisons,
        prior=float(prior),
        floor=found.floor,
        lost=share(LOST),
        without_optimum=share(NOT_BEGUN),
    )


def check_confidence(value: Any) -> float:
    """A probability strictly between 0 and 1."""
    confidence = float(check_number(value, "confidence", 0.0, 1.0, open_low=True))
    if confidence == 1:
        raise ValueError("confidence = 1 asks for certainty, which no draws give; pass a value below 1, such as 0.95.")
    return confidence


def known_beta(
    P: Numbers,
    objective: type[Objective],
    alpha: Values,
    lam: Values,
    *,
    floor: float = FLOOR,
    progress: bool = True,
) -> SafeBeta:
    """As ``safe_beta`` where P itself is taken as known: nothing is said about confidence."""
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
        proven_everywhere=lams / (2 * (1 - alphas[:, None])) if kind is IPO else None,
        confidence=None,
        draws=None,
        comparisons=None,
        prior=None,
        floor=found.floor,
        lost=float((found.status == LOST).any()),
        without_optimum=float((found.status == NOT_BEGUN).any()),
    )


def _quantile(values: np.ndarray, level: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The order statistic that at least ``level`` of the first axis does not exceed, and its 95% interval."""
    from scipy.stats import binom

    ordered, n = np.sort(values, axis=0), len(values)
    rank = int(np.ceil(level * n - 1e-9))
    tail = (1 - LEVEL) / 2
    # The true quantile lies between order statistics whose ranks a binomial count straddles.
    below, above = int(binom.ppf(tail, n, level)), int(binom.ppf(1 - tail, n, level)) + 1
    top = ordered[above - 1] if above <= n else np.full(ordered.shape[1:], np.inf)
    return ordered[rank - 1], ordered[max(below, 1) - 1], top


def proven_beta(preferences: Numbers, alpha: Values, lam: Values) -> Float[np.ndarray, "M A L"]:
    """lam · min(‖CAC‖₂/(2 √(1 - alpha²)), D/(4 (1 - alpha))), D = max_ij span_k(A_ik - A_jk).

    Above it IPO's rounds are proven to converge from every interior start: statement 7.2 (which contains 2.3 and the
    2-norm of 7.3), or the span norm of 7.3. Never above lam/(2 (1 - alpha)), which holds for every P.

    Args:
        preferences: P, ``(M, K, K)``.
        alpha: values of alpha, ``(A,)``, in [0, 1).
        lam: values of lambda, ``(L,)``, in [0, 1].

    Raises:
        ValueError: a bad argument.

    Source: [derived] statements 7.2 and 7.3.
    """
    alphas, lams = check_alphas(alpha), check_lams(lam)
    A = host_array(preferences, "preferences").astype(np.float64) - 0.5
    if A.ndim != 3 or A.shape[1] != A.shape[2]:
        raise ValueError(f"preferences has shape {A.shape}; pass a stack of matrices of one size, shape (M, K, K).")
    centred = A - A.mean(axis=1, keepdims=True)
    centred -= centred.mean(axis=2, keepdims=True)
    norm = np.linalg.norm(centred, 2, axis=(1, 2))
    # One row against the rest at a time: all differences of K = 40 would be 64,000 numbers a matrix.
    span = np.max([np.ptp(A[:, i, None] - A, axis=2).max(axis=1) for i in range(A.shape[1])], axis=0)
    per_lam = np.minimum(norm[:, None] / (2 * np.sqrt((1 - alphas) * (1 + alphas))), span[:, None] / (4 * (1 - alphas)))
    return per_lam[:, :, None] * lams
