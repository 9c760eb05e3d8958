"""What the page asks for, and the rounds that it means: IPO, DPO and maps of games, in NumPy."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from ..oracle import Objective, Rounds, follow

METHODS = {
    "ipo": "IPO",
    "dpo": "DPO",
    "mirror": "MirrorDescent (online IPO, INPO)",
    "magnetic": "MirrorDescent, proximal (magnetic)",
    "sppo": "SPPO",
    "nash_md": "NashMD",
    "egpo": "Extragradient (EGPO)",
    "mirror_prox": "Extragradient, proximal (mirror prox)",
    "proximal_point": "ProximalPoint (COMAL)",
}
"""The objectives and the methods of ``dyn.games`` that the page offers, with their labels."""
OBJECTIVES = ("ipo", "dpo")
EXPLICIT = ("mirror", "nash_md", "egpo")  # whose pull towards the magnet must not step beyond it
LARGEST = 10  # responses
SMOOTHING = 0.5  # pseudo-wins of ``dyn.feedback.Samples``
NEWTON_STEPS, CORRECTIONS, SOLVED = 50, 12, 1e-12
RANK = 1e-9  # singular values of A below it count as zero


@dataclasses.dataclass(frozen=True, eq=False)
class Setting:
    """One state of the page. Reference and offline sampler are uniform.

    Args:
        P: P, ``(K, K)``, 2 ≤ K ≤ 10.
        names: K names, or none.
        method: a key of ``METHODS``.
        alpha: share of the policy in the next reference, in [0, 1].
        lam: share of the policy in the next sampler, in [0, 1].
        beta: KL coefficient, > 0.
        gamma: weight of an entropy term, ≥ 0: rounds of ``dyn.ReverseKL`` (statement 7.16).
        eta: step of a game, > 0.
        tau: temperature of a game, > 0.
        comparisons: how many comparisons a round draws, for a second orbit of IPO and DPO; 0 for none.
        start: nats by which the first policy is away from uniform, ≥ 0.
        rounds: length of the run, ≥ 10.
        seed: of the comparisons.

    Raises:
        ValueError: a value outside these ranges.

    >>> dyn.explore.Setting(np.array([[0.5, 0.7], [0.3, 0.5]]), method="dpo").names
    ('response 0', 'response 1')
    """

    P: np.ndarray
    names: Sequence[str] = ()
    method: str = "ipo"
    alpha: float = 0.5
    lam: float = 1.0
    beta: float = 0.1
    gamma: float = 0.0
    eta: float = 1.0
    tau: float = 0.1
    comparisons: int = 0
    start: float = 1.0
    rounds: int = 200
    seed: int = 0

    def __post_init__(self) -> None:
        P = np.asarray(self.P, np.float64)
        K = len(P)
        if not 2 <= K <= LARGEST:
            raise ValueError(
                f"P has {K} responses; the page draws 2 to {LARGEST}; `dynamics stability` takes any number."
            )
        names = tuple(map(str, self.names)) or tuple(f"response {k}" for k in range(K))
        if len(names) != K:
            raise ValueError(f"names has {len(names)} entries for {K} responses; pass one name for each.")
        if self.method not in METHODS:
            raise ValueError(f"method is {self.method!r}; pass one of {', '.join(METHODS)}.")
        for name, low, high in (("alpha", 0, 1), ("lam", 0, 1), ("gamma", 0, math.inf), ("start", 0, math.inf)):
            if not low <= getattr(self, name) <= high:
                raise ValueError(f"{name} = {getattr(self, name):g}; pass a number from {low} to {high}.")
        for name in ("beta", "eta", "tau"):
            if not 0 < getattr(self, name) < math.inf:
                raise ValueError(f"{name} = {getattr(self, name):g}; pass a number above 0.")
        if self.rounds < 10 or self.comparisons < 0:
            raise ValueError(f"rounds = {self.rounds}, comparisons = {self.comparisons}; pass ≥ 10 and ≥ 0.")
        if self.method in EXPLICIT and self.eta * self.tau > 1:
            raise ValueError(
                f"eta tau = {self.eta * self.tau:.3g} is above 1, so a round would step beyond the magnet; lower eta or tau."
            )
        object.__setattr__(self, "P", P)
        object.__setattr__(self, "names", names)


class Constants(NamedTuple):
    """Rounds of IPO or DPO."""

    objective: Objective
    alpha: float
    lam: float
    beta: float


def effective(setting: Setting) -> Constants | None:
    """The rounds of IPO or DPO that the setting's rounds equal (statements 7.16 and 8.1); None for other games.

    With an entropy weight, alpha' = alpha beta/(beta + gamma) and beta' = beta + gamma.

    >>> dyn.explore.effective(dyn.explore.Setting(np.eye(2) / 2 + 0.25, method="mirror", eta=2.0, tau=0.25))
    Constants(objective='ipo', alpha=0.5, lam=1.0, beta=0.5)
    """
    s, pull = setting, setting.eta * setting.tau
    if s.method in OBJECTIVES:
        beta = s.beta + s.gamma
        alpha = s.alpha * s.beta / beta if s.gamma else s.alpha
        return Constants("ipo" if s.method == "ipo" else "dpo", alpha, s.lam, beta)
    if s.method == "mirror":
        return Constants("ipo", 1 - pull, 1.0, 1 / s.eta)
    if s.method == "magnetic":
        return Constants("ipo", 1 / (1 + pull), 1.0, (1 + pull) / s.eta)
    return Constants("ipo", 1.0, 1.0, 1 / s.eta) if s.method == "sppo" else None


@dataclasses.dataclass(frozen=True)
class Loop(Rounds):
    """Rounds that remember where one run went, and the maps of games that are no rounds of IPO (``dyn.games``).

    Args:
        kind: "" for IPO and DPO, or "nash_md", "egpo", "mirror_prox" or "proximal_point", of which ``reward`` is (P - ½) p.
        eta, tau: step and temperature of a game.
        seen: the logits after every round of the first matrix.
    """

    kind: str = ""
    eta: float = 1.0
    tau: float = 1.0
    seen: list[np.ndarray] = dataclasses.field(default_factory=list, repr=False)

    def step(self, z: np.ndarray, f: np.ndarray | None = None) -> np.ndarray:
        new = self._moved(z, f)
        self.seen.append(new[0])
        return new

    def _moved(self, z: np.ndarray, f: np.ndarray | None) -> np.ndarray:
        if not self.kind:
            return super().step(z, f)
        f, eta, pull = self.reward(z) if f is None else f, self.eta, self.eta * self.tau
        if self.kind == "nash_md":
            mixed = (1 - pull) * z
            return mixed + eta * self.reward(mixed)
        if self.kind == "egpo":
            return (1 - pull) * z + eta * self.reward((1 - pull) * z + eta * f)
        if self.kind == "mirror_prox":
            return (z + eta * self.reward((z + eta * f) / (1 + pull))) / (1 + pull)
        y = z
        for _ in range(NEWTON_STEPS):  # y = z + (P - ½) softmax(y)/tau has one solution
            change = np.linalg.solve(
                np.eye(z.shape[1]) - self.reward_slope(y, y) / self.tau, (z + self.reward(y) / self.tau - y)[:, :, None]
            )[:, :, 0]
            y = y + change / max(1.0, float(np.abs(change).max()))
            if np.abs(change).max() <= SOLVED:
                return y
        return np.full_like(z, np.nan)

    def slope(self, z: np.ndarray) -> np.ndarray:
        if not self.kind:
            return super().slope(z)
        eta, pull = self.eta, self.eta * self.tau
        eye = np.eye(z.shape[1]) - 1.0 / z.shape[1]
        if self.kind == "nash_md":
            mixed = (1 - pull) * z
            return (1 - pull) * (eye + eta * self.reward_slope(mixed, mixed))
        if self.kind == "egpo":
            half = (1 - pull) * z + eta * self.reward(z)
            return (1 - pull) * eye + eta * self.reward_slope(half, half) @ (
                (1 - pull) * eye + eta * self.reward_slope(z, z)
            )
        if self.kind == "mirror_prox":
            half = (z + eta * self.reward(z)) / (1 + pull)
            inner = (eye + eta * self.reward_slope(z, z)) / (1 + pull)
            return (eye + eta * self.reward_slope(half, half) @ inner) / (1 + pull)
        return np.linalg.inv(np.eye(z.shape[1]) - self.reward_slope(self._moved(z, None), z) / self.tau) @ eye


def loop_of(setting: Setting) -> Loop:
    """The rounds of a setting, for one matrix."""
    here = effective(setting)
    if here is not None:
        return Loop(setting.P[None], *here)
    return Loop(setting.P[None], "ipo", 1.0, 1.0, 1.0, kind=setting.method, eta=setting.eta, tau=setting.tau)


def start_of(setting: Setting) -> np.ndarray:
    """Logits ``start`` nats from uniform, in no symmetric direction, ``(K,)``."""
    return setting.start * np.cos(1.0 + np.arange(len(setting.P)))


def fixed_point(setting: Setting, guess: np.ndarray | None = None) -> np.ndarray | None:
    """The centred logits of the fixed point that is followed from beta = ∞ (or tau = ∞), ``(K,)``.

    None where it was lost, and without a pull towards a reference (alpha = 1, SPPO, ProximalPoint) unless the sampler is the
    policy and exactly one policy of full support ties with every response. Near ``guess``, the one of a setting nearby, a few
    Newton steps find it where it is the only one (statement 7.1): for IPO, and for DPO at lam = 1.
    """
    here = effective(setting)
    if setting.method == "proximal_point" or (here is not None and here.alpha == 1):
        return _tie(setting.P) if here is None or here.lam == 1 else None
    if here is not None:
        if guess is not None and len(guess) == len(setting.P) and (here.objective == "ipo" or here.lam == 1):
            z = corrected(setting.P, here, guess)
            if z is not None:
                return z
        found = follow(setting.P[None], here.objective, [here.alpha], here.lam, [here.beta])
        return None if found.lost[0] else found.logits[0]
    # Nash-MD's mixture rests at the equilibrium of temperature tau/(1 - eta tau) (statement 8.2).
    left = 1 - setting.eta * setting.tau if setting.method == "nash_md" else 1.0
    if left <= 0:
        return None
    found = follow(setting.P[None], "ipo", [0.0], 1.0, [setting.tau / left])
    return None if found.lost[0] else found.logits[0] / left


def corrected(P: np.ndarray, here: Constants, z: np.ndarray) -> np.ndarray | None:
    """The root of z = f(mu(z))/(beta (1 - alpha)) by Newton's method; None where it does not arrive."""
    loop, s = Rounds(P[None], here.objective, 0.0, here.lam, 1.0), 1 / (here.beta * (1 - here.alpha))
    f, z = None, z[None]
    for _ in range(CORRECTIONS):
        f = loop.reward(z, f)
        change = np.linalg.solve(np.eye(len(P)) - s * loop.reward_slope(z, f)[0], (s * f - z)[0])
        z = z + change
        if not np.isfinite(z).all():
            return None
        if np.abs(change).max() <= SOLVED * (1 + np.abs(z).max()):
            return z[0] - z.mean()
    return None


