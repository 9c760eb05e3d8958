"""The methods that people train with, at a setting each, as rounds of this laboratory."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, Literal

import numpy as np

from .. import games
from ..objectives import DPO, IPO, ReverseKL
from ..rounds import Process, SelfSampling

BETA = 0.1  # TRL's default, in DPOConfig and OnlineDPOConfig
STEP = 1.0
SPPO_STEP = 1000.0  # 1/beta of the authors' public recipe, beta = 0.001

Family = Literal["loop", "game"]


@dataclasses.dataclass(frozen=True)
class Method:
    """A way to learn from preferences, as rounds.

    Attributes:
        name: what ``compare`` calls it.
        title: what it is, in words.
        round: the equation of a round.
        source: where it was published, or whose default it is, with the year.
        setting: its parameters: ``beta``, ``alpha``, ``lam`` and ``gamma`` of a loop, ``eta`` and ``tau`` of a game.
        setting_source: where the setting is from.
        family: "loop" (rounds of a loss) or "game".
        objective: "ipo" or "dpo" for a loop; the name in ``theorems.roster_radius`` for a game, "" where it has no row there.
    """

    name: str
    title: str
    round: str
    source: str
    setting: Mapping[str, float]
    setting_source: str
    family: Family
    objective: str
    make: Callable[..., Process[Any]] = dataclasses.field(repr=False)

    def process(self, preference: np.ndarray, log_reference: np.ndarray, **changed: float) -> Process[Any]:
        """The rounds on P, ``(K, K)``, with log ref, ``(K,)``; ``changed`` replaces parameters of the setting."""
        return self.make(preference, log_reference, **(dict(self.setting) | changed))

    def at(self, **changed: float) -> Method:
        """The same method with those of ``changed`` that it has."""
        kept = {name: value for name, value in changed.items() if name in self.setting}
        return dataclasses.replace(self, setting={**self.setting, **kept}) if kept else self


def _loop(kind: Any) -> Callable[..., Process[Any]]:
    def make(P: np.ndarray, log_ref: np.ndarray, *, alpha: float, lam: float, beta: float) -> Process[Any]:
        return SelfSampling(P, kind(beta), alpha, lam, log_ref, log_ref)

    return make


def _entropy(
    P: np.ndarray, log_ref: np.ndarray, *, alpha: float, lam: float, beta: float, gamma: float
) -> Process[Any]:
    return SelfSampling(P, ReverseKL(gamma, beta, "win-rate"), alpha, lam, log_ref, log_ref)


def _game(kind: Any, **options: Any) -> Callable[..., Process[Any]]:
    return lambda P, log_ref, *, eta, tau: kind(P, eta, tau, log_ref, **options)


_LOOP = "pi' ∝ ref_t e^{f/beta}, f fitted to pairs from mu_t"
_CHOSEN = "a step of 1 and the common temperature: no recipe of the authors is at hand"
_TRL = "beta = 0.1: TRL's default"

METHODS: tuple[Method, ...] = (
    Method(
        "online-dpo",
        "DPO on the policy's own pairs, against the first model",
        _LOOP,
        "Direct alignment from online feedback (OAIF), arXiv 2402.04792, 2024; TRL's OnlineDPOTrainer",
        {"alpha": 0.0, "lam": 1.0, "beta": BETA},
        _TRL,
        "loop",
        "dpo",
        _loop(DPO),
    ),
    Method(
        "iterated-dpo",
        "DPO whose last checkpoint is the next sampler and reference",
        _LOOP,
        "iterated DPO, arXiv 2312.16682, 2023; studied in Chen26",
        {"alpha": 1.0, "lam": 1.0, "beta": BETA},
        _TRL,
        "loop",
        "dpo",
        _loop(DPO),
    ),
    Method(
        "online-ipo",
        "IPO on the policy's own pairs, against the first model",
        "z' = log ref + P p/beta",
        "IPO-MD and online IPO, arXiv 2403.08635, 2024",
        {"alpha": 0.0, "lam": 1.0, "beta": BETA},
        _TRL,
        "loop",
        "ipo",
        _loop(IPO),
    ),
    Method(
        "iterated-ipo",
        "IPO whose last checkpoint is the next sampler and reference",
        "z' = z + P p/beta",
        "IPO, arXiv 2310.12036, 2023, iterated; studied in Chen26",
        {"alpha": 1.0, "lam": 1.0, "beta": BETA},
        _TRL,
        "loop",
        "ipo",
        _loop(IPO),
    ),
    Method(
        "reverse-kl",
        "iterated, with an entropy term, on win rates",
        "z' = (beta z + P p)/(beta + gamma)",
        "reverse-KL distribution learning, Yun25, in rounds",
        {"alpha": 1.0, "lam": 1.0, "beta": BETA, "gamma": BETA},
        "gamma is the common temperature",
        "loop",
        "entropy",
        _entropy,
    ),
    Method(
        "sppo",
        "SPPO: self-play without a magnet",
        "z' = z + eta P p",
        "SPPO, arXiv 2405.00675, 2024",
        {"eta": SPPO_STEP},
        "the authors' public recipe: beta = 1/eta = 0.001",
        "game",
        "sppo",
        lambda P, log_ref, *, eta: games.SPPO(P, eta),
    ),
    Method(
        "inpo",
        "INPO: mirror descent towards a magnet, online IPO's rounds",
        "z' = (1 - eta tau) z + eta tau log ref + eta P p",
        "INPO, arXiv 2407.00617, 2024",
        {"eta": STEP, "tau": BETA},
        _CHOSEN,
        "game",
        "mirror",
        _game(games.MirrorDescent),
    ),
    Method(
        "mmd",
        "magnetic mirror descent, MPO's inner loop",
        "z' = (z + eta tau log ref + eta P p)/(1 + eta tau)",
        "MPO, arXiv 2410.16714, 2024",
        {"eta": STEP, "tau": BETA},
        _CHOSEN,
        "game",
        "magnetic",
        _game(games.MirrorDescent, proximal=True),
    ),
    Method(
        "nash-md",
        "Nash-MD: best replies to a mixture with the magnet",
        "z' = m + eta P softmax(m), m = (1 - eta tau) z + eta tau log ref",
        "Nash learning from human feedback, arXiv 2312.00886, 2023",
        {"eta": STEP, "tau": BETA},
        _CHOSEN,
        "game",
        "nash-md",
        _game(games.NashMD),
    ),
    Method(
        "onpo",
        "optimistic mirror descent",
        "z' = (1 - eta tau) z + eta tau log ref + eta (2 P p - P p_before)",
        "ONPO, arXiv 2502.16852, 2025",
        {"eta": STEP, "tau": BETA},
        _CHOSEN,
        "game",
        "optimistic",
        _game(games.OptimisticMirrorDescent),
    ),
    Method(
        "egpo",
        "extragradient: the rates after a first half step",
        "h = (1 - eta tau) z + eta tau log ref + eta P p, then the same with P softmax(h)",
        "EGPO, arXiv 2503.08942, 2025",
        {"eta": STEP, "tau": BETA},
        _CHOSEN,
        "game",
        "extragradient",
        _game(games.Extragradient),
    ),
    Method(
        "nash-mp",
        "mirror prox: extragradient with proximal steps",
        "both half steps (z + eta tau log ref + eta P p)/(1 + eta tau)",
        "Nash-MP, arXiv 2505.19731, 2025",
        {"eta": STEP, "tau": BETA},
        _CHOSEN,
        "game",
        "mirror-prox",
        _game(games.Extragradient, proximal=True),
    ),
    Method(
        "comal",
        "proximal point: each round solves a game around the last policy",
        "z' = z + P p'/tau",
        "COMAL, arXiv 2410.23223, 2024; MPO's outer loop",
        {"tau": BETA},
        "the common temperature",
        "game",
        "proximal-point",
        lambda P, log_ref, *, tau: games.ProximalPoint(P, tau),
    ),
)
BY_NAME = {method.name: method for method in METHODS}
"""The same by name."""
