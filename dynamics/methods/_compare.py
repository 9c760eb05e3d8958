"""``compare``: what each method does on one preference matrix, and what would make it settle."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import ArrayLike
from scipy.optimize import brentq

from .. import oracle
from .._checks import Numbers, check_count, check_log_distribution, check_number
from .._numerics import log_softmax
from .._parameters import nearest
from .._parts import uniform
from .._progress import progress
from ..diagnostics import verdict
from ..games import nash
from ..preferences import check
from ..schema import VERDICTS
from ..solve import iterate
from ..theorems.games import (
    WITHOUT_MAGNET,
    critical_step,
    equilibrium,
    frequencies,
    method_radius,
    rest_frequencies,
)
from ..theorems.source import normalise
from ._result import FAILED, Comparison, Row
from ._roster import BY_NAME, METHODS, Method

ROUNDS = 3000
SETTLED = 1e-2  # in total variation, from where a run counts as arrived
STEPS = np.geomspace(1e-9, 1e4, 391)  # of eta, over which a first crossing is bracketed
LEAST = 1e-3  # of beta and gamma
GAMMAS = np.geomspace(1e2, LEAST, 121)  # over which the last crossing is bracketed, from above


def compare(
    preference: Numbers,
    methods: Sequence[str] | None = None,
    *,
    temperature: ArrayLike | None = None,
    step: ArrayLike | None = None,
    beta: ArrayLike | None = None,
    log_reference: Numbers | None = None,
    rounds: int = ROUNDS,
    show_progress: bool = True,
) -> Comparison:
    """Every method of the roster on one P: does it settle, where, how fast, and what would make it stable.

    Args:
        preference: P, ``(K, K)``.
        methods: names, ``dyn.methods.METHODS`` lists them; all unless given.
        temperature: tau of every game, and gamma of reverse KL, > 0; each method's own unless given.
        step: eta of every game, > 0; each method's own unless given.
        beta: the KL coefficient of every loop, > 0; each method's own unless given.
        log_reference: log ref, ``(K,)``, in nats: the magnet, the start and the first sampler; uniform unless given.
        rounds: length of each run, ≥ 100.
        show_progress: a bar on stderr after two seconds, at a terminal.

    Returns:
        Comparison; ``print`` shows it. A method that cannot run on this P has the verdict "failed" and a reason.

    Raises:
        ValueError: an unknown method, or a value out of range.

    Source: spectral radii of games [derived] section 8, of loops 2.2 and 7.1; verdicts are observed.

    >>> found = dyn.methods.compare(dyn.preferences.cyclic(3, 0.4), ["inpo", "sppo"], temperature=0.05)
    >>> [(row.method.name, row.verdict, row.change) for row in found.rows]
    [('sppo', 'oscillating', 'no step is stable; averages of policies converge'), ('inpo', 'converged', '')]
    """
    P = np.asarray(check(preference), np.float64)
    P = (P + 1 - P.T) / 2  # exact in float64 whatever JAX's precision
    K, count = len(P), check_count(rounds, "rounds", 100)
    log_ref = uniform(K) if log_reference is None else check_log_distribution(log_reference, "log_reference", K)
    chosen = _chosen(methods)
    for label, value, names in (
        ("temperature", temperature, ("tau", "gamma")),
        ("step", step, ("eta",)),
        ("beta", beta, ("beta",)),
    ):
        if value is None:
            continue
        if not any(name in method.setting for method in chosen for name in names):
            raise ValueError(f"{label} has no effect on {', '.join(method.name for method in chosen)}; leave it out.")
        number = float(check_number(value, label, 0.0, np.inf, open_low=True))
        chosen = [method.at(**dict.fromkeys(names, number)) for method in chosen]
    rows = []
    with progress("methods", len(chosen), enabled=show_progress) as advance:
        for method in chosen:
            rows.append(_row(method, P, normalise(np.asarray(log_ref, np.float64)), count))
            advance(1)
    return Comparison(tuple(rows), np.exp(nash(P).log_policy), count)


def _chosen(names: Sequence[str] | None) -> list[Method]:
    if names is None:
        return list(METHODS)
    if not names:
        raise ValueError("methods names none; pass names, or leave it out for all of them.")
    for name in names:
        if name not in BY_NAME:
            raise ValueError(f"method {name!r} is unknown; {nearest(str(name), list(BY_NAME))}")
    return [method for method in METHODS if method.name in names]


def _row(method: Method, P: np.ndarray, log_ref: np.ndarray, rounds: int) -> Row:
    try:
        process = method.process(P, log_ref)
        run = iterate(process, rounds, initial=log_softmax(jnp.asarray(oracle.beside(log_ref))))
    except (ValueError, RuntimeError) as error:
        return Row(method, FAILED, reason=_reason(method, error))
    logs = np.asarray(run.log_policy, np.float64)
    word = VERDICTS[int(verdict(run.log_policy)["verdict"])]
    settled = word in ("converged", "collapsed")
    policy = np.exp(logs)
    far = np.flatnonzero(np.abs(policy - policy[-1]).sum(axis=1) / 2 > SETTLED)
    last = policy[-1] if settled else policy[rounds // 2 :].mean(axis=0)
    with np.errstate(divide="ignore"):
        log_last = logs[-1] if settled else np.log(last)
    try:
        radius, change = _stability(method, P, log_ref)
    except (ArithmeticError, ValueError, RuntimeError) as error:
        radius, change = None, f"not known: {error}"
    change = "" if settled else change
    tau = method.setting.get("tau", method.setting.get("gamma"))
    goal = None
    if tau is not None and method.objective != "proximal-point":
        with contextlib.suppress(ArithmeticError):
            goal = 0.5 * float(np.abs(last - np.exp(equilibrium(P, tau, log_ref))).sum())
    return Row(
        method,
        word,
        (int(far[-1]) + 1 if len(far) else 0) if settled else None,
        radius,
        log_last,
        float(-(last * np.where(last > 0, log_last, 0.0)).sum()),
        float(2 * ((P @ last).max() - 0.5)),
        goal,
        change,
    )


def _reason(method: Method, error: Exception) -> str:
    if method.objective == "proximal-point" and isinstance(error, RuntimeError):
        return "the equation of a round could not be solved at this temperature; pass a larger one."
    # Parts that speak of calls in Python are left out.
    return str(error).split(" Pass throw")[0].replace(", or proximal=True", "")


def _stability(method: Method, P: np.ndarray, log_ref: np.ndarray) -> tuple[float | None, str]:
    """The spectral radius at the fixed point, and what would bring it below 1."""
    if method.objective == "dpo" and ((P == 0) | (P == 1)).any():
        return None, "not known where P has entries 0 or 1; smooth the votes"
    if method.family == "loop":
        return _of_loop(method, P, log_ref)
    return _of_game(method, P, log_ref)


def _of_loop(method: Method, P: np.ndarray, log_ref: np.ndarray) -> tuple[float | None, str]:
    """At alpha = 1 without entropy nothing is followed. With it, rounds are those at alpha' and beta' (7.16): at the fixed
    point of temperature gamma the eigenvalues are (beta ± i gamma r)/(beta + gamma), ± i r those of alpha = 0, beta = gamma.
    """
    alpha, lam, beta = (float(method.setting[name]) for name in ("alpha", "lam", "beta"))
    gamma = float(method.setting.get("gamma", 0.0))
    objective: Any = "dpo" if method.objective == "dpo" else "ipo"
    around: dict[str, Any] = {"log_reference": log_ref, "log_offline": log_ref}
    if alpha < 1:
        now = oracle.follow(P[None], objective, [alpha], lam, [beta], **around)
        radius = None if now.lost[0] else float(now.radius[0, 0])
        if radius is not None and radius < 1:
            return radius, ""
        return radius, f"beta above {_edge(P, objective, alpha, lam, around):.3g}"

    def excess(gamma: np.ndarray) -> np.ndarray:
        """The radius less 1 at each gamma, from large to small; NaN from where the curve ends."""
        plain = oracle.follow(P[None], objective, [0.0] * len(gamma), lam, gamma, log_offline=log_ref)
        begun = np.maximum.accumulate(np.isfinite(plain.radius[0]))
        # Before the curve begins, rounds contract at a rate below 1/2.
        r = np.where(begun | bool(plain.lost[0]), plain.radius[0], 0.5)
        return np.hypot(beta, gamma * r) / (beta + gamma) - 1

    now = None if gamma == 0 else float(excess(np.array([gamma]))[0]) + 1
    if now is not None and now < 1:
        return now, ""
    seen = excess(GAMMAS)
    bad = np.flatnonzero(~(seen < 0))
    if not len(bad):
        told = f"gamma above {GAMMAS[-1]:.3g} at most"
    elif np.isnan(seen[bad[0]]) or bad[0] == 0:
        told = f"gamma above {GAMMAS[max(bad[0] - 1, 0)]:.3g} at most"
    else:
        edge = brentq(lambda g: float(excess(np.array([g]))[0]), GAMMAS[bad[0]], GAMMAS[bad[0] - 1], xtol=1e-9)
        told = f"gamma above {edge:.3g}"
    if gamma > 0:
        return now, told
    return now, f"an entropy weight {told}, or alpha 0.5 with beta above {_edge(P, objective, 0.5, lam, around):.3g}"


def _edge(P: np.ndarray, objective: Any, alpha: float, lam: float, around: dict[str, Any]) -> float:
    """The largest beta at which stability is lost, or the smallest that was looked at."""
    found = oracle.follow(P[None], objective, [alpha], lam, [LEAST], until_lost=True, **around)
    return max(float(found.crossing[0, 0]), LEAST)


def _of_game(method: Method, P: np.ndarray, log_ref: np.ndarray) -> tuple[float | None, str]:
    eta, tau = float(method.setting.get("eta", 1.0)), float(method.setting.get("tau", 0.0))
    name = method.objective
    if name in WITHOUT_MAGNET:
        inside = nash(P).log_policy
        never = "no step is stable; averages of policies converge"
        if not np.isfinite(inside).all():  # the equilibrium leaves responses out: no interior fixed point
            return None, never if name == "sppo" else ""
        radius = method_radius(name, frequencies(P, inside), eta, tau)
        return radius, never if radius > 1 else ""
    now = method_radius(name, rest_frequencies(name, P, eta, tau, log_ref), eta, tau)
    if now < 1:
        return now, ""
    edge = critical_step(name, P, tau, log_ref, np.append(STEPS[eta > STEPS], eta))
    return now, f"eta below {edge:.3g}" if edge > 0 else "no step is stable"