def _tie(P: np.ndarray) -> np.ndarray | None:
    """The logits of the only p > 0 with (P - ½) p = 0."""
    _, sizes, rows = np.linalg.svd(P - 0.5)
    p = rows[-1] * np.sign(rows[-1].sum())
    if sizes[-1] > RANK or sizes[-2] <= RANK or not (p > RANK).all():
        return None
    return np.log(p) - np.log(p).mean()


def sampled(setting: Setting, count: int) -> np.ndarray:
    """z_0 … z_count of IPO or DPO where each round sees ``setting.comparisons`` comparisons only, ``(count + 1, K)``.

    Pairs are drawn from the sampler and labels from P, as ``dyn.feedback.Samples`` does, from NumPy's generator.

    Raises:
        ValueError: a game, or no comparisons.
    """
    here = effective(setting)
    if setting.method not in OBJECTIVES or here is None or setting.comparisons < 1:
        raise ValueError(
            "comparisons are drawn for IPO and DPO, at least one in a round; choose one of them, and a number."
        )
    loop, rng = loop_of(setting), np.random.default_rng(setting.seed)
    K = len(setting.P)
    z, f = [start_of(setting) - start_of(setting).mean()], np.zeros(K)
    for _ in range(count):
        mu = np.exp(loop.log_sampler(z[-1][None])[0])
        won = 2 * np.outer(mu, mu) * setting.P
        won[np.diag_indices(K)] = mu**2  # pairs of equals teach nothing
        wins = rng.multinomial(setting.comparisons, (won / won.sum()).ravel()).reshape(K, K) * (1.0 - np.eye(K))
        f = least_squares(wins) if here.objective == "ipo" else likeliest(wins, f)
        z.append(here.alpha * z[-1] + f / here.beta)
    return np.array(z)


