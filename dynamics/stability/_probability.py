"""``verdict_probability``: the probability of each verdict, given counted comparisons."""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import ArrayLike, Float, PRNGKeyArray

from .._checks import Numbers, check_count, check_number
from .._numerics import log_softmax
from .._shares import Share, share
from ..diagnostics import Verdict
from ..objectives import Objective
from ..oracle import beside
from ..rounds import SelfSampling
from ..schema import VERDICTS
from ..sweeps import sweep
from ._basis import Basis, basis_of, card
from ._many import check_kind, check_lams, spectral_radii
from ._posterior import Posterior, posterior

QUANTILES = (0.05, 0.5, 0.95)
FAILED = "failed"


@dataclasses.dataclass(frozen=True)
class VerdictProbability:
    """The result of ``verdict_probability``: shares of draws from the posterior, each with its Monte Carlo interval.

    Attributes:
        verdicts: share by verdict on the orbit, with "failed" for draws whose rounds failed; they add up to 1.
        unstable: share with spectral radius > 1 at the followed fixed point; None at alpha = 1, where none is followed.
        not_found: share of draws whose fixed point was not found or does not exist, which count neither as stable nor as
            unstable.
        radius_mean, radius_quantiles: mean, and 5%, 50% and 95% quantiles, of the spectral radius over the draws where it was
            found; None if there is no such draw.
        mean_radius, mean_verdict: spectral radius and verdict at the posterior mean of P; None where not found or failed.
        draws: number of draws.
        comparisons: number of comparisons.
        prior: pseudo-wins on each side of each pair, of the independent model; None for the hierarchical one.
        rounds: length of each orbit.
        basis: what the answer rests on: the model, evidence for cycles, and how much is the prior.
    """

    verdicts: dict[str, Share]
    unstable: Share | None
    not_found: Share
    radius_mean: float | None
    radius_quantiles: tuple[float, float, float] | None
    mean_radius: float | None
    mean_verdict: str | None
    draws: int
    comparisons: float
    prior: float | None
    rounds: int
    basis: Basis

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready values; numbers that do not exist are null."""
        plain = dataclasses.asdict(self)
        plain["basis"] = self.basis.to_dict()
        plain["verdicts"] = {name: found._asdict() for name, found in self.verdicts.items()}
        for name in ("unstable", "not_found"):
            found = getattr(self, name)
            plain[name] = None if found is None else found._asdict()
        return plain | {"radius_quantiles": None if self.radius_quantiles is None else list(self.radius_quantiles)}

    @classmethod
    def of_draws(
        cls,
        drawn: Posterior,
        verdicts: Sequence[str],
        radii: np.ndarray | None,
        *,
        rounds: int,
        prior: float | None,
    ) -> VerdictProbability:
        """The probabilities from what was found for the posterior mean, which comes first, and for each draw.

        Args:
            drawn: the posterior.
            verdicts: words of ``schema.VERDICTS``, or "failed", ``(1 + draws,)``.
            radii: spectral radii, NaN where no fixed point was found, ``(1 + draws,)``; None at alpha = 1.
            rounds: length of each orbit.
            prior: pseudo-wins of the independent model; None for the hierarchical one.
        """
        draws, counted = len(drawn.draws), collections.Counter(verdicts[1:])
        return cls(
            verdicts={word: share(counted[word], draws) for word in (*VERDICTS, FAILED)},
            mean_verdict=None if verdicts[0] == FAILED else verdicts[0],
            **_spectral(radii, draws),
            draws=draws,
            comparisons=drawn.comparisons,
            prior=prior,
            rounds=rounds,
            basis=basis_of(drawn),
        )

    @property
    def likeliest(self) -> str:
        """The verdict with the largest share."""
        return max(self.verdicts, key=lambda name: self.verdicts[name].value)

    def in_words(self) -> str:
        """The verdicts that occur, with their shares."""
        return ", ".join(f"{name} {found}" for name, found in self.verdicts.items() if found.value > 0)

    def lines(self) -> list[tuple[str, str]]:
        """What stands behind the verdicts, as labels and their text."""
        if self.unstable is None:
            lines = [("unstable", "not defined: at alpha = 1 no fixed point is followed")]
        else:
            missing = f"; no fixed point found {self.not_found}" if self.not_found.value > 0 else ""
            lines = [("unstable", f"{self.unstable}{missing}")]
        if self.radius_quantiles is not None:
            low, middle, high = self.radius_quantiles
            at = "" if self.mean_radius is None else f", {self.mean_radius:.6g} at the posterior mean"
            lines.append(("radius", f"median {middle:.6g}, 90% interval {low:.6g} to {high:.6g}{at}"))
        lines += self.basis.lines(self.prior)
        return [*lines, ("brackets", f"95% Monte Carlo intervals, {self.draws} draws of {self.rounds} rounds")]

    def __str__(self) -> str:
        return card([("verdict", f"{self.in_words()} (posterior probabilities)"), *self.lines()])


def verdict_probability(
    counts: Numbers,
    objective: Objective,
    alpha: float,
    lam: float,
    *,
    key: PRNGKeyArray,
    draws: int = 1000,
    model: str = "hierarchical",
    residual_scale: float = 1.0,
    prior: float = 0.5,
    one_sided: bool = False,
    rounds: int = 3000,
    log_reference: Float[ArrayLike, " K"] | None = None,
    log_offline: Float[ArrayLike, " K"] | None = None,
    verdict: Verdict | None = None,
    progress: bool = True,
) -> VerdictProbability:
    """Pr(verdict | counts) and Pr(rho > 1 | counts), posterior probabilities under the ``model`` of ``posterior``.

    The hierarchical model does not take few votes for cycles; it underrates a cycle that is confined to a few responses (the
    independent model does not). Comparisons are taken as independent, which pairs from one voter's ranking are not.

    Args:
        counts: c, ``(K, K)``, ``counts[i, j]`` how often i beat j, 0 ≤ c ≤ 2^53, diagonal 0; halves are allowed.
        objective: ``dyn.IPO(beta)`` or ``dyn.DPO(beta)``.
        alpha: alpha, in [0, 1].
        lam: lambda, in [0, 1].
        key: one key of ``jax.random``.
        draws: draws of P, int ≥ 1; the standard error of a probability is at most 1/(2 √draws).
        model: "hierarchical" or "independent".
        residual_scale: the scale of the prior of residuals, > 0 (hierarchical).
        prior: pseudo-wins on each side of each pair, > 0 (independent).
        one_sided: accept counts with zeros on one side of the diagonal, as in a file whose first response won every time.
        rounds: length of each orbit, int ≥ 10; near rho = 1, longer orbits leave fewer verdicts undecided.
        log_reference: log ref, ``(K,)``; uniform unless given.
        log_offline: log pi_0 in the sampler, ``(K,)``, full support; uniform unless given. Orbits start 1e-3 nats away from it.
        verdict: thresholds of the verdict.
        progress: show a bar at a terminal when it takes longer than two seconds.

    Returns:
        VerdictProbability, in which draws without a fixed point and draws whose rounds failed are counted separately.

    Raises:
        ValueError: a bad argument, or counts with only zeros on one side of the diagonal (K ≥ 3).

    Source: spectral radii [derived] statements 2.2 and 7.1; the rest is computed.
    """
    check_kind(type(objective))
    alpha = float(check_number(alpha, "alpha", 0.0, 1.0))
    lam = float(check_lams(lam, scalar=True)[0])
    rounds = check_count(rounds, "rounds", 10)
    drawn = posterior(
        counts, key=key, draws=draws, model=model, residual_scale=residual_scale, prior=prior, one_sided=one_sided
    )
    stack = np.concatenate([drawn.mean[None], drawn.draws])
    radii = None
    if alpha < 1:
        radii, *_ = spectral_radii(
            stack,
            objective,
            alpha,
            lam,
            log_reference=log_reference,
            log_offline=log_offline,
            progress=progress,
        )
    # A little away from pi_0, as in ``analyze``: if pi_0 is an unstable fixed point, a run from it would not move.
    loop = SelfSampling(drawn.mean, objective, alpha, lam, log_reference, log_offline)
    measure = Verdict() if verdict is None else verdict
    initial = log_softmax(jnp.asarray(beside(np.asarray(loop.log_start()))))
    ds = sweep(loop, {"preference": stack}, measure=measure, rounds=rounds, initial=initial, progress=progress)
    words = [*VERDICTS, FAILED]
    codes = np.where(ds.result.values == 0, ds[measure.name].values, len(VERDICTS))
    return VerdictProbability.of_draws(
        drawn,
        [words[code] for code in codes],
        radii,
        rounds=rounds,
        prior=float(prior) if model == "independent" else None,
    )


def _spectral(radii: np.ndarray | None, draws: int) -> dict[str, Any]:
    """The fields about spectral radii; the first entry of ``radii`` is that of the posterior mean, the others of the draws."""
    if radii is None:
        nothing = dict.fromkeys(("unstable", "radius_mean", "radius_quantiles", "mean_radius"))
        return nothing | {"not_found": share(draws, draws)}
    found = radii[1:][~np.isnan(radii[1:])]
    low, middle, high = np.quantile(found, QUANTILES) if len(found) else (np.nan,) * 3
    return {
        "unstable": share(int((found > 1).sum()), draws),
        "not_found": share(draws - len(found), draws),
        "radius_mean": float(found.mean()) if len(found) else None,
        "radius_quantiles": (float(low), float(middle), float(high)) if len(found) else None,
        "mean_radius": None if np.isnan(radii[0]) else float(radii[0]),
    }
