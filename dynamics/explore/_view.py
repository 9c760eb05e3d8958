"""The numbers of the page: what a setting does and why, what would make it stable."""

from __future__ import annotations

import dataclasses
import math
from functools import lru_cache

import numpy as np

from .. import oracle
from ._map import frequencies, proven_beta, squared_radius
from ._setting import EXPLICIT, Loop, Setting, effective, fixed_point, loop_of, start_of

SHARES = (0.0, 0.25, 0.5, 0.75)  # of the present alpha and lam that are tried
WEIGHTS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0)  # of beta, entropy weights that are tried
BELOW = 1 - 1e-6  # radii of what is advised
LESS = 10.0 ** -np.arange(0.0625, 2.1, 0.0625)  # steps that are tried, and temperatures


@dataclasses.dataclass(frozen=True)
class View:
    """The result of ``view``.

    Attributes:
        policy: the policies of the run, ``(T + 1, K)``.
        verdict: on it, one of ``dyn.schema.VERDICTS``, or "failed".
        fixed: the fixed point that is followed, ``(K,)``, or None.
        eigenvalues: of a round's Jacobian there on centred logits, ``(K - 1,)``, largest modulus first, or None.
        radius: the largest modulus, or None.
        logits: the centred logits of the fixed point, or None.
    """

    policy: np.ndarray
    verdict: str
    fixed: np.ndarray | None
    eigenvalues: np.ndarray | None
    radius: float | None
    logits: np.ndarray | None


@dataclasses.dataclass(frozen=True)
class Advice:
    """The result of ``advice``.

    Attributes:
        critical: the beta above which the followed fixed point is stable, 0 where it is down to the least examined; None for
            games, with an entropy weight, at alpha = 1 and where the curve was lost.
        lines: what would make rounds stable, each by itself; or that nothing is needed.
    """

    critical: float | None
    lines: tuple[str, ...]


def view(setting: Setting, guess: np.ndarray | None = None) -> View:
    """The run of a setting, its fixed point with the spectrum, and the verdict on the run.

    Args:
        setting: the setting.
        guess: ``logits`` of the view of a setting nearby, which saves time.

    Raises:
        ValueError: a setting without rounds, such as DPO where some response always wins.

    >>> found = dyn.explore.view(dyn.explore.Setting(np.asarray(dyn.preferences.cyclic(3, 0.2)), beta=0.1))
    >>> found.verdict, round(found.radius, 6)
    ('oscillating', 1.258306)
    """
    loop, z = loop_of(setting), start_of(setting)
    fate = oracle.fates(loop, z[None], setting.rounds)
    logits = np.array([z - z.mean(), *loop.seen[: setting.rounds]])
    logits = np.append(logits, np.repeat(logits[-1:], setting.rounds + 1 - len(logits), axis=0), axis=0)
    policy = np.exp(logits - logits.max(axis=1, keepdims=True))
    policy /= policy.sum(axis=1, keepdims=True)
    logits = fixed_point(setting, guess)
    fixed = values = radius = None
    if logits is not None:
        values = spectrum(loop, logits)
        radius, fixed = float(abs(values[0])), np.exp(logits - logits.max())
        fixed = fixed / fixed.sum()
    return View(policy, str(fate.verdict[0]), fixed, values, radius, logits)


def spectrum(loop: Loop, z: np.ndarray) -> np.ndarray:
    """The K - 1 eigenvalues of a round's Jacobian on centred logits at z, ``(K,)``, largest modulus first."""
    basis = np.linalg.qr(np.eye(len(z)) - 1.0 / len(z))[0][:, : len(z) - 1]
    values = np.linalg.eigvals(basis.T @ loop.slope(z[None])[0] @ basis)
    return values[np.argsort(-np.abs(values))]


@lru_cache(maxsize=64)
def _crossing(P: bytes, size: int, objective: oracle.Objective, alpha: float, lam: float) -> float | None:
    matrix = np.frombuffer(P).reshape(1, size, size)
    found = oracle.follow(matrix, objective, [alpha], lam, [oracle.FLOOR], until_lost=True)
    return None if found.lost[0] and found.crossing[0, 0] == 0 else float(found.crossing[0, 0])