def least_squares(wins: np.ndarray) -> np.ndarray:
    """argmin_f Σ_ij W_ij (f_i - f_j - ½)² of least norm, ``(K,)``, for wins ``(K, K)``."""
    met = wins + wins.T
    return np.linalg.pinv(np.diag(met.sum(axis=1)) - met) @ (0.5 * (wins - wins.T).sum(axis=1))


def likeliest(wins: np.ndarray, guess: np.ndarray) -> np.ndarray:
    """argmax_f Σ_ij W_ij log sigma(f_i - f_j) of least norm, half a win added both ways to pairs that met, ``(K,)``."""
    met = (wins + wins.T > 0).astype(float)
    wins = wins + SMOOTHING * met
    linked = np.linalg.matrix_power(met + np.eye(len(met)), len(met)) > 0
    f = guess - linked @ guess / linked.sum(axis=1)
    for _ in range(NEWTON_STEPS):
        lost = 1 / (1 + np.exp(f[:, None] - f[None, :]))  # sigma(f_j - f_i)
        pull = wins * lost
        weight = (wins + wins.T) * lost * (1 - lost)
        change = np.linalg.solve(np.diag(weight.sum(axis=1)) - weight + linked, (pull - pull.T).sum(axis=1))
        f = f + change / max(1.0, float(np.abs(change).max()))
        if np.abs(change).max() <= SOLVED:
            break
    return f
