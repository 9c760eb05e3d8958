"""``safe_beta``: the smallest beta above which rounds are stable with a given probability, given counted comparisons."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
from jaxtyping import ArrayLike, Float, PRNGKeyArray

from .._checks import Numbers, check_number, host_array
from ..objectives import IPO, Objective
from ._many import DEFAULT_FLOOR, LOST, NOT_BEGUN, Values, check_alphas, check_kind, check_lams, critical_betas
from ._posterior import INTERVAL_LEVEL, posterior


@dataclasses.dataclass(frozen=True)
class SafeBeta:
    """The result of ``safe_beta``; arrays have shape ``(A, L)``, over alpha and lam.

    Attributes:
        objective: "IPO" or "DPO".
        alpha, lam: the values, ``(A,)`` and ``(L,)``.
        beta: with probability ``confidence``, rounds are locally stable at every beta above it. It is ``floor`` where they
            stay stable down to the floor, and ``inf`` where so many draws have no optimum that no beta suffices.
        low, high: 95% Monte Carlo interval of ``beta``.
        mean: the beta at which rounds with the posterior mean of P lose stability; ``floor`` where they do not, ``inf`` where
            there is no finite optimum.
        proven: with probability ``confidence``, convergence from every start is proven above this beta (IPO: statements 7.2
            and 7.3 on each draw); None for DPO, for which nothing is proven.
        proven_everywhere: lam/(2 (1-alpha)), above which convergence is proven for every P (IPO: statement 7.3); None for DPO.
        confidence, draws, comparisons, prior: the arguments, and the number of comparisons; None where P was given.
        floor: the smallest beta that was examined.
        lost: share of draws whose curve of fixed points ended early, which count as unstable below that beta; the largest
            over lam.
        without_optimum: share of draws without a finite optimum, which count as unstable at every beta; the largest over lam.
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
            f"for the given P (floor {self.floor:g})"
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
    floor: float = DEFAULT_FLOOR,
    log_reference: Float[ArrayLike, " K"] | None = None,
    log_offline: Float[ArrayLike, " K"] | None = None,
    progress: bool = True,
) -> SafeBeta:
    """inf {b : Pr(rho(beta') < 1 for every beta' > b) ≥ confidence}, for each alpha and lam.

    Pr is over P_ij ~ Beta(c_ij + prior, c_ji + prior), as in ``verdict_probability``; rho is the spectral radius at the fixed
    point that is followed downward from beta = ∞. The result is an order statistic of the largest beta at which each draw
    loses stability. This stability is local; ``proven`` is about convergence from every start. At alpha = 1 no beta makes
    interior fixed points stable, so alpha < 1 is required.

    Args:
        counts: win counts c, ``(K, K)``.
        objective: the class, ``dyn.IPO`` or ``dyn.DPO``, without a beta.
        alpha: values of alpha, ``(A,)``, in [0, 1).
        lam: values of lambda, ``(L,)``, in [0, 1].
        key: one key of ``jax.random``.
        confidence: probability, in (0, 1).
        draws: draws of P, int ≥ 1; at least 1/(1 - confidence) of them are needed for a meaningful result.
        prior: pseudo-wins on each side of each pair, > 0.
        one_sided: accept counts with zeros on one side of the diagonal, as in a file whose first response won every time.
        floor: the smallest beta that is examined, > 0; draws that are stable down to it count as stable.
        log_reference, log_offline: ``(K,)``, in nats; uniform unless given.
        progress: show a bar at a terminal when it takes longer than two seconds.

    Raises:
        ValueError: a bad argument, or counts with only zeros on one side of the diagonal (K ≥ 3).

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
    """lam · min(‖CAC‖₂/(2 √(1 - alpha²)), D/(4 (1 - alpha))), D = max_ij span_k(A_ik - A_jk).

    Above this beta IPO's rounds are proven to converge from every interior start, by statement 7.2 (which implies 2.3 and the
    2-norm of 7.3) or by the span norm of 7.3. It is at most lam/(2 (1 - alpha)), the bound for every P.

    Args:
        preferences: P, ``(M, K, K)``.
        alpha: values of alpha, ``(A,)``, in [0, 1).
        lam: values of lambda, ``(L,)``, in [0, 1].

    Raises:
        ValueError: a bad argument.

    Source: [derived] statements 7.2 and 7.3.

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
    per_lam = np.minimum(norm[:, None] / (2 * np.sqrt((1 - alphas) * (1 + alphas))), span[:, None] / (4 * (1 - alphas)))
    return per_lam[:, :, None] * lams