def advice(setting: Setting, radius: float | None) -> Advice:
    """The critical beta, and values of each parameter alone that make the followed fixed point stable.

    Args:
        setting: the setting.
        radius: its spectral radius, from ``view``.

    >>> setting = dyn.explore.Setting(np.asarray(dyn.preferences.cyclic(3, 0.2)), beta=0.1)
    >>> dyn.explore.advice(setting, 1.258).lines[0]
    'beta above 0.13334'
    """
    here, P, critical = effective(setting), setting.P, None
    if here is not None and setting.method in ("ipo", "dpo") and setting.gamma == 0 and here.alpha < 1:
        critical = _crossing(P.tobytes(), len(P), here.objective, here.alpha, here.lam)
    if radius is not None and radius < 1:
        above = "" if not critical else f"; it stays so at every beta above {_up(critical)}"
        return Advice(critical, (f"nothing is needed: the fixed point is stable{above}",))
    lines = [] if critical is None else [f"beta above {_up(critical)}"]
    if setting.method in ("ipo", "dpo"):
        lines += _of_rounds(setting)
    else:
        lines += _of_games(setting)
    if (
        here is not None
        and here.objective == "ipo"
        and 0 < here.alpha < 1
        and setting.method == "ipo"
        and not setting.gamma
    ):
        bound = float(proven_beta(P, np.array(here.alpha), here.lam))
        lines.append(f"beta above {_up(bound)} for every start, proven [derived 7.2 or 7.15]")
    return Advice(critical, tuple(lines) or ("no single parameter that was tried",))


def _up(value: float) -> str:
    """Rounded up to five digits, so that the printed number is enough too."""
    if value <= 0:
        return "0"
    digits = 4 - math.floor(math.log10(value))
    return f"{math.ceil(value * 10**digits - 1e-9) / 10**digits:.5g}"


def _radii(setting: Setting, name: str, values: np.ndarray) -> np.ndarray:
    """The radius at the followed fixed point with each value of one parameter; NaN where there is none."""
    changed = [dataclasses.replace(setting, **{name: float(value)}) for value in values]
    here, P = [effective(one) for one in changed], setting.P[None]
    kept = [one for one in here if one is not None]
    if kept and name == "lam":
        stack = np.repeat(P, len(values), axis=0)
        found = oracle.follow(stack, kept[0].objective, [kept[0].alpha], values, [kept[0].beta])
        return found.radius[:, 0]
    if kept:
        _, alphas, _, betas = zip(*kept, strict=True)
        found = oracle.follow(P, kept[0].objective, alphas, kept[0].lam, betas)
        # A curve begins where rounds contract; betas above have no point on it.
        return found.radius[0] if found.lost[0] else np.nan_to_num(found.radius[0], nan=0.0)
    eta, tau = (np.array([getattr(one, key) for one in changed]) for key in ("eta", "tau"))
    T = tau / (1 - eta * tau) if setting.method == "nash_md" else tau
    return np.sqrt(squared_radius(setting.method, eta, T, frequencies(setting.P, T)))


def _of_rounds(setting: Setting) -> list[str]:
    lines = []
    for name in ("alpha", "lam") if setting.alpha < 1 or setting.gamma > 0 else ("alpha",):
        values = np.unique(getattr(setting, name) * np.array(SHARES))
        count = int(np.argmin([*(_radii(setting, name, values) < BELOW), False]))
        lines += [f"{name} at most {values[count - 1]:.3g}"] * (count > 0)
    weights = setting.beta * np.array(WEIGHTS)
    weights = weights[weights > setting.gamma]
    enough = _radii(setting, "gamma", weights) < BELOW if len(weights) else np.array([])
    return lines + [f"entropy weight gamma {weights[enough.argmax()]:.3g} [derived 7.16]"] * bool(enough.any())


def _of_games(setting: Setting) -> list[str]:
    if setting.method in ("sppo", "proximal_point"):
        return []
    steps, lines = setting.eta * LESS, []
    enough = _radii(setting, "eta", steps) < BELOW
    lines += [f"eta at most {steps[enough.argmax()]:.3g}"] * bool(enough.any())
    warmer = setting.tau / LESS
    if setting.method in EXPLICIT:
        warmer = warmer[warmer * setting.eta < 1]
    enough = _radii(setting, "tau", warmer) < BELOW if len(warmer) else np.array([])
    return lines + [f"tau {warmer[enough.argmax()]:.3g}"] * bool(enough.any())
