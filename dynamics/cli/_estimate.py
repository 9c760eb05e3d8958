"""The policy that a prompt's comparisons are fitted with, what is known about its error, and which pairs to ask about next."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..objectives import DPO, PMLE, RLHF, Objective, PreferenceDistillation, ReverseKL
from ..preferences import Comparisons, PreferenceModel, PreferenceSet, unbeaten, unlinked
from ..rewards import Certificate, bradley_terry, certify
from ..rounds import Fitted, fit
from ..samplers import design

METHODS = ("pmle", "reverse-kl", "distillation", "rlhf", "dpo")
UNREGULARISED = "add comparisons; nothing is regularised without being asked for (--beta with --prior, method pmle)"
TIMES = (1, 2, 10)  # multiples of n at which the error is foretold
TOLERANCE = 1e-3  # of V, for the best law of pairs
SHOWN = 1e-3  # a pair of a smaller share is told only if one more comparison of it is worth more than the average


@dataclasses.dataclass(frozen=True)
class Setting:
    """What ``dynamics fit`` was asked for."""

    gamma: float
    beta: float
    delta: float
    scale: float
    method: str

    @property
    def plain(self) -> bool:
        """Whether this is maximum likelihood, of which the certificate and the errors speak."""
        return self.beta == 0 and self.method not in ("rlhf", "dpo")

    def objective(self) -> Objective:
        if self.method == "rlhf":
            return RLHF(self.beta)
        if self.method == "dpo":
            return DPO(self.beta)
        kinds = {"pmle": PMLE, "reverse-kl": ReverseKL, "distillation": PreferenceDistillation}
        return kinds[self.method](self.gamma, self.beta)


@dataclasses.dataclass(frozen=True)
class Estimate:
    """One prompt; ``error`` says why there is no policy, the other reasons why a part of the answer is missing."""

    index: int
    names: tuple[str, ...]
    comparisons: float
    ties_dropped: float
    halves: bool
    voters: int | None
    error: str | None = None
    log_policy: np.ndarray | None = None
    deviation: np.ndarray | None = None
    minima: int | None = None
    certificate: Certificate | None = None
    no_certificate: str | None = None
    trivial: float | None = None
    expected: tuple[dict[str, float], ...] = ()
    no_expected: str | None = None
    V: float | None = None
    best_V: float | None = None
    pairs: tuple[dict[str, Any], ...] = ()
    no_pairs: str | None = None

    def to_dict(self) -> dict[str, Any]:
        bound = self.certificate
        return {
            "error": self.error,
            "comparisons": self.comparisons,
            "ties_dropped": self.ties_dropped,
            "log_policy": self.log_policy,
            "policy": None if self.log_policy is None else np.exp(self.log_policy),
            "log_policy_deviation": self.deviation,
            "minima": self.minima,
            "certificate": None
            if bound is None
            else {
                "bound": bound.bound,
                "probability": 1 - bound.delta,
                "tau": bound.tau,
                "M": float(bound.M),
                "m": float(bound.m),
            },
            "certificate_missing": self.no_certificate,
            "trivial_bound": self.trivial,
            "expected_error": list(self.expected),
            "expected_error_missing": self.no_expected,
            "V": self.V,
            "best_V": self.best_V,
            "V_ratio": None if self.V is None or self.best_V is None else self.best_V / self.V,
            "next_pairs": list(self.pairs),
            "next_pairs_missing": self.no_pairs,
        }


def estimate(
    matrices: PreferenceSet, m: int, setting: Setting, log_prior: np.ndarray | None, together: int, *, throw: bool
) -> Estimate:
    """The estimate of prompt ``m``.

    Args:
        matrices: the file.
        m: the prompt.
        setting: the options.
        log_prior: log pi_0, ``(K,)``; None: uniform, which has no effect on maximum likelihood.
        together: the number of prompts whose certificates hold at once: each fails with probability delta/together.
        throw: whether to raise where there is no policy, instead of setting ``error``.
    """
    data, dropped, halves = counted(matrices, m)
    names = matrices.names[m] or tuple(map(str, range(len(matrices[m]))))
    start = Estimate(m, tuple(names), data.n, dropped, halves, matrices.voters[m])
    try:
        if setting.plain or setting.method != "pmle":
            _check_finite(np.asarray(data.wins), names)
        log_ref = np.full(len(names), -np.log(len(names))) if log_prior is None else log_prior
        found = _fitted(setting, data, log_ref, names)
    except ValueError as error:
        where = f"prompt {m}: " if len(matrices) > 1 else ""
        if throw:
            raise ValueError(f"{matrices.source}: {where}{error}") from None
        return dataclasses.replace(start, error=str(error))
    log_policy = np.asarray(found.log_policy, np.float64)
    minima = None if found.minima is None else int(np.asarray(found.minima))
    told = dataclasses.replace(start, log_policy=log_policy, minima=minima)
    if setting.method in ("rlhf", "dpo"):
        reason = (
            f"{setting.method} does not estimate pi*: it tends to prior · pi*^{setting.gamma / setting.beta:.4g} (7.13)"
        )
        return dataclasses.replace(told, no_certificate=reason, no_expected=reason, no_pairs=reason)
    total = np.asarray(data.total, np.float64)
    with np.errstate(divide="ignore"):
        model = PreferenceModel(log_policy, setting.gamma, log_pairs=np.log(total / total.sum()))
    told = dataclasses.replace(told, **_next(model, names))
    if not setting.plain:
        reason = "statements 7.9 and 7.12 are about maximum likelihood; leave out --beta and --prior"
        return dataclasses.replace(told, no_certificate=reason, no_expected=reason)
    certificate, reason = _certified(data, setting, start, setting.delta / together)
    V = model.error_constant()
    expected = tuple(
        {"n": k * data.n, "mean": V / (k * data.n), "quantile": model.error_quantile(k * data.n, 1 - setting.delta)}
        for k in TIMES
    )
    return dataclasses.replace(
        told,
        deviation=_deviation(model, data.n),
        certificate=certificate,
        no_certificate=reason,
        trivial=float(-log_policy.min()),
        expected=expected,
    )


def _fitted(setting: Setting, data: Comparisons, log_ref: np.ndarray, names: Sequence[str]) -> Fitted:
    try:
        return fit(setting.objective(), data, log_reference=log_ref)
    except ValueError:
        # The group by its names, where that is why.
        _check_finite(
            np.asarray(data.wins), names, f"--beta {setting.beta:g} is too weak a pull to the prior; add votes"
        )
        raise


def counted(matrices: PreferenceSet, m: int) -> tuple[Comparisons, float, bool]:
    """The comparisons of one prompt, how many ties were dropped, and whether ties of unknown number count half."""
    ties = matrices.ties[m]
    data = matrices.comparisons(m)
    whole = lambda wins: bool((wins == np.floor(wins)).all())
    if ties is None or not whole(np.asarray(data.wins, np.float64) - 0.5 * ties):
        return data, 0.0, not whole(np.asarray(data.wins, np.float64))
    return matrices.comparisons(m, drop_ties=True), float(np.triu(ties, 1).sum()), False


def _check_finite(wins: np.ndarray, names: Sequence[str], remedy: str = UNREGULARISED) -> None:
    """Raises ``ValueError`` where maximum likelihood has no finite solution, with the names of a group."""
    code = int(np.asarray(bradley_terry(wins, throw=False).result))
    clean = lambda name: "".join(c if c.isprintable() else "�" for c in name)
    listed = lambda group: ", ".join(clean(names[k]) for k in group)
    if code == 1:
        group = unbeaten(wins)
        rest = [k for k in range(len(names)) if k not in group]
        raise ValueError(f"{listed(group)} never lost to {listed(rest)}, so the rewards are infinite; {remedy}.")
    if code == 2:
        group = unlinked(wins)
        rest = [k for k in range(len(names)) if k not in group]
        raise ValueError(
            f"{listed(group)} and {listed(rest)} were never compared, so the gap is undetermined; {remedy}."
        )
    if code == 3:
        raise ValueError(f"no comparison is left (n = 0); {remedy}.")
    if code:
        raise ValueError("Newton's method for the rewards did not converge; scale the counts down.")


def _certified(
    data: Comparisons, setting: Setting, start: Estimate, delta: float
) -> tuple[Certificate | None, str | None]:
    if start.voters is not None and data.n > start.voters:
        return None, (
            f"it needs independent comparisons, and these {data.n:g} come from {start.voters} voters with several each"
        )
    if start.halves:
        return None, "it needs whole counts, and some are not, as where ties count half; pass a file without ties"
    return certify(data, gamma=setting.gamma, delta=delta, scale=setting.scale), None


def _deviation(model: PreferenceModel, n: float) -> np.ndarray:
    """Standard deviations of log pihat to leading order: of (I - 1 piᵀ) R/gamma, where R has covariance L⁺/n."""
    pi = np.exp(np.asarray(model.log_target, np.float64))
    spread = np.linalg.pinv(_laplacian(model), hermitian=True)
    to_logs = np.eye(len(pi)) - pi[None, :]
    variance = np.einsum("ab,bc,ac->a", to_logs, spread, to_logs) / (n * float(model.gamma) ** 2)
    return np.sqrt(np.maximum(variance, 0.0))


def _laplacian(model: PreferenceModel) -> np.ndarray:
    weights = model.information()
    return np.diag(weights.sum(-1)) - weights


def _next(model: PreferenceModel, names: Sequence[str]) -> dict[str, Any]:
    """V now and at best, and the pairs to ask about, by what one more comparison of each is worth now."""
    V = model.error_constant()
    if not np.isfinite(V):
        return {"no_pairs": "the comparisons do not link all responses, so V is infinite"}
    try:
        best = design(model, pairs=True, tolerance=TOLERANCE)
    except RuntimeError as error:
        return {"no_pairs": str(error).rstrip(".")}
    pi = np.exp(np.asarray(model.log_target, np.float64))
    spread = np.linalg.pinv(_laplacian(model), hermitian=True)
    spread = spread @ (np.diag(pi) - np.outer(pi, pi)) @ spread
    i, j = np.triu_indices(len(pi), 1)
    P = np.asarray(model.preference, np.float64)[i, j]
    # -∂V/∂q_ab of an unordered pair; the mean over the comparisons so far is V.
    slope = P * (1 - P) * (spread[i, i] + spread[j, j] - 2 * spread[i, j]) / (2 * float(model.gamma) ** 2)
    now = 2 * np.asarray(model.pairs, np.float64)[i, j]
    assert best.log_pairs is not None
    share = 2 * np.exp(best.log_pairs)[i, j]
    pairs = [
        {
            "first": names[int(i[k])],
            "second": names[int(j[k])],
            "share": float(share[k]),
            "share_now": float(now[k]),
            "worth": float(slope[k] / V),
        }
        for k in np.argsort(-slope, kind="stable")
        if share[k] >= SHOWN or slope[k] > V
    ]
    return {"V": V, "best_V": float(best.after), "pairs": tuple(pairs)}
