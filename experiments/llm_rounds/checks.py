"""The findings on rounds of a model: identity with the simulator is decided on any model, the rest on real ones only."""

from __future__ import annotations

import math

import numpy as np
import xarray as xr
from scipy.stats import t as student

from .._framework import Finding, decide
from .._language import decide_of

ALLOWED = 1e-3  # total variation of float32 models to the simulator, the largest that the library's own tests allow


def check(ds: xr.Dataset) -> list[Finding]:
    """Identity of exact and of sampled rounds, either side of the critical beta, collapse, and few steps of Adam."""
    return [_same(ds, "exact"), _same(ds, "sample"), *_sides(ds), _collapse(ds), _few(ds)]


def names(ds: xr.Dataset, kind: str) -> list[str]:
    """The cases of one kind."""
    return [str(name) for name in ds.case.values[ds.kind.values == kind]]


def apart(log_p: np.ndarray, log_q: np.ndarray) -> np.ndarray:
    """Total variation, ½ Σ_k |p_k - q_k|, of rows of log-policies."""
    return 0.5 * np.abs(np.exp(log_p) - np.exp(log_q)).sum(axis=-1)


def amplitude(log_policy: np.ndarray) -> np.ndarray:
    """|w| by round, where the centred logits of three answers are z_j = w e^{2 pi i j/3} + c.c.: 0 at the uniform policy."""
    return np.abs(np.asarray(log_policy) @ np.exp(-2j * np.pi * np.arange(3) / 3) / 3)


def growth(log_policy: np.ndarray) -> tuple[float, float, float]:
    """Factor of |w| a round over the second half of the rounds, and its 95 % interval by regression of log |w|."""
    found = np.log(amplitude(log_policy))
    found = found[np.isfinite(found)]
    tail = found[len(found) // 2 :]
    if len(tail) < 4:
        return float("nan"), float("nan"), float("nan")
    at = np.arange(len(tail)) - 0.5 * (len(tail) - 1)
    slope = float(at @ tail / (at @ at))
    left = tail - tail.mean() - slope * at
    wide = float(student.ppf(0.975, len(tail) - 2) * np.sqrt(left @ left / (len(tail) - 2) / (at @ at)))
    return math.exp(slope), math.exp(slope - wide), math.exp(slope + wide)


def _same(ds: xr.Dataset, kind: str) -> Finding:
    own = ds.sel(case=names(ds, kind))
    per_case = [float(np.nanmax(x)) for x in own.total_variation.values]
    moved = [np.nanmax(apart(p, p[:1])) for p in own.log_policy.values]
    complete = bool(own.finished.values.all())
    worst = max(per_case, default=np.nan)
    what = "each taken to its optimum" if kind == "exact" else "each on drawn comparisons"
    told = "; ".join(
        f"{name} {tv:.1e} (moved {m:.2f})" for name, tv, m in zip(own.case.values, per_case, moved, strict=True)
    )
    return Finding(
        claim=f"rounds on the model, {what}, are those of the simulator from the same start",
        source="[paper] Chen26; one prompt's candidates as the response space [derived]",
        measured=f"largest total variation by case: {told or 'no such case was run'}",
        interval=f"one run a case, {int(ds['round'][-1])} rounds; at most {ALLOWED:g} asked for, and a policy that moved 100 "
        "times as far",
        status=decide(worst <= ALLOWED, worst > ALLOWED or (complete and min(moved, default=0) > 100 * ALLOWED)),
    )


def _sides(ds: xr.Dataset) -> list[Finding]:
    cycle = [name for name in names(ds, "exact") if bool(ds.cyclic.sel(case=name))]
    found = []
    for above in (True, False):
        own = [n for n in cycle if bool(ds.beta.sel(case=n) > ds.critical_beta.sel(case=n)) == above]
        rates = [growth(ds.log_policy.sel(case=n).values) for n in own]
        told = "; ".join(
            f"{n} {g:.3f} [{low:.3f}, {high:.3f}] (critical {float(ds.critical_beta.sel(case=n)):.3f})"
            for n, (g, low, high) in zip(own, rates, strict=True)
        )
        settles = [high < 1 for *_, high in rates]
        known = bool(own) and all(np.isfinite(high) for *_, high in rates)
        side, does = ("above", "settle on") if above else ("below", "do not settle on")
        found.append(
            Finding(
                claim=f"{side} the critical beta of the 3-cycle, the model's rounds {does} the uniform policy",
                source="[derived] statement 2.1",
                measured=f"factor of the distance from uniform a round, second half of the rounds: {told or 'no such case'}",
                interval="95 %, regression of the logarithm over rounds; settled where the interval is below 1",
                status=decide_of(ds, all(settles) if above else not any(settles), known),
            )
        )
    return found


def _collapse(ds: xr.Dataset) -> Finding:
    own = [name for name in names(ds, "exact") if not bool(ds.cyclic.sel(case=name))]
    paths = [_whole(ds.log_policy.sel(case=name).values) for name in own]
    best = [np.exp(x[:, 0]) for x in paths]
    entropy = [-(np.exp(x) * x).sum(axis=1) for x in paths]
    told = "; ".join(
        f"{n}: best answer {b[0]:.2f} to {b[-1]:.3f}, entropy {h[0]:.2f} to {h[-1]:.3f} nats"
        for n, b, h in zip(own, best, entropy, strict=True)
    )
    holds = all((np.diff(b) > 0).all() and (np.diff(h) < 0).all() for b, h in zip(best, entropy, strict=True))
    return Finding(
        claim="with alpha = 1 and a transitive preference the model collapses onto the best answer, round by round",
        source="[paper] Chen26",
        measured=told or "no such case was run",
        interval="one run; a higher probability of the best answer and less entropy after every round asked for",
        status=decide_of(ds, holds, bool(own) and all(len(b) > 1 for b in best)),
    )


def _few(ds: xr.Dataset) -> Finding:
    own = names(ds, "adam")
    pairs = [errors(ds.sel(case=name)) for name in own]
    told = "; ".join(
        f"{n}: {a:.3f} to the simulator with as many steps on logits (learning rate {float(ds.rate_descend.sel(case=n)):.3g}), "
        f"{b:.3f} to exact rounds"
        for n, (a, b) in zip(own, pairs, strict=True)
    )
    return Finding(
        claim="few steps of Adam on weights are better predicted by as few steps on logits than by exact rounds",
        source="[derived] transfer of inexact rounds from logits to weights, for which there is no theorem",
        measured=f"mean total variation after the first round: {told or 'no such case was run'}",
        interval="one run a case; the learning rate is matched in the first round, which is left out",
        status=decide_of(ds, all(a < b for a, b in pairs), bool(own) and np.isfinite(pairs).all()),
    )


def errors(ds: xr.Dataset) -> tuple[float, float]:
    """Mean total variation of a case to the simulator's steps on logits, and to its exact rounds, from round 2 on."""
    model = _whole(ds.log_policy.values)
    if len(model) < 3:
        return float("nan"), float("nan")
    mean = lambda other: float(apart(model, other.values[: len(model)])[2:].mean())
    return mean(ds.log_policy_descend), mean(ds.log_policy_predicted)


def _whole(log_policy: np.ndarray) -> np.ndarray:
    """The rounds that were taken."""
    return log_policy[np.isfinite(log_policy).all(axis=1)]
