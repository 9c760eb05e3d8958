"""One folder per claim: a frozen ``Config``, ``run(config)`` → ``xarray.Dataset``, and ``check(ds)`` → findings in ``checks``.

``python -m experiments`` runs a tour of them, ``python -m experiments --all`` runs all; the library imports nothing from here.
"""

from __future__ import annotations

import importlib
from types import ModuleType

# name → title of its figure and findings; the order in which they run.
TITLES = {
    "evolution": "Evolution: spirals, oscillation and collapse over the first rounds",
    "stability_map": "The stability map: what is proven and what simulation found",
    "onset": "Onset: where oscillation begins, how large it is, and where it hides",
    "critical_beta": "Critical beta of preference matrices with a majority cycle",
    "rankings": "Ranking failures: which orders one-shot optima lose, and what a fitted sampler repairs",
    "skewed": "Skewed sampling: when sampling the top more often widens gaps",
    "phases": "Cycle strength and collapse over alpha, lam and beta",
    "finite_samples": "Finite samples: single runs keep oscillating while their average flattens",
    "inexact": "Inexact rounds: optimizer steps per round against oscillation and collapse",
    "advice": "Advice: how many comparisons decide whether rounds are stable",
    "calibration": "Calibration: how often posteriors of preference matrices are right",
    "toy_distribution": "Distribution learning on a toy: seven methods, four curves, and the laws that they follow",
    "dilemma": "RLHF's dilemma: a best beta, a plateau, and priors without either",
    "bound_worth": "What guarantees are worth: bounds beside the true quantile",
    "prior_smoothing": "Smoothing the prior: rare responses under reverse KL and under RLHF",
    "buying": "Buying comparisons: what a sampler costs, and what designed pairs save",
    "misspecified": "Misspecified preferences: what each method converges to as the sampler moves",
    "restricted": "Restricted classes: where maximum likelihood, distillation and reverse KL part",
    "every_matrix": "Safe for every P: thresholds that hold whatever people prefer",
    "entropy": "Entropy as a remedy: which entropy weights make rounds settle",
    "losses": "One number per loss: where rounds lose stability, of twelve losses, and under label noise",
    "practices": "What engineers do: which habits lower the spectral radius of a round, and which raise it",
    "roster": "Methods of Nash learning: how large a step each takes before it oscillates",
    "destinations": "Destinations: what each method converges to, equilibria, lotteries or average win rates",
    "neighbours": "Neighbours: prompts that share parameters, with and without a cycle",
    "features": "Features: how the class of policies changes the stability map",
    "continuous": "Continuous self-sampling against rounds: the same fixed points, another stability",
    "margins": "Margins over time: clusters of values between their bounds",
    "distinguishability": "Distinguishability: how fast an answer is learned and how accurate it is",
    "priority": "Priority: which of several behaviours is learned first",
    "misalignment": "Misaligned start: flipped labels from base and from aligned features",
    "integrators": "Integrators: how much of a trajectory is the optimizer",
}

# Experiments on language models, which need the extra `llm`: they run by name only.
ON_MODELS = {
    "llm_head": "The last layer of a language model: theory, practice and values on its own features",
    "llm_training": "Training a language model: how far the theory of its last layer carries",
    "llm_rounds": "Rounds of a language model: does it do what the simulator says?",
}

# The experiments that run when none is named, in this order.
TOUR = ("evolution", "phases", "stability_map", "continuous", "margins", "advice")


def experiment(name: str) -> ModuleType:
    """The module of an experiment by name, with ``Config``, ``run`` and ``check``."""
    return importlib.import_module(f"{__name__}.{name}")


def figure(name: str) -> ModuleType:
    """The module of its figure, with ``draw``."""
    return importlib.import_module(f"figures.{name}")
