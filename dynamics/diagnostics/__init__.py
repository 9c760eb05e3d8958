"""Quantities of a run: functions of trajectories, and the same quantities as Measures that stream inside the loop.

Every quantity exists twice with one formula: as a function of saved log-policies, ``cycle_strength(log_policy)``, and
as a `Measure`, ``CycleStrength()``, which a run of any length updates round by round. `resolve` turns a name into a
Measure.

Your own measure takes a few lines. A value at every round is a `Series`::

    class TopProbability(Series):
        name: str = eqx.field(static=True, kw_only=True, default="top_probability")

        def observe(self, snapshot):
            return jnp.max(snapshot.policy)

and one value per run is a `Measure` of three pure methods::

    class LargestStep(Measure):
        name: str = eqx.field(static=True, kw_only=True, default="largest_step")

        def variables(self, num_responses):
            return {self.name: Variable(unit="nats", long_name="largest change of a logit in one round")}

        def init(self, snapshot, rounds):
            return snapshot.logits, jnp.zeros_like(snapshot.logits[0])

        def update(self, state, snapshot):
            last, largest = state
            return snapshot.logits, jnp.maximum(largest, jnp.max(jnp.abs(snapshot.logits - last)))

        def finalize(self, state):
            return state[1]

Pass them as ``measure=[TopProbability(), LargestStep(), "entropy"]``.
"""

from __future__ import annotations

import difflib

from ..schema import KINDS, VERDICTS, Variable
from ._convergence import ConvergenceRate, convergence_rate
from ._features import (
    Displacement,
    class_mean_cosine,
    concentration,
    displacement,
    distinguishability,
    priority_matrix,
    trace,
)
from ._games import AveragePolicy, DualityGap, duality_gap, log_average_policy
from ._measure import Measure, Series, Snapshot, replay, statistics_of, variables_of
from ._period import Amplitude, OrbitPeriod, Period, RotationNumber, amplitude, period, rotation_number
from ._prompts import of_prompts, worst_verdict
from ._series import (
    EffectiveResponses,
    Entropy,
    KLToReference,
    RewardMargin,
    TopResponse,
    effective_responses,
    entropy,
    forward_kl,
    kl_to_reference,
    pair_indices,
    reward_margin,
    top_response,
)
from ._summaries import (
    CollapseRate,
    CollapseRound,
    CycleStrength,
    FinalEntropy,
    collapse_rate,
    collapse_round,
    cycle_strength,
    final_entropy,
)
from ._verdict import Verdict, verdict

__all__ = [
    "KINDS",
    "MEASURES",
    "VERDICTS",
    "Amplitude",
    "AveragePolicy",
    "CollapseRate",
    "CollapseRound",
    "ConvergenceRate",
    "CycleStrength",
    "Displacement",
    "DualityGap",
    "EffectiveResponses",
    "Entropy",
    "FinalEntropy",
    "KLToReference",
    "Measure",
    "OrbitPeriod",
    "Period",
    "RewardMargin",
    "RotationNumber",
    "Series",
    "Snapshot",
    "TopResponse",
    "Variable",
    "Verdict",
    "amplitude",
    "class_mean_cosine",
    "collapse_rate",
    "collapse_round",
    "concentration",
    "convergence_rate",
    "cycle_strength",
    "displacement",
    "distinguishability",
    "duality_gap",
    "effective_responses",
    "entropy",
    "final_entropy",
    "forward_kl",
    "kl_to_reference",
    "log_average_policy",
    "of_prompts",
    "pair_indices",
    "period",
    "priority_matrix",
    "replay",
    "resolve",
    "reward_margin",
    "rotation_number",
    "statistics_of",
    "top_response",
    "trace",
    "variables_of",
    "verdict",
    "worst_verdict",
]

MEASURES: dict[str, type[Measure]] = {
    "entropy": Entropy,
    "effective_responses": EffectiveResponses,
    "kl_to_reference": KLToReference,
    "top_response": TopResponse,
    "reward_margin": RewardMargin,
    "cycle_strength": CycleStrength,
    "final_entropy": FinalEntropy,
    "period": OrbitPeriod,
    "amplitude": Amplitude,
    "rotation_number": RotationNumber,
    "convergence_rate": ConvergenceRate,
    "collapse_round": CollapseRound,
    "collapse_rate": CollapseRate,
    "log_average_policy": AveragePolicy,
    "verdict": Verdict,
}
"""The measures that ``measure=[…]`` knows by name."""


def resolve(measure: object) -> Measure:
    """The Measure that ``measure`` names, with its default hyper-parameters, or ``measure`` itself.

    Args:
        measure: a key of ``MEASURES``, or a Measure.

    Raises:
        ValueError: an unknown name, with the nearest known one, or an object that is not a Measure.

    >>> dyn.diagnostics.resolve("cycle_strength").name
    'cycle_strength'
    """
    if isinstance(measure, Measure):
        return measure
    if isinstance(measure, str) and measure in MEASURES:
        return MEASURES[measure]()
    if isinstance(measure, str):
        near = difflib.get_close_matches(measure, MEASURES, n=1, cutoff=0.0)
        raise ValueError(f"unknown measure {measure!r}; did you mean {near[0]!r}? Known: {', '.join(MEASURES)}.")
    if isinstance(measure, type) and issubclass(measure, Measure):
        raise ValueError(f"measure {measure.__name__} is a class; pass an instance, {measure.__name__}().")
    raise ValueError(f"measure {measure!r} is neither a name nor a Measure; pass one of {', '.join(MEASURES)}.")
