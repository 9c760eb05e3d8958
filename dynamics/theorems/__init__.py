"""Theorems as executable statements: ``theorem(**inputs)`` → ``Bound``; ``theorem.draw(key, n)`` → instances.

No code here runs a simulator, so a bound and a trajectory that agree are evidence for each other. ``all()`` lists every
theorem by name; each is also an attribute of this module, and ``theorem.inputs`` names its inputs. A name has the same
meaning everywhere, which ``help(theorem)`` prints with the statement; ``statements()`` has the pages of docs/theory with the
proofs. Numbers are float64 on the host, whatever JAX's precision.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ._bound import Bound, Claim, Theorem, meant, registered
from ._coverage import Coverage, coverage
from ._statements import Statement, statements
from .certificate import certificate, certificate_bound
from .collapse import certain_collapse, collapse, collapse_entropy, entropy_decreases
from .convergence import (
    contraction,
    dimension_free_convergence,
    divergence_on_policy,
    finite_samples,
    global_convergence,
    matched_link,
    span_contraction,
    universal_contraction,
    universal_convergence,
)
from .distribution import (
    error_constant,
    logarithm_above,
    logarithm_below,
    reversed_divergence,
    rlhf_limit,
    sampler_errors,
    sigmoid_difference,
    tuned_errors,
)
from .entropy import entropy_remedy, entropy_round, entropy_threshold
from .finite_classes import (
    distillation_guarantee,
    finite_class_error,
    finite_class_quantile,
    finite_class_tail,
    likelihood_guarantee,
    preference_error,
    prior_sampling_order,
    reverse_kl_guarantee,
)
from .games import magnetic_step, nash_md_limit, roster_radius
from .generalization import (
    gaussian_accuracy,
    initial_accuracy,
    nearly_orthogonal_margins,
    noise_norm,
    noisy_error,
    required_samples,
    value_error,
    value_margins,
)
from .iteration import (
    centred_contraction,
    fixed_point_jacobian,
    published_contraction,
    uniform_spectrum,
    uniform_threshold,
    vertex_multipliers,
)
from .margins import (
    distinguishable_head_change,
    head_change,
    mean_field,
    mean_field_bounds,
    noisy_margins,
    priority,
)
from .optima import (
    bradley_terry_residual,
    no_universal_sampler,
    sampler_independence,
    sampler_independence_ipo,
    too_few_samplers,
)
from .prompts import shared_parameter
from .ranking import order_preservation, order_reversal, same_ranking, skewed_sampling
from .references import ema_spectrum, ema_threshold, link_spectrum
from .sampling import fitted_sampler, lost_order, three_responses, top_sampler
from .spectrum import onset_amplitude, spectrum, spectrum_dpo, uniqueness, universal_spectrum

__all__ = [
    "Bound",
    "Claim",
    "Coverage",
    "Statement",
    "Theorem",
    "all",
    "bradley_terry_residual",
    "centred_contraction",
    "certain_collapse",
    "certificate",
    "certificate_bound",
    "collapse",
    "collapse_entropy",
    "contraction",
    "coverage",
    "dimension_free_convergence",
    "distillation_guarantee",
    "distinguishable_head_change",
    "divergence_on_policy",
    "ema_spectrum",
    "ema_threshold",
    "entropy_decreases",
    "entropy_remedy",
    "entropy_round",
    "entropy_threshold",
    "error_constant",
    "finite_class_error",
    "finite_class_quantile",
    "finite_class_tail",
    "finite_samples",
    "fitted_sampler",
    "fixed_point_jacobian",
    "gaussian_accuracy",
    "global_convergence",
    "head_change",
    "initial_accuracy",
    "likelihood_guarantee",
    "link_spectrum",
    "logarithm_above",
    "logarithm_below",
    "lost_order",
    "magnetic_step",
    "matched_link",
    "mean_field",
    "mean_field_bounds",
    "nash_md_limit",
    "nearly_orthogonal_margins",
    "no_universal_sampler",
    "noise_norm",
    "noisy_error",
    "noisy_margins",
    "onset_amplitude",
    "order_preservation",
    "order_reversal",
    "preference_error",
    "prior_sampling_order",
    "priority",
    "published_contraction",
    "required_samples",
    "reverse_kl_guarantee",
    "reversed_divergence",
    "rlhf_limit",
    "roster_radius",
    "same_ranking",
    "sampler_errors",
    "sampler_independence",
    "sampler_independence_ipo",
    "shared_parameter",
    "sigmoid_difference",
    "skewed_sampling",
    "span_contraction",
    "spectrum",
    "spectrum_dpo",
    "statements",
    "three_responses",
    "too_few_samplers",
    "top_sampler",
    "tuned_errors",
    "uniform_spectrum",
    "uniform_threshold",
    "uniqueness",
    "universal_contraction",
    "universal_convergence",
    "universal_spectrum",
    "value_error",
    "value_margins",
    "vertex_multipliers",
]


def all() -> dict[str, Theorem]:
    """Every theorem by its name, in the order of the sections they come from."""
    return registered()


if not TYPE_CHECKING:  # a type checker knows the names, and should refuse others

    def __getattr__(name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        raise AttributeError(f"theorem {name!r} does not exist; {meant(name, registered())}all() lists them.")
