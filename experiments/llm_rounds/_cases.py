"""Rounds on a model by name, on one prompt and three candidates: shared with the stages that run on a GPU."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

import dynamics as dyn

from .._orbits import cycle_loop, onset_beta

PROMPT = "Question: What should we do this weekend?\nAnswer:"
CANDIDATES = (
    " Go for a walk.",
    " We could visit my sister, who has asked us to come and see the garden that she planted in spring.",
    " Stay at home and read a good book together.",
)
"""Answers of 5 to 20 tokens, so that rounds begin far from one another and levelling matters."""
START = (0.5, 0.2, 0.3)  # the policy at round 0
ADVANTAGE = 0.4  # of the 3-cycle: with alpha = 1/2 and lam = 1, IPO's critical beta is 0.267 and DPO's 1.067
TRANSITIVE = ((0.5, 0.7, 0.8), (0.3, 0.5, 0.65), (0.2, 0.35, 0.5))


@dataclasses.dataclass(frozen=True)
class Case:
    """One run: the loop, and how the model follows it."""

    objective: str
    beta: float
    rounds: int
    cyclic: bool = True
    alpha: float = 0.5
    rank: int = 8
    dtype: str = "float32"
    trainable: str = "lora"
    settings: dict[str, Any] = dataclasses.field(default_factory=dict)

    def loop(self, **options: Any) -> dyn.SelfSampling:
        """What the simulator runs; lam = 1 and a uniform reference."""
        if self.cyclic:
            return cycle_loop(self.objective, ADVANTAGE, self.alpha, 1.0, self.beta, **options)
        loss = dyn.IPO(self.beta) if self.objective == "IPO" else dyn.DPO(self.beta)
        return dyn.SelfSampling(np.array(TRANSITIVE), loss, alpha=self.alpha, lam=1.0, **options)

    def critical_beta(self) -> float:
        """The beta below which the uniform policy is unstable on the 3-cycle; NaN for the transitive preference."""
        return onset_beta(self.objective, ADVANTAGE, self.alpha, 1.0) if self.cyclic else float("nan")

    @property
    def kind(self) -> str:
        """ "exact" rounds, "adam" of a few steps, or a "sample" of comparisons."""
        return "adam" if self.settings.get("inner") == "adam" else "sample" if "samples" in self.settings else "exact"


CASES = {
    "IPO, beta 0.35": Case("IPO", 0.35, 20),
    "IPO, beta 0.20": Case("IPO", 0.20, 24),
    "DPO, beta 1.2": Case("DPO", 1.2, 20),
    "DPO, beta 0.9": Case("DPO", 0.9, 20),
    "IPO, transitive, alpha 1, beta 1": Case("IPO", 1.0, 20, cyclic=False, alpha=1.0),
    "IPO, beta 0.20, Adam, 10 steps": Case("IPO", 0.20, 16, settings={"inner": "adam", "steps": 10, "lr": 1e-3}),
    "IPO, beta 0.20, 100 comparisons": Case("IPO", 0.20, 12, settings={"samples": 100}),
    "IPO, beta 0.20, all weights": Case("IPO", 0.20, 12, trainable="all", settings={"history": 4}),
    "IPO, beta 0.20, float64": Case("IPO", 0.20, 12, dtype="float64"),
    "IPO, beta 0.20, rank 2": Case("IPO", 0.20, 12, rank=2),
    "IPO, beta 0.20, Adam, 50 steps": Case("IPO", 0.20, 10, settings={"inner": "adam", "steps": 50, "lr": 1e-3}),
    "IPO, beta 0.20, 1000 comparisons": Case("IPO", 0.20, 12, settings={"samples": 1000}),
    "IPO, beta 0.35, Adam, 3 steps": Case("IPO", 0.35, 20, settings={"inner": "adam", "steps": 3, "lr": 1e-3}),
}
